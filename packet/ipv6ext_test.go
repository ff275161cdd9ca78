package packet

import (
	"slices"
	"strings"
	"testing"
)

func TestParseExtensions(t *testing.T) {
	const (
		pad6   = "01 04 00000000" // PadN that fills 8 bytes
		upper8 = "0102030405060708"
	)
	tests := []struct {
		name    string
		first   Protocol
		payload string
		want    Reason
		upper   Protocol
		list    []Extension
	}{
		{"none", ProtoTCP, upper8, ReasonNone, ProtoTCP, nil},
		{"hop-by-hop", ProtoHopByHop, "11 00" + pad6 + upper8, ReasonNone, ProtoUDP, []Extension{{ProtoHopByHop, 0, 8}}},
		{"router alert", ProtoHopByHop, "3a 00 05 02 0000 00 00" + upper8, ReasonNone, ProtoICMPv6, []Extension{{ProtoHopByHop, 0, 8}}},
		{
			"every kind", ProtoHopByHop,
			"3c 00" + pad6 + "2b 00" + pad6 + "2c 00 04 00 00000000" + "33 00 0000 00000001" + "3c 02 0000 00000000 00000000 00000000" +
				"8b 00" + pad6 + "8c 00 000000000000" + "3b 00 000000000000",
			ReasonNone, ProtoNone,
			[]Extension{
				{ProtoHopByHop, 0, 8},
				{ProtoDstOpts, 8, 8},
				{ProtoRouting, 16, 8},
				{ProtoFragment, 24, 8},
				{ProtoAH, 32, 16},
				{ProtoDstOpts, 48, 8},
				{ProtoHIP, 56, 8},
				{ProtoShim6, 64, 8},
			},
		},
		{"nothing behind", ProtoDstOpts, "3b 00" + pad6, ReasonNone, ProtoNone, []Extension{{ProtoDstOpts, 0, 8}}},
		{"ESP ends the walk", ProtoESP, upper8, ReasonNone, ProtoESP, nil},
		{"7 bytes", ProtoDstOpts, "3b 00 01 04 000000", ReasonIP6ExtTruncated, ProtoDstOpts, nil},
		{"length beyond the packet", ProtoDstOpts, "06 01" + pad6, ReasonIP6ExtTruncated, ProtoDstOpts, nil},
		{"AH beyond the packet", ProtoAH, "06 01 0000 00000000", ReasonIP6ExtTruncated, ProtoAH, nil},
		{"second beyond the packet", ProtoHopByHop, "3c 00" + pad6 + "06 ff" + pad6, ReasonIP6ExtTruncated, ProtoDstOpts, []Extension{{ProtoHopByHop, 0, 8}}},
		{"hop-by-hop second", ProtoDstOpts, "00 00" + pad6 + "06 00" + pad6, ReasonIP6ExtOrder, ProtoHopByHop, nil},
		{"hop-by-hop twice", ProtoHopByHop, "00 00" + pad6 + "06 00" + pad6, ReasonIP6ExtOrder, ProtoHopByHop, nil},
		{"three destination options", ProtoDstOpts, "3c 00" + pad6 + "3c 00" + pad6 + "06 00" + pad6, ReasonIP6ExtOrder, ProtoDstOpts, nil},
		{"nested fragments", ProtoFragment, "2c 00 0001 00000001" + "06 00 0001 00000002" + upper8, ReasonIP6ExtOrder, ProtoFragment, nil},
		{"option length 0xfe", ProtoHopByHop, "06 00 05 fe 00000000", ReasonIP6ExtOption, ProtoHopByHop, nil},
		{"option ends 1 beyond", ProtoDstOpts, "06 00 05 05 00000000", ReasonIP6ExtOption, ProtoDstOpts, nil},
		{"option without length", ProtoDstOpts, "06 00 1e 03 000000 05", ReasonIP6ExtOption, ProtoDstOpts, nil},
		{"jumbo payload", ProtoHopByHop, "06 00 c2 04 00010000", ReasonIP6Jumbogram, ProtoHopByHop, nil},
		{"router alert of 4 bytes", ProtoHopByHop, "06 00 05 04 00000000", ReasonIP6OptionSize, ProtoHopByHop, nil},
		{"router alert at an odd place", ProtoHopByHop, "06 00 00 05 02 0000 00", ReasonIP6OptionSize, ProtoHopByHop, nil},
		{"router alert for the destination", ProtoDstOpts, "06 00 05 02 0000 0000", ReasonIP6OptionSize, ProtoDstOpts, nil},
		{"two router alerts", ProtoHopByHop, "06 01 05 02 0000 0502 0001 01 04 00000000", ReasonIP6OptionTwice, ProtoHopByHop, nil},
		{"tunnel limit hop by hop", ProtoHopByHop, "06 00 04 01 04 000000", ReasonIP6OptionSize, ProtoHopByHop, nil},
		{"home address of 4 bytes", ProtoDstOpts, "06 01 00000000 c904 01020304 0000 0000", ReasonIP6OptionSize, ProtoDstOpts, nil},
		{"nine options", ProtoDstOpts, "06 02 1e001e00 1e001e00 1e001e00 1e001e00 1e00 000000000000", ReasonIP6ExtMany, ProtoDstOpts, nil},
		{"routing type 0", ProtoRouting, "06 00 00 00 00000000", ReasonIP6RoutingType0, ProtoRouting, nil},
		{"segment routing, on its way", ProtoRouting, "06 02 04 01 00 00 0000 20010db8000000000000000000000009", ReasonIP6Routing, ProtoRouting, nil},
		{"segment routing, at its end", ProtoRouting, "06 02 04 00 00 00 0000 20010db8000000000000000000000009" + upper8, ReasonNone, ProtoTCP, []Extension{{ProtoRouting, 0, 24}}},
		{"later fragment", ProtoFragment, "3c 00 0009 00000001" + "ffffffffffffffff", ReasonNone, ProtoDstOpts, []Extension{{ProtoFragment, 0, 8}}},
		{"fragment beyond 65,535", ProtoFragment, "11 00 fff8 00000001" + upper8, ReasonIPFragmentEnd, ProtoFragment, nil},
		{"fragment of 9 bytes", ProtoFragment, "11 00 0001 00000001" + upper8 + "00", ReasonIPFragmentLength, ProtoFragment, nil},
		{"empty fragment", ProtoFragment, "11 00 0001 00000001", ReasonIPFragmentLength, ProtoFragment, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := IPv6Extensions{n: 3, HasFragment: true} // what an earlier packet left
			r := e.Parse(tt.first, unhex(t, tt.payload))
			if r != tt.want || e.Upper != tt.upper {
				t.Fatalf("Parse(%v, %s): got %v, upper %v; want %v, upper %v", tt.first, tt.payload, r, e.Upper, tt.want, tt.upper)
			}
			var list []Extension
			for i := range e.Len() {
				list = append(list, e.At(i))
				if !e.Has(e.At(i).Protocol) {
					t.Errorf("Has(%v) is false", e.At(i).Protocol)
				}
			}
			if (r == ReasonNone || tt.list != nil) && !slices.Equal(list, tt.list) {
				t.Errorf("headers: got %v, want %v", list, tt.list)
			}
			if e.Has(ProtoESP) {
				t.Error("Has(ESP) is true")
			}
		})
	}
}

func TestTooManyExtensions(t *testing.T) {
	// Mobility headers may stand only once, so the chain has to be of eight kinds.
	chain := "3c 00 01 04 00000000" + "2b 00 01 04 00000000" + "2c 00 04 00 00000000" + "33 00 0000 00000001" + "3c 00 0000 00000000" +
		"8b 00 01 04 00000000" + "8c 00 000000000000" + "87 00 000000000000" + "06 00 000000000000"
	var e IPv6Extensions
	if r := e.Parse(ProtoHopByHop, unhex(t, chain)); r != ReasonIP6ExtMany || e.Len() != MaxExtensions {
		t.Errorf("got %v after %d headers, want %v after %d", r, e.Len(), ReasonIP6ExtMany, MaxExtensions)
	}
}

func TestFragmentHeader(t *testing.T) {
	var e IPv6Extensions
	e.Parse(ProtoFragment, unhex(t, "11 aa 05af 01020304 0102030405060708")) // reserved bits set
	if !e.HasFragment || e.Fragment != (IPv6Fragment{1448, true, 0x01020304}) || !e.IsFragment() || e.Fragment.Atomic() {
		t.Errorf("got %v %v", e.HasFragment, e.Fragment)
	}
	if r := e.Parse(ProtoFragment, unhex(t, "11 00 fff8 01020304 0102030405060708")); r != ReasonIPFragmentEnd || !e.IsFragment() {
		t.Errorf("beyond 65,535: got %v, fragment %v", r, e.IsFragment())
	}
	e.Parse(ProtoFragment, unhex(t, "11 00 0000 01020304 0102030405060708"))
	if !e.HasFragment || !e.Fragment.Atomic() || e.IsFragment() || e.Upper != ProtoUDP || e.Offset != 8 {
		t.Errorf("atomic fragment: got %+v", e)
	}
}

// TestAtomicFragmentIsWhole holds Packet to RFC 6946: layer 4 is read.
func TestAtomicFragmentIsWhole(t *testing.T) {
	p := parse(t, LinkRawIP, unhex(t, "60000000 0010 2c 40"+ip6Addrs+"11 00 0000 00000001"+"1000 0035 0008 0000"))
	if p.Has(HasFragment) || !p.Has(HasUDP) || p.DstPort() != 53 || p.Ext().Len() != 1 {
		t.Errorf("got layers %v, port %d", p.Layers(), p.DstPort())
	}
}

func TestPacketKeepsExtensionsBeforeAReason(t *testing.T) {
	var p Packet
	b := unhex(t, "60000000 0010 00 40"+ip6Addrs+"2b 00 01 04 00000000"+"06 00 00 01 00000000")
	if r := p.Parse(LinkRawIP, b); r != ReasonIP6RoutingType0 {
		t.Fatalf("got %v, want %v", r, ReasonIP6RoutingType0)
	}
	if !p.Has(HasIPv6) || p.Src() != client6 || p.Ext().Len() != 1 || p.Proto() != ProtoRouting || p.Has(hasL4) {
		t.Errorf("got layers %v, %d headers, protocol %v", p.Layers(), p.Ext().Len(), p.Proto())
	}
	if !strings.Contains(p.String(), "routing") {
		t.Errorf("String: got %q", p.String())
	}
}
