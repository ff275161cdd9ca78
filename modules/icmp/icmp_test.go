package icmp_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

func instance() ppf.InstanceSpec {
	in := ppftest.Instance("a", "icmp", "udp", "tcp")
	in.Match.Protocol, in.Initiate = 0, ppf.InitiateClient
	return in
}

// message is built by somebody else's encoder; in IPv6 rest begins with the four
// bytes that depend on the type, as in IPv4.
func message(t testing.TB, src, dst netip.Addr, typ, code uint8, rest []byte) []byte {
	t.Helper()
	var list []gopacket.SerializableLayer
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 9, Id: 77, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(rest[0])<<8 | uint16(rest[1]), Seq: uint16(rest[2])<<8 | uint16(rest[3])}
		list = append(list, ip, icmp, gopacket.Payload(rest[4:]))
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		list = append(list, ip, icmp, gopacket.Payload(rest))
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

func echo(id, seq byte, payload string) []byte { return append([]byte{7, id, 0, seq}, payload...) }

// family is what differs between the two.
type family struct {
	name           string
	client, server netip.Addr
	request, reply uint8
	header         int
}

var families = []family{
	{"IPv4", ppftest.Client4.Addr(), ppftest.Server4.Addr(), 8, 0, 20},
	{"IPv6", ppftest.Client6.Addr(), ppftest.Server6.Addr(), 128, 129, 40},
}

func (f family) ask(t testing.TB, id, seq byte) []byte {
	return message(t, f.client, f.server, f.request, 0, echo(id, seq, "payload"))
}

func (f family) answer(t testing.TB, id, seq byte) []byte {
	return message(t, f.server, f.client, f.reply, 0, echo(id, seq, "payload"))
}

// pass sends a packet and wants it sent on, byte for byte the same in layer 4.
func pass(t *testing.T, b *ppftest.Bench, f family, data []byte) []byte {
	t.Helper()
	action, out := b.Send(ppf.Forward, data)
	if action != ppf.Accept {
		t.Fatalf("%x: %v; %+v", data, action, b.Engine.ReasonCounts())
	}
	if !bytes.Equal(out[f.header:], data[f.header:]) {
		t.Errorf("got %x, want %x", out[f.header:], data[f.header:])
	}
	if f.header == 20 && (out[4] != 0 || out[5] != 0) {
		t.Errorf("identification %x, want one of our own", out[4:6])
	}
	return out
}

// refuse sends a packet and wants it dropped for a reason.
func refuse(t *testing.T, b *ppftest.Bench, data []byte, reason string) {
	t.Helper()
	before := b.Count(reason, ppf.OutcomeDrop)
	if action, _ := b.Send(ppf.Forward, data); action != ppf.Drop || b.Count(reason, ppf.OutcomeDrop) != before+1 {
		t.Fatalf("%x: %v, want a drop for %s; %+v", data, action, reason, b.Engine.ReasonCounts())
	}
}

// TestEcho: each request has one reply.
func TestEcho(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			refuse(t, b, f.answer(t, 1, 1), "icmp.unsolicited")
			pass(t, b, f, f.ask(t, 1, 1))
			pass(t, b, f, f.ask(t, 1, 2))
			if list := b.Engine.Connections("", 0); len(list) != 1 || list[0].State != "UNREPLIED" || list[0].CS.Received != "ASKING" {
				t.Errorf("connections %+v", list)
			}
			refuse(t, b, f.answer(t, 2, 1), "icmp.unsolicited") // of another identifier
			refuse(t, b, message(t, f.client, f.server, f.reply, 0, echo(1, 1, "")), "icmp.unsolicited")
			pass(t, b, f, f.answer(t, 1, 2))
			pass(t, b, f, f.answer(t, 1, 1))
			refuse(t, b, f.answer(t, 1, 1), "icmp.unsolicited")
			if list := b.Engine.Connections("", 0); len(list) != 1 || list[0].State != "REPLIED" || list[0].SC.Received != "ANSWERING" {
				t.Errorf("connections %+v", list)
			}
			refuse(t, b, message(t, f.server, f.client, f.request, 0, echo(1, 1, "")), "icmp.initiate")
			pass(t, b, f, f.ask(t, 1, 3))
			b.Env.Advance(int64(61 * time.Second))
			b.Engine.Handlers()[0].Tick(b.Env.Now())
			refuse(t, b, f.answer(t, 1, 3), "icmp.unsolicited")
			b.Accounted()
		})
	}
}

// TestRefused: all that is neither an echo nor an error about a connection.
func TestRefused(t *testing.T) {
	b := ppftest.New(t, instance())
	rest := make([]byte, 40)
	for i, f := range families {
		for typ, want := range []map[uint8]string{
			{9: "icmp.router-discovery", 10: "icmp.router-discovery", 13: "icmp.timestamp", 14: "icmp.timestamp", 15: "icmp.information", 16: "icmp.information",
				17: "icmp.address-mask", 18: "icmp.address-mask", 42: "icmp.informational", 255: "icmp.informational"},
			{130: "icmp.multicast-listener", 133: "icmp.neighbor-discovery", 134: "icmp.neighbor-discovery", 135: "icmp.neighbor-discovery",
				136: "icmp.neighbor-discovery", 137: "icmp.neighbor-discovery", 139: "icmp.informational", 143: "icmp.multicast-listener"},
		}[i] {
			refuse(t, b, message(t, f.client, f.server, typ, 0, rest), want)
		}
		refuse(t, b, message(t, f.client, f.server, f.request, 1, rest), "icmp.echo-code")
		wrong := f.ask(t, 1, 1)
		wrong[f.header+2] ^= 1
		refuse(t, b, wrong, []string{"icmp.checksum", "icmp6.checksum"}[i])
	}
	if n := b.Engine.Stats().Connections; n != 0 {
		t.Errorf("%d connections were made", n)
	}
	b.Accounted()
}

// TestErrors: errors about echoes and datagrams that were sent pass, others do
// not.
func TestErrors(t *testing.T) {
	routers := []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:9::1")}
	exceeded := []uint8{11, 3}
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			sent := f.ask(t, 1, 1)
			pass(t, b, f, sent)
			about := func(typ, code uint8, quoted []byte) []byte {
				return message(t, routers[i], f.client, typ, code, append(make([]byte, 4), quoted...))
			}
			short := sent[:f.header+8]
			_, out := b.Send(ppf.Forward, about(exceeded[i], 0, short))
			if len(out) != f.header+8+len(short) || !bytes.Equal(out[f.header+8+f.header-8:], short[f.header-8:]) {
				t.Fatalf("got %x, want a quotation of %x; %+v", out, short, b.Engine.ReasonCounts())
			}
			stranger := f.ask(t, 9, 1)
			refuse(t, b, about(exceeded[i], 0, stranger), "icmp.unrelated")
			refuse(t, b, about([]uint8{5, 4}[i], 0, short), "icmp.type")
			tunnel := slices.Clone(short)
			tunnel[[]int{9, 6}[i]] = 47 // GRE
			refuse(t, b, about(exceeded[i], 0, tunnel), "icmp.unrelated")
			b.Accounted()
		})
	}
}

// TestPorts: the identifier of an echo is no port of a match.
func TestPorts(t *testing.T) {
	in := instance()
	in.Match.Protocol = packet.ProtoUDP
	in.Match.Port = []ppf.PortRange{{Lo: 0x0701, Hi: 0x0701}}
	b := ppftest.New(t, in)
	b.Send(ppf.Forward, families[0].ask(t, 1, 1))
	if s := b.Engine.Stats(); s.Unmatched.Unchanged != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAllocations(t *testing.T) {
	b := ppftest.New(t, instance())
	var list []ppf.Frame
	for _, f := range families {
		list = append(list, b.Frame(ppf.Forward, f.ask(t, 1, 1)), b.Frame(ppf.Forward, f.answer(t, 1, 1)))
	}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for %d messages, want 0", n, len(list))
	}
}

func BenchmarkEcho(b *testing.B) {
	bench := ppftest.New(b, instance())
	list := []ppf.Frame{bench.Frame(ppf.Forward, families[0].ask(b, 1, 1)), bench.Frame(ppf.Forward, families[0].answer(b, 1, 1))}
	h := bench.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}
