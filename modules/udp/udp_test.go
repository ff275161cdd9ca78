package udp_test

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

func instance(chain ...string) ppf.InstanceSpec {
	in := ppftest.Instance("a", chain...)
	in.Match.Protocol, in.Initiate = 0, ppf.InitiateClient
	return in
}

// network is an IP header for somebody else's encoder.
func network(src, dst netip.Addr, protocol layers.IPProtocol) gopacket.SerializableLayer {
	if src.Is4() {
		return &layers.IPv4{Version: 4, TTL: 9, TOS: 4, Id: 77, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: 9, TrafficClass: 4, NextHeader: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// datagram is built by somebody else's encoder.
func datagram(t testing.TB, src, dst netip.AddrPort, payload string) []byte {
	t.Helper()
	ip := network(src.Addr(), dst.Addr(), layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

func serialize(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// decode reads a packet with somebody else's decoder.
func decode(t *testing.T, data []byte) gopacket.Packet {
	t.Helper()
	first := layers.LayerTypeIPv4
	if data[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(data, first, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatalf("gopacket cannot read %x: %v", data, p.ErrorLayer())
	}
	return p
}

// pass sends a packet and wants it sent on.
func pass(t *testing.T, b *ppftest.Bench, data []byte) []byte {
	t.Helper()
	action, out := b.Send(ppf.Forward, data)
	if action != ppf.Accept {
		t.Fatalf("%x: %v; %+v", data, action, b.Engine.ReasonCounts())
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

var families = []struct {
	name           string
	client, server netip.AddrPort
}{{"IPv4", ppftest.Client4, ppftest.Server4}, {"IPv6", ppftest.Client6, ppftest.Server6}}

// TestFlow: datagrams of both sides are built anew and leave the values that
// matter as they were.
func TestFlow(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b := ppftest.New(t, instance("udp", "tcp"))
			for i, s := range []struct {
				from, to netip.AddrPort
				payload  string
				state    string
			}{
				{f.client, f.server, "question", "UNREPLIED"},
				{f.client, f.server, "", "UNREPLIED"},
				{f.server, f.client, "an odd answer", "REPLIED"},
				{f.client, f.server, "more", "REPLIED"},
			} {
				in := datagram(t, s.from, s.to, s.payload)
				out := pass(t, b, in)
				p := decode(t, out)
				if u := p.TransportLayer().(*layers.UDP); string(u.Payload) != s.payload || uint16(u.SrcPort) != s.from.Port() || uint16(u.DstPort) != s.to.Port() {
					t.Errorf("datagram %d: %+v", i, u)
				}
				want := slices.Clone(in)
				if f.name == "IPv4" { // identification 0, all else as somebody else writes it
					ip := p.NetworkLayer().(*layers.IPv4)
					if ip.Id != 0 || ip.TTL != 9 || ip.TOS != 4 {
						t.Errorf("datagram %d: %+v", i, ip)
					}
					copy(want[4:6], out[4:6])
					copy(want[10:12], out[10:12])
				}
				if !bytes.Equal(out, want) {
					t.Errorf("datagram %d: got %x, want %x", i, out, want)
				}
				if list := b.Engine.Connections("", 0); len(list) != 1 || list[0].State != s.state {
					t.Errorf("datagram %d: connections %+v, want one %s", i, list, s.state)
				}
			}
			c := b.Engine.Connections("", 0)[0]
			if c.CS.Received != "TALKING" || c.CS.Sent != "TALKING" || c.CS.Packets != 3 || c.SC.Packets != 1 {
				t.Errorf("halves %+v %+v", c.CS, c.SC)
			}
			b.Accounted()
		})
	}
}

// TestRefused: what is wrong goes no further and makes no flow.
func TestRefused(t *testing.T) {
	good := func() []byte { return datagram(t, ppftest.Client4, ppftest.Server4, "x") }
	edit := func(f func(udp []byte)) []byte { d := good(); f(d[20:]); return d }
	port := func(a netip.AddrPort, p uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), p) }
	noSum6 := datagram(t, ppftest.Client6, ppftest.Server6, "x")
	noSum6[46], noSum6[47] = 0, 0
	fragment := datagram(t, ppftest.Client4, ppftest.Server4, "12345678")
	fragment[6], fragment[10], fragment[11] = 0x20, 0, 0
	sum := packet.SumBytes(fragment[:20]).Checksum()
	fragment[10], fragment[11] = byte(sum>>8), byte(sum)
	for _, tt := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"length too small", edit(func(b []byte) { b[5]-- }), "udp.length"},
		{"length too great", edit(func(b []byte) { b[5]++ }), "udp.length"},
		{"length 0", edit(func(b []byte) { b[5] = 0 }), "udp.length"},
		{"checksum", edit(func(b []byte) { b[6] ^= 1 }), "udp.checksum"},
		{"no checksum on IPv6", noSum6, "udp.checksum"},
		{"source port 0", datagram(t, port(ppftest.Client4, 0), ppftest.Server4, "x"), "udp.port-zero"},
		{"destination port 0", datagram(t, ppftest.Client4, port(ppftest.Server4, 0), "x"), "udp.port-zero"},
		{"fragment", fragment, "ip.fragment"},
		{"from the server", datagram(t, ppftest.Server4, ppftest.Client4, "x"), "udp.initiate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance("udp"))
			refuse(t, b, tt.data, tt.reason)
			if n := b.Engine.Stats().Connections; n != 0 {
				t.Errorf("%d flows were made", n)
			}
			b.Accounted()
		})
	}
}

// TestNoChecksum: on IPv4 a sender may leave it out; we never do.
func TestNoChecksum(t *testing.T) {
	b := ppftest.New(t, instance("udp"))
	want := datagram(t, ppftest.Client4, ppftest.Server4, "payload")
	in := slices.Clone(want)
	in[26], in[27] = 0, 0
	if out := pass(t, b, in); !bytes.Equal(out[20:], want[20:]) {
		t.Errorf("got %x, want %x", out[20:], want[20:])
	}
}

// TestTimeouts: a flow lasts as long as its state says, from the last datagram.
func TestTimeouts(t *testing.T) {
	b := ppftest.New(t, instance("udp"))
	question, answer := datagram(t, ppftest.Client4, ppftest.Server4, "q"), datagram(t, ppftest.Server4, ppftest.Client4, "a")
	pass(t, b, question)
	b.Env.Advance(int64(29 * time.Second))
	pass(t, b, question)
	b.Env.Advance(int64(29 * time.Second))
	pass(t, b, answer)
	b.Env.Advance(int64(119 * time.Second))
	pass(t, b, answer)
	b.Env.Advance(int64(121 * time.Second))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	refuse(t, b, answer, "udp.initiate")
	pass(t, b, question)
	b.Env.Advance(int64(31 * time.Second))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	refuse(t, b, answer, "udp.initiate")
}

func TestInitiateAndLimit(t *testing.T) {
	in := instance("udp")
	in.Initiate = ppf.InitiateBoth
	in.Modules = map[string]ppf.Value{"udp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "connections", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "1"}}}}}
	b := ppftest.New(t, in)
	pass(t, b, datagram(t, ppftest.Server4, ppftest.Client4, "push"))
	pass(t, b, datagram(t, ppftest.Client4, ppftest.Server4, "thanks"))
	refuse(t, b, datagram(t, netip.AddrPortFrom(ppftest.Client4.Addr(), 1), ppftest.Server4, "x"), "conn.limit-instance")
}

// TestErrors: an ICMP error about a flow is built anew and quotes what its
// receiver sent; any other is dropped.
func TestErrors(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.9")
	message := func(typ, code uint8, quoted []byte) []byte {
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}
		if typ == layers.ICMPv4TypeDestinationUnreachable && code == layers.ICMPv4CodeFragmentationNeeded {
			icmp.Seq = 1400
		}
		return serialize(t, network(router, ppftest.Client4.Addr(), layers.IPProtocolICMPv4), icmp, gopacket.Payload(quoted))
	}
	b := ppftest.New(t, instance("udp", "tcp"))
	sent := datagram(t, ppftest.Client4, ppftest.Server4, "question")
	pass(t, b, sent)
	for _, tt := range []struct{ typ, code uint8 }{{3, 3}, {3, 4}, {11, 0}} {
		p := decode(t, pass(t, b, message(tt.typ, tt.code, append(slices.Clone(sent), "more"...))))
		icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if icmp.TypeCode != layers.CreateICMPv4TypeCode(tt.typ, tt.code) || tt.code == 4 && icmp.Seq != 1400 {
			t.Errorf("type %d code %d: %+v", tt.typ, tt.code, icmp)
		}
		if quote := icmp.Payload; len(quote) != 28 || !bytes.Equal(quote[12:], sent[12:28]) {
			t.Errorf("type %d code %d quotes %x, want %x", tt.typ, tt.code, quote, sent[:28])
		}
	}
	stranger := datagram(t, netip.AddrPortFrom(ppftest.Client4.Addr(), 9), ppftest.Server4, "x")
	refuse(t, b, message(3, 3, stranger), "icmp.unrelated")
	refuse(t, b, message(5, 1, sent), "icmp.type")
	refuse(t, b, message(4, 0, sent), "icmp.type")
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
	b.Accounted()
}

func frames(t testing.TB) (*ppftest.Bench, []ppf.Frame) {
	b := ppftest.New(t, instance("udp", "tcp"))
	return b, []ppf.Frame{
		b.Frame(ppf.Forward, datagram(t, ppftest.Client4, ppftest.Server4, "question")),
		b.Frame(ppf.Forward, datagram(t, ppftest.Server4, ppftest.Client4, "answer")),
		b.Frame(ppf.Forward, datagram(t, ppftest.Client6, ppftest.Server6, "question")),
	}
}

func TestAllocations(t *testing.T) {
	b, list := frames(t)
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for %d datagrams, want 0", n, len(list))
	}
}

func BenchmarkDatagrams(b *testing.B) {
	bench, list := frames(b)
	h := bench.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}
