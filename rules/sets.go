package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/promethos/promethos/ppf"
)

// box is one element of a set: ranges of addresses, protocols and ports.
type box struct {
	addr    netip.Prefix
	lo, hi  netip.Addr
	protoLo uint8
	protoHi uint8
	portLo  uint16
	portHi  uint16
}

func (x *box) contains(o *box) bool {
	return !o.lo.Less(x.lo) && !x.hi.Less(o.hi) && x.protoLo <= o.protoLo && o.protoHi <= x.protoHi && x.portLo <= o.portLo && o.portHi <= x.portHi
}

func (x *box) overlaps(o *box) bool {
	return !x.hi.Less(o.lo) && !o.hi.Less(x.lo) && x.protoLo <= o.protoHi && o.protoLo <= x.protoHi && x.portLo <= o.portHi && o.portLo <= x.portHi
}

func (x *box) text(ports bool) string {
	s := fmt.Sprintf("%v . %s", x.addr, span(uint16(x.protoLo), uint16(x.protoHi)))
	if ports {
		s += " . " + span(x.portLo, x.portHi)
	}
	return s
}

func span(lo, hi uint16) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d-%d", lo, hi)
}

// key gives both ends of the box as the kernel concatenates them: every field
// padded to 4 bytes.
func (x *box) key(ports bool) (from, to []byte) {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	from = append(x.lo.AsSlice(), pad([]byte{x.protoLo})...)
	to = append(x.hi.AsSlice(), pad([]byte{x.protoHi})...)
	if ports {
		from = append(from, pad(binary.BigEndian.AppendUint16(nil, x.portLo))...)
		to = append(to, pad(binary.BigEndian.AppendUint16(nil, x.portHi))...)
	}
	return from, to
}

// lastOf is the highest address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // the length is that of an address
	return a
}

// groups collects the plain selectors of a chain in sets, so that the number of
// instances does not matter.
type groups struct {
	ch   *chain
	sets map[groupKey]*set
	keys []groupKey
}

type groupKey struct {
	v6, source, ports bool
	fail              ppf.Fail
}

func newGroups(ch *chain) *groups { return &groups{ch: ch, sets: map[groupKey]*set{}} }

// add takes a selector that names one side's networks and ports and nothing
// else; it reports false for any other, and for one that overlaps in part with
// what is there, which the kernel's sets refuse.
func (g *groups) add(s Selector) bool {
	cr := &s.Criteria
	source := len(cr.Src) > 0
	addrs, ports, other := cr.Dst, cr.DstPorts, cr.SrcPorts
	if source {
		addrs, ports, other = cr.Src, cr.SrcPorts, cr.DstPorts
	}
	if len(cr.Src) > 0 && len(cr.Dst) > 0 || len(addrs) == 0 || len(other) > 0 || cr.In != "" || cr.Out != "" || len(cr.Not) > 0 {
		return false
	}
	type placed struct {
		key groupKey
		box box
	}
	var boxes []placed
	for _, v6 := range families(cr) {
		key := groupKey{v6, source, len(ports) > 0, s.Fail}
		lo, hi := uint8(0), uint8(255)
		if p := protocols(cr, v6); len(p) > 0 {
			lo, hi = uint8(p[0]), uint8(p[0])
		}
		for _, a := range ofFamily(addrs, v6) {
			for _, p := range portsOrAny(ports) {
				x := box{a, a.Addr(), lastOf(a), lo, hi, p.Lo, p.Hi}
				if have := g.sets[key]; have != nil {
					inside := slices.ContainsFunc(have.boxes, func(h box) bool { return h.contains(&x) })
					if inside {
						continue
					}
					if slices.ContainsFunc(have.boxes, func(h box) bool { return h.overlaps(&x) }) {
						return false
					}
				}
				if slices.ContainsFunc(boxes, func(o placed) bool { return o.key == key && o.box.overlaps(&x) }) {
					return false
				}
				boxes = append(boxes, placed{key, x})
			}
		}
	}
	for _, p := range boxes {
		have := g.sets[p.key]
		if have == nil {
			have = &set{name: p.key.name(g.ch.info.name), v6: p.key.v6, ports: p.key.ports}
			g.sets[p.key] = have
			g.keys = append(g.keys, p.key)
			g.ch.sets = append(g.ch.sets, have)
		}
		have.boxes = append(have.boxes, p.box)
	}
	return true
}

func (k groupKey) name(chain string) string {
	name := chain + "_to"
	if k.source {
		name = chain + "_from"
	}
	if k.ports {
		name += "_port"
	}
	if k.v6 {
		name += "6"
	} else {
		name += "4"
	}
	if k.fail == ppf.FailOpen {
		name += "_open"
	}
	return name
}

// lookups writes one rule per set.
func (g *groups) lookups(c *compiler) {
	for _, k := range g.keys {
		f := fieldDst
		if k.source {
			f = fieldSrc
		}
		b := (&builder{}).family(k.v6).lookup(g.sets[k], f, byL4Proto, k.source)
		g.ch.rules = append(g.ch.rules, c.queue(b, k.fail))
	}
}

// elements gives the kernel's form of the boxes.
func (s *set) elements() []nftables.SetElement {
	list := make([]nftables.SetElement, len(s.boxes))
	for i := range s.boxes {
		list[i].Key, list[i].KeyEnd = s.boxes[i].key(s.ports)
	}
	return list
}
