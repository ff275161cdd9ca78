package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Compile turns a plan into rules for a kernel with the given features. The
// result depends on nothing else.
func Compile(p Plan, f Features) (*Ruleset, error) {
	if f.Queue == QueueNone && !f.Block {
		return nil, ErrNoQueueTarget
	}
	c := compiler{plan: &p, features: f}
	rs := &Ruleset{blocks: f.Block}
	for place := range numPlaces {
		if ch := c.chain(place); ch != nil {
			rs.chains = append(rs.chains, ch)
		}
	}
	return rs, nil
}

type compiler struct {
	plan     *Plan
	features Features
}

// queue is the target for an instance's fail policy.
func (c *compiler) queue(b *builder, fail ppf.Fail) rule {
	if c.features.Block {
		return b.target("drop", &expr.Verdict{Kind: expr.VerdictDrop})
	}
	q, flags, text := c.plan.Closed, uint16(0), ""
	if fail == ppf.FailOpen {
		q, flags, text = c.plan.Open, 1, "flags bypass "
	}
	text = fmt.Sprintf("queue %sto %d-%d", text, q.First, q.First+q.Count-1)
	if c.features.Queue == QueueNative {
		return b.target(text, &expr.Queue{Num: q.First, Total: q.Count, Flag: expr.QueueFlag(flags)})
	}
	// struct xt_NFQ_info_v3, padded to 8 bytes.
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, q.First)
	binary.NativeEndian.PutUint16(info[2:], q.Count)
	binary.NativeEndian.PutUint16(info[4:], flags)
	return b.target(text, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info})
}

// chain compiles one base chain; nil where nothing is selected.
func (c *compiler) chain(at place) *chain {
	if at == placeFragments {
		return c.fragments()
	}
	ch := &chain{info: chains[at]}
	var here, refuse []Selector
	for _, s := range c.plan.Selectors {
		if s.place() == at {
			here = append(here, s)
		}
	}
	for _, s := range c.plan.Refuse {
		if s.place() == at {
			refuse = append(refuse, s)
		}
	}
	if len(here)+len(refuse) == 0 {
		return nil
	}
	c.skipOwn(ch)
	plain := newGroups(ch)
	var single []Selector
	for _, s := range here {
		if !plain.add(s) {
			single = append(single, s)
		}
	}
	for _, s := range single {
		c.single(ch, &s)
	}
	plain.lookups(c)
	sv := newServers(ch)
	for _, s := range here {
		sv.add(&s)
	}
	sv.extensions(c)
	sv.icmpErrors(c)
	for _, s := range refuse {
		c.single(ch, &s)
	}
	sv.hidden(c)
	ch.dedupe()
	return ch
}

// skipOwn lets what we emit go on; a blocked table has nothing of ours to let
// through.
func (c *compiler) skipOwn(ch *chain) {
	if !c.features.Block {
		ch.rules = append(ch.rules, (&builder{}).mark().target("accept", &expr.Verdict{Kind: expr.VerdictAccept}))
	}
}

// dedupe drops rules that stand there already.
func (ch *chain) dedupe() {
	seen := map[string]bool{}
	ch.rules = slices.DeleteFunc(ch.rules, func(r rule) bool {
		key := fmt.Sprint(r.text)
		again := seen[key]
		seen[key] = true
		return again
	})
}

// families lists the IP versions that criteria can match.
func families(c *ppf.Criteria) []bool {
	var list []bool
	for _, v6 := range []bool{false, true} {
		if c.Family == ppf.FamilyIPv4 && v6 || c.Family == ppf.FamilyIPv6 && !v6 {
			continue
		}
		if fits(c.Src, v6) && fits(c.Dst, v6) {
			list = append(list, v6)
		}
	}
	return list
}

func fits(list []netip.Prefix, v6 bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is4() != v6 })
}

// protocols lists the upper-layer protocols of criteria in a family; an empty
// list is every one.
func protocols(c *ppf.Criteria, v6 bool) []packet.Protocol {
	switch {
	case c.Protocol == ppf.ProtocolAny:
		return nil
	case c.Protocol == packet.ProtoICMP && v6 && c.Family != ppf.FamilyIPv4:
		return []packet.Protocol{packet.ProtoICMPv6}
	}
	return []packet.Protocol{c.Protocol}
}

// single writes a selector's own rules: one for each combination of its lists.
func (c *compiler) single(ch *chain, s *Selector) {
	cr := &s.Criteria
	for _, v6 := range families(cr) {
		for _, src := range ofFamily(cr.Src, v6) {
			for _, dst := range ofFamily(cr.Dst, v6) {
				for _, sport := range portsOrAny(cr.SrcPorts) {
					for _, dport := range portsOrAny(cr.DstPorts) {
						c.singleRule(ch, s, v6, src, dst, sport, dport)
					}
				}
			}
		}
	}
}

var (
	anyPrefix = netip.Prefix{}
	anyPort   = ppf.PortRange{Lo: 0, Hi: 65535}
)

func ofFamily(list []netip.Prefix, v6 bool) []netip.Prefix {
	if len(list) == 0 {
		return []netip.Prefix{anyPrefix}
	}
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() == v6 })
}

func portsOrAny(list []ppf.PortRange) []ppf.PortRange {
	if len(list) == 0 {
		return []ppf.PortRange{anyPort}
	}
	return list
}

func (c *compiler) singleRule(ch *chain, s *Selector, v6 bool, src, dst netip.Prefix, sport, dport ppf.PortRange) {
	cr := &s.Criteria
	b := &builder{}
	if cr.In != "" {
		b.device(false, cr.In, false)
	}
	if cr.Out != "" {
		b.device(true, cr.Out, false)
	}
	b.family(v6)
	if src.IsValid() {
		b.addr(fieldSrc, src, false)
	}
	if dst.IsValid() {
		b.addr(fieldDst, dst, false)
	}
	for _, p := range protocols(cr, v6) {
		b.protocol(p, false)
	}
	if sport != anyPort {
		b.port(true, sport, false)
	}
	if dport != anyPort {
		b.port(false, dport, false)
	}
	for i := range cr.Not {
		exclude(b, &cr.Not[i], v6)
	}
	ch.rules = append(ch.rules, c.queue(b, s.Fail))
}

// exclude adds the negation of criteria. An item of Not has one key, and each
// item of its list excludes by itself.
func exclude(b *builder, n *ppf.Criteria, v6 bool) {
	for _, p := range n.Src {
		if p.Addr().Is4() != v6 {
			b.addr(fieldSrc, p, true)
		}
	}
	for _, p := range n.Dst {
		if p.Addr().Is4() != v6 {
			b.addr(fieldDst, p, true)
		}
	}
	for _, r := range n.SrcPorts {
		b.port(true, r, true)
	}
	for _, r := range n.DstPorts {
		b.port(false, r, true)
	}
	for _, p := range protocols(n, v6) {
		b.protocol(p, true)
	}
	if n.In != "" {
		b.device(false, n.In, true)
	}
	if n.Out != "" {
		b.device(true, n.Out, true)
	}
}

// fragments compiles the chain that takes parts of packets before the kernel
// puts them together, whatever hook their instance uses.
func (c *compiler) fragments() *chain {
	ch := &chain{info: chains[placeFragments]}
	c.skipOwn(ch)
	own := len(ch.rules)
	sv := newServers(ch)
	for _, s := range slices.Concat(c.plan.Selectors, c.plan.Refuse) {
		sv.add(&s)
	}
	sv.fragments(c)
	if len(ch.rules) == own {
		return nil
	}
	return ch
}
