package tcp_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

func cs6(f packet.TCPFlags) ppftest.Segment {
	s := cs(f)
	s.Src, s.Dst = ppftest.Client6, ppftest.Server6
	return s
}

func sc6(f packet.TCPFlags) ppftest.Segment {
	s := sc(f)
	s.Src, s.Dst = ppftest.Server6, ppftest.Client6
	return s
}

func open6(t *testing.T, b *ppftest.Bench) {
	t.Helper()
	for _, s := range []ppftest.Segment{cs6(syn), sc6(syn | ack), cs6(ack)} {
		if action, _ := b.Send(ppf.Forward, s.Bytes(t)); action != ppf.Accept {
			t.Fatalf("%v %v: %v; %+v", s.Src, s.Flags, action, b.Engine.ReasonCounts())
		}
	}
}

// decode6 reads a packet with somebody else's decoder and wants the checksum
// that it computes.
func decode6(t *testing.T, data []byte) (*layers.IPv6, *layers.TCP) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeIPv6, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	seg, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip == nil || seg == nil || p.ErrorLayer() != nil {
		t.Fatalf("gopacket cannot read %x: %v", data, p.ErrorLayer())
	}
	if err := seg.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, seg, gopacket.Payload(seg.Payload)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), ip.Payload) {
		t.Errorf("gopacket writes\n%x, we wrote\n%x", buf.Bytes(), ip.Payload)
	}
	return ip, seg
}

// withExtension puts raw extension headers between the IPv6 header and TCP; the
// first one is of the given type, and the last one's next header must be TCP's.
func withExtension(t *testing.T, s ppftest.Segment, first byte, raw ...byte) []byte {
	t.Helper()
	data := s.Bytes(t)
	data = slices.Concat(data[:40], raw, data[40:])
	data[6] = first
	data[5] += byte(len(raw))
	return data
}

func TestIPv6(t *testing.T) {
	const hopByHop, destination, routing, fragment = 0, 60, 43, 44
	padded := []byte{6, 0, 1, 4, 0, 0, 0, 0} // TCP follows; PadN
	b := ppftest.New(t, instance())
	open6(t, b)
	s := cs6(ack | psh)
	s.IP.TTL, s.IP.TOS, s.Payload = 33, 0x2e, []byte("payload")
	_, out := b.Send(ppf.Forward, s.Bytes(t))
	ip, seg := decode6(t, out)
	if ip.HopLimit != 33 || ip.TrafficClass != 0x2e || ip.NextHeader != layers.IPProtocolTCP || string(seg.Payload) != "payload" {
		t.Errorf("sent %+v %+v", ip, seg)
	}
	for _, tt := range []struct {
		name   string
		first  byte
		raw    []byte
		action ppf.Action
		reason string
	}{
		{"hop-by-hop options", hopByHop, padded, ppf.Accept, "ip6.extension-removed"},
		{"destination options", destination, padded, ppf.Accept, "ip6.extension-removed"},
		{"two extension headers", hopByHop, append([]byte{destination, 0, 1, 4, 0, 0, 0, 0}, padded...), ppf.Accept, "ip6.extension-removed"},
		{"a last fragment", fragment, []byte{6, 0, 0, 8, 0, 0, 0, 1}, ppf.Drop, "ip.fragment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			open6(t, b)
			data := withExtension(t, s, tt.first, tt.raw...)
			action, out := b.Send(ppf.Forward, data)
			outcome := ppf.OutcomeRepair
			if tt.action == ppf.Drop {
				outcome = ppf.OutcomeDrop
			}
			if action != tt.action || b.Count(tt.reason, outcome) != 1 {
				t.Fatalf("%v, %+v", action, b.Engine.ReasonCounts())
			}
			if action == ppf.Accept {
				if ip, seg := decode6(t, out); ip.NextHeader != layers.IPProtocolTCP || string(seg.Payload) != "payload" {
					t.Errorf("sent %+v %+v", ip, seg)
				}
			}
			b.Accounted()
		})
	}
	// A routing header could lead past us: whatever it is, it is not sent on.
	if action, out := b.Send(ppf.Forward, withExtension(t, s, routing, append([]byte{6, 2, 0, 0, 0, 0, 0, 0}, make([]byte, 16)...)...)); action == ppf.Accept {
		if ip, _ := decode6(t, out); ip.NextHeader != layers.IPProtocolTCP {
			t.Errorf("a routing header was sent on: %+v", ip)
		}
	}
	// A SYN in the connection is answered as the server would, in IPv6 too.
	if action, _ := b.Send(ppf.Forward, cs6(syn).Bytes(t)); action != ppf.Drop || len(b.Emitted) != 1 {
		t.Fatalf("a SYN in the connection: %v, %d packets emitted", action, len(b.Emitted))
	}
	if ip, seg := decode6(t, b.Emitted[0]); !seg.ACK || seg.SYN || !ip.DstIP.Equal(ppftest.Client6.Addr().AsSlice()) {
		t.Errorf("challenge %+v %+v", ip, seg)
	}
	b.Accounted()
}

// icmp6 builds an ICMPv6 error that quotes a segment.
func icmp6(t *testing.T, typ, code uint8, mtu uint32, from netip.Addr, quoted []byte) []byte {
	t.Helper()
	q, r := packet.ParseQuote6(quoted)
	if r != packet.ReasonNone {
		t.Fatal(r)
	}
	var out packet.Out
	out.SetIPv6(packet.IPv6{HopLimit: 60, Src: from, Dst: q.Src()})
	out.SetICMPv6(packet.ICMPv6{Type: typ, Code: code, MTU: mtu, Quote: q, HasQuote: true})
	b, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestICMPv6Errors(t *testing.T) {
	router := netip.MustParseAddr("2001:db8:3::9")
	sent := cs6(ack | psh).Bytes(t)
	stranger := cs6(ack)
	stranger.Src = netip.AddrPortFrom(stranger.Src.Addr(), 7)
	for _, tt := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"packet too big", icmp6(t, 2, 0, 1400, router, sent), ""},
		{"the smallest MTU", icmp6(t, 2, 0, 1280, router, sent), ""},
		{"below the smallest MTU", icmp6(t, 2, 0, 1279, router, sent), "icmp.mtu"},
		{"time exceeded", icmp6(t, 3, 0, 0, router, sent), ""},
		{"port unreachable", icmp6(t, 1, 4, 0, router, sent), ""},
		{"unrelated", icmp6(t, 1, 4, 0, router, stranger.Bytes(t)), "icmp.unrelated"},
		{"wrong checksum", func() []byte { d := icmp6(t, 3, 0, 0, router, sent); d[42] ^= 1; return d }(), "icmp6.checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			open6(t, b)
			action, out := b.Send(ppf.Forward, tt.data)
			if tt.reason != "" {
				if action != ppf.Drop || b.Count(tt.reason, ppf.OutcomeDrop) != 1 {
					t.Errorf("%v, %+v", action, b.Engine.ReasonCounts())
				}
				return
			}
			if action != ppf.Accept {
				t.Fatalf("%v, %+v", action, b.Engine.ReasonCounts())
			}
			p := gopacket.NewPacket(out, layers.LayerTypeIPv6, gopacket.Default)
			ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
			icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if ip == nil || icmp == nil || !ip.DstIP.Equal(ppftest.Client6.Addr().AsSlice()) || !ip.SrcIP.Equal(router.AsSlice()) ||
				icmp.TypeCode != layers.CreateICMPv6TypeCode(tt.data[40], tt.data[41]) || !bytes.Equal(icmp.Payload[:4], tt.data[44:48]) {
				t.Fatalf("sent %v", p)
			}
			quoted := gopacket.NewPacket(icmp.Payload[4:], layers.LayerTypeIPv6, gopacket.Default)
			inner, _ := quoted.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
			if inner == nil || !inner.SrcIP.Equal(ppftest.Client6.Addr().AsSlice()) || !bytes.Equal(inner.Payload[:8], sent[40:48]) {
				t.Errorf("it quotes %v", quoted)
			}
			// The checksum: what gopacket computes must stand there.
			if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
			buf := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.Payload)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(buf.Bytes(), ip.Payload) {
				t.Errorf("gopacket writes\n%x, we wrote\n%x", buf.Bytes(), ip.Payload)
			}
			b.Accounted()
		})
	}
}
