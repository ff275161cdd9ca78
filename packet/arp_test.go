package packet

import (
	"bytes"
	"testing"
)

// arpReply is "198.51.100.2 is at 02:00:00:00:00:02", to 192.0.2.1.
const arpReply = "0001 0800 06 04 0002 020000000002 c6336402 020000000001 c0000201"

func TestParseARP(t *testing.T) {
	b := unhex(t, arpReply+"0000")
	v, r := ParseARP(b)
	if r != ReasonNone {
		t.Fatalf("ParseARP(%x): got %v", b, r)
	}
	if v.Op() != ARPReply || v.SenderMAC() != serverMAC || v.SenderIP() != server4 || v.TargetMAC() != clientMAC || v.TargetIP() != client4 || v.Trailing() != 2 {
		t.Errorf("got %v %v %v %v %v, %d trailing", v.Op(), v.SenderMAC(), v.SenderIP(), v.TargetMAC(), v.TargetIP(), v.Trailing())
	}
	wantPrefixes(t, b, ARPLen, func(b []byte) Reason { _, r := ParseARP(b); return r })
}

func TestParseARPReasons(t *testing.T) {
	tests := []struct {
		name string
		at   int
		to   byte
		want Reason
	}{
		{"hardware type", 1, 6, ReasonARPHardware},
		{"hardware length", 4, 8, ReasonARPHardware},
		{"protocol type", 2, 0x86, ReasonARPProtocol},
		{"protocol length", 5, 16, ReasonARPProtocol},
		{"another operation", 7, 3, ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, arpReply)
			b[tt.at] = tt.to
			if _, r := ParseARP(b); r != tt.want {
				t.Errorf("ParseARP(%x): got %v, want %v", b, r, tt.want)
			}
		})
	}
}

func TestEncodeARP(t *testing.T) {
	var o Out
	o.SetTCP(TCP{}) // taken back by SetARP
	o.SetEthernet(Ethernet{Dst: clientMAC, Src: serverMAC, Type: EtherTypeIPv6})
	o.SetARP(ARP{Op: ARPReply, SenderMAC: serverMAC, SenderIP: server4, TargetMAC: clientMAC, TargetIP: client4})
	want := append(unhex(t, "020000000001 020000000002 0806"), unhex(t, arpReply)...)
	got := emit(t, &o)
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	p := parse(t, LinkEthernet, append(got, make([]byte, 18)...))
	if !p.Has(HasARP) || p.Trailing() != 18 || len(p.Payload()) != 0 {
		t.Errorf("layers %v, %d trailing, payload %x", p.Layers(), p.Trailing(), p.Payload())
	}
	if got, want := p.String(), "ARP reply 198.51.100.2 (02:00:00:00:00:02) > 192.0.2.1 (02:00:00:00:00:01)"; got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
	if got := ARPOp(3).String(); got != "operation 3" {
		t.Errorf("ARPOp(3): got %q", got)
	}
}
