package packet

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// Addresses of the tests (RFC 5737, RFC 3849).
var (
	client4 = netip.MustParseAddr("192.0.2.1")
	server4 = netip.MustParseAddr("198.51.100.2")
	client6 = netip.MustParseAddr("2001:db8::1")
	server6 = netip.MustParseAddr("2001:db8:1::2")

	clientMAC = MAC{0x02, 0, 0, 0, 0, 1}
	serverMAC = MAC{0x02, 0, 0, 0, 0, 2}
)

// poison is what a buffer is filled with before something is written to it.
const poison = 0xa5

// unhex decodes hex digits; white space is ignored.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatalf("test data %q: %v", s, err)
	}
	return b
}

// tester is what *testing.T, *testing.B, *testing.F and *rapid.T share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// emit encodes o into a poisoned buffer and returns headers and payload. It
// fails when anything behind the headers was touched.
func emit(t tester, o *Out) []byte {
	t.Helper()
	b, err := tryEmit(t, o)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return b
}

func tryEmit(t tester, o *Out) ([]byte, error) {
	t.Helper()
	buf := bytes.Repeat([]byte{poison}, MaxHeaders+32)
	head, err := o.Encode(buf)
	if err != nil {
		if head != nil {
			t.Fatalf("Encode: %v with %d bytes of headers, want none", err, len(head))
		}
		return nil, err
	}
	for i, c := range buf[len(head):] {
		if c != poison {
			t.Fatalf("Encode wrote 0x%02x %d bytes behind the %d bytes of headers", c, i, len(head))
		}
	}
	return append(bytes.Clone(head), o.Payload()...), nil
}

// parse parses b, which must give no reason.
func parse(t tester, link LinkType, b []byte) *Packet {
	t.Helper()
	p := new(Packet)
	if r := p.Parse(link, b); r != ReasonNone {
		t.Fatalf("Parse(%v, %x): got %v, want none", link, b, r)
	}
	return p
}

// tcpOut4 is a SYN with the options of Linux.
func tcpOut4() *Out {
	o := new(Out)
	o.SetIPv4(IPv4{TTL: 64, DF: true, Src: client4, Dst: server4})
	o.SetTCP(TCP{SrcPort: 40000, DstPort: 80, Seq: 0x01020304, Flags: SYN, Window: 64240, Options: TCPOptions{
		Has: OptMSS | OptSACKPermitted | OptTimestamps | OptWScale, MSS: 1460, TSVal: 0x11223344, WScale: 7,
	}})
	return o
}

// dataOut4 is a data segment with timestamps, 1460 bytes long as a whole.
func dataOut4() *Out {
	o := new(Out)
	o.SetIPv4(IPv4{TTL: 64, DF: true, Src: client4, Dst: server4})
	o.SetTCP(TCP{SrcPort: 40000, DstPort: 80, Seq: 1000, Ack: 2000, Flags: ACK | PSH, Window: 500, Options: TCPOptions{
		Has: OptTimestamps, TSVal: 1, TSEcr: 2,
	}})
	o.SetPayload(testPayload(1460 - IPv4MinLen - TCPMinLen - 12))
	return o
}

func udpOut6() *Out {
	o := new(Out)
	o.SetIPv6(IPv6{HopLimit: 64, FlowLabel: 0x12345, Src: client6, Dst: server6})
	o.SetUDP(UDP{SrcPort: 5353, DstPort: 53})
	o.SetPayload([]byte("question"))
	return o
}

// testPayload is n bytes that differ.
func testPayload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// wantNoAllocs fails when f allocates.
func wantNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations per run, want 0", what, n)
	}
}

// wantPrefixes fails when the gate accepts a strict prefix of a header that is n
// bytes long.
func wantPrefixes(t *testing.T, b []byte, n int, gate func([]byte) Reason) {
	t.Helper()
	if r := gate(b); r != ReasonNone {
		t.Fatalf("gate(%x): got %v, want none", b, r)
	}
	for i := range n {
		if r := gate(b[:i:i]); r == ReasonNone {
			t.Errorf("gate accepts the first %d bytes of %x", i, b)
		}
	}
}
