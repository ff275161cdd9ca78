package ppf

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/promethos/promethos/packet"
)

// TestRuleList: with the index the same rule is found as by looking at one
// after the other.
func TestRuleList(t *testing.T) {
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteRange(0, 7).Draw(t, "host")})
	})
	restriction := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		p, _ := addr.Draw(t, "address").Prefix(rapid.SampledFrom([]int{32, 32, 32, 30}).Draw(t, "bits"))
		return p
	}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Rule {
			return &Rule{Criteria: Criteria{
				Src: restriction.Draw(t, "src"), Dst: restriction.Draw(t, "dst"),
				Protocol: rapid.SampledFrom([]packet.Protocol{ProtocolAny, packet.ProtoTCP, packet.ProtoUDP}).Draw(t, "protocol"),
			}}
		}), 0, 12).Draw(t, "rules")
		list := newRuleList(rules)
		for range 10 {
			tuple := Tuple{Src: addr.Draw(t, "src"), Dst: addr.Draw(t, "dst"), Protocol: packet.ProtoTCP, HasProtocol: true}
			var want *Rule
			if i := slices.IndexFunc(rules, func(r *Rule) bool { return r.Criteria.Match(&tuple) }); i >= 0 {
				want = rules[i]
			}
			if got := list.match(&tuple); got != want {
				t.Fatalf("%v > %v: got %+v, want %+v", tuple.Src, tuple.Dst, got, want)
			}
		}
	})
}

// servers makes n rules for as many servers.
func servers(n int) ruleList {
	var rules []*Rule
	for i := range n {
		rules = append(rules, &Rule{Criteria: Criteria{
			Protocol: packet.ProtoTCP, Dst: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)},
			DstPorts: []PortRange{{80, 80}},
		}})
	}
	return newRuleList(rules)
}

// toLast is a packet to the server of the last rule.
func (l *ruleList) toLast() *Tuple {
	return &Tuple{
		Src: netip.MustParseAddr("192.0.2.1"), Dst: l.rules[len(l.rules)-1].Criteria.Dst[0].Addr(), Protocol: packet.ProtoTCP, HasProtocol: true,
		SrcPort: 40000, DstPort: 80, HasPorts: true,
	}
}

func TestRuleListAllocations(t *testing.T) {
	list := servers(1000)
	tuple := list.toLast()
	if n := testing.AllocsPerRun(100, func() {
		if list.match(tuple) == nil {
			t.Fatal("no rule matches")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkRuleList(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			list := servers(n)
			tuple := list.toLast()
			b.ReportAllocs()
			for b.Loop() {
				list.match(tuple)
			}
		})
	}
}
