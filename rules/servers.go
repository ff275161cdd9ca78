package rules

import (
	"slices"

	"github.com/google/nftables/expr"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// servers collects, for the packets of one chain that hide what they belong to,
// the networks that selectors name, by side. What these sets select is coarser
// than the criteria, which user space applies again.
type servers struct {
	ch   *chain
	sets map[serverKey]*set
	// everywhere tells the families of TCP and UDP selectors that name no
	// network: all ICMP errors are theirs.
	everywhere map[bool]ppf.Fail
}

type serverKey struct {
	kind serverKind
	v6   bool
	side addrSide
	fail ppf.Fail
}

type serverKind uint8

const (
	kindAll    serverKind = iota // networks with their protocols
	kindHidden                   // of those, what names ports
	kindError                    // of TCP and UDP selectors: ICMP errors may be about them
)

var serverKindNames = [...]string{"_server", "_hidden", "_error"}

type addrSide uint8

const (
	sideDst addrSide = iota
	sideSrc
)

func (s addrSide) field() addrField {
	if s == sideSrc {
		return fieldSrc
	}
	return fieldDst
}

func newServers(ch *chain) *servers {
	return &servers{ch: ch, sets: map[serverKey]*set{}, everywhere: map[bool]ppf.Fail{}}
}

// add takes a selector's networks.
func (sv *servers) add(s *Selector) {
	cr := &s.Criteria
	transport := cr.Protocol == packet.ProtoTCP || cr.Protocol == packet.ProtoUDP
	for _, v6 := range families(cr) {
		lo, hi := uint8(0), uint8(255)
		if p := protocols(cr, v6); len(p) > 0 {
			lo, hi = uint8(p[0]), uint8(p[0])
		}
		// One side is enough to select by, and the server's is the smaller.
		side, nets := sideDst, cr.Dst
		if len(nets) == 0 || s.Dir == ppf.ServerToClient && len(cr.Src) > 0 {
			side, nets = sideSrc, cr.Src
		}
		if len(nets) == 0 {
			if transport {
				sv.everywhere[v6] = s.Fail
			}
			continue
		}
		for _, p := range ofFamily(nets, v6) {
			x := box{addr: p, lo: p.Addr(), hi: lastOf(p), protoLo: lo, protoHi: hi}
			sv.put(serverKey{kindAll, v6, side, s.Fail}, x)
			if len(cr.SrcPorts)+len(cr.DstPorts) > 0 {
				sv.put(serverKey{kindHidden, v6, side, s.Fail}, x)
			}
			if transport {
				x.protoLo, x.protoHi = 0, 255
				sv.put(serverKey{kindError, v6, sideDst, s.Fail}, x)
			}
		}
	}
}

// put adds a box; where it overlaps with others in part, which the kernel's
// sets refuse, both are widened to every protocol.
func (sv *servers) put(k serverKey, x box) {
	s := sv.sets[k]
	if s == nil {
		s = &set{v6: k.v6}
		sv.sets[k] = s
	}
	for {
		if slices.ContainsFunc(s.boxes, func(h box) bool { return h.contains(&x) }) {
			return
		}
		s.boxes = slices.DeleteFunc(s.boxes, func(h box) bool { return x.contains(&h) })
		i := slices.IndexFunc(s.boxes, func(h box) bool { return h.overlaps(&x) })
		if i < 0 {
			s.boxes = append(s.boxes, x)
			return
		}
		wide := s.boxes[i]
		s.boxes = slices.Delete(s.boxes, i, i+1)
		wide.protoLo, wide.protoHi = 0, 255
		x.protoLo, x.protoHi = 0, 255
		if wide.contains(&x) {
			x = wide
		}
	}
}

// use adds a set to the chain, once.
func (sv *servers) use(s *set) *set {
	if !slices.Contains(sv.ch.sets, s) {
		sv.ch.sets = append(sv.ch.sets, s)
	}
	return s
}

// each calls f for the sets of a kind in a fixed order.
func (sv *servers) each(kind serverKind, f func(k serverKey, s *set)) {
	for _, v6 := range []bool{false, true} {
		for _, side := range []addrSide{sideDst, sideSrc} {
			for _, fail := range []ppf.Fail{ppf.FailClosed, ppf.FailOpen} {
				k := serverKey{kind, v6, side, fail}
				s := sv.sets[k]
				if s == nil {
					continue
				}
				if s.name == "" {
					s.name = groupKey{v6: v6, source: side == sideSrc, fail: fail}.name(sv.ch.info.name + serverKindNames[kind])
				}
				f(k, s)
			}
		}
	}
}

// extensions selects IPv6 packets with an extension header: what follows it is
// not looked at in the kernel.
func (sv *servers) extensions(c *compiler) {
	sv.each(kindAll, func(k serverKey, s *set) {
		if !k.v6 {
			return
		}
		ext := &set{v6: true, name: s.name + "_ext"}
		for _, x := range s.boxes {
			x.protoLo, x.protoHi = 0, 255
			if slices.ContainsFunc(ext.boxes, func(h box) bool { return h.contains(&x) }) {
				continue
			}
			for _, r := range extensions {
				x.protoLo, x.protoHi = uint8(r[0]), uint8(r[1])
				ext.boxes = append(ext.boxes, x)
			}
		}
		ext.boxes = maximal(ext.boxes)
		b := (&builder{}).family(true).lookup(sv.use(ext), k.side.field(), byNextHeader, false)
		sv.ch.rules = append(sv.ch.rules, c.queue(b, k.fail))
	})
}

// maximal leaves out what lies inside another box.
func maximal(boxes []box) []box {
	var list []box
	for i := range boxes {
		inside := false
		for j := range boxes {
			if i != j && boxes[j].contains(&boxes[i]) && (j < i || !boxes[i].contains(&boxes[j])) {
				inside = true
			}
		}
		if !inside {
			list = append(list, boxes[i])
		}
	}
	return list
}

// icmpErrors selects the errors about TCP and UDP flows: those that quote a
// server on either side, and those to or from a server, which may be too short
// to quote anything.
func (sv *servers) icmpErrors(c *compiler) {
	for _, v6 := range []bool{false, true} {
		if fail, ok := sv.everywhere[v6]; ok {
			for _, t := range errorTypes(v6) {
				sv.ch.rules = append(sv.ch.rules, c.queue((&builder{}).family(v6).icmpError(v6, t[0], t[1]), fail))
			}
		}
	}
	sv.each(kindError, func(k serverKey, s *set) {
		for _, t := range errorTypes(k.v6) {
			for _, f := range []addrField{fieldQuotedSrc, fieldQuotedDst, fieldSrc, fieldDst} {
				b := (&builder{}).family(k.v6).icmpError(k.v6, t[0], t[1]).lookup(sv.use(s), f, byL4Proto, false)
				sv.ch.rules = append(sv.ch.rules, c.queue(b, k.fail))
			}
		}
	})
}

// errorTypes are the ranges of ICMP types that quote a packet.
func errorTypes(v6 bool) [][2]uint8 {
	if v6 {
		return [][2]uint8{{1, 4}}
	}
	return [][2]uint8{{3, 5}, {11, 12}}
}

// hidden selects packets whose ports cannot be read, of selectors that name
// ports; it ends the chain.
func (sv *servers) hidden(c *compiler) {
	first := true
	sv.each(kindHidden, func(k serverKey, s *set) {
		if first {
			sv.ch.rules = append(sv.ch.rules, (&builder{}).l4Readable().target("return", &expr.Verdict{Kind: expr.VerdictReturn}))
			first = false
		}
		b := (&builder{}).family(k.v6).lookup(sv.use(s), k.side.field(), byL4Proto, false)
		sv.ch.rules = append(sv.ch.rules, c.queue(b, k.fail))
	})
}

// fragments selects parts of packets: by protocol on IPv4, where every part
// names it, and all of a server's on IPv6.
func (sv *servers) fragments(c *compiler) {
	sv.each(kindAll, func(k serverKey, s *set) {
		b := (&builder{}).family(k.v6)
		by := byL4Proto
		if k.v6 {
			b.fragment6()
			for i := range s.boxes {
				s.boxes[i].protoLo, s.boxes[i].protoHi = 0, 255
			}
			s.boxes = maximal(s.boxes)
			by = byNextHeader
		} else {
			b.fragment4()
		}
		sv.ch.rules = append(sv.ch.rules, c.queue(b.lookup(sv.use(s), k.side.field(), by, false), k.fail))
	})
}
