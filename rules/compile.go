package rules

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Compile turns a plan into rules for a kernel with the given features. The
// result depends on nothing else. The error wraps ErrPlan or ErrNoQueueTarget.
//
// Where selectors that fail closed and open select the same packet by the same
// kind of rule, it goes to the queues that fail closed.
func Compile(p Plan, f Features) (*Ruleset, error) {
	if f.Queue == QueueNone && !f.Block {
		return nil, fmt.Errorf("rules: compile: %w", ErrNoQueueTarget)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	c := compiler{plan: &p, features: f, names: map[string]bool{}, rules: &Ruleset{}}
	for at := range numPlaces {
		switch at {
		case placeFragments:
			c.fragments()
		case placeZoneIn:
			c.zoneIn()
		case placeHold:
			c.hold()
		case placeDivert:
			c.divert()
		case placeHide:
			c.hide()
		case placeZoneOut:
			c.zoneOut()
		default:
			c.place(at)
		}
	}
	return c.rules, nil
}

// compiler builds a ruleset.
type compiler struct {
	plan     *Plan
	features Features
	names    map[string]bool
	rules    *Ruleset
	opening  *chain // what closed gives; nil until then
}

var fails = []ppf.Fail{ppf.FailClosed, ppf.FailOpen}

// name makes a name that no set or chain has yet.
func (c *compiler) name(want string) string {
	name := want
	for i := 2; c.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	c.names[name] = true
	return name
}

// base makes a base chain, which starts with the rules for our marks. It is kept
// only if more rules follow.
func (c *compiler) base(at place) *chain {
	info := &places[at]
	return &chain{name: c.name(info.name), base: info, rules: c.skip(at)}
}

// skip lists the rules for our marks. A blocked table has nothing of ours to let
// through. What our sockets send is taken at POSTROUTING.
func (c *compiler) skip(at place) []rule {
	if c.features.Block {
		return nil
	}
	list := []rule{new(builder).ours().accept()}
	if at == placeOutput && len(c.plan.Streams) > 0 {
		list = append(list, new(builder).marked(ZonedMark).accept(), new(builder).marked(SocketMark).accept())
	}
	if at == placeForward && slices.ContainsFunc(c.plan.Selectors, Selector.judgesEarly) || at == placeEarlyForwarded {
		list = append(list, new(builder).marked(JudgedMark).accept())
	}
	if at == placeEarlyForwarded {
		list = append(list, new(builder).own(fieldDst).accept())
	}
	if at == placePostrouting && len(c.streams(ppf.ClientToServer, isHonest)) > 0 {
		list = append(list, refusals()...)
	}
	return list
}

func (c *compiler) keep(ch *chain, at place) {
	if len(ch.rules) > len(c.skip(at)) {
		c.rules.chains = append(c.rules.chains, ch)
	}
}

// subchain names a chain that a base chain leads to.
func subchain(ch *chain, what string, v6 bool) string {
	name := what
	if ch.name != what {
		name = ch.name + "_" + what
	}
	if v6 {
		return name + "_ip6"
	}
	return name + "_ip"
}

// take is the target: a queue, or a drop.
func (c *compiler) take(b *builder, fail ppf.Fail) rule {
	if c.features.Block {
		return b.drop()
	}
	if fail == ppf.FailOpen {
		return c.queue(b, c.plan.Open, uint16(expr.QueueFlagBypass), "queue flags bypass to ")
	}
	return c.queue(b, c.plan.Closed, 0, "queue to ")
}

// takeWhole is take for packets that are in one piece: the pieces of one packet
// have to come to one queue, whatever the first of them shows.
func (c *compiler) takeWhole(b *builder, fail ppf.Fail) rule {
	if c.features.Block || fail == ppf.FailOpen || c.plan.Opening.Count == 0 {
		return c.take(b, fail)
	}
	ch := c.closed()
	return b.to("goto "+ch.name, &expr.Verdict{Kind: expr.VerdictGoto, Chain: ch.name})
}

// closed is the chain that parts what may open a connection from the rest, when it
// is too much: a flood of the one must not fill the queues of the other.
func (c *compiler) closed() *chain {
	if c.opening != nil {
		return c.opening
	}
	c.opening = &chain{name: c.name("closed")}
	rest := c.queue(new(builder), c.plan.Closed, 0, "queue to ")
	parted := c.queue(new(builder).tcp().syn(), c.plan.Opening, 0, "queue to ")
	if c.features.Flood && c.plan.Flood > 0 {
		syns := &chain{name: c.name("opening"), rules: []rule{
			c.queue(new(builder).over(c.plan.Flood).noteFlood(), c.plan.Opening, 0, "queue to "),
			c.queue(new(builder).inFlood(), c.plan.Opening, 0, "queue to "),
			rest,
		}}
		c.rules.sets = append(c.rules.sets, floodSet)
		c.rules.chains = append(c.rules.chains, syns)
		parted = new(builder).tcp().syn().to("goto "+syns.name, &expr.Verdict{Kind: expr.VerdictGoto, Chain: syns.name})
	}
	c.opening.rules = []rule{parted, rest}
	c.rules.chains = append(c.rules.chains, c.opening)
	return c.opening
}

// queue ends the rule with queues; text is what comes before their numbers.
func (c *compiler) queue(b *builder, q Queues, flags uint16, text string) rule {
	text += fmt.Sprint(q.First)
	if q.Count > 1 {
		text += fmt.Sprintf("-%d", q.last())
	}
	if c.features.Queue == QueueNative {
		return b.to(text, &expr.Queue{Num: q.First, Total: q.Count, Flag: expr.QueueFlag(flags)})
	}
	return b.to(text, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: nfqueueInfo(q, flags)})
}

// nfqueueInfo is struct xt_NFQ_info_v3 (include/uapi/linux/netfilter/xt_NFQUEUE.h),
// padded to the 8 bytes that xtables wants; its bypass flag is nft's.
func nfqueueInfo(q Queues, flags uint16) *xt.Unknown {
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, q.First)
	binary.NativeEndian.PutUint16(info[2:], q.Count)
	binary.NativeEndian.PutUint16(info[4:], flags)
	return &info
}

// place compiles one base chain.
func (c *compiler) place(at place) {
	ch := c.base(at)
	selectors, refuse := at.of(c.plan.Selectors), at.of(c.plan.Refuse)
	if c.features.Block { // what is not dropped beside is dropped at the instance's own hook
		selectors = slices.DeleteFunc(selectors, func(s Selector) bool { return s.Beside })
	}
	var sparing []Selector // at OUTPUT; before routing the chain begins with a rule for all
	if !c.features.Own {
		selectors = slices.DeleteFunc(selectors, Selector.sparesOwn)
	} else if at == placeOutput {
		sparing = slices.DeleteFunc(slices.Clone(selectors), func(s Selector) bool { return !s.sparesOwn() })
		selectors = slices.DeleteFunc(selectors, Selector.sparesOwn)
	}
	all := slices.Concat(selectors, refuse)
	// What has no ports, or hides them, comes first: what stands where the ports
	// would be must not be read as ports.
	if own := c.parts(ch, all, false); own != nil {
		own.rules = append(own.rules, new(builder).fragment(false, laterOffset).accept())
	}
	c.extensions(ch, all)
	c.selectPlain(ch, ch.name, selectors, c.takeWhole)
	if len(sparing) > 0 {
		own := &chain{name: c.name(ch.name + "_sparing"), rules: []rule{new(builder).own(fieldSrc).back()}}
		own.rules = append(own.rules, c.takeWhole(new(builder), ppf.FailClosed))
		c.rules.chains = append(c.rules.chains, own)
		c.selectPlain(ch, own.name, sparing, func(b *builder, _ ppf.Fail) rule { return b.jump(own) })
	}
	c.icmpErrors(ch, slices.DeleteFunc(slices.Concat(selectors, sparing), Selector.judgesEarly))
	for _, fail := range fails {
		g := newGroups(c, fail)
		for i := range refuse {
			if refuse[i].Fail == fail {
				g.add(&refuse[i].Criteria)
			}
		}
		g.write(ch, ch.name+"_others", c.takeWhole)
	}
	c.unreadable(ch, selectors)
	c.keep(ch, at)
}

// selectPlain writes the rules for what shows all that selectors ask for.
func (c *compiler) selectPlain(ch *chain, name string, selectors []Selector, to func(*builder, ppf.Fail) rule) {
	for _, fail := range fails {
		g := newGroups(c, fail)
		for i := range selectors {
			s := &selectors[i]
			switch {
			case s.Fail != fail:
			case len(s.Criteria.Not) > 0:
				c.selectExcept(ch, &s.Criteria, fail, to)
			default:
				g.add(&s.Criteria)
			}
		}
		g.write(ch, name, to)
	}
}

// of lists the selectors of a base chain, with what packets show there.
func (at place) of(all []Selector) []Selector {
	var list []Selector
	for _, s := range all {
		if s.place() == at {
			s.Criteria = s.visible()
			list = append(list, s)
		}
	}
	return list
}

// selectExcept writes the rules of criteria with Not: what else they name leads to
// a chain of its own, which what is excluded leaves again. A packet that hides
// what Not asks for is not excluded.
func (c *compiler) selectExcept(ch *chain, cr *ppf.Criteria, fail ppf.Fail, to func(*builder, ppf.Fail) rule) {
	own := &chain{name: c.name(ch.name + "_except")}
	for i := range cr.Not {
		g := newGroups(c, fail)
		g.add(&cr.Not[i])
		g.write(own, own.name, func(b *builder, _ ppf.Fail) rule { return b.back() })
	}
	own.rules = append(own.rules, to(new(builder), fail))
	c.rules.chains = append(c.rules.chains, own)
	g := newGroups(c, fail)
	g.add(cr)
	g.write(ch, own.name, func(b *builder, _ ppf.Fail) rule { return b.jump(own) })
}

// coarse collects what selectors name, without their ports, devices and Not, for
// packets that hide what they belong to. field says what of it; nil is nothing.
func (c *compiler) coarse(selectors []Selector, fail ppf.Fail, field func(*Selector) *ppf.Criteria) *groups {
	g := newGroups(c, fail)
	for i := range selectors {
		if s := &selectors[i]; s.Fail == fail {
			if cr := field(s); cr != nil {
				g.add(cr)
			}
		}
	}
	return g
}

// addresses is what a packet without readable ports shows of a selector.
func addresses(s *Selector) *ppf.Criteria {
	return &ppf.Criteria{Family: s.Criteria.Family, Protocol: s.Criteria.Protocol, Src: s.Criteria.Src, Dst: s.Criteria.Dst}
}

// extensions selects IPv6 packets with an extension header: what follows it is
// not looked at in the kernel.
func (c *compiler) extensions(ch *chain, selectors []Selector) {
	own := &chain{name: subchain(ch, "extended", true)}
	for _, fail := range fails {
		g := c.coarse(selectors, fail, func(s *Selector) *ppf.Criteria {
			cr := addresses(s)
			cr.Protocol = ppf.ProtocolAny
			return cr
		})
		g.only(true)
		g.byNextHeader = true
		g.write(own, own.name, c.take)
	}
	if len(own.rules) > 0 {
		c.rules.chains = append(c.rules.chains, own)
		ch.rules = append(ch.rules, new(builder).extended().jump(own))
	}
}

// icmpErrors selects the errors about flows: those that quote a server on either
// side, and those to or from a server, which may be too short to quote anything;
// of a network that this machine may be part of only the former.
func (c *compiler) icmpErrors(ch *chain, selectors []Selector) {
	for family, ranges := range icmpErrors {
		v6 := family == 1
		own := &chain{name: subchain(ch, "errors", v6)}
		for _, fail := range fails {
			g := c.coarse(selectors, fail, server)
			g.only(v6)
			// Two sets of the same addresses, because nft compares types.
			g.quoted = true
			for _, f := range []*addrField{&fieldQuotedSrc, &fieldQuotedDst} {
				g.address = f
				g.write(own, own.name+"_quoted", c.take)
			}
			g = c.coarse(slices.DeleteFunc(slices.Clone(selectors), Selector.sparesOwn), fail, server)
			g.only(v6)
			for _, f := range []*addrField{&fieldSrc, &fieldDst} {
				g.address = f
				g.write(own, own.name, c.take)
			}
		}
		if len(own.rules) == 0 {
			continue
		}
		// Where no address is named, all four rules are the same.
		own.rules = slices.CompactFunc(own.rules, func(a, b rule) bool { return slices.Equal(a.text, b.text) })
		c.rules.chains = append(c.rules.chains, own)
		for _, types := range ranges {
			ch.rules = append(ch.rules, new(builder).icmpError(v6, types).jump(own))
		}
	}
}

// server names the server of a selector, or its client where it names no server,
// as a destination; nil for a protocol that has no ICMP errors of its own here.
func server(s *Selector) *ppf.Criteria {
	switch s.Criteria.Protocol {
	case ppf.ProtocolAny, packet.ProtoTCP, packet.ProtoUDP:
	default:
		return nil
	}
	cr := &ppf.Criteria{Family: s.Criteria.Family, Dst: s.Criteria.Dst}
	if s.Dir == ppf.ServerToClient && len(s.Criteria.Src) > 0 || len(cr.Dst) == 0 {
		cr.Dst = s.Criteria.Src
	}
	if len(cr.Dst) == 0 {
		cr.Dst = restOf(cr.Family)
	}
	return cr
}

// unreadable selects packets whose ports cannot be read, for selectors that name
// ports; it ends the chain.
func (c *compiler) unreadable(ch *chain, selectors []Selector) {
	var rest chain
	for _, fail := range fails {
		g := c.coarse(selectors, fail, func(s *Selector) *ppf.Criteria {
			if len(s.Criteria.SrcPorts)+len(s.Criteria.DstPorts) == 0 {
				return nil
			}
			return addresses(s)
		})
		g.write(&rest, ch.name+"_unreadable", c.take)
	}
	if len(rest.rules) > 0 {
		ch.rules = append(append(ch.rules, new(builder).portsReadable().back()), rest.rules...)
	}
}

// fragments compiles the chain that takes parts of packets before the kernel
// puts them together, whatever hook their instance uses.
func (c *compiler) fragments() {
	ch := c.base(placeFragments)
	all := slices.Concat(c.plan.Selectors, c.plan.Refuse)
	for i := range all {
		all[i].Criteria = all[i].visible()
	}
	taken := false
	for _, v6 := range []bool{false, true} {
		taken = c.parts(ch, all, v6) != nil || taken
	}
	if taken && c.features.Defragment {
		ch.rules = append(ch.rules, new(builder).defragment())
	}
	c.keep(ch, placeFragments)
}

// parts selects parts of packets: by protocol on IPv4, where every part names it,
// and all on IPv6. It returns the chain they are led to, nil where there is none.
func (c *compiler) parts(ch *chain, selectors []Selector, v6 bool) *chain {
	own := &chain{name: subchain(ch, "fragments", v6)}
	for _, fail := range fails {
		g := c.coarse(selectors, fail, func(s *Selector) *ppf.Criteria {
			cr := addresses(s)
			if v6 {
				cr.Protocol = ppf.ProtocolAny
			}
			return cr
		})
		g.only(v6)
		g.byNextHeader = v6
		g.write(own, own.name, c.take)
	}
	if len(own.rules) == 0 {
		return nil
	}
	c.rules.chains = append(c.rules.chains, own)
	ch.rules = append(ch.rules, new(builder).fragment(v6, wholeOffset).jump(own))
	return own
}
