package packet

import "testing"

func TestProtocolString(t *testing.T) {
	for p, want := range map[Protocol]string{ProtoTCP: "TCP", ProtoUDP: "UDP", ProtoICMP: "ICMP", ProtoICMPv6: "ICMPv6", ProtoIPv4: "IPv4", 253: "253"} {
		if got := p.String(); got != want {
			t.Errorf("Protocol(%d): got %q, want %q", uint8(p), got, want)
		}
	}
}
