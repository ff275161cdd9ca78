package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// segment makes a TCP segment of options that are filled up with EOL.
func segment(opts []byte) []byte {
	b := make([]byte, TCPMinLen+(len(opts)+3)&^3)
	copy(b[TCPMinLen:], opts)
	b[offTCPOffset] = uint8(len(b)/4) << 4
	return b
}

func TestParseOptions(t *testing.T) {
	sack := SACKBlock{1, 2}
	tests := []struct {
		name string
		opts string
		want TCPOptions
	}{
		{"none", "", TCPOptions{}},
		{"padding only", "01 01 01 00", TCPOptions{}},
		{
			"SYN of Linux", "0204 05b4 0402 080a 11223344 55667788 01 030307",
			TCPOptions{Has: OptMSS | OptSACKPermitted | OptTimestamps | OptWScale, MSS: 1460, TSVal: 0x11223344, TSEcr: 0x55667788, WScale: 7},
		},
		{
			"SYN of Windows", "0204 05b4 01 030308 01 01 0402",
			TCPOptions{Has: OptMSS | OptSACKPermitted | OptWScale, MSS: 1460, WScale: 8},
		},
		{"MSS 0", "0204 0000", TCPOptions{Has: OptMSS}},
		{"window scale beyond 14", "03 03 ff", TCPOptions{Has: OptWScale, WScale: 255}},
		{
			"four SACK blocks", "01 01 05 22" + "0000000100000002" + "0000000100000002" + "0000000100000002" + "0000000100000002",
			TCPOptions{Has: OptSACK, NumSACK: 4, SACK: [4]SACKBlock{sack, sack, sack, sack}},
		},
		{"SACK block", "01 01 05 0a ffffffff 00000010", TCPOptions{Has: OptSACK, NumSACK: 1, SACK: [4]SACKBlock{{0xffffffff, 0x10}}}},
		{"Fast Open request", "22 02", TCPOptions{Has: OptFastOpen}},
		{"Fast Open cookie", "22 06 01020304", TCPOptions{Has: OptFastOpen, FastOpenLen: 4, FastOpen: [16]byte{1, 2, 3, 4}}},
		{"user timeout", "1c 04 8005", TCPOptions{Has: OptUserTimeout, UserTimeout: 0x8005}},
		{"MD5", "13 12 000102030405060708090a0b0c0d0e0f", TCPOptions{Has: OptMD5, SignatureLen: 16, Signature: [22]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}},
		{"TCP-AO", "1d 10 0102 0304 05060708090a0b0c0d0e", TCPOptions{Has: OptAO, SignatureLen: 14, Signature: [22]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}}},
		{"MPTCP twice", "1e 03 00 1e 04 10 00", TCPOptions{Has: OptMPTCP}},
		{"AccECN", "ac 0b 000001000002000003 ae 05 000001", TCPOptions{Has: OptAccECN}},
		{"unknown ones twice", "fd 02 fd 04 0000 09 02", TCPOptions{Has: OptOther}},
		{"nothing behind the end counts", "0204 05b4 00 ff 00 00", TCPOptions{Has: OptMSS, MSS: 1460}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, r := ParseTCP(segment(unhex(t, tt.opts)))
			if r != ReasonNone {
				t.Fatal(r)
			}
			var got TCPOptions
			if r := v.ParseOptions(&got); r != ReasonNone {
				t.Fatalf("ParseOptions(%s): got %v", tt.opts, r)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseOptions(%s): -want +got\n%s", tt.opts, diff)
			}
		})
	}
}

func TestParseOptionsReasons(t *testing.T) {
	tests := []struct {
		name string
		opts string
		want Reason
	}{
		{"length 0 of an unknown option (CVE-2020-24337)", "ff 00 00 00", ReasonTCPOptionZero},
		{"length 0 of a known option", "02 00 05 b4", ReasonTCPOptionZero},
		{"length 1", "01 01 ff 01", ReasonTCPOptionShort},
		{"TCP-AO of 1 byte (CVE-2019-12260)", "1d 01 00 00", ReasonTCPOptionShort},
		{"kind at the end", "01 01 01 02", ReasonTCPOptionEnd},
		{"beyond the end", "01 01 fd 03", ReasonTCPOptionEnd},
		{"255 bytes", "fd ff 00 00", ReasonTCPOptionEnd},
		{"window scale of 2 bytes (CVE-2019-12258)", "03 02 00 00", ReasonTCPOptionSize},
		{"window scale of 4 bytes", "03 04 07 07", ReasonTCPOptionSize},
		{"MSS of 3 bytes", "02 03 05 01", ReasonTCPOptionSize},
		{"MSS of 2 bytes", "02 02 01 01", ReasonTCPOptionSize},
		{"SACK-permitted of 3 bytes", "04 03 00 00", ReasonTCPOptionSize},
		{"SACK without a block", "05 02 00 00", ReasonTCPOptionSize},
		{"SACK of a block and a half (CVE-2021-31889)", "05 0e 00000001 00000002 00000003 0101", ReasonTCPOptionSize},
		{"timestamps of 8 bytes (CVE-2020-11912)", "08 08 00000001 0000", ReasonTCPOptionSize},
		{"Fast Open of 2 bytes", "22 04 0102", ReasonTCPOptionSize},
		{"Fast Open of 5 bytes", "22 07 0102030405 01", ReasonTCPOptionSize},
		{"Fast Open of 18 bytes", "22 14 000102030405060708090a0b0c0d0e0f1011", ReasonTCPOptionSize},
		{"user timeout of 3 bytes", "1c 03 01 00", ReasonTCPOptionSize},
		{"MD5 of 4 bytes", "13 04 0000", ReasonTCPOptionSize},
		{"TCP-AO of 3 bytes", "1d 03 00 00", ReasonTCPOptionSize},
		{"MSS twice", "0204 05b4 0204 0100", ReasonTCPOptionTwice},
		{"timestamps twice", "080a 00000000 00000000 080a 00000000 00000000", ReasonTCPOptionTwice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, r := ParseTCP(segment(unhex(t, tt.opts)))
			if r != ReasonNone {
				t.Fatal(r)
			}
			var o TCPOptions
			if r := v.ParseOptions(&o); r != tt.want {
				t.Errorf("ParseOptions(%s): got %v, want %v", tt.opts, r, tt.want)
			}
		})
	}
}

func TestEncodeOptions(t *testing.T) {
	ts := TCPOptions{Has: OptTimestamps, TSVal: 1, TSEcr: 2}
	tests := []struct {
		name  string
		o     TCPOptions
		limit int
		want  string
	}{
		{"none", TCPOptions{}, 0, ""},
		{"only what cannot be sent", TCPOptions{Has: OptMD5 | OptAO | OptMPTCP | OptAccECN | OptOther}, 0, ""},
		{
			"MD5 and MSS", TCPOptions{Has: OptMD5 | OptMSS, MSS: 1460, SignatureLen: 16, Signature: [22]byte{1, 2, 3, 15: 16}}, 0,
			"0101 1312 01020300000000000000000000000010 0204 05b4",
		},
		{
			"TCP-AO and window scale", TCPOptions{Has: OptAO | OptWScale, WScale: 7, SignatureLen: 15, Signature: [22]byte{100, 101, 14: 9}}, 0,
			"1d11 6465 00000000000000000000000009 010101 01 030307",
		},
		{"a signature of another length", TCPOptions{Has: OptMD5, SignatureLen: 14}, 0, ""},
		{"timestamps", ts, 12, "0101 080a 00000001 00000002"},
		{"timestamps, limit too small for any layout", ts, 4, "0101 080a 00000001 00000002"},
		{"limit beyond 40 is 40", ts, 400, "0101 080a 00000001 00000002"},
		{"SACK-permitted", TCPOptions{Has: OptSACKPermitted}, 0, "0101 0402"},
		{"MSS and window scale", TCPOptions{Has: OptMSS | OptWScale, MSS: 1460, WScale: 7}, 0, "0204 05b4 01 030307"},
		{
			"SACK with timestamps", TCPOptions{Has: OptTimestamps | OptSACK, TSVal: 1, TSEcr: 2, NumSACK: 1, SACK: [4]SACKBlock{{3, 4}}}, 0,
			"0101 080a 00000001 00000002 0101 050a 00000003 00000004",
		},
		{
			"SYN without timestamps, aligned", TCPOptions{Has: OptMSS | OptSACKPermitted | OptWScale, MSS: 1460, WScale: 8}, 12,
			"0204 05b4 0101 0402 01 030308",
		},
		{
			"packed", TCPOptions{Has: OptSACKPermitted | OptWScale | OptFastOpen, WScale: 8}, 8,
			"0402 030308 2202 00",
		},
		{
			"the same, aligned", TCPOptions{Has: OptSACKPermitted | OptWScale | OptFastOpen, WScale: 8}, 0,
			"0101 0402 01 030308 2202 0101",
		},
		{
			"packed to 40", TCPOptions{
				Has: OptMSS | OptTimestamps | OptWScale | OptFastOpen | OptUserTimeout, MSS: 2, WScale: 1, FastOpenLen: 16,
			}, 0,
			"0204 0002 080a 00000000 00000000 030301 2212 00000000000000000000000000000000 1c04 0000 00",
		},
		{"everything", TCPOptions{
			Has: 0xffff, MSS: 1, WScale: 2, TSVal: 3, TSEcr: 4, NumSACK: 1, SACK: [4]SACKBlock{{5, 6}}, UserTimeout: 7,
		}, 0, "0204 0001 0402 080a 00000003 00000004 01 030302 0101 050a 00000005 00000006 2202 0101 1c04 0007"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tcpOut4()
			o.TCP().Options, o.TCP().OptionLimit = tt.o, tt.limit
			want := unhex(t, tt.want)
			b := emit(t, o)
			if got := b[IPv4MinLen+TCPMinLen:]; !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

func TestEncodeOptionsErrors(t *testing.T) {
	tests := []struct {
		name string
		o    TCPOptions
		want error
	}{
		{"SACK without a block", TCPOptions{Has: OptSACK}, ErrValue},
		{"five SACK blocks", TCPOptions{Has: OptSACK, NumSACK: 5}, ErrValue},
		{"cookie of 2 bytes", TCPOptions{Has: OptFastOpen, FastOpenLen: 2}, ErrValue},
		{"cookie of 5 bytes", TCPOptions{Has: OptFastOpen, FastOpenLen: 5}, ErrValue},
		{"cookie of 18 bytes", TCPOptions{Has: OptFastOpen, FastOpenLen: 18}, ErrValue},
		{"48 bytes", TCPOptions{Has: OptSACK | OptTimestamps, NumSACK: 4}, ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tcpOut4()
			o.TCP().Options = tt.o
			if _, err := tryEmit(t, o); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestOptionsNeverGrow holds the encoder to what OptionLimit promises: whatever
// legal options were received, in whatever order and with whatever padding, the
// options sent in their place are no longer.
func TestOptionsNeverGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var opts []byte
		for _, opt := range rapid.Permutation([]string{
			"\x02\x04\x05\xb4", "\x03\x03\x07", "\x04\x02", "\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x02", "\x22\x06abcd", "\x1c\x04\x00\x01",
			"\x05\x0a\x00\x00\x00\x01\x00\x00\x00\x02", "\xfe\x04\x00\x00", "\x01", "\x01\x01", "\x01",
		}).Draw(t, "options") {
			if rapid.Bool().Draw(t, "take") && len(opts)+len(opt) <= TCPMaxOptions {
				opts = append(opts, opt...)
			}
		}
		v, r := ParseTCP(segment(opts))
		if r != ReasonNone {
			t.Fatal(r)
		}
		var o TCPOptions
		if r := v.ParseOptions(&o); r != ReasonNone {
			t.Fatalf("ParseOptions(%x): %v", opts, r)
		}
		received := v.HeaderLen() - TCPMinLen
		l, err := o.layout(received)
		if err != nil || l.n > received {
			t.Fatalf("options %x: %d bytes received, %d to be sent (%v)", opts, received, l.n, err)
		}
	})
}

func TestParseOptionsDoesNotAllocate(t *testing.T) {
	v, _ := ParseTCP(emit(t, tcpOut4())[IPv4MinLen:])
	var o TCPOptions
	wantNoAllocs(t, "ParseOptions", func() { v.ParseOptions(&o) })
}

func BenchmarkParseOptions(b *testing.B) {
	for _, c := range []struct {
		name string
		o    *Out
	}{{"syn", tcpOut4()}, {"data", dataOut4()}} {
		b.Run(c.name, func(b *testing.B) {
			v, _ := ParseTCP(emit(b, c.o)[IPv4MinLen:])
			var o TCPOptions
			b.ReportAllocs()
			for b.Loop() {
				v.ParseOptions(&o)
			}
		})
	}
}

func TestTCPOptionsString(t *testing.T) {
	o := TCPOptions{Has: 0xfff, MSS: 1, WScale: 2, TSVal: 3, TSEcr: 4, NumSACK: 2, SACK: [4]SACKBlock{{5, 6}, {7, 8}}, FastOpenLen: 4, UserTimeout: 9}
	want := "mss 1, sack-permitted, timestamps 3 4, wscale 2, sack 5-6, sack 7-8, fast-open 00000000, user-timeout 9, MD5|AO|MPTCP|AccECN|other"
	if got := o.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOptionLen: a header whose length is signed keeps it, or cannot be sent.
func TestOptionLen(t *testing.T) {
	for length, err := range map[int]error{12: nil, 20: nil, 40: nil, 8: ErrTooLong, 44: ErrTooLong, 18: ErrTooLong} {
		var out Out
		out.SetIPv4(IPv4{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2")})
		h := TCP{Flags: ACK, OptionLen: length, Options: TCPOptions{Has: OptTimestamps, TSVal: 1, TSEcr: 2}}
		out.SetTCP(h)
		head, got := out.Encode(make([]byte, MaxHeaders))
		if got != err {
			t.Errorf("%d bytes: %v, want %v", length, got, err)
		}
		if got != nil {
			continue
		}
		var p Packet
		if r := p.Parse(LinkRawIP, head); r != ReasonNone || p.TCP().HeaderLen() != TCPMinLen+length {
			t.Errorf("%d bytes: %x: %v", length, head, r)
		}
		if same := h.SameOptions(p.TCP()); !same {
			t.Errorf("%d bytes: not the options that were written", length)
		}
		if h.Options.TSVal++; h.SameOptions(p.TCP()) {
			t.Errorf("%d bytes: other options count as the same", length)
		}
	}
}
