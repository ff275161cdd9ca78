package rules

import (
	"net/netip"
	"slices"

	"github.com/promethos/promethos/ppf"
)

// groups collects criteria that one rule each can select: those with the same
// fields and devices share a set, so that the number of instances does not
// matter.
type groups struct {
	c    *compiler
	fail ppf.Fail
	list []*group
	// byNextHeader, address and quoted: see builder.lookup and set.
	byNextHeader bool
	address      *addrField
	quoted       bool
}

// group is what criteria with the same fields and devices select.
type group struct {
	shape   shape
	in, out string
	boxes   []box
	sets    []*set // made by write
}

func newGroups(c *compiler, fail ppf.Fail) *groups { return &groups{c: c, fail: fail} }

// add takes criteria without Not.
func (g *groups) add(cr *ppf.Criteria) {
	for _, v6 := range families(cr) {
		s := shapeOf(cr, v6)
		i := slices.IndexFunc(g.list, func(h *group) bool { return h.shape == s && h.in == cr.In && h.out == cr.Out })
		if i < 0 {
			i = len(g.list)
			g.list = append(g.list, &group{shape: s, in: cr.In, out: cr.Out})
		}
		g.list[i].boxes = append(g.list[i].boxes, boxes(cr, v6)...)
	}
}

// only leaves out the other IP version.
func (g *groups) only(v6 bool) {
	g.list = slices.DeleteFunc(g.list, func(h *group) bool { return h.shape.v6 != v6 })
}

// write adds the rules to a chain: one per set, or for a single box one with its
// matches. A second call writes the same for other fields, with the same sets.
func (g *groups) write(ch *chain, name string, to func(*builder, ppf.Fail) rule) {
	for _, h := range g.list {
		if h.sets == nil {
			for _, bin := range pack(h.boxes) {
				h.sets = append(h.sets, &set{shape: h.shape, boxes: bin, quoted: g.quoted})
			}
		}
		for _, s := range h.sets {
			b := new(builder).devices(h.in, h.out)
			if len(s.boxes) == 1 {
				g.inline(b, s)
			} else {
				if s.name == "" {
					s.name = g.c.name(name + s.shape.name() + [...]string{"", "_open"}[g.fail])
					g.c.rules.sets = append(g.c.rules.sets, s)
				}
				b.lookup(s, g.address, g.byNextHeader)
			}
			ch.rules = append(ch.rules, to(b, g.fail))
		}
	}
}

// inline writes the matches of a set with one box.
func (g *groups) inline(b *builder, s *set) {
	x := &s.boxes[0]
	if g.address == nil {
		b.inline(s.shape, x)
		return
	}
	b.family(s.shape.v6)
	if x.dst.Bits() == 0 || g.quoted {
		b.sayFamily(s.shape.v6) // addresses that nft has no name for do not say it
	}
	b.addr(*g.address, x.dst)
}

// restOf lists all addresses of an IP version, or of both.
func restOf(f ppf.Family) []netip.Prefix {
	switch f {
	case ppf.FamilyIPv4:
		return []netip.Prefix{every4}
	case ppf.FamilyIPv6:
		return []netip.Prefix{every6}
	default:
		return []netip.Prefix{every4, every6}
	}
}
