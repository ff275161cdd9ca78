package packet

import (
	"bytes"
	"testing"
)

// ip6Addrs is client6 and server6.
const ip6Addrs = "20010db8000000000000000000000001 20010db8000100000000000000000002"

func TestParseIPv6(t *testing.T) {
	b := unhex(t, "6b812345 0004 63 40"+ip6Addrs+"01020304 eeee")
	v, r := ParseIPv6(b)
	if r != ReasonNone {
		t.Fatalf("ParseIPv6(%x): got %v", b, r)
	}
	if v.TrafficClass() != 0xb8 || v.FlowLabel() != 0x12345 || v.PayloadLen() != 4 || v.NextHeader() != 99 || v.HopLimit() != 64 || v.Trailing() != 2 {
		t.Errorf("got class %x, flow %x, length %d, next %v, hop limit %d, trailing %d",
			v.TrafficClass(), v.FlowLabel(), v.PayloadLen(), v.NextHeader(), v.HopLimit(), v.Trailing())
	}
	if v.Src() != client6 || v.Dst() != server6 || v.Src16() != client6.As16() || v.Dst16() != server6.As16() || !bytes.Equal(v.Payload(), b[40:44]) {
		t.Errorf("got %v > %v, payload %x", v.Src(), v.Dst(), v.Payload())
	}
	wantPrefixes(t, b, 44, func(b []byte) Reason { _, r := ParseIPv6(b); return r })
}

func TestParseIPv6Reasons(t *testing.T) {
	tests := []struct {
		name string
		b    string
		want Reason
	}{
		{"39 bytes", "60000000 0000 3b 40" + ip6Addrs[:len(ip6Addrs)-2], ReasonIP6Truncated},
		{"version 4", "45000000 0000 3b 40" + ip6Addrs, ReasonIPVersion},
		{"payload length beyond the packet", "60000000 0002 3b 40" + ip6Addrs + "00", ReasonIP6PayloadLength},
		{"no payload, no next header", "60000000 0000 3b 40" + ip6Addrs, ReasonNone},
		{"no next header, padding", "60000000 0000 3b 40" + ip6Addrs + "000000", ReasonNone},
		{"jumbogram", "60000000 0000 00 40" + ip6Addrs + "06 00 c2 04 00010000", ReasonIP6Jumbogram},
		{"length 0 with TCP behind it", "60000000 0000 06 40" + ip6Addrs + "00", ReasonIP6Jumbogram},
		{"length 0 and nothing", "60000000 0000 06 40" + ip6Addrs, ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, r := ParseIPv6(unhex(t, tt.b)); r != tt.want {
				t.Errorf("ParseIPv6(%s): got %v, want %v", tt.b, r, tt.want)
			}
		})
	}
}

func TestEncodeIPv6(t *testing.T) {
	tests := []struct {
		name    string
		h       IPv6
		payload int
		want    string
	}{
		{"plain", IPv6{HopLimit: 64, NextHeader: ProtoGRE, Src: client6, Dst: server6}, 4, "60000000 0004 2f 40" + ip6Addrs},
		{"all values", IPv6{TrafficClass: 0xb9, FlowLabel: 0xabcde, HopLimit: 1, NextHeader: 253, Src: client6, Dst: server6}, 1, "6b9abcde 0001 fd 01" + ip6Addrs},
		{"no next header", IPv6{HopLimit: 64, NextHeader: ProtoNone, Src: client6, Dst: server6}, 0, "60000000 0000 3b 40" + ip6Addrs},
		{
			"first fragment", IPv6{HopLimit: 64, NextHeader: ProtoTCP, HasFragment: true, Fragment: IPv6Fragment{More: true, ID: 0x01020304}, Src: client6, Dst: server6},
			16, "60000000 0018 2c 40" + ip6Addrs + "06 00 0001 01020304",
		},
		{
			"last fragment", IPv6{HopLimit: 64, NextHeader: ProtoUDP, HasFragment: true, Fragment: IPv6Fragment{Offset: 1448, ID: 1}, Src: client6, Dst: server6},
			3, "60000000 000b 2c 40" + ip6Addrs + "11 00 05a8 00000001",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Out
			o.SetIPv6(tt.h)
			o.SetPayload(testPayload(tt.payload))
			b := emit(t, &o)
			if got, want := b[:len(b)-tt.payload], unhex(t, tt.want); !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
			p := parse(t, LinkRawIP, b)
			if p.Proto() != tt.h.NextHeader || p.Ext().HasFragment != tt.h.HasFragment || p.Has(HasFragment) != tt.h.HasFragment ||
				tt.h.HasFragment && p.Ext().Fragment != tt.h.Fragment || !bytes.Equal(p.Payload(), testPayload(tt.payload)) {
				t.Errorf("parsed: protocol %v, fragment %v %v, payload %x", p.Proto(), p.Ext().HasFragment, p.Ext().Fragment, p.Payload())
			}
		})
	}
}

func TestIPv6String(t *testing.T) {
	tests := map[string]IPv6{
		"2001:db8::1 > 2001:db8:1::2 hlim=64": {HopLimit: 64, Src: client6, Dst: server6},
		"2001:db8::1 > 2001:db8:1::2 hlim=1 class=0xb8 flow=0x12345 fragment id=0x00000001 offset=8 more": {
			HopLimit: 1, TrafficClass: 0xb8, FlowLabel: 0x12345, HasFragment: true, Fragment: IPv6Fragment{8, true, 1}, Src: client6, Dst: server6,
		},
	}
	for want, h := range tests {
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
