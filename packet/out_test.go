package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

func TestOutGetters(t *testing.T) {
	var o Out
	if o.IsSet() || o.Ethernet() != nil || o.ARP() != nil || o.IPv4() != nil || o.IPv6() != nil || o.TCP() != nil || o.UDP() != nil ||
		o.ICMPv4() != nil || o.ICMPv6() != nil || len(o.VLANs()) != 0 || o.Payload() != nil {
		t.Error("the zero value is not empty")
	}
	o = *dataOut4()
	o.IPv4().TTL, o.TCP().Options.TSVal = 9, 536
	p := parse(t, LinkRawIP, emit(t, &o))
	var opts TCPOptions
	p.TCP().ParseOptions(&opts)
	if p.IPv4().TTL() != 9 || opts.TSVal != 536 {
		t.Errorf("edits through pointers are lost: TTL %d, TSval %d", p.IPv4().TTL(), opts.TSVal)
	}
	o.Reset()
	if o.IsSet() || o.Has(HasIPv4|HasTCP) || o.TCP() != nil || o.IPv4() != nil || o.Payload() != nil {
		t.Error("Reset leaves something")
	}
	if _, err := tryEmit(t, &o); err != ErrIncomplete {
		t.Errorf("after Reset: got %v, want %v", err, ErrIncomplete)
	}
}

// TestPayloadSum gives sums that are right, forgotten and wrong: what was given
// is used, and only as long as the payload is the same.
func TestPayloadSum(t *testing.T) {
	o := dataOut4()
	verify := func() Reason { return parse(t, LinkRawIP, emit(t, o)).VerifyChecksums(true) }
	o.SetPayloadSum(SumBytes(o.Payload()))
	if r := verify(); r != ReasonNone {
		t.Errorf("sum given: %v", r)
	}
	o.SetPayload([]byte("another payload"))
	if r := verify(); r != ReasonNone {
		t.Errorf("the sum of an earlier payload is used: %v", r)
	}
	o.SetPayloadSum(SumBytes(o.Payload()).AddUint16(1))
	if r := verify(); r != ReasonTCPChecksum {
		t.Errorf("a wrong sum: got %v, want %v", r, ReasonTCPChecksum)
	}
	o.Reset()
	o.SetIPv4(IPv4{TTL: 1, Src: client4, Dst: server4})
	o.SetTCP(TCP{Flags: ACK})
	if r := verify(); r != ReasonNone {
		t.Errorf("the sum survives Reset: %v", r)
	}
}

// TestSetReplaces sets each header in place of one that it excludes.
func TestSetReplaces(t *testing.T) {
	var o Out
	steps := []struct {
		name string
		set  func()
		want Layers
	}{
		{"ARP", func() { o.SetARP(ARP{}) }, HasARP},
		{"IPv4 for ARP", func() { o.SetIPv4(IPv4{}) }, HasIPv4},
		{"TCP", func() { o.SetTCP(TCP{}) }, HasIPv4 | HasTCP},
		{"UDP for TCP", func() { o.SetUDP(UDP{}) }, HasIPv4 | HasUDP},
		{"ICMPv4 for UDP", func() { o.SetICMPv4(ICMPv4{}) }, HasIPv4 | HasICMPv4},
		{"IPv6 for IPv4", func() { o.SetIPv6(IPv6{}) }, HasIPv6 | HasICMPv4},
		{"ICMPv6 for ICMPv4", func() { o.SetICMPv6(ICMPv6{}) }, HasIPv6 | HasICMPv6},
		{"TCP for ICMPv6", func() { o.SetTCP(TCP{}) }, HasIPv6 | HasTCP},
		{"tags", func() { o.SetVLANs(VLANTag{}) }, HasIPv6 | HasTCP | HasVLAN},
		{"no tags", func() { o.SetVLANs() }, HasIPv6 | HasTCP},
		{"ARP for all", func() { o.SetARP(ARP{}) }, HasARP},
		{"IPv6 for ARP", func() { o.SetIPv6(IPv6{}) }, HasIPv6},
	}
	for _, s := range steps {
		if s.set(); o.has != s.want {
			t.Errorf("%s: layers %v, want %v", s.name, o.has, s.want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	ip4 := IPv4{TTL: 64, Protocol: ProtoGRE, Src: client4, Dst: server4}
	ip6 := IPv6{HopLimit: 64, NextHeader: ProtoGRE, Src: client6, Dst: server6}
	eth := Ethernet{Dst: serverMAC, Src: clientMAC, Type: 0x88cc}
	arp := ARP{Op: ARPRequest, SenderIP: client4, TargetIP: server4}
	tests := []struct {
		name string
		make func(o *Out)
		want error
	}{
		{"nothing", func(*Out) {}, ErrIncomplete},
		{"payload only", func(o *Out) { o.SetPayload([]byte("x")) }, ErrIncomplete},
		{"TCP without IP", func(o *Out) { o.SetTCP(TCP{}) }, ErrIncomplete},
		{"TCP without IP on Ethernet", func(o *Out) { o.SetEthernet(eth); o.SetTCP(TCP{}) }, ErrIncomplete},
		{"ARP without Ethernet", func(o *Out) { o.SetARP(arp) }, ErrIncomplete},
		{"tags without Ethernet", func(o *Out) { o.SetIPv4(ip4); o.SetVLANs(VLANTag{TPID: EtherTypeVLAN}) }, ErrIncomplete},
		{"Ethernet without a type", func(o *Out) { o.SetEthernet(Ethernet{}) }, ErrIncomplete},
		{"IPv4 without a protocol", func(o *Out) { h := ip4; h.Protocol = 0; o.SetIPv4(h) }, ErrIncomplete},

		{"IP by its ethertype", func(o *Out) { h := eth; h.Type = EtherTypeIPv4; o.SetEthernet(h) }, ErrLayers},
		{"ARP by its ethertype", func(o *Out) { h := eth; h.Type = EtherTypeARP; o.SetEthernet(h) }, ErrLayers},
		{"a tag by its ethertype", func(o *Out) { h := eth; h.Type = EtherTypeVLAN; o.SetEthernet(h) }, ErrLayers},
		{"TCP by its protocol", func(o *Out) { h := ip4; h.Protocol = ProtoTCP; o.SetIPv4(h) }, ErrLayers},
		{"UDP by its protocol", func(o *Out) { h := ip6; h.NextHeader = ProtoUDP; o.SetIPv6(h) }, ErrLayers},
		{"ICMP by its protocol", func(o *Out) { h := ip4; h.Protocol = ProtoICMP; o.SetIPv4(h) }, ErrLayers},
		{"ICMPv6 by its protocol", func(o *Out) { h := ip6; h.NextHeader = ProtoICMPv6; o.SetIPv6(h) }, ErrLayers},
		{"an extension header by its protocol", func(o *Out) { h := ip6; h.NextHeader = ProtoDstOpts; o.SetIPv6(h) }, ErrLayers},
		{"hop-by-hop options", func(o *Out) { h := ip6; h.NextHeader = ProtoHopByHop; o.SetIPv6(h) }, ErrLayers},
		{"ARP with payload", func(o *Out) { o.SetEthernet(eth); o.SetARP(arp); o.SetPayload([]byte("x")) }, ErrLayers},
		{"ICMPv6 on IPv4", func(o *Out) { o.SetIPv4(ip4); o.SetICMPv6(ICMPv6{Type: ICMPv6Echo}) }, ErrLayers},
		{"ICMPv4 on IPv6", func(o *Out) { o.SetIPv6(ip6); o.SetICMPv4(ICMPv4{Type: ICMPv4Echo}) }, ErrLayers},
		{"ICMP error without a quotation", func(o *Out) { o.SetIPv4(ip4); o.SetICMPv4(ICMPv4{Type: ICMPv4Unreachable}) }, ErrLayers},
		{"ICMPv6 error without a quotation", func(o *Out) { o.SetIPv6(ip6); o.SetICMPv6(ICMPv6{Type: 100}) }, ErrLayers},
		{"echo with a quotation", func(o *Out) {
			o.SetIPv4(ip4)
			o.SetICMPv4(ICMPv4{Type: ICMPv4Echo, HasQuote: true, Quote: tcpQuote4()})
		}, ErrLayers},
		{"ICMP error with payload", func(o *Out) {
			o.SetIPv4(ip4)
			o.SetICMPv4(ICMPv4{Type: ICMPv4Unreachable, HasQuote: true, Quote: tcpQuote4()})
			o.SetPayload([]byte("x"))
		}, ErrLayers},
		{"ICMPv6 error with payload", func(o *Out) {
			o.SetIPv6(ip6)
			o.SetICMPv6(ICMPv6{Type: ICMPv6Unreachable, HasQuote: true, Quote: udpQuote6()})
			o.SetPayload([]byte("x"))
		}, ErrLayers},
		{"TCP in a first fragment", func(o *Out) { h := ip4; h.MF = true; o.SetIPv4(h); o.SetTCP(TCP{}) }, ErrLayers},
		{"UDP in a later fragment", func(o *Out) { h := ip4; h.FragOffset = 8; o.SetIPv4(h); o.SetUDP(UDP{}) }, ErrLayers},
		{"TCP in a fragment of IPv6", func(o *Out) {
			h := ip6
			h.HasFragment, h.Fragment.More = true, true
			o.SetIPv6(h)
			o.SetTCP(TCP{})
		}, ErrLayers},

		{"IPv4 without addresses", func(o *Out) { o.SetIPv4(IPv4{TTL: 1, Protocol: 99}) }, ErrAddress},
		{"IPv4 with an IPv6 address", func(o *Out) { h := ip4; h.Dst = server6; o.SetIPv4(h) }, ErrAddress},
		{"IPv4 with a mapped address", func(o *Out) { h := ip4; h.Dst = netip.AddrFrom16(server4.As16()); o.SetIPv4(h) }, ErrAddress},
		{"IPv6 with an IPv4 address", func(o *Out) { h := ip6; h.Src = client4; o.SetIPv6(h) }, ErrAddress},
		{"IPv6 with a zone", func(o *Out) { h := ip6; h.Src = netip.MustParseAddr("fe80::1%eth0"); o.SetIPv6(h) }, ErrAddress},

		{"fragment offset of 9", func(o *Out) { h := ip4; h.FragOffset = 9; o.SetIPv4(h) }, ErrValue},
		{"first fragment of 9 bytes", func(o *Out) { h := ip4; h.MF = true; o.SetIPv4(h); o.SetPayload(make([]byte, 9)) }, ErrValue},
		{"empty first fragment", func(o *Out) { h := ip4; h.MF = true; o.SetIPv4(h) }, ErrValue},
		{"atomic fragment", func(o *Out) { h := ip6; h.HasFragment = true; o.SetIPv6(h) }, ErrValue},
		{"IPv6 fragment offset of 9", func(o *Out) { h := ip6; h.HasFragment, h.Fragment.Offset = true, 9; o.SetIPv6(h) }, ErrValue},
		{"empty IPv6 fragment", func(o *Out) { h := ip6; h.HasFragment, h.Fragment.More = true, true; o.SetIPv6(h) }, ErrValue},
		{"flow label of 21 bits", func(o *Out) { h := ip6; h.FlowLabel = 1 << 20; o.SetIPv6(h) }, ErrValue},
		{"URG", func(o *Out) { o.SetIPv4(ip4); o.SetTCP(TCP{Flags: ACK | URG}) }, ErrValue},
		{"ARP operation 3", func(o *Out) { h := arp; h.Op = 3; o.SetEthernet(eth); o.SetARP(h) }, ErrValue},
		{"ARP without an address", func(o *Out) { h := arp; h.TargetIP = netip.Addr{}; o.SetEthernet(eth); o.SetARP(h) }, ErrValue},
		{"VLAN 4096", func(o *Out) { o.SetEthernet(eth); o.SetVLANs(VLANTag{TPID: EtherTypeVLAN, VID: 4096}) }, ErrValue},
		{"priority 8", func(o *Out) { o.SetEthernet(eth); o.SetVLANs(VLANTag{TPID: EtherTypeVLAN, PCP: 8}) }, ErrValue},
		{"tag of another type", func(o *Out) { o.SetEthernet(eth); o.SetVLANs(VLANTag{TPID: 0x9100}) }, ErrValue},
		{"802.3 length that is not the payload's", func(o *Out) { h := eth; h.Type = 3; o.SetEthernet(h) }, ErrValue},

		{"IPv4 beyond 65,535", func(o *Out) { o.SetIPv4(ip4); o.SetPayload(make([]byte, 65516)) }, ErrTooLong},
		{"IPv4 with options beyond 65,535", func(o *Out) { h := ip4; h.RouterAlert = true; o.SetIPv4(h); o.SetPayload(make([]byte, 65512)) }, ErrTooLong},
		{"TCP on IPv4 beyond 65,535", func(o *Out) { o.SetIPv4(ip4); o.SetTCP(TCP{}); o.SetPayload(make([]byte, 65496)) }, ErrTooLong},
		{"fragment that ends beyond 65,535", func(o *Out) { h := ip4; h.FragOffset = 65528; o.SetIPv4(h) }, ErrTooLong},
		{"IPv6 beyond 65,535", func(o *Out) { o.SetIPv6(ip6); o.SetPayload(make([]byte, 65536)) }, ErrTooLong},
		{"IPv6 fragment that ends beyond 65,535", func(o *Out) {
			h := ip6
			h.HasFragment, h.Fragment.Offset = true, 65528
			o.SetIPv6(h)
			o.SetPayload(make([]byte, 8))
		}, ErrTooLong},
		{"UDP beyond 65,535", func(o *Out) { o.SetIPv6(ip6); o.SetUDP(UDP{}); o.SetPayload(make([]byte, 65528)) }, ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Out
			tt.make(&o)
			if _, err := tryEmit(t, &o); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestEncodeLimits writes the longest packets there are.
func TestEncodeLimits(t *testing.T) {
	for name, c := range map[string]struct {
		o    *Out
		room int
	}{
		"TCP on IPv4": {tcpOut4(), 65535 - 60},
		"UDP on IPv6": {udpOut6(), 65535 - UDPLen},
	} {
		c.o.SetPayload(testPayload(c.room))
		p := parse(t, LinkRawIP, emit(t, c.o))
		if r := p.VerifyChecksums(true); r != ReasonNone || len(p.Payload()) != c.room {
			t.Errorf("%s: %v, payload of %d bytes", name, r, len(p.Payload()))
		}
		c.o.SetPayload(testPayload(c.room + 1))
		if _, err := tryEmit(t, c.o); err != ErrTooLong {
			t.Errorf("%s, one byte more: got %v, want %v", name, err, ErrTooLong)
		}
	}
}

func TestEncodeBuffer(t *testing.T) {
	if _, err := tcpOut4().Encode(make([]byte, MaxHeaders-1)); err != ErrBuffer {
		t.Errorf("short buffer: got %v, want %v", err, ErrBuffer)
	}
	o := new(Out)
	o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC})
	o.SetVLANs(VLANTag{TPID: EtherTypeQinQ}, VLANTag{TPID: EtherTypeVLAN})
	o.SetIPv6(IPv6{HopLimit: 64, Headers: longestHeaders(), Src: client6, Dst: server6})
	o.SetICMPv6(ICMPv6{Type: ICMPv6RouterAdvertisement, HasND: true, ND: fullRouter()})
	head, err := o.Encode(make([]byte, MaxHeaders))
	if err != nil || len(head) != MaxHeaders {
		t.Errorf("the longest headers: %d bytes, %v; want %d", len(head), err, MaxHeaders)
	}
}

// TestEncodeDoesNotTouchThePayload sends a payload that is a part of a larger
// buffer.
func TestEncodeDoesNotTouchThePayload(t *testing.T) {
	buf := bytes.Repeat([]byte{poison}, 64)
	o := tcpOut4()
	o.SetPayload(buf[16:32:48])
	emit(t, o)
	if !bytes.Equal(buf, bytes.Repeat([]byte{poison}, 64)) {
		t.Errorf("payload buffer: %x", buf)
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	buf := make([]byte, MaxHeaders)
	var o Out
	payload := testPayload(1400)
	sum := SumBytes(payload)
	tcp := dataOut4()
	wantNoAllocs(t, "build and Encode of TCP on IPv4", func() {
		o.Reset()
		o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC})
		o.SetVLANs(VLANTag{TPID: EtherTypeVLAN, VID: 1})
		o.SetIPv4(*tcp.IPv4())
		o.SetTCP(*tcp.TCP())
		o.SetPayload(payload)
		o.SetPayloadSum(sum)
		if _, err := o.Encode(buf); err != nil {
			t.Fatal(err)
		}
	})
	udp := udpOut6()
	wantNoAllocs(t, "Encode of UDP on IPv6", func() {
		if _, err := udp.Encode(buf); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, MaxHeaders)
	bench := func(name string, o *Out) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.Encode(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	known := dataOut4()
	known.SetPayloadSum(SumBytes(known.Payload()))
	bench("tcp4-sum-known", known)
	bench("tcp4", dataOut4())
	bench("tcp4-syn", tcpOut4())
	bench("udp6", udpOut6())
}

// BenchmarkRebuild is what a module does per packet: parse, set, encode.
func BenchmarkRebuild(b *testing.B) {
	data := emit(b, dataOut4())
	buf := make([]byte, MaxHeaders)
	var p Packet
	var o Out
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		p.Parse(LinkRawIP, data)
		if r := p.VerifyChecksums(true); r != ReasonNone {
			b.Fatal(r)
		}
		o.Reset()
		rebuild(&p, &o)
		if _, err := o.Encode(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOutIsComplete: an IP header alone is no packet yet.
func TestOutIsComplete(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(o *Out)
		want bool
	}{
		{"nothing", func(*Out) {}, false},
		{"IPv4", func(o *Out) { o.SetIPv4(IPv4{TTL: 1}) }, false},
		{"IPv6", func(o *Out) { o.SetIPv6(IPv6{HopLimit: 1}) }, false},
		{"IPv4 in a frame", func(o *Out) { o.SetEthernet(Ethernet{}); o.SetIPv4(IPv4{TTL: 1}) }, false},
		{"IPv4 with a protocol", func(o *Out) { o.SetIPv4(IPv4{Protocol: ProtoESP}) }, true},
		{"IPv6 with a protocol", func(o *Out) { o.SetIPv6(IPv6{NextHeader: ProtoESP}) }, true},
		{"TCP", func(o *Out) { o.SetIPv4(IPv4{}); o.SetTCP(TCP{}) }, true},
		{"ARP", func(o *Out) { o.SetARP(ARP{}) }, true},
		{"a frame", func(o *Out) { o.SetEthernet(Ethernet{Type: 0x88cc}) }, true},
	} {
		var o Out
		tt.set(&o)
		if got := o.IsComplete(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
