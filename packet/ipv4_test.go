package packet

import (
	"bytes"
	"testing"
)

// ipv4Example is a UDP packet with a known header checksum, b861.
const ipv4Example = "4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7"

func TestParseIPv4(t *testing.T) {
	b := append(unhex(t, "46 b8 001c abcd e123 40 11 0000 c0000201 c6336402 94040000 01020304"), 0xee, 0xee, 0xee)
	v, r := ParseIPv4(b)
	if r != ReasonNone {
		t.Fatalf("ParseIPv4(%x): got %v", b, r)
	}
	if v.IHL() != 6 || v.HeaderLen() != 24 || v.TOS() != 0xb8 || v.TotalLen() != 28 || v.ID() != 0xabcd || v.Trailing() != 3 {
		t.Errorf("got IHL %d, header %d, TOS %x, total %d, ID %x, trailing %d", v.IHL(), v.HeaderLen(), v.TOS(), v.TotalLen(), v.ID(), v.Trailing())
	}
	if !v.ReservedFlag() || !v.DF() || !v.MF() || v.FragOffset() != 0x123*8 || !v.IsFragment() {
		t.Errorf("got reserved %v, DF %v, MF %v, offset %d", v.ReservedFlag(), v.DF(), v.MF(), v.FragOffset())
	}
	if v.TTL() != 64 || v.Protocol() != ProtoUDP || v.Src() != client4 || v.Dst() != server4 || v.Src4() != client4.As4() || v.Dst4() != server4.As4() {
		t.Errorf("got TTL %d, protocol %v, %v > %v", v.TTL(), v.Protocol(), v.Src(), v.Dst())
	}
	if !bytes.Equal(v.Options(), b[20:24]) || !bytes.Equal(v.Payload(), b[24:28]) || cap(v.Payload()) != 4 {
		t.Errorf("got options %x, payload %x with capacity %d", v.Options(), v.Payload(), cap(v.Payload()))
	}
	wantPrefixes(t, b, 28, func(b []byte) Reason { _, r := ParseIPv4(b); return r })
}

func TestParseIPv4Reasons(t *testing.T) {
	tests := []struct {
		name   string
		header string
		want   Reason
	}{
		{"empty", "", ReasonIPTruncated},
		{"19 bytes", "4500 0013 0000 4000 4011 0000 c0a8 0001 c0a8 00", ReasonIPTruncated},
		{"version 6", "6500 0014 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPVersion},
		{"version 0", "0500 0014 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPVersion},
		{"IHL 4", "4400 0014 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPHeaderLength},
		{"IHL 15 in 20 bytes", "4f00 0014 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPHeaderLength},
		{"total length below header", "4500 0013 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPTotalLength},
		{"total length below header with options", "4600 0017 0000 4000 4011 0000 c0a8 0001 c0a8 00c7 00000000", ReasonIPTotalLength},
		{"total length beyond the packet", "4500 0015 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPTotalLength},
		{"total length 0", "4500 0000 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonIPTotalLength},
		{"header only", "4500 0014 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, r := ParseIPv4(unhex(t, tt.header)); r != tt.want {
				t.Errorf("ParseIPv4(%s): got %v, want %v", tt.header, r, tt.want)
			}
		})
	}
}

func TestIPv4Checksum(t *testing.T) {
	b := append(unhex(t, ipv4Example), make([]byte, 0x73-20)...)
	v, _ := ParseIPv4(b)
	if !v.ChecksumOK() || v.Checksum() != 0xb861 {
		t.Errorf("checksum %04x: right %v, want true", v.Checksum(), v.ChecksumOK())
	}
	b[8]--
	if v.ChecksumOK() {
		t.Error("a changed TTL keeps the checksum right")
	}
}

func TestEncodeIPv4(t *testing.T) {
	tests := []struct {
		name    string
		h       IPv4
		payload int
		want    string
	}{
		{
			"plain", IPv4{TTL: 64, Protocol: ProtoGRE, DF: true, Src: client4, Dst: server4}, 4,
			"4500 0018 0000 4000 402f 0000 c0000201 c6336402",
		},
		{
			"all values", IPv4{TOS: 0xb9, TTL: 1, Protocol: 253, ID: 0xabcd, RouterAlert: true, Src: client4, Dst: server4}, 1,
			"46b9 0019 abcd 0000 01fd 0000 c0000201 c6336402 94040000",
		},
		{
			"first fragment", IPv4{TTL: 64, Protocol: ProtoUDP, ID: 7, MF: true, Src: client4, Dst: server4}, 16,
			"4500 0024 0007 2000 4011 0000 c0000201 c6336402",
		},
		{
			"last fragment", IPv4{TTL: 64, Protocol: ProtoTCP, ID: 7, FragOffset: 1480, Src: client4, Dst: server4}, 3,
			"4500 0017 0007 00b9 4006 0000 c0000201 c6336402",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Out
			o.SetIPv4(tt.h)
			o.SetPayload(testPayload(tt.payload))
			b := emit(t, &o)
			want := unhex(t, tt.want)
			check := ^referenceSum(want)
			want[10], want[11] = byte(check>>8), byte(check)
			if got := b[:len(b)-tt.payload]; !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
			if p := parse(t, LinkRawIP, b); p.VerifyChecksums(true) != ReasonNone || !bytes.Equal(p.Payload(), testPayload(tt.payload)) {
				t.Errorf("parsed: %v, payload %x", p.VerifyChecksums(true), p.Payload())
			}
		})
	}
}

func TestFragmentReasons4(t *testing.T) {
	tests := []struct {
		name    string
		field   uint16 // flags and offset
		payload int
		want    Reason
	}{
		{"first", 0x2000, 8, ReasonNone},
		{"last", 0x0001, 3, ReasonNone},
		{"first, not a multiple of 8", 0x2000, 9, ReasonIPFragmentLength},
		{"first, empty", 0x2000, 0, ReasonIPFragmentLength},
		{"middle, not a multiple of 8", 0x2010, 12, ReasonIPFragmentLength},
		{"starts behind the limit", 0x1fff, 0, ReasonIPFragmentEnd},
		{"ends at the limit", 0x1ffc, 11, ReasonNone},
		{"ends behind the limit", 0x1ffc, 12, ReasonIPFragmentEnd},
		{"ping of death", 0x1ffe, 1000, ReasonIPFragmentEnd},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := append(unhex(t, "4500 0000 0001 0000 4011 0000 c0000201 c6336402"), make([]byte, tt.payload)...)
			b[2], b[3] = byte(len(b)>>8), byte(len(b))
			b[6], b[7] = byte(tt.field>>8), byte(tt.field)
			var p Packet
			if r := p.Parse(LinkRawIP, b); r != tt.want {
				t.Errorf("Parse(%x): got %v, want %v", b[:20], r, tt.want)
			}
			if !p.Has(HasFragment) || p.Has(hasL4) || p.Proto() != ProtoUDP {
				t.Errorf("layers %v, protocol %v; want a fragment of UDP", p.Layers(), p.Proto())
			}
		})
	}
}

func TestIPv4String(t *testing.T) {
	tests := map[string]IPv4{
		"192.0.2.1 > 198.51.100.2 ttl=64 id=0 DF":                                  {TTL: 64, DF: true, Src: client4, Dst: server4},
		"192.0.2.1 > 198.51.100.2 ttl=1 id=7 tos=0xb8 offset=1480 MF router-alert": {TTL: 1, ID: 7, TOS: 0xb8, FragOffset: 1480, MF: true, RouterAlert: true, Src: client4, Dst: server4},
		"192.0.2.1 > 198.51.100.2 ttl=2 id=8 offset=8":                             {TTL: 2, ID: 8, FragOffset: 8, Src: client4, Dst: server4},
	}
	for want, h := range tests {
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
