package tcp2_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestIPv6: the exchange works for both IP versions.
func TestIPv6(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	b.Env.OutSrc = netip.MustParseAddr("2001:db8:9::1")
	segment := func(hook ppf.Hook, src, dst netip.AddrPort, f packet.TCPFlags, payload string) (netip.AddrPort, netip.AddrPort, string) {
		t.Helper()
		action, out := b.Send(hook, ppftest.Segment{Src: src, Dst: dst, TCP: ppftest.Header(f, 1, 1), Payload: []byte(payload)}.Bytes(t))
		if action != ppf.Accept {
			t.Fatalf("%v > %v: %v, %+v", src, dst, action, b.Engine.ReasonCounts())
		}
		p := gopacket.NewPacket(out, layers.LayerTypeIPv6, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		seg, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip == nil || seg == nil {
			t.Fatalf("gopacket cannot read %x", out)
		}
		from, _ := netip.AddrFromSlice(ip.SrcIP)
		to, _ := netip.AddrFromSlice(ip.DstIP)
		return netip.AddrPortFrom(from, uint16(seg.SrcPort)), netip.AddrPortFrom(to, uint16(seg.DstPort)), string(seg.Payload)
	}
	proxy, to, _ := segment(ppf.Forward, ppftest.Client6, ppftest.Server6, syn, "")
	if proxy.Addr() != b.Env.OutSrc || to != ppftest.Server6 || !b.Env.Ports[proxy] {
		t.Fatalf("the server sees %v > %v; reserved are %v", proxy, to, b.Env.Ports)
	}
	if from, to, _ := segment(ppf.Prerouting, ppftest.Server6, proxy, syn|ack, ""); from != ppftest.Server6 || to != ppftest.Client6 {
		t.Errorf("the client sees %v > %v", from, to)
	}
	if from, _, payload := segment(ppf.Forward, ppftest.Client6, ppftest.Server6, ack, "question"); from != proxy || payload != "question" {
		t.Errorf("the server sees %v, %q", from, payload)
	}
	if _, to, payload := segment(ppf.Prerouting, ppftest.Server6, proxy, ack, "answer"); to != ppftest.Client6 || payload != "answer" {
		t.Errorf("the client sees %v, %q", to, payload)
	}
	b.Accounted()
}

// TestPortOfAnotherConnection: a port that the host thinks free although a
// connection has it is not used twice; the next one is, a few times.
func TestPortOfAnotherConnection(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	client := func(n uint16) netip.AddrPort { return netip.AddrPortFrom(ppftest.Client4.Addr(), n) }
	first := send(t, b, client(1), ppftest.Server4, syn, "").src
	b.Env.Port = first.Port() - 1
	second := send(t, b, client(2), ppftest.Server4, syn, "").src
	if second.Port() != first.Port()+1 {
		t.Errorf("the second is sent as %v, the first as %v", second, first)
	}
	for n := range uint16(2) {
		send(t, b, client(3+n), ppftest.Server4, syn, "")
	}
	b.Env.Port = first.Port() - 1
	last := ppftest.Segment{Src: client(9), Dst: ppftest.Server4, TCP: ppftest.Header(syn, 1, 1)}.Bytes(t)
	if action, _ := b.Send(ppf.Forward, last); action != ppf.Drop || b.Count("tcp2.no-port", ppf.OutcomeDrop) != 1 {
		t.Errorf("when every port is another connection's: %v, %+v", action, b.Engine.ReasonCounts())
	}
	if n := b.Engine.Stats().Connections; n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
	b.Accounted()
}

// TestPortReuse: a client that opens anew gets a new port, and the old one is
// given back.
func TestPortReuse(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	first := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src
	send(t, b, ppftest.Server4, first, packet.RST|ack, "")
	second := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src
	if second == first || len(b.Env.Ports) != 1 || !b.Env.Ports[second] {
		t.Errorf("sent as %v, then as %v; reserved are %v", first, second, b.Env.Ports)
	}
	if err := b.Engine.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if len(b.Env.Ports) != 0 {
		t.Errorf("ports %v are left after the end", b.Env.Ports)
	}
}

// TestRetransmittedSyn keeps its port.
func TestRetransmittedSyn(t *testing.T) {
	b := ppftest.New(t, instance("tcp2"))
	first := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src
	b.Env.Advance(int64(3 * time.Second))
	if again := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src; again != first || len(b.Env.Ports) != 1 {
		t.Errorf("sent as %v, then as %v", first, again)
	}
}
