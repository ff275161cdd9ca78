package packet

import (
	"bytes"
	"testing"
)

func TestParseTCP(t *testing.T) {
	b := unhex(t, "9c40 0050 01020304 05060708 6f 52 1234 abcd 0042 01010000 ff")
	v, r := ParseTCP(b)
	if r != ReasonNone {
		t.Fatalf("ParseTCP(%x): got %v", b, r)
	}
	if v.SrcPort() != 40000 || v.DstPort() != 80 || v.Seq() != 0x01020304 || v.Ack() != 0x05060708 || v.HeaderLen() != 24 {
		t.Errorf("got %d > %d, seq %x, ack %x, header %d", v.SrcPort(), v.DstPort(), v.Seq(), v.Ack(), v.HeaderLen())
	}
	if v.Reserved() != 0xf || v.Flags() != SYN|ACK|ECE || v.Window() != 0x1234 || v.Checksum() != 0xabcd || v.Urgent() != 0x42 {
		t.Errorf("got reserved %x, flags %v, window %x, checksum %x, urgent %x", v.Reserved(), v.Flags(), v.Window(), v.Checksum(), v.Urgent())
	}
	if !bytes.Equal(v.Options(), b[20:24]) || !bytes.Equal(v.Payload(), b[24:]) {
		t.Errorf("got options %x, payload %x", v.Options(), v.Payload())
	}
	wantPrefixes(t, b, 24, func(b []byte) Reason { _, r := ParseTCP(b); return r })
}

func TestParseTCPReasons(t *testing.T) {
	const ports = "9c40 0050 01020304 05060708"
	tests := []struct {
		name string
		b    string
		want Reason
	}{
		{"empty", "", ReasonTCPTruncated},
		{"19 bytes", ports + "50 02 1234 abcd 00", ReasonTCPTruncated},
		{"data offset 0", ports + "00 02 1234 abcd 0000", ReasonTCPDataOffset},
		{"data offset 4", ports + "40 02 1234 abcd 0000", ReasonTCPDataOffset},
		{"data offset 15 without options (CVE-2020-24341)", ports + "f0 02 1234 abcd 0000", ReasonTCPDataOffset},
		{"data offset 6 in 23 bytes", ports + "60 02 1234 abcd 0000 010101", ReasonTCPDataOffset},
		{"header only", ports + "50 02 1234 abcd 0000", ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, r := ParseTCP(unhex(t, tt.b)); r != tt.want {
				t.Errorf("ParseTCP(%s): got %v, want %v", tt.b, r, tt.want)
			}
		})
	}
}

func TestEncodeTCP(t *testing.T) {
	o := tcpOut4()
	b := emit(t, o)
	want := unhex(t, "4500 003c 0000 4000 4006 0000 c0000201 c6336402"+
		"9c40 0050 01020304 00000000 a0 02 faf0 0000 0000"+
		"0204 05b4 0402 080a 11223344 00000000 0103 0307")
	putChecksum(want[:20], 10, 0)
	putChecksum(want[20:], 16, PseudoSum4(client4.As4(), server4.As4(), ProtoTCP, 40))
	if !bytes.Equal(b, want) {
		t.Errorf("got  %x\nwant %x", b, want)
	}
}

// putChecksum fills in the checksum at an offset of b by the reference sum.
func putChecksum(b []byte, at int, pseudo Sum) {
	check := pseudo.AddUint16(referenceSum(b)).Checksum()
	b[at], b[at+1] = byte(check>>8), byte(check)
}

func TestTCPFlagsString(t *testing.T) {
	for f, want := range map[TCPFlags]string{
		0: "none", SYN: "SYN", SYN | ACK: "SYN|ACK", 0xff: "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x: got %q, want %q", uint8(f), got, want)
		}
	}
}

func TestTCPString(t *testing.T) {
	got := tcpOut4().TCP().String()
	want := "TCP 40000 > 80 SYN seq=16909060 ack=0 win=64240 options=[mss 1460, sack-permitted, timestamps 287454020 0, wscale 7]"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkParseTCP(b *testing.B) {
	seg := emit(b, tcpOut4())[IPv4MinLen:]
	b.ReportAllocs()
	for b.Loop() {
		ParseTCP(seg)
	}
}

func TestParseTCPDoesNotAllocate(t *testing.T) {
	seg := emit(t, tcpOut4())[IPv4MinLen:]
	wantNoAllocs(t, "ParseTCP", func() { ParseTCP(seg) })
}
