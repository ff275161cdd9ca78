package ppf

import (
	"net/netip"
	"slices"
)

// ruleList is rules in order, with an index by address: an instance names its
// server, so that among a thousand instances a packet's addresses leave a few
// rules to compare. It does not change once packets use it.
type ruleList struct {
	rules []*Rule
	bySrc map[netip.Addr][]int // positions of rules that want one of these sources
	byDst map[netip.Addr][]int // of others that want one of these destinations
	rest  []int                // of all others: they want networks, or any address
}

func newRuleList(rules []*Rule) ruleList {
	l := ruleList{rules: rules, bySrc: map[netip.Addr][]int{}, byDst: map[netip.Addr][]int{}}
	for i, r := range rules {
		switch {
		case single(r.Criteria.Dst):
			enter(l.byDst, r.Criteria.Dst, i)
		case single(r.Criteria.Src):
			enter(l.bySrc, r.Criteria.Src, i)
		default:
			l.rest = append(l.rest, i)
		}
	}
	return l
}

// single reports whether a restriction lists hosts and no networks.
func single(list []netip.Prefix) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.IsSingleIP() })
}

func enter(m map[netip.Addr][]int, list []netip.Prefix, i int) {
	for _, p := range list {
		if at := m[p.Addr()]; len(at) == 0 || at[len(at)-1] != i {
			m[p.Addr()] = append(at, i)
		}
	}
}

// match finds the first rule that selects t, nil where none does.
func (l *ruleList) match(t *Tuple) *Rule {
	candidates := [3][]int{l.bySrc[t.Src], l.byDst[t.Dst], l.rest}
	for {
		next := -1
		for i, list := range candidates {
			if len(list) > 0 && (next < 0 || list[0] < candidates[next][0]) {
				next = i
			}
		}
		if next < 0 {
			return nil
		}
		if r := l.rules[candidates[next][0]]; r.Criteria.Match(t) {
			return r
		}
		candidates[next] = candidates[next][1:]
	}
}
