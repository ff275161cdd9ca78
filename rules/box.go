package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// box is one combination of the lists of criteria, in one IP version: a range in
// each field. It is an element of a set, or the matches of a rule.
type box struct {
	src, dst         netip.Prefix // masked; /0 where criteria name none
	protoLo, protoHi uint8
	sport, dport     ppf.PortRange
}

var (
	every4  = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	every6  = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	anyPort = ppf.PortRange{Lo: 0, Hi: 65535}
)

func every(v6 bool) netip.Prefix {
	if v6 {
		return every6
	}
	return every4
}

// covers reports whether every packet in o is in x.
func (x *box) covers(o *box) bool {
	return prefixCovers(x.src, o.src) && prefixCovers(x.dst, o.dst) &&
		x.protoLo <= o.protoLo && o.protoHi <= x.protoHi &&
		portsCover(x.sport, o.sport) && portsCover(x.dport, o.dport)
}

// overlaps reports whether a packet can be in both.
func (x *box) overlaps(o *box) bool {
	return x.src.Overlaps(o.src) && x.dst.Overlaps(o.dst) &&
		x.protoLo <= o.protoHi && o.protoLo <= x.protoHi &&
		x.sport.Lo <= o.sport.Hi && o.sport.Lo <= x.sport.Hi &&
		x.dport.Lo <= o.dport.Hi && o.dport.Lo <= x.dport.Hi
}

func prefixCovers(x, o netip.Prefix) bool { return x.Bits() <= o.Bits() && x.Contains(o.Addr()) }

func portsCover(x, o ppf.PortRange) bool { return x.Lo <= o.Lo && o.Hi <= x.Hi }

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
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
}

// protocolOf gives the upper-layer protocol of criteria in an IP version; ok is
// false for every protocol.
func protocolOf(c *ppf.Criteria, v6 bool) (p packet.Protocol, ok bool) {
	switch {
	case c.Protocol == ppf.ProtocolAny:
		return 0, false
	case c.Protocol == packet.ProtoICMP && v6:
		return packet.ProtoICMPv6, true
	}
	return c.Protocol, true
}

// boxes lists what criteria select in an IP version, without In, Out and Not.
func boxes(c *ppf.Criteria, v6 bool) []box {
	x := box{protoLo: 0, protoHi: 255}
	if p, ok := protocolOf(c, v6); ok {
		x.protoLo, x.protoHi = uint8(p), uint8(p)
	}
	var list []box
	for _, x.src = range ofFamily(c.Src, v6) {
		for _, x.dst = range ofFamily(c.Dst, v6) {
			for _, x.sport = range portsOrAny(c.SrcPorts) {
				for _, x.dport = range portsOrAny(c.DstPorts) {
					list = append(list, x)
				}
			}
		}
	}
	return list
}

// ofFamily gives the networks of one IP version, with the host bits cleared;
// every address for an empty list.
func ofFamily(list []netip.Prefix, v6 bool) []netip.Prefix {
	if len(list) == 0 {
		return []netip.Prefix{every(v6)}
	}
	var own []netip.Prefix
	for _, p := range list {
		if p.Addr().Is6() == v6 {
			own = append(own, p.Masked())
		}
	}
	return own
}

func portsOrAny(list []ppf.PortRange) []ppf.PortRange {
	if len(list) == 0 {
		return []ppf.PortRange{anyPort}
	}
	return list
}

// pack spreads boxes over as few groups as it finds, so that in a group none
// overlaps with another: the kernel's sets refuse that (net/netfilter/
// nft_set_pipapo.c, nft_pipapo_insert). A box inside another one is left out.
// The cost grows with the square of the number of boxes, as no index would be
// worth its code for a few thousand.
func pack(list []box) [][]box {
	var bins [][]box
next:
	for i := range list {
		x := &list[i]
		for _, bin := range bins {
			if slices.ContainsFunc(bin, func(h box) bool { return h.covers(x) }) {
				continue next
			}
		}
		for b, bin := range bins {
			bin = slices.DeleteFunc(bin, func(h box) bool { return x.covers(&h) })
			fits := !slices.ContainsFunc(bin, func(h box) bool { return h.overlaps(x) })
			if fits {
				bin = append(bin, *x)
			}
			bins[b] = bin
			if fits {
				continue next
			}
		}
		bins = append(bins, []box{*x})
	}
	return slices.DeleteFunc(bins, func(bin []box) bool { return len(bin) == 0 })
}

// shape tells which fields the boxes of a set have; the protocol is always one
// of them.
type shape struct {
	v6, src, dst, sport, dport bool
}

// shapeOf gives the fields that criteria name. A set has at least one address:
// where criteria name none, every source is one.
func shapeOf(c *ppf.Criteria, v6 bool) shape {
	s := shape{v6: v6, src: len(c.Src) > 0, dst: len(c.Dst) > 0, sport: len(c.SrcPorts) > 0, dport: len(c.DstPorts) > 0}
	s.src = s.src || !s.dst
	return s
}

// name is the shape as part of the name of a set.
func (s shape) name() string {
	name := ""
	for _, f := range []struct {
		there bool
		name  string
	}{{s.src, "_saddr"}, {s.dst, "_daddr"}, {s.sport, "_sport"}, {s.dport, "_dport"}} {
		if f.there {
			name += f.name
		}
	}
	if s.v6 {
		return name + "_ip6"
	}
	return name + "_ip"
}

// types are the data types of the fields, in the order of the key.
func (s shape) types() []nftables.SetDatatype {
	addr := nftables.TypeIPAddr
	if s.v6 {
		addr = nftables.TypeIP6Addr
	}
	var list []nftables.SetDatatype
	if s.src {
		list = append(list, addr)
	}
	if s.dst {
		list = append(list, addr)
	}
	list = append(list, nftables.TypeInetProto)
	if s.sport {
		list = append(list, nftables.TypeInetService)
	}
	if s.dport {
		list = append(list, nftables.TypeInetService)
	}
	return list
}

// text writes a box as an element of a set; raw writes addresses as numbers.
func (s shape) text(x *box, raw bool) string {
	t := ""
	if s.src {
		t += addrText(x.src, raw) + " . "
	}
	if s.dst {
		t += addrText(x.dst, raw) + " . "
	}
	t += span(x.protoLo, x.protoHi)
	if s.sport {
		t += " . " + x.sport.String()
	}
	if s.dport {
		t += " . " + x.dport.String()
	}
	return t
}

func span(lo, hi uint8) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d-%d", lo, hi)
}

func addrText(p netip.Prefix, raw bool) string {
	switch {
	case !raw && p.IsSingleIP():
		return p.Addr().String()
	case !raw:
		return p.String()
	case p.IsSingleIP():
		return fmt.Sprintf("%#x", p.Addr().AsSlice())
	}
	return fmt.Sprintf("%#x-%#x", p.Addr().AsSlice(), lastOf(p).AsSlice())
}

// lastOf is the highest address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i, m := range maskOf(p) {
		b[i] |= ^m
	}
	a, _ := netip.AddrFromSlice(b) // the length is that of an address
	return a
}

// maskOf is the network mask.
func maskOf(p netip.Prefix) []byte {
	b := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// element gives both ends of a box as the kernel concatenates them: every field
// padded to 4 bytes.
func (s shape) element(x *box) nftables.SetElement {
	var from, to []byte
	add := func(lo, hi []byte) {
		pad := make([]byte, -len(lo)&3)
		from = append(append(from, lo...), pad...)
		to = append(append(to, hi...), pad...)
	}
	if s.src {
		add(x.src.Addr().AsSlice(), lastOf(x.src).AsSlice())
	}
	if s.dst {
		add(x.dst.Addr().AsSlice(), lastOf(x.dst).AsSlice())
	}
	add([]byte{x.protoLo}, []byte{x.protoHi})
	if s.sport {
		add(portBytes(x.sport))
	}
	if s.dport {
		add(portBytes(x.dport))
	}
	return nftables.SetElement{Key: from, KeyEnd: to}
}

func portBytes(r ppf.PortRange) (lo, hi []byte) {
	return binary.BigEndian.AppendUint16(nil, r.Lo), binary.BigEndian.AppendUint16(nil, r.Hi)
}
