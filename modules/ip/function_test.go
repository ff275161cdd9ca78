package ip_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// everything is an instance for any packet.
func everything(settings ...ppf.KeyValue) ppf.InstanceSpec {
	in := ppftest.Instance("a", "ip", "icmp", "udp", "tcp")
	in.Match = ppf.Match{}
	if len(settings) > 0 {
		in.Modules = map[string]ppf.Value{"ip": {Kind: ppf.ValueMap, Map: settings}}
	}
	return in
}

func set(key string, words ...string) ppf.KeyValue {
	v := ppf.Value{Kind: ppf.ValueList}
	for _, w := range words {
		v.List = append(v.List, ppf.Value{Kind: ppf.ValueScalar, Scalar: w})
	}
	if len(words) == 1 {
		v = v.List[0]
	}
	return ppf.KeyValue{Key: key, Value: v}
}

// header holds the values of an IP header for somebody else's encoder.
type header struct {
	src, dst string
	protocol layers.IPProtocol
	ttl      uint8
	class    uint8
	label    uint32
	options  []layers.IPv4Option
}

// bytes builds a packet with 16 bytes of payload behind a UDP header, or with
// opaque payload of another protocol.
func (h header) bytes(t testing.TB) []byte {
	t.Helper()
	src, dst := netip.MustParseAddr(h.src), netip.MustParseAddr(h.dst)
	if h.protocol == 0 {
		h.protocol = layers.IPProtocolUDP
	}
	var first gopacket.SerializableLayer
	if src.Is4() {
		first = &layers.IPv4{Version: 4, TTL: h.ttl, TOS: h.class, Protocol: h.protocol, Options: h.options, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	} else {
		first = &layers.IPv6{Version: 6, HopLimit: h.ttl, TrafficClass: h.class, FlowLabel: h.label, NextHeader: h.protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	list := []gopacket.SerializableLayer{first}
	switch h.protocol {
	case layers.IPProtocolUDP:
		udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
		if err := udp.SetNetworkLayerForChecksum(first.(gopacket.NetworkLayer)); err != nil {
			t.Fatal(err)
		}
		list = append(list, udp, gopacket.Payload("sixteen bytes..."))
	case layers.IPProtocolTCP:
		tcp := &layers.TCP{SrcPort: 1000, DstPort: 2000, SYN: true, Window: 1000}
		if err := tcp.SetNetworkLayerForChecksum(first.(gopacket.NetworkLayer)); err != nil {
			t.Fatal(err)
		}
		list = append(list, tcp)
	default:
		list = append(list, gopacket.Payload(opaque))
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

const (
	opaque = "payload of some protocol"

	client4, server4 = "192.0.2.1", "203.0.113.1"
	client6, server6 = "2001:db8:1::1", "2001:db8:2::1"
)

// TestAddresses lists which addresses a packet may have.
func TestAddresses(t *testing.T) {
	const source, destination = "ip.martian-source", "ip.martian-destination"
	tcp := layers.IPProtocolTCP
	for _, tt := range []struct {
		src, dst string
		protocol layers.IPProtocol
		hook     ppf.Hook
		reason   string
	}{
		{src: client4, dst: server4},
		{src: client6, dst: server6},
		{src: "0.0.0.0", dst: server4, reason: source},
		{src: "0.0.0.0", dst: "255.255.255.255"},
		{src: "0.1.2.3", dst: "255.255.255.255", reason: source},
		{src: "127.0.0.1", dst: server4, reason: source},
		{src: "127.0.0.1", dst: "127.0.0.1", reason: source},
		{src: "224.0.0.1", dst: server4, reason: source},
		{src: "239.255.255.255", dst: server4, reason: source},
		{src: "240.0.0.1", dst: server4, reason: source},
		{src: "255.255.255.255", dst: server4, reason: source},
		{src: client4, dst: "0.0.0.0", reason: destination},
		{src: client4, dst: "0.255.0.0", reason: destination},
		{src: client4, dst: "127.1.1.1", reason: destination},
		{src: client4, dst: "250.0.0.1", reason: destination},
		{src: client4, dst: "255.255.255.255"},
		{src: client4, dst: "224.0.0.251"},
		{src: client4, dst: "224.0.0.251", protocol: tcp, reason: "ip.multicast"},
		{src: client4, dst: "255.255.255.255", protocol: tcp, reason: "ip.multicast"},
		{src: server4, dst: server4, reason: "ip.land"},
		{src: "169.254.1.1", dst: server4, reason: "ip.link-local"},
		{src: client4, dst: "169.254.1.1", reason: "ip.link-local"},
		{src: "169.254.1.1", dst: server4, hook: ppf.Input},
		{src: "::", dst: server6, reason: source},
		{src: "::", dst: "ff02::1:ff00:1"},
		{src: "::1", dst: server6, reason: source},
		{src: "::192.0.2.1", dst: server6, reason: source},
		{src: "::ffff:192.0.2.1", dst: server6, reason: source},
		{src: "ff02::1", dst: server6, reason: source},
		{src: "::1:0:0:1", dst: server6},
		{src: "64:ff9b::192.0.2.1", dst: server6},
		{src: client6, dst: "::", reason: destination},
		{src: client6, dst: "::1", reason: destination},
		{src: client6, dst: "::ffff:203.0.113.1", reason: destination},
		{src: client6, dst: "ff00::1", reason: destination},
		{src: client6, dst: "ff01::1", reason: destination},
		{src: client6, dst: "ff02::fb"},
		{src: client6, dst: "ff05::fb", protocol: tcp, reason: "ip.multicast"},
		{src: server6, dst: server6, reason: "ip.land"},
		{src: "fe80::1", dst: server6, reason: "ip.link-local"},
		{src: client6, dst: "febf::1", reason: "ip.link-local"},
		{src: "fe80::1", dst: "ff02::fb", hook: ppf.Input},
	} {
		t.Run(tt.src+" to "+tt.dst, func(t *testing.T) {
			in := everything()
			if tt.hook == ppf.HookNone {
				tt.hook = ppf.Forward
			}
			in.Hook = tt.hook
			b := ppftest.New(t, in)
			data := header{src: tt.src, dst: tt.dst, protocol: tt.protocol, ttl: 9}.bytes(t)
			check(t, b, tt.hook, data, tt.reason)
		})
	}
}

// check sends a packet that passes, or is dropped for a reason.
func check(t *testing.T, b *ppftest.Bench, hook ppf.Hook, data []byte, reason string) []byte {
	t.Helper()
	action, out := b.Send(hook, data)
	if reason == "" {
		if action != ppf.Accept || len(b.Engine.ReasonCounts()) != 0 {
			t.Errorf("%x: %v, want it to pass; %+v", data, action, b.Engine.ReasonCounts())
		}
	} else if action != ppf.Drop || b.Count(reason, ppf.OutcomeDrop) != 1 {
		t.Errorf("%x: %v, want a drop for %s; %+v", data, action, reason, b.Engine.ReasonCounts())
	}
	b.Accounted()
	return out
}

// TestLoopback: a host may talk to itself, with any of its addresses.
func TestLoopback(t *testing.T) {
	in := everything()
	in.Hook = ppf.Input
	for _, a := range []string{"127.0.0.1", "::1", server4, server6} {
		b := ppftest.New(t, in)
		f := b.Frame(ppf.Input, header{src: a, dst: a, ttl: 64}.bytes(t))
		f.In, f.Out = 1, 0
		list := []ppf.Frame{f}
		b.Engine.Handlers()[0].Handle(list)
		if list[0].Action != ppf.Accept {
			t.Errorf("%s to itself: %v; %+v", a, list[0].Action, b.Engine.ReasonCounts())
		}
	}
}

func TestTTL(t *testing.T) {
	for _, tt := range []struct {
		ttl    uint8
		floor  string
		reason string
	}{
		{0, "1", "ip.ttl"}, {1, "1", ""}, {255, "1", ""}, {4, "5", "ip.ttl"}, {5, "5", ""}, {254, "255", "ip.ttl"},
	} {
		for _, ends := range [][2]string{{client4, server4}, {client6, server6}} {
			b := ppftest.New(t, everything(set("ttl_min", tt.floor)))
			out := check(t, b, ppf.Forward, header{src: ends[0], dst: ends[1], ttl: tt.ttl}.bytes(t), tt.reason)
			if out != nil && out[8] != tt.ttl && out[7] != tt.ttl {
				t.Errorf("TTL %d was changed: %x", tt.ttl, out)
			}
		}
	}
}

// TestProtocols: of what is listed the payload passes unread, if no function
// builds it anew.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		listed   []string
		src, dst string
		protocol layers.IPProtocol
		reason   string
	}{
		{nil, client4, server4, layers.IPProtocolIPv4, "ip.protocol"},
		{nil, client4, server4, layers.IPProtocolIPv6, "ip.protocol"},
		{nil, client4, server4, layers.IPProtocolGRE, "ip.protocol"},
		{nil, client4, server4, layers.IPProtocolIGMP, "ip.protocol"},
		{nil, client4, server4, layers.IPProtocolSCTP, "ip.protocol"},
		{nil, client4, server4, layers.IPProtocolICMPv6, "ip.protocol"},
		{nil, client6, server6, layers.IPProtocolICMPv4, "ip.protocol"},
		{nil, client6, server6, layers.IPProtocolIPv4, "ip.protocol"},
		{nil, client6, server6, layers.IPProtocolNoNextHeader, "ip.protocol"},
		{[]string{"tcp", "50"}, client4, server4, layers.IPProtocolESP, ""},
		{[]string{"tcp", "50"}, client6, server6, layers.IPProtocolESP, ""},
		{[]string{"tcp", "50"}, client4, server4, layers.IPProtocolUDP, "ip.protocol"},
		{[]string{"tcp", "50"}, client4, server4, layers.IPProtocolTCP, ""},
	} {
		t.Run(tt.protocol.String(), func(t *testing.T) {
			in := everything()
			if tt.listed != nil {
				in = everything(set("protocols", tt.listed...))
			}
			b := ppftest.New(t, in)
			data := header{src: tt.src, dst: tt.dst, protocol: tt.protocol, ttl: 64}.bytes(t)
			out := check(t, b, ppf.Forward, data, tt.reason)
			if out != nil && tt.protocol == layers.IPProtocolESP && !bytes.HasSuffix(out, []byte(opaque)) {
				t.Errorf("got %x, want the payload of %x", out, data)
			}
		})
	}
}

// TestUnhandled: a header alone is no packet.
func TestUnhandled(t *testing.T) {
	in := ppftest.Instance("a", "ip", "tcp")
	in.Match = ppf.Match{}
	b := ppftest.New(t, in)
	check(t, b, ppf.Forward, header{src: client4, dst: server4, ttl: 64}.bytes(t), "chain.unhandled")
}

// TestValues: what the settings do with a header, in the eyes of another decoder.
func TestValues(t *testing.T) {
	h4, h6 := header{src: client4, dst: server4, ttl: 9, class: 46<<2 | 1}, header{src: client6, dst: server6, ttl: 9, class: 46<<2 | 1, label: 0x12345}
	for _, tt := range []struct {
		settings []ppf.KeyValue
		class    uint8
		label    uint32
	}{
		{nil, 46<<2 | 1, 0x12345},
		{[]ppf.KeyValue{set("dscp", "0"), set("flow_label", "clear")}, 1, 0},
		{[]ppf.KeyValue{set("dscp", "63")}, 63<<2 | 1, 0x12345},
	} {
		b := ppftest.New(t, everything(tt.settings...))
		ip4 := gopacket.NewPacket(check(t, b, ppf.Forward, h4.bytes(t), ""), layers.LayerTypeIPv4, gopacket.Default).NetworkLayer().(*layers.IPv4)
		if ip4.TOS != tt.class || ip4.TTL != 9 || ip4.SrcIP.String() != client4 || ip4.DstIP.String() != server4 {
			t.Errorf("%+v: got %+v", tt.settings, ip4)
		}
		ip6 := gopacket.NewPacket(check(t, b, ppf.Forward, h6.bytes(t), ""), layers.LayerTypeIPv6, gopacket.Default).NetworkLayer().(*layers.IPv6)
		if ip6.TrafficClass != tt.class || ip6.FlowLabel != tt.label || ip6.HopLimit != 9 || ip6.SrcIP.String() != client6 {
			t.Errorf("%+v: got %+v", tt.settings, ip6)
		}
	}
}

func TestSettings(t *testing.T) {
	b := ppftest.New(t, everything(set("martians", "198.51.100.0/24", "2001:db8:9::/48"), set("multicast", "refuse")))
	for i, tt := range []struct{ src, dst, reason string }{
		{"198.51.100.7", server4, "ip.martian-source"}, {"2001:db8:9::1", server6, "ip.martian-source"}, {client4, "224.0.0.251", "ip.multicast"},
		{client6, "ff02::fb", "ip.multicast"}, {client4, "255.255.255.255", "ip.multicast"}, {client4, server4, ""}, {client6, server6, ""},
	} {
		before := b.Count(tt.reason, ppf.OutcomeDrop)
		action, _ := b.Send(ppf.Forward, header{src: tt.src, dst: tt.dst, ttl: 64}.bytes(t))
		if dropped := b.Count(tt.reason, ppf.OutcomeDrop) - before; (action == ppf.Drop) != (tt.reason != "") || tt.reason != "" && dropped != 1 {
			t.Errorf("packet %d: %v; %+v", i, action, b.Engine.ReasonCounts())
		}
	}
	for _, wrong := range []ppf.KeyValue{
		set("ttl_min", "0"), set("ttl_min", "256"), set("mtu_min", "67"), set("mtu_min", "1501"), set("dscp", "64"), set("dscp", "high"), set("protocols", "sctp"), set("protocols", "0"),
		set("protocols", "43"), set("protocols", "58"), set("flow_label", "random"), set("multicast", "some"), set("martians", "198.51.100.7/24"),
	} {
		if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{everything(wrong)}}); err == nil {
			t.Errorf("%s: %+v was taken", wrong.Key, wrong.Value)
		}
	}
}

// TestPathMTU: an error that announces less than mtu_min is dropped, for a flow that
// there is; any other passes with what it says.
func TestPathMTU(t *testing.T) {
	for _, tt := range []struct {
		v6     bool
		floor  string
		mtu    uint32
		reason string
	}{
		{false, "68", 67, "icmp.mtu"}, {false, "68", 68, ""}, {false, "576", 575, "icmp.mtu"}, {false, "576", 576, ""}, {false, "576", 0, "icmp.mtu"},
		{true, "68", 1279, "icmp.mtu"}, {true, "68", 1280, ""}, {true, "1400", 1399, "icmp.mtu"}, {true, "1400", 1400, ""},
	} {
		ends, router := [2]string{client4, server4}, "198.51.100.9"
		if tt.v6 {
			ends, router = [2]string{client6, server6}, "2001:db8:9::1"
		}
		in := everything(set("mtu_min", tt.floor))
		in.Match.Server = []netip.Prefix{netip.MustParsePrefix(server4 + "/32"), netip.MustParsePrefix(server6 + "/128")}
		b := ppftest.New(t, in)
		sent := header{src: ends[0], dst: ends[1], ttl: 9}.bytes(t)
		if action, _ := b.Send(ppf.Forward, sent); action != ppf.Accept {
			t.Fatalf("%v: %+v", action, b.Engine.ReasonCounts())
		}
		check(t, b, ppf.Forward, tooBig(t, router, ends[0], tt.mtu, sent), tt.reason)
	}
}

// TestPathMTUUntold: where a router does not tell the path MTU, the sender learns
// the common one below what it sent, and so in the end the path's, down to the
// floor; what is not too big for any path is not taken for too big.
func TestPathMTUUntold(t *testing.T) {
	for _, tt := range []struct {
		floor  string
		length uint16 // of the packet that is quoted
		want   uint16 // 0: refused
	}{
		{"68", 65535, 32000}, {"68", 1500, 1492}, {"68", 1492, 1006}, {"68", 1006, 508}, {"68", 509, 508}, {"68", 297, 296}, {"68", 296, 68}, {"68", 69, 68}, {"68", 68, 0},
		{"1006", 1492, 1006}, {"1007", 1492, 0},
	} {
		b := ppftest.New(t, everything(set("mtu_min", tt.floor)))
		sent := header{src: client4, dst: server4, ttl: 9}.bytes(t)
		if action, _ := b.Send(ppf.Forward, sent); action != ppf.Accept {
			t.Fatalf("%v: %+v", action, b.Engine.ReasonCounts())
		}
		binary.BigEndian.PutUint16(sent[2:], tt.length)
		action, out := b.Send(ppf.Forward, tooBig(t, "198.51.100.9", client4, 0, sent))
		if tt.want == 0 {
			if action != ppf.Drop || b.Count("icmp.mtu", ppf.OutcomeDrop) != 1 {
				t.Errorf("%d bytes are too much: %v; %+v", tt.length, action, b.Engine.ReasonCounts())
			}
			continue
		}
		p := gopacket.NewPacket(out, layers.LayerTypeIPv4, gopacket.Default)
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if icmp == nil || icmp.Seq != tt.want || b.Count("icmp.mtu-added", ppf.OutcomeRepair) != 1 {
			t.Errorf("%d bytes are too much: %v, want %d; %+v", tt.length, p, tt.want, b.Engine.ReasonCounts())
		}
		b.Accounted()
	}
}

// tooBig is an ICMP error that tells a path MTU.
func tooBig(t *testing.T, src, dst string, mtu uint32, quoted []byte) []byte {
	t.Helper()
	from, to := netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()
	buf := gopacket.NewSerializeBuffer()
	list := []gopacket.SerializableLayer{
		&layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolICMPv4, SrcIP: from, DstIP: to},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: uint16(mtu)},
		gopacket.Payload(quoted),
	}
	if len(from) == 16 {
		ip := &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolICMPv6, SrcIP: from, DstIP: to}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		list = []gopacket.SerializableLayer{ip, icmp, gopacket.Payload(append([]byte{byte(mtu >> 24), byte(mtu >> 16), byte(mtu >> 8), byte(mtu)}, quoted...))}
	}
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// TestHeader: options go, counted once, and a wrong checksum does not pass, of
// whatever protocol.
func TestHeader(t *testing.T) {
	good := header{src: client4, dst: server4, ttl: 9}
	options := good
	options.options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0}}
	b := ppftest.New(t, everything())
	if action, out := b.Send(ppf.Forward, options.bytes(t)); action != ppf.Accept || out[0] != 0x45 || b.Count("ip.options-removed", ppf.OutcomeRepair) != 1 {
		t.Errorf("%v, got %x; %+v", action, out, b.Engine.ReasonCounts())
	}
	wrong := good.bytes(t)
	wrong[11] ^= 1
	check(t, ppftest.New(t, everything()), ppf.Forward, wrong, "ip.checksum")
	esp := header{src: client4, dst: server4, ttl: 9, protocol: layers.IPProtocolESP}.bytes(t)
	esp[11] ^= 1
	check(t, ppftest.New(t, everything(set("protocols", "50"))), ppf.Forward, esp, "ip.checksum")
}

// TestOutsideIP: what has no IP header is for other functions.
func TestOutsideIP(t *testing.T) {
	in := everything()
	in.Hook = ppf.InlineClient
	in.Chain = [2][]string{{"ip", "pass"}, {"ip", "pass"}}
	b := ppftest.New(t, in)
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Dst: packet.MAC{2, 0, 0, 0, 0, 1}, Src: packet.MAC{2, 0, 0, 0, 0, 2}, Type: 0x88cc})
	out.SetPayload(make([]byte, 50))
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	f := b.Frame(ppf.InlineClient, slices.Concat(head, out.Payload()))
	f.Link = packet.LinkEthernet
	list := []ppf.Frame{f}
	b.Engine.Handlers()[0].Handle(list)
	if list[0].Action != ppf.Accept || list[0].Head != nil {
		t.Errorf("%v, %x; %+v", list[0].Action, list[0].Head, b.Engine.ReasonCounts())
	}
}

func frames(t testing.TB) (*ppftest.Bench, []ppf.Frame) {
	b := ppftest.New(t, everything(set("protocols", "udp", "50"), set("martians", "10.0.0.0/8")))
	return b, []ppf.Frame{
		b.Frame(ppf.Forward, header{src: client4, dst: server4, ttl: 9}.bytes(t)),
		b.Frame(ppf.Forward, header{src: client6, dst: server6, ttl: 9}.bytes(t)),
		b.Frame(ppf.Forward, header{src: client4, dst: server4, ttl: 9, protocol: layers.IPProtocolESP}.bytes(t)),
	}
}

func TestAllocations(t *testing.T) {
	b, list := frames(t)
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, len(list))
	}
}

func BenchmarkPackets(b *testing.B) {
	bench, list := frames(b)
	h := bench.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}
