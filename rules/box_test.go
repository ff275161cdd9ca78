package rules

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/promethos/promethos/ppf"
)

// TestPack: the groups hold what the list held, nothing else, and no two boxes of
// a group overlap.
func TestPack(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		bits := rapid.IntRange(0, 4).Draw(t, "bits")
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(rapid.IntRange(0, 15).Draw(t, "address") << 4)}), bits).Masked()
	})
	ports := rapid.Custom(func(t *rapid.T) ppf.PortRange {
		lo := rapid.Uint16Range(0, 6).Draw(t, "lo")
		return ppf.PortRange{Lo: lo, Hi: rapid.Uint16Range(lo, 6).Draw(t, "hi")}
	})
	boxes := rapid.Custom(func(t *rapid.T) box {
		lo := rapid.Uint8Range(0, 3).Draw(t, "protocol")
		return box{
			src: prefix.Draw(t, "src"), dst: prefix.Draw(t, "dst"), protoLo: lo, protoHi: rapid.Uint8Range(lo, 3).Draw(t, "to"),
			sport: ports.Draw(t, "sport"), dport: ports.Draw(t, "dport"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(boxes, 0, 12).Draw(t, "list")
		var packed []box
		for _, bin := range pack(list) {
			if len(bin) == 0 {
				t.Fatal("an empty group")
			}
			for i := range bin {
				for j := range i {
					if bin[i].overlaps(&bin[j]) {
						t.Fatalf("%v and %v overlap in one group", bin[i], bin[j])
					}
				}
			}
			packed = append(packed, bin...)
		}
		for i := range list {
			found := false
			for j := range packed {
				found = found || packed[j].covers(&list[i])
			}
			if !found {
				t.Fatalf("%v is in no group", list[i])
			}
		}
		for i := range packed {
			found := false
			for j := range list {
				found = found || list[j] == packed[i]
			}
			if !found {
				t.Fatalf("%v was not in the list", packed[i])
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ prefix, last, text, raw string }{
		{"192.0.2.7/32", "192.0.2.7", "192.0.2.7", "0xc0000207"},
		{"192.0.2.0/25", "192.0.2.127", "192.0.2.0/25", "0xc0000200-0xc000027f"},
		{"0.0.0.0/0", "255.255.255.255", "0.0.0.0/0", "0x00000000-0xffffffff"},
		{"2001:db8::/33", "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff", "2001:db8::/33", "0x20010db8000000000000000000000000-0x20010db87fffffffffffffffffffffff"},
	} {
		p := netip.MustParsePrefix(c.prefix)
		if got := lastOf(p).String(); got != c.last {
			t.Errorf("lastOf(%v): got %v, want %v", p, got, c.last)
		}
		if got := addrText(p, false); got != c.text {
			t.Errorf("addrText(%v): got %v, want %v", p, got, c.text)
		}
		if got := addrText(p, true); got != c.raw {
			t.Errorf("addrText(%v), raw: got %v, want %v", p, got, c.raw)
		}
	}
}
