package packet

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// TestIGMP encodes each kind of message and reads it again, here and with another
// decoder; no prefix of the fixed part parses.
func TestIGMP(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	source := []byte{192, 0, 2, 9}
	for _, tt := range []struct {
		message IGMP
		body    []byte
	}{
		{IGMP{Type: IGMPQuery, MaxResp: 100, Group: netip.IPv4Unspecified()}, nil},
		{IGMP{Type: IGMPv2Report, Group: group}, nil},
		{IGMP{Type: IGMPv3Report, Records: 1}, slices.Concat([]byte{1, 0, 0, 1}, group.AsSlice(), source)},
	} {
		var o Out
		o.SetIPv4(IPv4{TTL: 1, RouterAlert: true, Src: client4, Dst: group})
		o.SetIGMP(tt.message)
		o.SetPayload(tt.body)
		buf := make([]byte, MaxHeaders)
		for i := range buf {
			buf[i] = 0xa5
		}
		head, err := o.Encode(buf)
		if err != nil {
			t.Fatalf("%v: %v", tt.message, err)
		}
		b := append(head, tt.body...)
		h, ok := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if !ok || h.Protocol != layers.IPProtocolIGMP || h.TTL != 1 || int(h.Length) != len(b) {
			t.Fatalf("%v: %x", tt.message, b)
		}
		v, r := ParseIGMP(h.Payload)
		if r != ReasonNone || !v.ChecksumOK() || v.Type() != tt.message.Type || v.MaxResp() != tt.message.MaxResp || !slices.Equal(v.Body(), tt.body) ||
			tt.message.Type == IGMPv3Report && v.Records() != int(tt.message.Records) || tt.message.Type != IGMPv3Report && v.Group() != tt.message.Group {
			t.Errorf("%v: %v, %x", tt.message, r, h.Payload)
		}
		for n := range IGMPLen {
			if _, r := ParseIGMP(h.Payload[:n]); r != ReasonIGMPTruncated {
				t.Errorf("%d bytes: %v", n, r)
			}
		}
	}
}

// TestIGMPRefused: no message without its group, and none in IPv6.
func TestIGMPRefused(t *testing.T) {
	var o Out
	o.SetIPv4(IPv4{TTL: 1, Src: client4, Dst: server4})
	o.SetIGMP(IGMP{Type: IGMPv2Report})
	if _, err := o.Encode(make([]byte, MaxHeaders)); err != ErrAddress {
		t.Errorf("no group: %v", err)
	}
	o.SetIPv6(IPv6{HopLimit: 1, Src: client6, Dst: server6})
	o.SetIGMP(IGMP{Type: IGMPv3Report})
	if _, err := o.Encode(make([]byte, MaxHeaders)); err != ErrLayers {
		t.Errorf("IPv6: %v", err)
	}
}

// TestRouterAlert6: the header that bears the alert stands in front of all others,
// and another decoder finds it.
func TestRouterAlert6(t *testing.T) {
	var o Out
	o.SetIPv6(IPv6{HopLimit: 1, Headers: ListenerAlert, Src: client6, Dst: server6})
	o.SetICMPv6(ICMPv6{Type: 143})
	head, err := o.Encode(make([]byte, MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	p := gopacket.NewPacket(head, layers.LayerTypeIPv6, gopacket.Default)
	hop, ok := p.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop)
	if !ok || p.Layer(layers.LayerTypeICMPv6) == nil || hop.Options[0].OptionType != 5 || p.Layers()[0].(*layers.IPv6).Length != 16 {
		t.Errorf("%v", p)
	}
	var own Packet
	if r := own.Parse(LinkRawIP, head); r != ReasonNone || own.VerifyChecksums(true) != ReasonNone || own.Ext().Len() != 1 {
		t.Errorf("%v: %x", r, head)
	}
}
