package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// TestPartialSum completes partial checksums as a card would, and compares them
// with those that the encoder writes itself.
func TestPartialSum(t *testing.T) {
	payload := []byte("some payload of an odd length")
	for name, set := range map[string]func(*Out){
		"TCP over IPv4": func(o *Out) {
			o.SetIPv4(IPv4{TTL: 64, Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2")})
			o.SetTCP(TCP{SrcPort: 1, DstPort: 2, Flags: ACK, Options: TCPOptions{Has: OptTimestamps, TSVal: 7}})
		},
		"UDP over IPv6": func(o *Out) {
			o.SetIPv6(IPv6{HopLimit: 64, Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2")})
			o.SetUDP(UDP{SrcPort: 1, DstPort: 2})
		},
	} {
		var o Out
		o.SetEthernet(Ethernet{})
		o.SetVLANs(VLANTag{TPID: EtherTypeVLAN, VID: 1})
		set(&o)
		o.SetPayload(payload)
		want, err := o.Encode(make([]byte, MaxHeaders))
		if err != nil {
			t.Fatal(err)
		}
		if start, field := o.PartialSumAt(want); start != 0 || field != 0 {
			t.Errorf("%s: complete, but partial at %d, %d", name, start, field)
		}
		o.SetPartialSum(true)
		got, err := o.Encode(make([]byte, MaxHeaders))
		if err != nil {
			t.Fatal(err)
		}
		start, field := o.PartialSumAt(got)
		if field == 0 {
			t.Fatalf("%s: not partial", name)
		}
		sum := SumBytes(got[start:]).Add(SumBytes(payload))
		binary.BigEndian.PutUint16(got[start+field:], sum.Checksum())
		if string(got) != string(want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
}
