package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// addrEqual compares addresses; cmp does not look into netip.Addr by itself.
var addrEqual = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func tcpQuote4() Quote {
	return Quote{
		Proto: ProtoTCP, L4Len: 1480, N: 8, SrcPort: 40000, DstPort: 80, Seq: 7,
		IP4: IPv4{TTL: 3, DF: true, ID: 9, TOS: 4, Src: client4, Dst: server4, Protocol: ProtoTCP},
	}
}

func udpQuote6() Quote {
	return Quote{
		V6: true, Proto: ProtoUDP, L4Len: 100, N: 8, SrcPort: 5353, DstPort: 53, Checksum: 0xbeef,
		IP6: IPv6{HopLimit: 1, FlowLabel: 5, Src: client6, Dst: server6, NextHeader: ProtoUDP},
	}
}

func TestQuoteRoundTrip(t *testing.T) {
	echo4 := Quote{
		Proto: ProtoICMP, L4Len: 64, N: 8, Type: ICMPv4Echo, ID: 1, EchoSeq: 2, Checksum: 0xabcd,
		IP4: IPv4{TTL: 1, Src: client4, Dst: server4, Protocol: ProtoICMP},
	}
	echo6 := Quote{
		V6: true, Proto: ProtoICMPv6, L4Len: 64, N: 8, Type: ICMPv6Echo, ID: 1, EchoSeq: 2, Checksum: 0xabcd,
		IP6: IPv6{HopLimit: 1, Src: client6, Dst: server6, NextHeader: ProtoICMPv6},
	}
	udp4 := Quote{
		Proto: ProtoUDP, L4Len: 8, N: 8, SrcPort: 1, DstPort: 2, Checksum: 0,
		IP4: IPv4{TTL: 1, Src: client4, Dst: server4, Protocol: ProtoUDP},
	}
	for _, q := range []Quote{tcpQuote4(), udp4, echo4, udpQuote6(), echo6} {
		t.Run(q.String(), func(t *testing.T) {
			var o Out
			if q.V6 {
				o.SetIPv6(IPv6{HopLimit: 64, Src: server6, Dst: client6})
				o.SetICMPv6(ICMPv6{Type: ICMPv6PacketTooBig, MTU: 1400, ID: 77, Seq: 88, HasQuote: true, Quote: q})
			} else {
				o.SetIPv4(IPv4{TTL: 64, Src: server4, Dst: client4})
				o.SetICMPv4(ICMPv4{Type: ICMPv4Unreachable, Code: ICMPv4CodeFragNeeded, MTU: 1400, ID: 77, Seq: 88, HasQuote: true, Quote: q})
			}
			p := parse(t, LinkRawIP, emit(t, &o))
			if r := p.VerifyChecksums(true); r != ReasonNone || !p.IsICMPError() {
				t.Fatalf("VerifyChecksums: got %v; error: %v", r, p.IsICMPError())
			}
			var got Quote
			var r Reason
			mtu := 0
			if q.V6 {
				got, r = p.ICMPv6().Quoted()
				mtu = int(p.ICMPv6().MTU())
			} else {
				got, r = p.ICMPv4().Quoted()
				mtu = int(p.ICMPv4().MTU())
				if id := p.ICMPv4().EchoID(); id != 0 {
					t.Errorf("unused bytes of the error: got %x, want 0", id)
				}
				if v := (IPv4View{b: p.ICMPv4().Body()}); !v.ChecksumOK() {
					t.Error("the checksum of the quoted IPv4 header is wrong")
				}
			}
			if r != ReasonNone || mtu != 1400 {
				t.Fatalf("Quoted: got %v, MTU %d", r, mtu)
			}
			if diff := cmp.Diff(q, got, addrEqual); diff != "" {
				t.Errorf("-sent +quoted\n%s", diff)
			}
		})
	}
}

func TestParseQuote4(t *testing.T) {
	const ports = "9c40 0050 00000007"
	tests := []struct {
		name string
		b    string
		want Reason
	}{
		{"8 bytes of layer 4", "4500 05dc 0009 4000 03 06 0000 c0000201 c6336402" + ports, ReasonNone},
		{"with options", "4600 05dc 0009 4000 03 06 0000 c0000201 c6336402 01010100" + ports, ReasonNone},
		{"reserved flag", "4500 05dc 0009 8000 03 06 0000 c0000201 c6336402" + ports, ReasonNone},
		{"7 bytes of layer 4", "4500 05dc 0009 4000 03 06 0000 c0000201 c6336402 9c40 0050 000000", ReasonICMPQuote},
		{"nothing", "", ReasonICMPQuote},
		{"version 6", "6500 05dc 0009 4000 03 06 0000 c0000201 c6336402" + ports, ReasonICMPQuote},
		{"IHL 4", "4400 05dc 0009 4000 03 06 0000 c0000201 c6336402" + ports, ReasonICMPQuote},
		{"IHL 15 (CVE-2020-11898)", "4f00 05dc 0009 4000 03 06 0000 c0000201 c6336402" + ports, ReasonICMPQuote},
		{"total length of 7 bytes of layer 4", "4500 001b 0009 4000 03 06 0000 c0000201 c6336402" + ports, ReasonICMPQuote},
		{"first fragment", "4500 05dc 0009 2000 03 06 0000 c0000201 c6336402" + ports, ReasonIPFragment},
		{"later fragment", "4500 05dc 0009 0001 03 06 0000 c0000201 c6336402" + ports, ReasonIPFragment},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, r := ParseQuote4(unhex(t, tt.b))
			if r != tt.want {
				t.Fatalf("ParseQuote4(%s): got %v, want %v", tt.b, r, tt.want)
			}
			if r == ReasonNone && (q.Src() != client4 || q.Dst() != server4 || q.SrcPort != 40000 || q.DstPort != 80 || q.Seq != 7 || q.N != 8) {
				t.Errorf("got %v", &q)
			}
		})
	}
}

func TestParseQuote6(t *testing.T) {
	const ports = "9c40 0050 00000007"
	tests := []struct {
		name string
		b    string
		want Reason
	}{
		{"8 bytes of layer 4", "60000000 05b4 06 03" + ip6Addrs + ports, ReasonNone},
		{"behind destination options", "60000000 05b4 3c 03" + ip6Addrs + "06 00 01 04 00000000" + ports, ReasonNone},
		{"atomic fragment", "60000000 05b4 2c 03" + ip6Addrs + "06 00 0000 00000001" + ports, ReasonNone},
		{"7 bytes of layer 4", "60000000 05b4 06 03" + ip6Addrs + "9c40 0050 000000", ReasonICMP6Quote},
		{"7 bytes behind destination options", "60000000 05b4 3c 03" + ip6Addrs + "06 00 01 04 00000000 9c40 0050 000000", ReasonICMP6Quote},
		{"version 4", "45000000 05b4 06 03" + ip6Addrs + ports, ReasonICMP6Quote},
		{"payload length 7", "60000000 0007 06 03" + ip6Addrs + ports, ReasonICMP6Quote},
		{"payload length ends in the extension header", "60000000 000f 3c 03" + ip6Addrs + "06 00 01 04 00000000" + ports, ReasonICMP6Quote},
		{"extension header cut off", "60000000 05b4 3c 03" + ip6Addrs + "06 01 01 04 00000000", ReasonICMP6Quote},
		{"routing header 0", "60000000 05b4 2b 03" + ip6Addrs + "06 00 00 01 00000000" + ports, ReasonICMP6Quote},
		{"first fragment", "60000000 05b4 2c 03" + ip6Addrs + "06 00 0001 00000001" + ports, ReasonIPFragment},
		{"first fragment, cut off", "60000000 05b4 2c 03" + ip6Addrs + "06 00 0001 00000001" + ports + "00", ReasonIPFragment},
		{"later fragment", "60000000 05b4 2c 03" + ip6Addrs + "06 00 0008 00000001" + ports, ReasonIPFragment},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, r := ParseQuote6(unhex(t, tt.b))
			if r != tt.want {
				t.Fatalf("ParseQuote6(%s): got %v, want %v", tt.b, r, tt.want)
			}
			if r == ReasonNone && (q.Src() != client6 || q.Dst() != server6 || q.Proto != ProtoTCP || q.SrcPort != 40000 || q.DstPort != 80 || q.Seq != 7) {
				t.Errorf("got %v", &q)
			}
		})
	}
}

// TestSetEndpoints translates the endpoints of a quoted datagram: its checksum
// must be that of the datagram as its own sender wrote it.
func TestSetEndpoints(t *testing.T) {
	const nat4, nat6 = "203.0.113.9:61000", "[2001:db8:9::9]:61000"
	tests := []struct {
		name             string
		make             func(src, dst netip.AddrPort) *Out
		src, dst, newSrc string
	}{
		{"UDP on IPv4", func(src, dst netip.AddrPort) *Out {
			o := new(Out)
			o.SetIPv4(IPv4{TTL: 1, Src: src.Addr(), Dst: dst.Addr()})
			o.SetUDP(UDP{src.Port(), dst.Port()})
			return o
		}, "192.0.2.1:40000", "198.51.100.2:33434", nat4},
		{"UDP on IPv6", func(src, dst netip.AddrPort) *Out {
			o := new(Out)
			o.SetIPv6(IPv6{HopLimit: 1, Src: src.Addr(), Dst: dst.Addr()})
			o.SetUDP(UDP{src.Port(), dst.Port()})
			return o
		}, "[2001:db8::1]:40000", "[2001:db8:1::2]:33434", nat6},
		{"TCP on IPv4", func(src, dst netip.AddrPort) *Out {
			o := new(Out)
			o.SetIPv4(IPv4{TTL: 1, Src: src.Addr(), Dst: dst.Addr()})
			o.SetTCP(TCP{SrcPort: src.Port(), DstPort: dst.Port(), Seq: 5, Flags: SYN})
			return o
		}, "192.0.2.1:40000", "198.51.100.2:80", nat4},
		{"echo on IPv6", func(src, dst netip.AddrPort) *Out {
			o := new(Out)
			o.SetIPv6(IPv6{HopLimit: 1, Src: src.Addr(), Dst: dst.Addr()})
			o.SetICMPv6(ICMPv6{Type: ICMPv6Echo, ID: 1, Seq: 2})
			return o
		}, "[2001:db8::1]:0", "[2001:db8:1::2]:0", nat6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, dst, newSrc := netip.MustParseAddrPort(tt.src), netip.MustParseAddrPort(tt.dst), netip.MustParseAddrPort(tt.newSrc)
			quote := func(src netip.AddrPort) Quote {
				o := tt.make(src, dst)
				o.SetPayload([]byte("probe"))
				b := emit(t, o)
				q, r := ParseQuote4(b)
				if src.Addr().Is6() {
					q, r = ParseQuote6(b)
				}
				if r != ReasonNone {
					t.Fatal(r)
				}
				return q
			}
			got, want := quote(src), quote(newSrc)
			got.SetEndpoints(newSrc, dst)
			if diff := cmp.Diff(want, got, addrEqual); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	q := tcpQuote4()
	q.Proto = ProtoGRE
	if got := q.String(); got != "192.0.2.1 > 198.51.100.2 protocol GRE" {
		t.Errorf("String: got %q", got)
	}
	q.Proto, q.Checksum = ProtoUDP, 0
	q.SetEndpoints(netip.MustParseAddrPort(nat4), netip.AddrPortFrom(server4, 53))
	if q.Checksum != 0 {
		t.Errorf("no checksum became %04x", q.Checksum)
	}
}

// TestSetEndpointsZeroChecksum lets the checksum come out as 0, which stands for
// none: it must become ffff, as the sender's would.
func TestSetEndpointsZeroChecksum(t *testing.T) {
	q := tcpQuote4()
	q.Proto, q.SrcPort, q.DstPort, q.Checksum = ProtoUDP, 1000, 53, 1
	q.SetEndpoints(netip.AddrPortFrom(client4, 1001), netip.AddrPortFrom(server4, 53))
	if q.Checksum != 0xffff {
		t.Errorf("got %04x, want ffff", q.Checksum)
	}
}

// TestErrorsHaveNoIdentifier holds the unused bytes of errors to zero.
func TestErrorsHaveNoIdentifier(t *testing.T) {
	var o Out
	o.SetIPv4(IPv4{TTL: 64, Src: server4, Dst: client4})
	o.SetICMPv4(ICMPv4{Type: ICMPv4TimeExceeded, ID: 1, Seq: 2, MTU: 3, HasQuote: true, Quote: tcpQuote4()})
	if got := emit(t, &o)[IPv4MinLen+4 : IPv4MinLen+8]; !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("ICMPv4: got %x, want 0", got)
	}
	o.SetIPv6(IPv6{HopLimit: 64, Src: server6, Dst: client6})
	o.SetICMPv6(ICMPv6{Type: ICMPv6TimeExceeded, ID: 1, Seq: 2, MTU: 3, HasQuote: true, Quote: udpQuote6()})
	if got := emit(t, &o)[IPv6Len+4 : IPv6Len+8]; !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("ICMPv6: got %x, want 0", got)
	}
}

func TestQuoteErrors(t *testing.T) {
	change4 := func(f func(q *Quote)) Quote { q := tcpQuote4(); f(&q); return q }
	change6 := func(f func(q *Quote)) Quote { q := udpQuote6(); f(&q); return q }
	tests := []struct {
		name string
		q    Quote
		want error
	}{
		{"other family", udpQuote6(), ErrLayers},
		{"unknown protocol", change4(func(q *Quote) { q.Proto = ProtoGRE }), ErrValue},
		{"ICMPv6 on IPv4", change4(func(q *Quote) { q.Proto = ProtoICMPv6 }), ErrValue},
		{"an error", change4(func(q *Quote) { q.Proto, q.Type = ProtoICMP, ICMPv4TimeExceeded }), ErrValue},
		{"layer 4 of 7 bytes", change4(func(q *Quote) { q.L4Len = 7 }), ErrValue},
		{"too long", change4(func(q *Quote) { q.L4Len = 65530 }), ErrTooLong},
		{"fragment", change4(func(q *Quote) { q.IP4.MF = true }), ErrValue},
		{"no address", change4(func(q *Quote) { q.IP4.Src = netip.Addr{} }), ErrAddress},
		{"IPv6 address", change4(func(q *Quote) { q.IP4.Dst = server6 }), ErrAddress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Out
			o.SetIPv4(IPv4{TTL: 64, Src: server4, Dst: client4})
			o.SetICMPv4(ICMPv4{Type: ICMPv4TimeExceeded, HasQuote: true, Quote: tt.q})
			if _, err := tryEmit(t, &o); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct {
		q    Quote
		want error
	}{
		"other family":   {tcpQuote4(), ErrLayers},
		"ICMPv4 on IPv6": {change6(func(q *Quote) { q.Proto = ProtoICMP }), ErrValue},
		"an error":       {change6(func(q *Quote) { q.Proto, q.Type = ProtoICMPv6, ICMPv6PacketTooBig }), ErrValue},
		"fragment":       {change6(func(q *Quote) { q.IP6.HasFragment = true }), ErrValue},
		"IPv4 address":   {change6(func(q *Quote) { q.IP6.Dst = server4 }), ErrAddress},
		"flow label":     {change6(func(q *Quote) { q.IP6.FlowLabel = 1 << 20 }), ErrValue},
	} {
		var o Out
		o.SetIPv6(IPv6{HopLimit: 64, Src: server6, Dst: client6})
		o.SetICMPv6(ICMPv6{Type: ICMPv6TimeExceeded, HasQuote: true, Quote: tt.q})
		if _, err := tryEmit(t, &o); err != tt.want {
			t.Errorf("IPv6, %s: got %v, want %v", name, err, tt.want)
		}
	}
}

func TestQuoteDoesNotReadBeyondItsPacket(t *testing.T) {
	// The quoted packet has 8 bytes of layer 4; RFC 4884 extensions follow.
	b := append(unhex(t, "4500 001c 0009 4000 03 06 0000 c0000201 c6336402 9c40 0050 00000007"), bytes.Repeat([]byte{0xff}, 50)...)
	if q, r := ParseQuote4(b); r != ReasonNone || q.N != 8 || q.L4Len != 8 {
		t.Errorf("got %v, %d of %d bytes", r, q.N, q.L4Len)
	}
}

func TestParseQuoteDoesNotAllocate(t *testing.T) {
	var o Out
	o.SetIPv6(IPv6{HopLimit: 64, Src: server6, Dst: client6})
	o.SetICMPv6(ICMPv6{Type: ICMPv6TimeExceeded, HasQuote: true, Quote: udpQuote6()})
	b := emit(t, &o)
	v, _ := ParseICMPv6(b[IPv6Len:])
	wantNoAllocs(t, "Quoted", func() { v.Quoted() })
	buf := make([]byte, MaxHeaders)
	wantNoAllocs(t, "Encode of a quotation", func() { o.Encode(buf) })
}

func BenchmarkParseQuote4(b *testing.B) {
	quoted := emit(b, tcpOut4())
	b.ReportAllocs()
	for b.Loop() {
		ParseQuote4(quoted)
	}
}
