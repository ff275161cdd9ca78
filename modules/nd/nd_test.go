package nd_test

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

var (
	macA, macB, macC = packet.MAC{2, 0, 0, 0, 0, 0xa}, packet.MAC{2, 0, 0, 0, 0, 0xb}, packet.MAC{2, 0, 0, 0, 0, 0xc}
	addrA, addrB     = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	local            = netip.MustParseAddr("fe80::b")
	nobody           = netip.IPv6Unspecified()
	nodes, routers   = netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::2")
	groupA, groupB   = netip.MustParseAddr("ff02::1:ff00:1"), netip.MustParseAddr("ff02::1:ff00:2")
)

// message is a frame to send.
type message struct {
	typ      uint8
	mac      packet.MAC // of the frame's source
	to       packet.MAC // the zero one: the group's
	src, dst netip.Addr
	h        packet.ND
	tags     []packet.VLANTag
}

// frame encodes m, edits the packet behind the frame's header and mends the
// checksum.
func (m message) frame(t testing.TB, edit ...func(p []byte)) []byte {
	t.Helper()
	if m.to == (packet.MAC{}) {
		b := m.dst.As16()
		m.to = packet.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
	}
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Src: m.mac, Dst: m.to})
	out.SetVLANs(m.tags...)
	out.SetIPv6(packet.IPv6{HopLimit: 255, Src: m.src, Dst: m.dst})
	out.SetICMPv6(packet.ICMPv6{Type: m.typ, HasND: true, ND: m.h})
	b, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		f(b[packet.EthernetLen:])
		l4 := b[packet.EthernetLen+packet.IPv6Len:]
		l4[2], l4[3] = 0, 0
		sum := packet.PseudoSum6(m.src.As16(), m.dst.As16(), packet.ProtoICMPv6, len(l4)).Add(packet.SumBytes(l4)).Checksum()
		l4[2], l4[3] = byte(sum>>8), byte(sum)
	}
	return b
}

// solicit asks for target, with the link-layer address unless src is nobody.
func solicit(mac packet.MAC, src, dst, target netip.Addr) message {
	m := message{typ: packet.ICMPv6NeighborSolicitation, mac: mac, src: src, dst: dst, h: packet.ND{Target: target}}
	if !src.IsUnspecified() {
		m.h.Has, m.h.LinkAddr = packet.NDOptLinkAddr, mac
	}
	return m
}

func advertise(mac packet.MAC, src, dst netip.Addr, flags packet.NDFlags) message {
	return message{typ: packet.ICMPv6NeighborAdvertisement, mac: mac, src: src, dst: dst,
		h: packet.ND{Has: packet.NDOptLinkAddr, LinkAddr: mac, Target: src, Flags: flags}}
}

func router(src netip.Addr) message {
	m := message{typ: packet.ICMPv6RouterAdvertisement, mac: macB, src: src, dst: nodes, h: packet.ND{
		Has: packet.NDOptLinkAddr | packet.NDOptMTU | packet.NDOptServers, LinkAddr: macB, MTU: 1500, HopLimit: 64, Lifetime: 1800,
		NumPrefixes: 1, NumServers: 1, ServersLife: 600,
	}}
	m.h.Prefixes[0] = packet.NDPrefix{Prefix: netip.MustParsePrefix("2001:db8::/64"), Flags: packet.NDOnLink | packet.NDAutonomous, Valid: 600, Preferred: 300}
	m.h.Servers[0] = addrB
	return m
}

func (m message) with(edit func(*message)) message {
	edit(&m)
	return m
}

// bench has one instance on a wire.
func bench(t testing.TB, settings ...ppf.KeyValue) *ppftest.Bench {
	return ppftest.NewWire(t, []string{"nd"}, settings...)
}

// from the client's side or the server's.
const (
	client = ppf.InlineClient
	server = ppf.InlineServer
)

func setting(key, value string) ppf.KeyValue {
	return ppf.KeyValue{Key: key, Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: value}}
}

// TestND sends one message after the other over one wire, with routers on the
// server's side.
func TestND(t *testing.T) {
	b := bench(t, setting("routers", "server"))
	byte40 := func(at int, v byte) func([]byte) { return func(p []byte) { p[packet.IPv6Len+at] = v } }
	toGroup := solicit(macA, addrA, groupB, addrB)
	solicited := advertise(macB, addrB, addrA, packet.NDSolicited|packet.NDOverride).with(func(m *message) { m.to = macA })
	rs := message{typ: packet.ICMPv6RouterSolicitation, mac: macA, src: nobody, dst: routers}
	wrong := toGroup.frame(t)
	wrong[packet.EthernetLen+packet.IPv6Len+2] ^= 1
	for _, tt := range []struct {
		name string
		hook ppf.Hook
		data []byte
		want string
	}{
		{"is it free", client, solicit(macA, nobody, groupA, addrA).with(func(m *message) { m.h.Has, m.h.Nonce = packet.NDOptNonce, [6]byte{1, 2, 3, 4, 5, 6} }).frame(t), ""},
		{"solicitation", client, toGroup.frame(t), ""},
		{"advertisement", server, solicited.frame(t), ""},
		{"unreachability", client, solicit(macA, addrA, addrB, addrB).with(func(m *message) { m.to, m.h.Has = macB, 0 }).frame(t), ""},
		{"unsolicited", server, advertise(macB, addrB, nodes, packet.NDOverride).frame(t), ""},
		{"router solicitation", client, rs.frame(t), ""},
		{"router solicitation with an address", client, rs.with(func(m *message) { m.src, m.h.Has, m.h.LinkAddr = addrA, packet.NDOptLinkAddr, macA }).frame(t), ""},
		{"router", server, router(local).frame(t), ""},
		{"another VLAN", client, advertise(macC, addrB, nodes, 0).with(func(m *message) { m.tags = []packet.VLANTag{{TPID: packet.EtherTypeVLAN, VID: 7}} }).frame(t), ""},

		{"another host", client, advertise(macC, addrB, nodes, 0).frame(t), "nd.binding"},
		{"another host asks", client, solicit(macC, addrB, groupA, addrA).frame(t), "nd.binding"},
		{"the same host on the other side", client, advertise(macB, addrB, nodes, 0).frame(t), "nd.binding"},
		{"a target of another host", server, solicited.with(func(m *message) { m.h.Target = addrA }).frame(t), "nd.binding"},
		{"router on the other side", client, router(local).frame(t), "nd.router"},
		{"redirect", server, toGroup.frame(t, byte40(0, packet.ICMPv6Redirect)), "nd.redirect"},
		{"hop limit", client, toGroup.frame(t, func(p []byte) { p[7] = 254 }), "nd.hop-limit"},
		{"code", client, toGroup.frame(t, byte40(1, 1)), "nd.code"},
		{"checksum", client, wrong, "icmp6.checksum"},
		{"link-layer address", client, toGroup.with(func(m *message) { m.h.LinkAddr = macC }).frame(t), "nd.link-address"},
		{"none to a group", client, toGroup.with(func(m *message) { m.h.Has = 0 }).frame(t), "nd.link-address"},
		{"none in an advertisement", server, advertise(macB, addrB, nodes, 0).with(func(m *message) { m.h.Has = 0 }).frame(t), "nd.link-address"},
		{"a free address has one", client, solicit(macA, nobody, groupA, addrA).with(func(m *message) { m.h.Has, m.h.LinkAddr = packet.NDOptLinkAddr, macA }).frame(t), "nd.link-address"},
		{"a router solicitation of nobody has one", client, rs.with(func(m *message) { m.h.Has, m.h.LinkAddr = packet.NDOptLinkAddr, macA }).frame(t), "nd.link-address"},
		{"free, to one host", client, solicit(macA, nobody, addrA, addrA).with(func(m *message) { m.to = macB }).frame(t), "nd.destination"},
		{"another's group", client, solicit(macA, addrA, groupA, addrB).frame(t), "nd.destination"},
		{"another group's frame", client, toGroup.with(func(m *message) { m.to = packet.BroadcastMAC }).frame(t), "nd.destination"},
		{"advertisement to routers", server, advertise(macB, addrB, routers, 0).frame(t), "nd.destination"},
		{"router solicitation to all", client, rs.with(func(m *message) { m.dst = nodes }).frame(t), "nd.destination"},
		{"router to routers", server, router(local).with(func(m *message) { m.dst = routers }).frame(t), "nd.destination"},
		{"group as source", client, solicit(macA, nodes, groupB, addrB).frame(t), "nd.source"},
		{"advertisement of nobody", server, advertise(macB, nobody, nodes, 0).with(func(m *message) { m.h.Target = addrB }).frame(t), "nd.source"},
		{"router without a link-local address", server, router(addrB).frame(t), "nd.source"},
		{"group as target", client, solicit(macA, addrA, groupB, groupB).frame(t), "nd.target"},
		{"group advertised", server, advertise(macB, addrB, nodes, 0).with(func(m *message) { m.h.Target = nodes }).frame(t), "nd.target"},
		{"answer to a group", server, advertise(macB, addrB, nodes, packet.NDSolicited).frame(t), "nd.solicited"},
		{"MTU", server, router(local).with(func(m *message) { m.h.MTU = 1279 }).frame(t), "nd.mtu"},
		{"option of length 0", client, toGroup.frame(t, byte40(25, 0)), "nd.option.length-zero"},
		{"even RDNSS", server, router(local).frame(t, byte40(16+8+8+32+1, 2)), "nd.option.rdnss-length"},
		{"option removed", client, toGroup.with(func(m *message) { m.to, m.dst = macB, addrB }).frame(t, byte40(24, 200)), "nd.option-removed"},
	} {
		out, reason := b.Cross(tt.hook, tt.data)
		passes := tt.want == "" || tt.want == "nd.option-removed"
		if reason != tt.want || (out != nil) != passes {
			t.Errorf("%s: %x, reason %q, want %q", tt.name, out, reason, tt.want)
			continue
		}
		if tt.want == "" {
			rebuilt(t, tt.name, tt.data, out)
		} else if passes && len(out) != len(tt.data)-8 {
			t.Errorf("%s: the option is still there: %x", tt.name, out)
		}
	}
	// Who is silent for long loses its address.
	b.Env.Advance(int64(time.Hour))
	if _, reason := b.Cross(client, advertise(macC, addrB, nodes, 0).frame(t)); reason != "" {
		t.Errorf("after an hour: %q", reason)
	}
}

// rebuilt compares what gopacket reads of the received and of the sent frame.
func rebuilt(t *testing.T, name string, in, out []byte) {
	t.Helper()
	read := func(b []byte) []gopacket.Layer {
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if icmp == nil || p.ErrorLayer() != nil {
			t.Fatalf("%s: gopacket reads no ICMPv6 in %x: %v", name, b, p.ErrorLayer())
		}
		if err := icmp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
			t.Errorf("%s: checksums: %v %v", name, err, bad)
		}
		return p.Layers()
	}
	want, got := read(in), read(out)
	if len(want) != len(got) {
		t.Fatalf("%s: %d layers, want %d", name, len(got), len(want))
	}
	for i := range want {
		if want[i].LayerType() != got[i].LayerType() || !bytes.Equal(want[i].LayerContents(), got[i].LayerContents()) {
			t.Errorf("%s: %v %x, want %x", name, got[i].LayerType(), got[i].LayerContents(), want[i].LayerContents())
		}
	}
}

// TestReserved: what means nothing is not carried over.
func TestReserved(t *testing.T) {
	want := solicit(macA, addrA, groupB, addrB).frame(t)
	out, reason := bench(t).Cross(client, solicit(macA, addrA, groupB, addrB).frame(t, func(p []byte) { copy(p[packet.IPv6Len+4:], "bits") }))
	if reason != "" || !bytes.Equal(out, want) {
		t.Errorf("%q: %x, want %x", reason, out, want)
	}
}

// TestExtensions: neither a fragment nor an extension header hides a router.
func TestExtensions(t *testing.T) {
	b := bench(t, setting("routers", "both"))
	whole := router(local).frame(t)
	for name, header := range map[string][]byte{
		"destination options": {60, 58, 0, 1, 4, 0, 0, 0, 0},
		"first fragment":      {44, 58, 0, 0, 1, 0, 0, 0, 9},
		"atomic fragment":     {44, 58, 0, 0, 0, 0, 0, 0, 9},
	} {
		const at = packet.EthernetLen + packet.IPv6Len
		data := bytes.Join([][]byte{whole[:at], header[1:], whole[at:]}, nil)
		data[packet.EthernetLen+6] = header[0]
		data[packet.EthernetLen+5] += 8
		if _, reason := b.Cross(server, data); reason != "nd.extension" {
			t.Errorf("%s: %q", name, reason)
		}
	}
}

func TestSettings(t *testing.T) {
	for sides, want := range map[string][2]string{
		"none": {"nd.router", "nd.router"}, "client": {"", "nd.router"}, "server": {"nd.router", ""}, "both": {"", ""},
	} {
		for i, hook := range []ppf.Hook{client, server} {
			if _, reason := bench(t, setting("routers", sides)).Cross(hook, router(local).frame(t)); reason != want[i] {
				t.Errorf("routers: %s, from %v: %q, want %q", sides, hook, reason, want[i])
			}
		}
	}
	bindings := ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{setting(addrB.String(), macB.String())}}
	fixed := bench(t, ppf.KeyValue{Key: "bindings", Value: bindings}, setting("learn", "false"))
	few := bench(t, setting("hosts", "1"))
	for _, tt := range []struct {
		bench *ppftest.Bench
		mac   packet.MAC
		addr  netip.Addr
		want  string
	}{
		{fixed, macB, addrB, ""},
		{fixed, macC, addrB, "nd.binding"},
		{fixed, macA, addrA, "nd.unknown-host"},
		{few, macA, addrA, ""},
		{few, macA, addrB, "nd.limit-hosts"},
	} {
		if _, reason := tt.bench.Cross(server, advertise(tt.mac, tt.addr, nodes, 0).frame(t)); reason != tt.want {
			t.Errorf("%v %v: %q, want %q", tt.mac, tt.addr, reason, tt.want)
		}
	}
}

func TestAllocs(t *testing.T) {
	b := bench(t, setting("routers", "both"))
	h := b.Engine.Handlers()[0]
	for _, m := range []message{solicit(macA, addrA, groupB, addrB), router(local)} {
		f := b.Frame(client, m.frame(t))
		f.Link = packet.LinkEthernet
		frames := []ppf.Frame{f}
		if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 || frames[0].Action != ppf.Accept {
			t.Errorf("type %d: %v allocations, %v", m.typ, n, frames[0].Action)
		}
	}
}

func BenchmarkND(b *testing.B) {
	wire := bench(b)
	f := wire.Frame(client, solicit(macA, addrA, groupB, addrB).frame(b))
	f.Link = packet.LinkEthernet
	frames := []ppf.Frame{f}
	h := wire.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(frames)
	}
}
