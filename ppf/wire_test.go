package ppf_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
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
	var sent packet.Packet
	if r := sent.Parse(packet.LinkEthernet, bytes.Clone(f.Head)); r != packet.ReasonNone || sent.TCP().Seq() == 0 {
		t.Fatalf("SYN: %v, number %d as the client chose it", r, sent.TCP().Seq())
	}
	answer := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.SYN | packet.ACK, Ack: sent.TCP().Seq().Add(1)}}.Bytes(t)
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

// TestWireARP: `protocol: arp` takes the frames of ARP and of reverse ARP, of a
// host where one is named, and nothing else.
func TestWireARP(t *testing.T) {
	speak := func(typ packet.EtherType, sender, target string) []byte {
		var out packet.Out
		out.SetEthernet(packet.Ethernet{Src: wireClient, Dst: packet.BroadcastMAC})
		out.SetARP(packet.ARP{Op: packet.ARPRequest, SenderMAC: wireClient, SenderIP: netip.MustParseAddr(sender), TargetIP: netip.MustParseAddr(target)})
		frame, err := out.Encode(make([]byte, packet.MaxHeaders))
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint16(frame[12:], uint16(typ))
		return frame
	}
	one := onWire("arp")
	one.Match.ARP, one.Match.Server = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
	all := onWire("pass")
	all.Match.ARP = true
	ip := append(slices.Concat(wireServer[:], wireClient[:], []byte{8, 0}), ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(t)...)
	for _, tt := range []struct {
		name     string
		instance ppf.InstanceSpec
		data     []byte
		want     string
	}{
		{"about the server", one, speak(packet.EtherTypeARP, "192.0.2.1", "192.0.2.2"), ""},
		{"about another", one, speak(packet.EtherTypeARP, "192.0.2.1", "192.0.2.3"), "inline.unmatched"},
		{"reverse", all, speak(packet.EtherTypeRARP, "192.0.2.1", "192.0.2.1"), ""},
		{"IP", all, ip, "inline.unmatched"},
		{"PROFINET", all, append(slices.Concat(wireServer[:], wireClient[:], []byte{0x88, 0x92}), make([]byte, 46)...), "inline.unmatched"},
	} {
		if _, reason := ppftest.New(t, tt.instance).Cross(ppf.InlineClient, tt.data); reason != tt.want {
			t.Errorf("%s: reason %q, want %q", tt.name, reason, tt.want)
		}
	}
}

// TestInitiateServer: what only the server may open clients may not.
func TestInitiateServer(t *testing.T) {
	for d, want := range map[ppf.Dir]string{ppf.ClientToServer: "tcp.initiate", ppf.ServerToClient: ""} {
		in := onWire("tcp")
		in.Initiate = ppf.InitiateServer
		b := ppftest.New(t, in)
		src, dst, hook := ppftest.Client4, ppftest.Server4, ppf.InlineClient
		if d == ppf.ServerToClient {
			src, dst, hook = dst, src, ppf.InlineServer
		}
		syn := ppftest.Segment{Src: src, Dst: dst, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
		if _, reason := b.Cross(hook, wireFrame(t, b, nil, hook, syn).Data); reason != want {
			t.Errorf("%v: reason %q, want %q", d, reason, want)
		}
	}
}

// TestWireExchange: what needs an address of this host is refused on a wire.
func TestWireExchange(t *testing.T) {
	problems := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{onWire("tcp2")}})
	if len(problems) != 1 || !strings.Contains(problems[0].What, "exchanges addresses") {
		t.Errorf("problems %v", problems)
	}
}
