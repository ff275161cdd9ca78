package arp_test

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
	addrA, addrB     = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	none             = netip.MustParseAddr("0.0.0.0")
)

// frame builds an ARP frame with rubbish as padding.
func frame(t *testing.T, dst packet.MAC, h packet.ARP, tags ...packet.VLANTag) []byte {
	t.Helper()
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Src: h.SenderMAC, Dst: dst})
	out.SetVLANs(tags...)
	out.SetARP(h)
	b, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, bytes.Repeat([]byte{0xee}, 18)...)
}

func request(src packet.MAC, from, to netip.Addr) packet.ARP {
	return packet.ARP{Op: packet.ARPRequest, SenderMAC: src, SenderIP: from, TargetIP: to}
}

func reply(src, dst packet.MAC, from, to netip.Addr) packet.ARP {
	return packet.ARP{Op: packet.ARPReply, SenderMAC: src, SenderIP: from, TargetMAC: dst, TargetIP: to}
}

// bench has one instance on a wire.
func bench(t testing.TB, settings ...ppf.KeyValue) *ppftest.Bench {
	return ppftest.NewWire(t, []string{"arp"}, settings...)
}

// from the client's side or the server's.
const (
	client = ppf.InlineClient
	server = ppf.InlineServer
)

// TestARP sends one packet after the other over one wire.
func TestARP(t *testing.T) {
	b := bench(t)
	ff := packet.BroadcastMAC
	odd := reply(macB, macA, addrB, addrA)
	odd.SenderMAC = macC
	spoofed := frame(t, macA, odd)
	copy(spoofed[6:], macB[:])
	operation := frame(t, ff, request(macA, addrA, addrB))
	operation[14+7] = 9
	rarp := frame(t, ff, request(macA, addrA, addrB))
	rarp[12], rarp[13] = 0x80, 0x35
	for _, tt := range []struct {
		name string
		hook ppf.Hook
		data []byte
		want string
	}{
		{"probe", client, frame(t, ff, request(macA, none, addrA)), ""},
		{"announcement", client, frame(t, ff, request(macA, addrA, addrA)), ""},
		{"request", client, frame(t, ff, request(macA, addrA, addrB)), ""},
		{"reply", server, frame(t, macA, reply(macB, macA, addrB, addrA)), ""},
		{"unicast request", client, frame(t, macB, request(macA, addrA, addrB)), ""},
		{"gratuitous reply", server, frame(t, ff, reply(macB, ff, addrB, addrB)), ""},
		{"another host", client, frame(t, ff, request(macC, addrB, addrA)), "arp.binding"},
		{"the same host on the other side", client, frame(t, macA, reply(macB, macA, addrB, addrA)), "arp.binding"},
		{"gratuitous of another host", client, frame(t, ff, request(macC, addrB, addrB)), "arp.binding"},
		{"another VLAN", client, frame(t, ff, request(macC, addrB, addrA), packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: 7, PCP: 3}), ""},
		{"sender is not the frame's", server, spoofed, "arp.sender-mac"},
		{"group as sender", client, frame(t, ff, request(macC, netip.MustParseAddr("224.0.0.1"), addrA)), "arp.sender-ip"},
		{"reply of nobody", client, frame(t, macB, reply(macA, macB, none, addrB)), "arp.sender-ip"},
		{"reply to another", client, frame(t, macC, reply(macA, macB, addrA, addrB)), "arp.target"},
		{"request to a group", client, frame(t, packet.MAC{1, 0, 0x5e, 0, 0, 1}, request(macA, addrA, addrB)), "arp.target"},
		{"operation", client, operation, "arp.operation"},
		{"reverse", client, rarp, "arp.reverse"},
		{"cut", client, frame(t, ff, request(macA, addrA, addrB))[:14+20], "arp.truncated"},
	} {
		out, reason := b.Cross(tt.hook, tt.data)
		if reason != tt.want || (out == nil) != (tt.want != "") {
			t.Errorf("%s: %x, reason %q, want %q", tt.name, out, reason, tt.want)
			continue
		}
		if tt.want == "" {
			rebuilt(t, tt.name, tt.data, out)
		}
	}
	// Who is silent for long loses its address.
	b.Env.Advance(int64(time.Hour))
	if _, reason := b.Cross(client, frame(t, ff, request(macC, addrB, addrA))); reason != "" {
		t.Errorf("after an hour: %q", reason)
	}
}

// rebuilt compares what gopacket reads of the received and of the sent frame.
func rebuilt(t *testing.T, name string, in, out []byte) {
	t.Helper()
	read := func(b []byte) (*layers.Ethernet, *layers.ARP) {
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if eth == nil || arp == nil {
			t.Fatalf("%s: gopacket reads no ARP in %x", name, b)
		}
		return eth, arp
	}
	eth, arp := read(in)
	eth2, arp2 := read(out)
	if eth.SrcMAC.String() != eth2.SrcMAC.String() || eth.DstMAC.String() != eth2.DstMAC.String() || eth.EthernetType != eth2.EthernetType {
		t.Errorf("%s: Ethernet %v, want %v", name, eth2, eth)
	}
	if !bytes.Equal(arp.Contents, arp2.Contents) {
		t.Errorf("%s: ARP %x, want %x", name, arp2.Contents, arp.Contents)
	}
	if len(out) != 60 || bytes.IndexByte(out, 0xee) >= 0 {
		t.Errorf("%s: %d bytes with received padding: %x", name, len(out), out)
	}
}

func TestFixedBindings(t *testing.T) {
	scalar := func(s string) ppf.Value { return ppf.Value{Kind: ppf.ValueScalar, Scalar: s} }
	bindings := ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: addrB.String(), Value: scalar(macB.String())}}}
	b := bench(t, ppf.KeyValue{Key: "bindings", Value: bindings}, ppf.KeyValue{Key: "learn", Value: scalar("false")})
	for _, tt := range []struct {
		mac  packet.MAC
		addr netip.Addr
		want string
	}{{macB, addrB, ""}, {macC, addrB, "arp.binding"}, {macA, addrA, "arp.unknown-host"}} {
		if _, reason := b.Cross(server, frame(t, packet.BroadcastMAC, request(tt.mac, tt.addr, addrA))); reason != tt.want {
			t.Errorf("%v %v: %q, want %q", tt.mac, tt.addr, reason, tt.want)
		}
	}
	b = bench(t, ppf.KeyValue{Key: "hosts", Value: scalar("1")})
	for addr, want := range map[string]string{"192.0.2.1": "", "192.0.2.2": "arp.limit-hosts"} {
		if addr == "192.0.2.2" {
			b.Cross(server, frame(t, packet.BroadcastMAC, request(macA, addrA, addrB)))
		}
		if _, reason := b.Cross(server, frame(t, packet.BroadcastMAC, request(macA, netip.MustParseAddr(addr), addrB))); reason != want {
			t.Errorf("%s: %q, want %q", addr, reason, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	b := bench(t)
	f := b.Frame(client, frame(t, packet.BroadcastMAC, request(macA, addrA, addrB)))
	f.Link = packet.LinkEthernet
	frames := []ppf.Frame{f}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 || frames[0].Action != ppf.Accept {
		t.Errorf("%v allocations, %v", n, frames[0].Action)
	}
}
