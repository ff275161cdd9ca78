package ethernet_test

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/modules/ethernet"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

var (
	macA, macB = packet.MAC{2, 0, 0, 0, 0, 0xa}, packet.MAC{2, 0, 0, 0, 0, 0xb}
	bridges    = packet.MAC{1, 0x80, 0xc2, 0, 0, 0}
	tag7       = packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: 7, PCP: 5, DEI: true}
	tag8       = packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: 8}
	provider   = packet.VLANTag{TPID: packet.EtherTypeQinQ, VID: 7}
	priority   = packet.VLANTag{TPID: packet.EtherTypeVLAN, PCP: 6}
	// discovery is LLDP of a chassis, a port and a time to live.
	discovery = []byte{2, 7, 4, 2, 0, 0, 0, 0, 0xa, 4, 7, 3, 2, 0, 0, 0, 0, 0xa, 6, 2, 0, 120, 0, 0}
	bpdu      = append([]byte{0x42, 0x42, 3}, make([]byte, 35)...)
)

// setting is one key with a list or word.
func setting(key string, words ...string) ppf.KeyValue {
	v := ppf.Value{Kind: ppf.ValueList}
	for _, w := range words {
		v.List = append(v.List, ppf.Value{Kind: ppf.ValueScalar, Scalar: w})
	}
	if len(words) == 1 {
		v = v.List[0]
	}
	return ppf.KeyValue{Key: key, Value: v}
}

// bench has one instance on a wire.
func bench(t testing.TB, settings ...ppf.KeyValue) *ppftest.Bench {
	return ppftest.NewWire(t, []string{"ethernet", "arp", "tcp"}, settings...)
}

// frame builds a frame; an ethertype below 0x0600 is a length, whatever the
// payload's is.
func frame(src, dst packet.MAC, typ uint16, payload []byte, tags ...packet.VLANTag) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	for _, tag := range tags {
		tci := uint16(tag.PCP)<<13 | tag.VID
		if tag.DEI {
			tci |= 1 << 12
		}
		b = append(b, byte(tag.TPID>>8), byte(tag.TPID), byte(tci>>8), byte(tci))
	}
	return append(append(b, byte(typ>>8), byte(typ)), payload...)
}

// TestFrames sends frames over wires of different settings.
func TestFrames(t *testing.T) {
	const profinet, lldp, strange = 0x8892, 0x88cc, 0x1234
	data := bytes.Repeat([]byte{0xda}, 50)
	arp := frame(macA, packet.BroadcastMAC, 0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2})
	ns := append([]byte{0xf0, 0xf0, 3}, data...)
	snap := func(org ...byte) []byte { return append(append([]byte{0xaa, 0xaa, 3}, org...), data...) }
	length := func(b []byte) uint16 { return uint16(len(b)) }
	listed := setting("ethertypes", "profinet", "0x88cc", "PTP")
	llc, stp := setting("llc", "pass"), setting("stp", "pass")
	double, vlan7, no := setting("double_tags", "pass"), setting("vlans", "7"), setting("priority_tags", "refuse")
	for _, tt := range []struct {
		name     string
		settings []ppf.KeyValue
		data     []byte
		want     string
	}{
		{"listed by name", []ppf.KeyValue{listed}, frame(macA, macB, profinet, data), ""},
		{"listed by number", []ppf.KeyValue{listed}, frame(macA, packet.MAC{1, 0x80, 0xc2, 0, 0, 0xe}, lldp, discovery), ""},
		{"listed in capitals", []ppf.KeyValue{listed}, frame(macA, macB, 0x88f7, data), ""},
		{"not listed", []ppf.KeyValue{listed}, frame(macA, macB, strange, data), "ethernet.type"},
		{"none listed", nil, frame(macA, macB, profinet, data), "ethernet.type"},
		{"pause", []ppf.KeyValue{listed}, frame(macA, packet.MAC{1, 0x80, 0xc2, 0, 0, 1}, 0x8808, data), "ethernet.type"},
		{"from a group", []ppf.KeyValue{listed}, frame(packet.MAC{3}, macB, profinet, data), "ethernet.source"},
		{"from all", []ppf.KeyValue{listed}, frame(packet.BroadcastMAC, macB, profinet, data), "ethernet.source"},
		{"from nobody", []ppf.KeyValue{listed}, frame(packet.MAC{}, macB, profinet, data), "ethernet.source"},
		{"ARP from nobody", nil, frame(packet.MAC{}, packet.BroadcastMAC, 0x0806, arp[14:]), "ethernet.source"},
		{"ARP is for the next", nil, arp, ""},
		{"reverse ARP is for the next", nil, frame(macA, macB, 0x8035, arp[14:]), "arp.reverse"},
		{"IP that nobody knows", nil, frame(macA, macB, 0x0800, udp), "chain.unhandled"},
		{"tagged", []ppf.KeyValue{listed}, frame(macA, macB, profinet, data, tag7), ""},
		{"priority only", []ppf.KeyValue{listed}, frame(macA, macB, profinet, data, priority), ""},
		{"priority refused", []ppf.KeyValue{listed, no}, frame(macA, macB, profinet, data, priority), "ethernet.priority-tag"},
		{"two tags", []ppf.KeyValue{listed}, frame(macA, macB, profinet, data, provider, tag8), "ethernet.double-tags"},
		{"two tags pass", []ppf.KeyValue{listed, double}, frame(macA, macB, profinet, data, provider, tag8), ""},
		{"VLAN hopping with ARP", nil, frame(macA, packet.BroadcastMAC, 0x0806, arp[14:], tag7, tag8), "ethernet.double-tags"},
		{"three tags", []ppf.KeyValue{listed, double}, frame(macA, macB, profinet, data, provider, tag7, tag8), "vlan.depth"},
		{"VLAN listed", []ppf.KeyValue{listed, vlan7}, frame(macA, macB, profinet, data, tag7), ""},
		{"VLAN not listed", []ppf.KeyValue{listed, vlan7}, frame(macA, macB, profinet, data, tag8), "ethernet.vlan"},
		{"inner VLAN not listed", []ppf.KeyValue{listed, vlan7, double}, frame(macA, macB, profinet, data, provider, tag8), "ethernet.vlan"},
		{"VLAN of a range", []ppf.KeyValue{listed, setting("vlans", "untagged", "2-8")}, frame(macA, macB, profinet, data, tag8), ""},
		{"reserved VLAN", []ppf.KeyValue{listed}, frame(macA, macB, profinet, data, packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: 4095}), "ethernet.vlan"},
		{"untagged where VLANs are", []ppf.KeyValue{listed, vlan7}, frame(macA, macB, profinet, data), "ethernet.untagged"},
		{"priority only where VLANs are", []ppf.KeyValue{listed, vlan7}, frame(macA, macB, profinet, data, priority), "ethernet.untagged"},
		{"tagged where none are", []ppf.KeyValue{listed, setting("vlans", "untagged")}, frame(macA, macB, profinet, data, tag7), "ethernet.vlan"},
		{"LLC", nil, frame(macA, macB, length(ns), ns), "ethernet.llc"},
		{"LLC passes", []ppf.KeyValue{llc}, frame(macA, macB, length(ns), ns), ""},
		{"LLC with padding", []ppf.KeyValue{llc}, frame(macA, macB, 5, append(ns[:5:5], bytes.Repeat([]byte{0xee}, 41)...)), ""},
		{"LLC with more than padding", []ppf.KeyValue{llc}, frame(macA, macB, length(ns), append(ns[:len(ns):len(ns)], 0xee, 0xee)), ""},
		{"LLC beyond the frame", []ppf.KeyValue{llc}, frame(macA, macB, length(ns)+1, ns), "ethernet.length"},
		{"no room for LLC", []ppf.KeyValue{llc}, frame(macA, macB, 2, ns), "ethernet.length"},
		{"neither length nor type", []ppf.KeyValue{llc}, frame(macA, macB, 1501, make([]byte, 1501)), "ethernet.length"},
		{"SNAP of an organization", []ppf.KeyValue{llc}, frame(macA, macB, 58, snap(0, 0, 0xc, 0x20, 0)), ""},
		{"SNAP with IP", []ppf.KeyValue{llc}, frame(macA, macB, 58, snap(0, 0, 0, 8, 0)), "ethernet.encapsulated"},
		{"SNAP with bridged IP", []ppf.KeyValue{llc}, frame(macA, macB, 58, snap(0, 0, 0xf8, 8, 0)), "ethernet.encapsulated"},
		{"SNAP cut", []ppf.KeyValue{llc}, frame(macA, macB, 7, snap()), "ethernet.length"},
		{"LLC with IP", []ppf.KeyValue{llc}, frame(macA, macB, length(ns), append([]byte{6, 6, 3}, data...)), "ethernet.encapsulated"},
		{"spanning tree", []ppf.KeyValue{llc}, frame(macA, bridges, length(bpdu), bpdu), "ethernet.stp"},
		{"spanning tree passes", []ppf.KeyValue{stp}, frame(macA, bridges, length(bpdu), bpdu), ""},
		{"spanning tree to one", []ppf.KeyValue{llc}, frame(macA, macB, length(bpdu), bpdu), "ethernet.stp"},
		{"other LLC to the bridges", []ppf.KeyValue{llc, stp}, frame(macA, bridges, length(ns), ns), "ethernet.llc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, reason := bench(t, tt.settings...).Cross(ppf.InlineClient, tt.data)
			if reason != tt.want || (out == nil) != (tt.want != "") {
				t.Fatalf("%x, reason %q, want %q", out, reason, tt.want)
			}
			if tt.want == "" {
				rebuilt(t, tt.data, out)
			}
		})
	}
}

// udp is a datagram in IPv4 without checksum, from 192.0.2.1 to 192.0.2.2.
var udp = []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0xb6, 0xcd, 192, 0, 2, 1, 192, 0, 2, 2, 0, 9, 0, 9, 0, 8, 0, 0}

// rebuilt compares what gopacket reads of the received and of the sent frame.
func rebuilt(t *testing.T, in, out []byte) {
	t.Helper()
	a := gopacket.NewPacket(in, layers.LayerTypeEthernet, gopacket.Default)
	b := gopacket.NewPacket(out, layers.LayerTypeEthernet, gopacket.Default)
	for i, x := range a.Layers() {
		if i >= len(b.Layers()) {
			t.Fatalf("sent %v, received %v", b, a)
		}
		y := b.Layers()[i]
		rest, same := bytes.CutPrefix(y.LayerContents(), x.LayerContents())
		if y.LayerType() != x.LayerType() || !same || len(bytes.Trim(rest, "\x00")) > 0 {
			t.Errorf("%v: sent %v %x, received %x", x.LayerType(), y.LayerType(), y.LayerContents(), x.LayerContents())
		}
	}
	if len(out) < 60 || bytes.IndexByte(out, 0xee) >= 0 {
		t.Errorf("%d bytes: %x", len(out), out)
	}
}

// TestSettings are those that are refused.
func TestSettings(t *testing.T) {
	for _, kv := range []ppf.KeyValue{
		setting("ethertypes", "profinett"), setting("ethertypes", "0x800"), setting("ethertypes", "0x0806"), setting("ethertypes", "0x8100"),
		setting("ethertypes", "100"), setting("ethertypes", "0x18892"), setting("vlans", "0"), setting("vlans", "4095"), setting("vlans", "9-8"),
		setting("vlans", "all"), setting("stp", "yes"),
	} {
		c := ethernet.DefaultConfig()
		if err := ppf.DecodeSettings(&c, ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{kv}}, ""); err == nil {
			t.Errorf("%s: %s: accepted", kv.Key, kv.Value.Scalar)
		}
	}
}

// tagged is a frame of PROFINET in a VLAN, and the handler it is for.
func tagged(t testing.TB) ([]ppf.Frame, ppf.Handler) {
	b := bench(t, setting("ethertypes", "profinet"))
	f := b.Frame(ppf.InlineClient, frame(macA, macB, 0x8892, make([]byte, 60), tag7))
	f.Link = packet.LinkEthernet
	return []ppf.Frame{f}, b.Engine.Handlers()[0]
}

func TestAllocs(t *testing.T) {
	frames, h := tagged(t)
	if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 || frames[0].Action != ppf.Accept {
		t.Errorf("%v allocations, %v", n, frames[0].Action)
	}
}

func BenchmarkFrame(b *testing.B) {
	frames, h := tagged(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(frames)
	}
}
