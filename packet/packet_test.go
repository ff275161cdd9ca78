package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestParseTCPPacket(t *testing.T) {
	o := dataOut4()
	o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC})
	b := append(emit(t, o), 0xee, 0xee)
	p := parse(t, LinkEthernet, b)
	if want := HasEthernet | HasIPv4 | HasTCP; p.Layers() != want {
		t.Fatalf("layers %v, want %v", p.Layers(), want)
	}
	if p.Src() != client4 || p.Dst() != server4 || p.SrcPort() != 40000 || p.DstPort() != 80 || p.Proto() != ProtoTCP || p.Trailing() != 2 {
		t.Errorf("got %v:%d > %v:%d %v, %d trailing", p.Src(), p.SrcPort(), p.Dst(), p.DstPort(), p.Proto(), p.Trailing())
	}
	if !bytes.Equal(p.Payload(), o.Payload()) || len(p.L4()) != len(o.Payload())+32 || !bytes.Equal(p.Raw(), b) {
		t.Errorf("payload of %d bytes, layer 4 of %d, raw of %d", len(p.Payload()), len(p.L4()), len(p.Raw()))
	}
	if p.TCP().Seq() != 1000 || p.Ethernet().Src() != clientMAC || p.IPv4().TTL() != 64 || p.IsICMPError() {
		t.Errorf("seq %d, from %v, TTL %d, error %v", p.TCP().Seq(), p.Ethernet().Src(), p.IPv4().TTL(), p.IsICMPError())
	}
	if got, want := p.PayloadSum().Fold(), referenceSum(o.Payload()); got != want {
		t.Errorf("PayloadSum: got %04x, want %04x", got, want)
	}
}

func TestParseReasons(t *testing.T) {
	const (
		macs = "020000000002 020000000001"
		ip4  = "4500 0014 0000 4000 4059 0000 c0000201 c6336402"
	)
	tests := []struct {
		name string
		link LinkType
		b    string
		want Reason
		has  Layers
	}{
		{"empty", LinkRawIP, "", ReasonIPTruncated, 0},
		{"empty frame", LinkEthernet, "", ReasonFrameTruncated, 0},
		{"neither 4 nor 6", LinkRawIP, "55" + ip4[2:], ReasonIPVersion, 0},
		{"IPv6 announced as IPv4", LinkEthernet, macs + "0800 60000000 0000 3b 40" + ip6Addrs, ReasonIPVersion, HasEthernet},
		{"IPv4 announced as IPv6", LinkEthernet, macs + "86dd" + ip4 + ip4, ReasonIPVersion, HasEthernet},
		{"tag cut off", LinkEthernet, macs + "8100 000a 08", ReasonVLANTruncated, HasEthernet},
		{"second tag cut off", LinkEthernet, macs + "88a8 000a 8100 00", ReasonVLANTruncated, HasEthernet | HasVLAN},
		{"three tags", LinkEthernet, macs + "88a8 000a 8100 000b 8100 000c 0800" + ip4, ReasonVLANDepth, HasEthernet | HasVLAN},
		{"ARP cut off (CVE-2020-11914)", LinkEthernet, macs + "0806 0001 0800 06 04 0001", ReasonARPTruncated, HasEthernet},
		{"unknown ethertype", LinkEthernet, macs + "88cc 0102", ReasonNone, HasEthernet},
		{"unknown protocol", LinkRawIP, ip4, ReasonNone, HasIPv4},
		{"TCP cut off", LinkRawIP, "4500 0018 0000 4000 4006 0000 c0000201 c6336402 00000000", ReasonTCPTruncated, HasIPv4},
		{"UDP cut off", LinkRawIP, "4500 0018 0000 4000 4011 0000 c0000201 c6336402 00000000", ReasonUDPTruncated, HasIPv4},
		{"ICMP cut off", LinkRawIP, "4500 0018 0000 4000 4001 0000 c0000201 c6336402 08000000", ReasonICMPTruncated, HasIPv4},
		{"ICMPv6 cut off", LinkRawIP, "60000000 0004 3a 40" + ip6Addrs + "80000000", ReasonICMP6Truncated, HasIPv6},
		{"IP in IP (CVE-2020-11896)", LinkRawIP, "4500 0028 0000 4000 4004 0000 c0000201 c6336402" + ip4, ReasonNone, HasIPv4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := *parse(t, LinkEthernet, emit(t, ethernetOut())) // what an earlier packet left
			b := unhex(t, tt.b)
			if r := p.Parse(tt.link, b); r != tt.want || p.Layers() != tt.has {
				t.Errorf("Parse(%v, %s): got %v, layers %v; want %v, layers %v", tt.link, tt.b, r, p.Layers(), tt.want, tt.has)
			}
			if p.Trailing() != 0 || p.SrcPort() != 0 || p.DstPort() != 0 || p.IPv4Options() != 0 || p.Ext().Len() != 0 {
				t.Errorf("trailing %d, ports %d %d, options %v, %d extension headers: want none",
					p.Trailing(), p.SrcPort(), p.DstPort(), p.IPv4Options(), p.Ext().Len())
			}
			if !p.Has(HasIPv4|HasIPv6) && (p.Src().IsValid() || p.Dst().IsValid()) {
				t.Errorf("addresses %v %v without an IP header", p.Src(), p.Dst())
			}
		})
	}
}

// ethernetOut is a frame with tags, so that much of a Packet is in use.
func ethernetOut() *Out {
	o := udpOut6()
	o.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC})
	o.SetVLANs(VLANTag{TPID: EtherTypeQinQ, VID: 1}, VLANTag{TPID: EtherTypeVLAN, VID: 2})
	return o
}

// TestViewsOfMissingHeaders holds Packet to giving no view of an earlier packet.
func TestViewsOfMissingHeaders(t *testing.T) {
	p := parse(t, LinkEthernet, emit(t, ethernetOut()))
	if r := p.Parse(LinkRawIP, nil); r == ReasonNone {
		t.Fatal("nothing parses as a packet")
	}
	if p.Ethernet().b != nil || p.ARP().b != nil || p.IPv4().b != nil || p.IPv6().b != nil || p.TCP().b != nil || p.UDP().b != nil ||
		p.ICMPv4().b != nil || p.ICMPv6().b != nil || len(p.VLANs()) != 0 || p.L4() != nil || len(p.Payload()) != 0 {
		t.Errorf("something is left of the packet before: %+v", p)
	}
}

// TestPacketReuse parses packets one after the other, each after each: nothing
// may be left of the one before.
func TestPacketReuse(t *testing.T) {
	icmpError := new(Out)
	icmpError.SetIPv4(IPv4{TTL: 1, RouterAlert: true, Src: server4, Dst: client4})
	icmpError.SetICMPv4(ICMPv4{Type: ICMPv4TimeExceeded, HasQuote: true, Quote: tcpQuote4()})
	frames := map[string][]byte{
		"frame with tags and padding": append(emit(t, ethernetOut()), 0, 0, 0),
		"ARP with padding":            append(append(unhex(t, "ffffffffffff 020000000001 0806"), unhex(t, arpReply)...), make([]byte, 18)...),
		"raw IP":                      emit(t, dataOut4()),
		"ICMP error with an option":   append(emit(t, icmpError), 0),
		"fragment":                    unhex(t, "60000000 0010 2c 40"+ip6Addrs+"11 00 0008 00000001 0102030405060708"),
		"nothing":                     nil,
	}
	type view struct {
		Reason               Reason
		Layers               Layers
		Proto                Protocol
		Options              IPv4OptionSet
		Trailing, VLANs, Ext int
		ICMPError            bool
		Sum                  Sum
		Raw, L4, Payload     string
		Text, Src, Dst       string
		SrcPort, DstPort     uint16
	}
	look := func(p *Packet, name string) view {
		link := LinkRawIP
		if name == "frame with tags and padding" || name == "ARP with padding" {
			link = LinkEthernet
		}
		r := p.Parse(link, frames[name])
		return view{
			Reason: r, Layers: p.Layers(), Proto: p.Proto(), Options: p.IPv4Options(), Trailing: p.Trailing(), VLANs: len(p.VLANs()), Ext: p.Ext().Len(),
			ICMPError: p.IsICMPError(), Sum: p.PayloadSum(), Raw: string(p.Raw()), L4: string(p.L4()), Payload: string(p.Payload()), Text: p.String(),
			Src: p.Src().String(), Dst: p.Dst().String(), SrcPort: p.SrcPort(), DstPort: p.DstPort(),
		}
	}
	for before := range frames {
		for name := range frames {
			var used Packet
			look(&used, before)
			if got, want := look(&used, name), look(new(Packet), name); got != want {
				t.Errorf("%s after %s: got %+v, want %+v", name, before, got, want)
			}
		}
	}
}

func TestVerifyChecksums(t *testing.T) {
	icmp4, icmp6 := new(Out), new(Out)
	icmp4.SetIPv4(IPv4{TTL: 1, Src: client4, Dst: server4})
	icmp4.SetICMPv4(ICMPv4{Type: ICMPv4Echo})
	icmp6.SetIPv6(IPv6{HopLimit: 1, Src: client6, Dst: server6})
	icmp6.SetICMPv6(ICMPv6{Type: ICMPv6Echo})
	tests := []struct {
		name string
		o    *Out
		want Reason
	}{
		{"TCP", dataOut4(), ReasonTCPChecksum},
		{"UDP", udpOut6(), ReasonUDPChecksum},
		{"ICMPv4", icmp4, ReasonICMPChecksum},
		{"ICMPv6", icmp6, ReasonICMP6Checksum},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := emit(t, tt.o)
			if r := parse(t, LinkRawIP, b).VerifyChecksums(true); r != ReasonNone {
				t.Fatalf("as sent: got %v", r)
			}
			b[len(b)-1] ^= 0x40
			if r := parse(t, LinkRawIP, b).VerifyChecksums(true); r != tt.want {
				t.Errorf("last byte changed: got %v, want %v", r, tt.want)
			}
			if r := parse(t, LinkRawIP, b).VerifyChecksums(false); r != ReasonNone {
				t.Errorf("last byte changed, layer 4 not ready: got %v, want none", r)
			}
			if b[0]>>4 == 4 {
				b[8]--
				if r := parse(t, LinkRawIP, b).VerifyChecksums(false); r != ReasonIPChecksum {
					t.Errorf("TTL changed: got %v, want %v", r, ReasonIPChecksum)
				}
			}
		})
	}
}

// TestVerifyChecksumsOddPayload guards the cut between header and payload.
func TestVerifyChecksumsOddPayload(t *testing.T) {
	for n := range 70 {
		o := dataOut4()
		o.SetPayload(testPayload(n))
		p := parse(t, LinkRawIP, emit(t, o))
		if r := p.VerifyChecksums(true); r != ReasonNone {
			t.Errorf("payload of %d bytes: got %v", n, r)
		}
		sum := p.PayloadSum()
		o.SetPayloadSum(sum)
		if r := parse(t, LinkRawIP, emit(t, o)).VerifyChecksums(true); r != ReasonNone {
			t.Errorf("payload of %d bytes, sum given: got %v", n, r)
		}
	}
}

func TestPacketString(t *testing.T) {
	echo := new(Out)
	echo.SetIPv4(IPv4{TTL: 1, Src: client4, Dst: server4})
	echo.SetICMPv4(ICMPv4{Type: ICMPv4Echo})
	echo6 := new(Out)
	echo6.SetIPv6(IPv6{HopLimit: 1, Src: client6, Dst: server6})
	echo6.SetICMPv6(ICMPv6{Type: ICMPv6Echo})
	fragment := new(Out)
	fragment.SetIPv4(IPv4{TTL: 1, Protocol: ProtoUDP, FragOffset: 8, Src: client4, Dst: server4})
	fragment.SetPayload([]byte("tail"))
	gre := new(Out)
	gre.SetIPv4(IPv4{TTL: 1, Protocol: ProtoGRE, Src: client4, Dst: server4})
	lldp := new(Out)
	lldp.SetEthernet(Ethernet{Dst: serverMAC, Src: clientMAC, Type: 0x88cc})
	for want, o := range map[string]*Out{
		"192.0.2.1:40000 > 198.51.100.2:80 TCP SYN seq=16909060 ack=0 win=64240 len=0": tcpOut4(),
		"[2001:db8::1]:5353 > [2001:db8:1::2]:53 UDP len=8":                            udpOut6(),
		"192.0.2.1 > 198.51.100.2 ICMP type=8 code=0 len=0":                            echo,
		"2001:db8::1 > 2001:db8:1::2 ICMPv6 type=128 code=0 len=0":                     echo6,
		"192.0.2.1 > 198.51.100.2 fragment of protocol UDP":                            fragment,
		"192.0.2.1 > 198.51.100.2 protocol GRE len=0":                                  gre,
		"02:00:00:00:00:01 > 02:00:00:00:00:02 ethertype 0x88cc len=14":                lldp,
	} {
		link := LinkRawIP
		if o.Ethernet() != nil {
			link = LinkEthernet
		}
		if got := parse(t, link, emit(t, o)).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := (HasIPv4 | HasTCP).String(); got != "IPv4|TCP" {
		t.Errorf("Layers: got %q", got)
	}
	var p Packet
	p.Parse(LinkRawIP, []byte{1, 2, 3})
	if got := p.String(); got != "3 bytes" {
		t.Errorf("got %q", got)
	}
	if LinkRawIP.String() != "raw IP" || LinkEthernet.String() != "Ethernet" || LinkType(7).String() != "link type 7" {
		t.Error("LinkType.String is wrong")
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	b := emit(t, dataOut4())
	b6 := emit(t, ethernetOut())
	var p Packet
	wantNoAllocs(t, "Parse of TCP on IPv4", func() { p.Parse(LinkRawIP, b) })
	wantNoAllocs(t, "VerifyChecksums", func() { p.VerifyChecksums(true) })
	wantNoAllocs(t, "Parse of UDP on IPv6 on 802.1ad", func() { p.Parse(LinkEthernet, b6) })
	var a netip.Addr
	wantNoAllocs(t, "Src and Dst", func() { a = p.Src(); a = p.Dst() })
	if a != server6 {
		t.Errorf("Dst: got %v", a)
	}
}

func BenchmarkPacketParse(b *testing.B) {
	for _, c := range []struct {
		name string
		link LinkType
		o    *Out
	}{{"tcp4", LinkRawIP, dataOut4()}, {"udp6-vlan", LinkEthernet, ethernetOut()}} {
		b.Run(c.name, func(b *testing.B) {
			data := emit(b, c.o)
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				p.Parse(c.link, data)
			}
		})
	}
}

func BenchmarkVerifyChecksums(b *testing.B) {
	data := emit(b, dataOut4())
	var p Packet
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		p.Parse(LinkRawIP, data)
		p.VerifyChecksums(true)
	}
}
