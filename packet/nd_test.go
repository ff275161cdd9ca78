package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

var linkLocal = netip.MustParseAddr("fe80::1")

// fullRouter is a router advertisement with all that it has room for.
func fullRouter() ND {
	o := ND{
		Has: NDOptLinkAddr | NDOptMTU | NDOptServers, Flags: NDManaged | 0x08, HopLimit: 64, Lifetime: 1800, Reachable: 30000, Retrans: 1000,
		LinkAddr: serverMAC, MTU: 1500, NumPrefixes: ndMaxPrefixes, NumServers: ndMaxServers, ServersLife: 600,
	}
	for i := range o.Prefixes {
		p := netip.PrefixFrom(server6, 32+16*i).Masked()
		o.Prefixes[i] = NDPrefix{Prefix: p, Flags: NDOnLink | NDAutonomous, Valid: 86400, Preferred: 14400}
	}
	for i := range o.Servers {
		o.Servers[i] = client6
	}
	return o
}

// ndMessages has one of each type.
func ndMessages() map[uint8]ND {
	return map[uint8]ND{
		ICMPv6RouterSolicitation:    {Has: NDOptLinkAddr, LinkAddr: clientMAC},
		ICMPv6RouterAdvertisement:   fullRouter(),
		ICMPv6NeighborSolicitation:  {Has: NDOptLinkAddr | NDOptNonce, Target: server6, LinkAddr: clientMAC, Nonce: [6]byte{1, 2, 3, 4, 5, 6}},
		ICMPv6NeighborAdvertisement: {Has: NDOptLinkAddr, Flags: NDSolicited | NDOverride, Target: server6, LinkAddr: serverMAC},
	}
}

// ndMessage encodes a message and returns it without its IP header.
func ndMessage(t tester, typ uint8, h ND) []byte {
	t.Helper()
	o := new(Out)
	o.SetIPv6(IPv6{HopLimit: 255, Src: linkLocal, Dst: server6})
	o.SetICMPv6(ICMPv6{Type: typ, HasND: true, ND: h})
	return emit(t, o)[IPv6Len:]
}

func TestND(t *testing.T) {
	for typ, want := range ndMessages() {
		b := ndMessage(t, typ, want)
		v, r := ParseICMPv6(b)
		if r != ReasonNone || !v.IsND() || !v.ChecksumOK(linkLocal.As16(), server6.As16()) {
			t.Fatalf("%x: %v", b, r)
		}
		var got ND
		if r := v.ParseND(&got); r != ReasonNone || got != want {
			t.Errorf("type %d: %v, %+v, want %+v", typ, r, got, want)
		}
		if again := ndMessage(t, typ, got); !bytes.Equal(again, b) {
			t.Errorf("type %d: %x, want %x", typ, again, b)
		}
		wantNoAllocs(t, "ParseND", func() { v.ParseND(&got) })
	}
}

func TestNDRefusals(t *testing.T) {
	const header, target = "0000 0000 0000 0000", "fe800000000000000000000000000001"
	router := "86" + "00 0000 40000708 00000000 00000000"
	prefix := "40c0 00000100 00000010 00000000 20010db8000000000000000000000000"
	for _, tt := range []struct {
		name, data string
		want       Reason
		has        NDOptionSet
	}{
		{"without options", "87" + header[2:] + target, ReasonNone, 0},
		{"short", "87" + header[2:] + target[2:], ReasonNDTruncated, 0},
		{"length 0", "87" + header[2:] + target + "0100 020000000001", ReasonNDOptionZero, 0},
		{"beyond", "87" + header[2:] + target + "0102 020000000001", ReasonNDOptionEnd, 0},
		{"one byte", "87" + header[2:] + target + "01", ReasonNDOptionEnd, 0},
		{"long address", "87" + header[2:] + target + "0102 020000000001 0000000000000000", ReasonNDOptionSize, 0},
		{"twice", "87" + header[2:] + target + "0101 020000000001 0101 020000000002", ReasonNDOptionTwice, NDOptLinkAddr},
		{"unknown", "87" + header[2:] + target + "fe01 000000000000", ReasonNone, NDOptUnknown},
		{"target in a solicitation", "87" + header[2:] + target + "0201 020000000001", ReasonNone, NDOptUnknown},
		{"prefix", router + "0304" + prefix, ReasonNone, 0},
		{"five prefixes", router + "0304" + prefix + "0304" + prefix + "0304" + prefix + "0304" + prefix + "0304" + prefix, ReasonNDOptionMany, 0},
		{"short prefix", router + "0301 40c000000100", ReasonNDOptionSize, 0},
		{"prefix of 129", router + "0304 81" + prefix[2:], ReasonNDPrefix, 0},
		{"preferred for longer", router + "0304 40c0 00000001 00000010" + prefix[22:], ReasonNDPrefix, 0},
		{"even RDNSS", router + "1904 0000 00000258" + target + "0000000000000000", ReasonNDServers, 0},
		{"RDNSS without servers", router + "1901 0000 00000258", ReasonNDServers, 0},
		{"RDNSS", router + "1903 0000 00000258" + target, ReasonNone, NDOptServers},
		{"four servers", router + "1909 0000 00000258" + target + target + target + target, ReasonNDOptionMany, NDOptServers},
	} {
		v, r := ParseICMPv6(unhex(t, tt.data))
		if r != ReasonNone {
			t.Fatalf("%s: %v", tt.name, r)
		}
		var o ND
		if r := v.ParseND(&o); r != tt.want || o.Has != tt.has {
			t.Errorf("%s: %v with %b, want %v with %b", tt.name, r, o.Has, tt.want, tt.has)
		}
	}
}

func TestNDEncodeErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		typ  uint8
		edit func(*ND)
		want error
	}{
		"target of IPv4":       {ICMPv6NeighborSolicitation, func(o *ND) { o.Target = client4 }, ErrAddress},
		"no target":            {ICMPv6NeighborAdvertisement, func(o *ND) {}, ErrAddress},
		"prefix of IPv4":       {ICMPv6RouterAdvertisement, func(o *ND) { *o = fullRouter(); o.Prefixes[1].Prefix = netip.PrefixFrom(client4, 8) }, ErrAddress},
		"preferred for longer": {ICMPv6RouterAdvertisement, func(o *ND) { *o = fullRouter(); o.Prefixes[1].Valid = 1 }, ErrValue},
		"too many prefixes":    {ICMPv6RouterAdvertisement, func(o *ND) { o.NumPrefixes = ndMaxPrefixes + 1 }, ErrValue},
		"no servers":           {ICMPv6RouterAdvertisement, func(o *ND) { o.Has = NDOptServers }, ErrValue},
		"server of IPv4":       {ICMPv6RouterAdvertisement, func(o *ND) { *o = fullRouter(); o.Servers[0] = client4 }, ErrAddress},
		"values of an echo":    {ICMPv6Echo, func(o *ND) {}, ErrLayers},
	} {
		o := new(Out)
		o.SetIPv6(IPv6{HopLimit: 255, Src: linkLocal, Dst: server6})
		h := ICMPv6{Type: tt.typ, HasND: true}
		tt.edit(&h.ND)
		o.SetICMPv6(h)
		if _, err := tryEmit(t, o); err != tt.want {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// FuzzParseND encodes what was read: it reads the same again.
func FuzzParseND(f *testing.F) {
	for typ, h := range ndMessages() {
		f.Add(ndMessage(f, typ, h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseICMPv6(b)
		if r != ReasonNone || !v.IsND() {
			return
		}
		var o, again ND
		if v.ParseND(&o) != ReasonNone {
			return
		}
		sent, _ := ParseICMPv6(ndMessage(t, v.Type(), o))
		r = sent.ParseND(&again)
		o.Has &^= NDOptUnknown
		if r != ReasonNone || again != o || o.String() == "" {
			t.Errorf("%x: %v, %+v, want %+v", b, r, again, o)
		}
	})
}
