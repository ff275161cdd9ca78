package tcp2_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// flight is what a packet shows.
type flight struct {
	src, dst netip.AddrPort
	id       uint16
	payload  string
	rst      bool
}

func read(t *testing.T, data []byte) flight {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	seg, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip == nil || seg == nil {
		t.Fatalf("gopacket cannot read %x", data)
	}
	src, _ := netip.AddrFromSlice(ip.SrcIP)
	dst, _ := netip.AddrFromSlice(ip.DstIP)
	return flight{netip.AddrPortFrom(src.Unmap(), uint16(seg.SrcPort)), netip.AddrPortFrom(dst.Unmap(), uint16(seg.DstPort)), ip.Id, string(seg.Payload), seg.RST}
}

// instance carries sequence numbers over: the tests are about addresses.
func instance(function string) ppf.InstanceSpec {
	in := ppftest.Instance("a", function)
	in.Modules = map[string]ppf.Value{function: {Kind: ppf.ValueMap, Map: []ppf.KeyValue{
		{Key: "sequence", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "keep"}},
	}}}
	return in
}

// TestTranslated: both addresses and numbers are exchanged, and restored.
func TestTranslated(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp2"))
	b.Env.Step = 0x9e3779b9
	client := ppftest.NewEnd(t, ppftest.Client4, ppftest.Server4, b.Env.Now)
	client.Opens = true
	_, syn := b.Send(ppf.Forward, client.SYN())
	proxy := read(t, syn).src
	server := ppftest.NewEnd(t, ppftest.Server4, proxy, b.Env.Now)
	_, answer := b.Send(ppf.Prerouting, server.Receive(syn))
	if answer == nil || read(t, answer).dst != ppftest.Client4 {
		t.Fatalf("the server's answer leads to %x; %+v", answer, b.Engine.ReasonCounts())
	}
	_, last := b.Send(ppf.Forward, client.Receive(answer))
	if last == nil || read(t, last).src != proxy {
		t.Fatalf("the client's answer leads to %x; %+v", last, b.Engine.ReasonCounts())
	}
	list := b.Engine.Connections("", 0)
	if len(list) != 1 || list[0].State != "ESTABLISHED" || list[0].CS.Translation == 0 || list[0].SC.Translation == 0 {
		t.Errorf("connections %+v", list)
	}
}

// send sends a segment at the hook of its flow and wants it sent on.
func send(t *testing.T, b *ppftest.Bench, src, dst netip.AddrPort, f packet.TCPFlags, payload string) flight {
	t.Helper()
	hook := ppf.Forward
	if src == ppftest.Server4 {
		hook = ppf.Prerouting
	}
	action, out := b.Send(hook, ppftest.Segment{Src: src, Dst: dst, TCP: ppftest.Header(f, 1, 1), IP: packet.IPv4{DF: true, ID: 9}, Payload: []byte(payload)}.Bytes(t))
	if action != ppf.Accept {
		t.Fatalf("%v > %v %v: %v, %+v", src, dst, f, action, b.Engine.ReasonCounts())
	}
	return read(t, out)
}

const (
	syn = packet.SYN
	ack = packet.ACK
)

func TestExchange(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	out := send(t, b, ppftest.Client4, ppftest.Server4, syn, "")
	proxy := out.src
	if proxy.Addr() != b.Env.OutSrc || out.dst != ppftest.Server4 || out.id != 0 || !b.Env.Ports[proxy] {
		t.Fatalf("the server sees %+v; reserved are %v", out, b.Env.Ports)
	}
	if out := send(t, b, ppftest.Server4, proxy, syn|ack, ""); out.src != ppftest.Server4 || out.dst != ppftest.Client4 {
		t.Errorf("the client sees %+v", out)
	}
	if out := send(t, b, ppftest.Client4, ppftest.Server4, ack, "hello"); out.src != proxy || out.payload != "hello" {
		t.Errorf("the server sees %+v", out)
	}
	// A second client has a port of its own.
	second := netip.MustParseAddrPort("192.0.2.2:40000")
	if out := send(t, b, second, ppftest.Server4, syn, ""); out.src.Addr() != b.Env.OutSrc || out.src == proxy {
		t.Errorf("the second client is %v, the first %v", out.src, proxy)
	}
	if c := b.Engine.Connections("", 0)[0]; c.SentAs != proxy.String() {
		t.Errorf("listed as sent as %q, want %v", c.SentAs, proxy)
	}
	b.Accounted()
}

// TestICMPError: what an error quotes is restored too.
func TestICMPError(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	proxy := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src
	var out packet.Out
	q := packet.Quote{Proto: packet.ProtoTCP, L4Len: 20, SrcPort: proxy.Port(), DstPort: 80, Seq: 1,
		IP4: packet.IPv4{TTL: 3, Src: proxy.Addr(), Dst: ppftest.Server4.Addr(), Protocol: packet.ProtoTCP}}
	out.SetIPv4(packet.IPv4{TTL: 50, Src: netip.MustParseAddr("198.51.100.77"), Dst: proxy.Addr()})
	out.SetICMPv4(packet.ICMPv4{Type: 3, Code: 4, MTU: 1400, HasQuote: true, Quote: q})
	data, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	action, sent := b.Send(ppf.Prerouting, data)
	if action != ppf.Accept {
		t.Fatalf("%v, %+v", action, b.Engine.ReasonCounts())
	}
	var in packet.Packet
	if r := in.Parse(packet.LinkRawIP, sent); r != packet.ReasonNone || in.VerifyChecksums(true) != packet.ReasonNone {
		t.Fatalf("%v in %x", r, sent)
	}
	got, r := in.ICMPv4().Quoted()
	if r != packet.ReasonNone || in.Dst() != ppftest.Client4.Addr() || got.Src() != ppftest.Client4.Addr() || got.SrcPort != 40000 || got.Seq != 1 || in.ICMPv4().MTU() != 1400 {
		t.Errorf("to %v, quoting %+v, %v", in.Dst(), got, r)
	}
}

// TestServerOpens: where the kernel of 2006 crashed, the server gets a RST.
func TestServerOpens(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	data := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: ppftest.Header(syn, 1, 1)}.Bytes(t)
	if action, _ := b.Send(ppf.Prerouting, data); action != ppf.Drop || b.Count("tcp2.server-opens", ppf.OutcomeDrop) != 1 {
		t.Errorf("%v, %+v", action, b.Engine.ReasonCounts())
	}
	if len(b.Emitted) != 1 {
		t.Fatalf("%d packets were emitted, want a RST", len(b.Emitted))
	}
	if got := read(t, b.Emitted[0]); !got.rst || got.dst != ppftest.Server4 || got.src != ppftest.Client4 {
		t.Errorf("emitted %+v", got)
	}
	if n := b.Engine.Stats().Connections; n != 0 || len(b.Env.Ports) != 0 {
		t.Errorf("%d connections and %d ports are left", n, len(b.Env.Ports))
	}
}

// TestPorts: ports are given back when connections go, and their end has a
// reason.
func TestPorts(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	b.Env.MaxPorts = 2
	client := func(n uint16) netip.AddrPort { return netip.AddrPortFrom(ppftest.Client4.Addr(), n) }
	send(t, b, client(1), ppftest.Server4, syn, "")
	send(t, b, client(2), ppftest.Server4, syn, "")
	third := ppftest.Segment{Src: client(3), Dst: ppftest.Server4, TCP: ppftest.Header(syn, 1, 1)}.Bytes(t)
	if action, _ := b.Send(ppf.Forward, third); action != ppf.Drop || b.Count("tcp2.no-port", ppf.OutcomeDrop) != 1 {
		t.Errorf("without a port: %v, %+v", action, b.Engine.ReasonCounts())
	}
	b.Env.Advance(int64(2 * time.Minute))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	if len(b.Env.Ports) != 0 {
		t.Errorf("%d ports are held by connections that expired", len(b.Env.Ports))
	}
	send(t, b, client(3), ppftest.Server4, syn, "")
	b.Apply()
	if len(b.Env.Ports) != 0 {
		t.Errorf("%d ports are held by an instance that went", len(b.Env.Ports))
	}
	b.Apply(instance("tcp2"))
	b.Env.OutSrc = netip.Addr{}
	if action, _ := b.Send(ppf.Forward, third); action != ppf.Drop || b.Count("tcp2.no-address", ppf.OutcomeDrop) != 1 {
		t.Errorf("without a route: %v, %+v", action, b.Engine.ReasonCounts())
	}
}

// TestNothingAdopted: an exchanged address cannot be guessed.
func TestNothingAdopted(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	data := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(ack, 1, 1)}.Bytes(t)
	if action, out := b.Send(ppf.Forward, data); action != ppf.Drop || bytes.Equal(out, data) || b.Count("tcp.midstream", ppf.OutcomeDrop) != 1 {
		t.Errorf("%v, %+v", action, b.Engine.ReasonCounts())
	}
}
