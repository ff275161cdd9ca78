package ppf_test

import (
	"bytes"
	"strings"
	"testing"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// testWire is a wire that keeps what is emitted.
type testWire struct {
	number uint8
	frames [][]byte
	ports  []ppf.Hook
}

func (w *testWire) Number() uint8 { return w.number }

func (w *testWire) Emit(frame []byte, port ppf.Hook) error {
	w.frames, w.ports = append(w.frames, bytes.Clone(frame)), append(w.ports, port)
	return nil
}

var (
	wireClient = packet.MAC{2, 0, 0, 0, 0, 1}
	wireServer = packet.MAC{2, 0, 0, 0, 0, 2}
)

// onWire is an instance on a wire, without match.
func onWire(chain ...string) ppf.InstanceSpec {
	return ppf.InstanceSpec{
		Name: "wire", Source: ppf.SourceInline, Hook: ppf.InlineClient, Initiate: ppf.InitiateClient,
		Inline: ppf.InlinePair{Client: "eth0", Server: "eth1"}, Match: ppf.Match{In: "eth0", Out: "eth1"}, Chain: [2][]string{chain, chain},
	}
}

// wireFrame puts an Ethernet header and tags before an IP packet.
func wireFrame(t *testing.T, b *ppftest.Bench, w *testWire, hook ppf.Hook, ip []byte, tags ...byte) ppf.Frame {
	t.Helper()
	src, dst, in, out := wireClient, wireServer, int32(2), int32(3)
	if hook == ppf.InlineServer {
		src, dst, in, out = dst, src, out, in
	}
	data := append(append(append(bytes.Clone(dst[:]), src[:]...), tags...), 0x08, 0x00)
	f := b.Frame(hook, append(data, ip...))
	f.Link, f.Wire, f.In, f.Out = packet.LinkEthernet, w, in, out
	return f
}

// TestWire sends a handshake over one wire: the frame is built anew, with its tag,
// and the same packet on another wire or in another VLAN belongs to no connection.
func TestWire(t *testing.T) {
	b := ppftest.New(t, onWire("tcp"))
	one, two := &testWire{number: 1}, &testWire{number: 2}
	handle := func(f ppf.Frame) ppf.Frame {
		frames := []ppf.Frame{f}
		b.Engine.Handlers()[0].Handle(frames)
		return frames[0]
	}
	tag := []byte{0x81, 0, 0x60, 7} // PCP 3, VID 7
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	in := wireFrame(t, b, one, ppf.InlineClient, syn, tag...)
	f := handle(in)
	if f.Action != ppf.Accept || !bytes.Equal(f.Head[:18], in.Data[:18]) || len(f.Head)+len(f.Body)+len(f.Padding()) != 60 {
		t.Fatalf("SYN: %v, header %x, want that of %x; %+v", f.Action, f.Head, in.Data, b.Engine.ReasonCounts())
	}
	answer := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.SYN | packet.ACK, Ack: 1}}.Bytes(t)
	if f := handle(wireFrame(t, b, two, ppf.InlineServer, answer, tag...)); f.Action != ppf.Drop {
		t.Error("the answer on another wire is accepted")
	}
	if f := handle(wireFrame(t, b, one, ppf.InlineServer, answer)); f.Action != ppf.Drop {
		t.Error("the answer without the tag is accepted")
	}
	if f := handle(wireFrame(t, b, one, ppf.InlineServer, answer, tag...)); f.Action != ppf.Accept {
		t.Errorf("the answer is not accepted: %+v", b.Engine.ReasonCounts())
	}
	b.Accounted()
}

// TestWireEmit: what is answered goes back where it came from, with the addresses
// and the tag of the frame, as long as the shortest frame.
func TestWireEmit(t *testing.T) {
	b := ppftest.New(t, onWire("tcp"))
	w := &testWire{number: 1}
	syn := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	frames := []ppf.Frame{wireFrame(t, b, w, ppf.InlineServer, syn, 0x81, 0, 0, 7)}
	b.Engine.Handlers()[0].Handle(frames)
	if frames[0].Action != ppf.Drop || len(w.frames) != 1 || w.ports[0] != ppf.InlineServer || len(w.frames[0]) != 60 {
		t.Fatalf("%v, emitted %x to %v", frames[0].Action, w.frames, w.ports)
	}
	var p packet.Packet
	if r := p.Parse(packet.LinkEthernet, w.frames[0]); r != packet.ReasonNone || p.VerifyChecksums(true) != packet.ReasonNone {
		t.Fatalf("%v in %x", r, w.frames[0])
	}
	if eth := p.Ethernet(); eth.Src() != wireClient || eth.Dst() != wireServer || p.TCP().Flags()&packet.RST == 0 || p.VLANs()[0].VID() != 7 {
		t.Errorf("emitted %v", p.String())
	}
	if len(b.Emitted) != 0 {
		t.Error("it also left by netfilter's source")
	}
}

func TestWireUnmatched(t *testing.T) {
	b := ppftest.New(t, onWire("tcp"))
	f := wireFrame(t, b, &testWire{number: 1}, ppf.InlineClient, []byte{1, 2, 3})
	f.Data[12], f.Data[13] = 0x88, 0xcc
	f.In, f.Out = 1, 1 // a pair that no instance names
	frames := []ppf.Frame{f}
	b.Engine.Handlers()[0].Handle(frames)
	if frames[0].Action != ppf.Drop || b.Count("inline.unmatched", ppf.OutcomeDrop) != 1 {
		t.Errorf("%v, %+v", frames[0].Action, b.Engine.ReasonCounts())
	}
	b.Accounted()
}

// TestWireExchange: what needs an address of this host is refused on a wire.
func TestWireExchange(t *testing.T) {
	problems := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{onWire("tcp2")}})
	if len(problems) != 1 || !strings.Contains(problems[0].What, "exchanges addresses") {
		t.Errorf("problems %v", problems)
	}
}
