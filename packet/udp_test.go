package packet

import (
	"bytes"
	"testing"
)

func TestParseUDP(t *testing.T) {
	b := unhex(t, "9c40 0035 000a beef 0102")
	v, r := ParseUDP(b)
	if r != ReasonNone {
		t.Fatalf("ParseUDP(%x): got %v", b, r)
	}
	if v.SrcPort() != 40000 || v.DstPort() != 53 || v.Length() != 10 || v.Checksum() != 0xbeef || !bytes.Equal(v.Payload(), []byte{1, 2}) {
		t.Errorf("got %d > %d, length %d, checksum %04x, payload %x", v.SrcPort(), v.DstPort(), v.Length(), v.Checksum(), v.Payload())
	}
	wantPrefixes(t, b, len(b), func(b []byte) Reason { _, r := ParseUDP(b); return r })
}

func TestParseUDPReasons(t *testing.T) {
	tests := []struct {
		name string
		b    string
		want Reason
	}{
		{"7 bytes", "9c40 0035 0008 00", ReasonUDPTruncated},
		{"length below 8", "9c40 0035 0007 0000", ReasonUDPLength},
		{"length 0", "9c40 0035 0000 0000", ReasonUDPLength},
		{"length beyond", "9c40 0035 0009 0000", ReasonUDPLength},
		{"bytes behind the length", "9c40 0035 0008 0000 00", ReasonUDPLength},
		{"header only", "9c40 0035 0008 0000", ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, r := ParseUDP(unhex(t, tt.b)); r != tt.want {
				t.Errorf("ParseUDP(%s): got %v, want %v", tt.b, r, tt.want)
			}
		})
	}
}

// TestUDPZeroChecksum makes the sum come out as 0, which goes out as ffff.
func TestUDPZeroChecksum(t *testing.T) {
	o := udpOut6()
	payload := []byte{0, 0}
	o.SetPayload(payload)
	b := emit(t, o)
	check := b[46:48]
	payload[0], payload[1] = check[0], check[1] // adds what is missing to ffff
	o.SetPayload(payload)
	b = emit(t, o)
	if b[46] != 0xff || b[47] != 0xff {
		t.Fatalf("checksum %x, want ffff", b[46:48])
	}
	if r := parse(t, LinkRawIP, b).VerifyChecksums(true); r != ReasonNone {
		t.Errorf("VerifyChecksums: got %v", r)
	}
}

func TestUDPWithoutChecksum(t *testing.T) {
	b := emit(t, udpOut6())
	b[46], b[47] = 0, 0
	if r := parse(t, LinkRawIP, b).VerifyChecksums(true); r != ReasonUDPChecksum {
		t.Errorf("on IPv6: got %v, want %v", r, ReasonUDPChecksum)
	}
	var o Out
	o.SetIPv4(IPv4{TTL: 1, Src: client4, Dst: server4})
	o.SetUDP(UDP{SrcPort: 1, DstPort: 2})
	o.SetPayload([]byte("x"))
	b = emit(t, &o)
	b[26], b[27] = 0, 0
	if r := parse(t, LinkRawIP, b).VerifyChecksums(true); r != ReasonNone {
		t.Errorf("on IPv4: got %v, want none", r)
	}
}

func TestUDPString(t *testing.T) {
	if got := (UDP{SrcPort: 40000, DstPort: 53}).String(); got != "UDP 40000 > 53" {
		t.Errorf("got %q", got)
	}
}
