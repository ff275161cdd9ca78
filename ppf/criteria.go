package ppf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
)

// Family restricts criteria to one IP version; the zero value is both.
type Family uint8

// The families.
const (
	FamilyAny Family = iota
	FamilyIPv4
	FamilyIPv6
)

// PortRange is an inclusive range of ports; a single port has Lo == Hi.
type PortRange struct{ Lo, Hi uint16 }

// Contains reports whether p lies in the range.
func (r PortRange) Contains(p uint16) bool { return r.Lo <= p && p <= r.Hi }

// String gives "80" or "502-503".
func (r PortRange) String() string {
	if r.Lo == r.Hi {
		return fmt.Sprint(r.Lo)
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
}

// ProtocolAny matches every protocol; see [Criteria.Protocol].
const ProtocolAny packet.Protocol = 0

// Criteria selects packets of one flow by what a packet shows. A zero field
// does not restrict; every field that is set must match, lists match if one
// of their items does, and none of Not may match.
type Criteria struct {
	Family Family
	// Protocol is the upper-layer protocol; ProtocolAny matches every one, and
	// packet.ProtoICMP covers ICMPv6 unless Family says otherwise.
	Protocol packet.Protocol
	// ARP selects the frames of ARP and reverse ARP of an inline pair, which have no
	// upper-layer protocol; Protocol is ProtocolAny then.
	ARP      bool
	Src, Dst []netip.Prefix
	// SrcPorts and DstPorts need Protocol TCP or UDP.
	SrcPorts, DstPorts []PortRange
	// In and Out are interface names; a trailing '+' matches any ending, as in
	// iptables.
	In, Out string
	// Not lists what is excluded; Not of an item is not looked at.
	Not []Criteria
}

// Tuple is what criteria look at.
type Tuple struct {
	Src, Dst netip.Addr
	Protocol packet.Protocol
	// HasProtocol is false where the packet hides its upper-layer protocol
	// (an extension header that cannot be read).
	HasProtocol bool
	// ARP says that it is no IP packet but one of ARP or reverse ARP.
	ARP              bool
	SrcPort, DstPort uint16
	// HasPorts is false where the packet shows no ports (a later fragment, a
	// truncated header, ICMP).
	HasPorts bool
	In, Out  string
}

// Match reports whether a packet with tuple t is selected. What a packet hides
// counts as a match: who selects by port also selects every packet of that
// server that hides its ports, such as later fragments (DESIGN section 3). It
// never counts as a match of Not.
func (c *Criteria) Match(t *Tuple) bool {
	if !c.matchOne(t, true) {
		return false
	}
	for i := range c.Not {
		if c.Not[i].matchOne(t, false) {
			return false
		}
	}
	return true
}

func (c *Criteria) matchOne(t *Tuple, hidden bool) bool {
	switch c.Family {
	case FamilyIPv4:
		if !t.Src.Is4() {
			return false
		}
	case FamilyIPv6:
		if t.Src.Is4() {
			return false
		}
	}
	if !matchProtocol(c.Protocol, t, hidden) || c.ARP && !t.ARP {
		return false
	}
	return matchPrefix(c.Src, t.Src) && matchPrefix(c.Dst, t.Dst) &&
		matchPort(c.SrcPorts, t.SrcPort, t.HasPorts, hidden) &&
		matchPort(c.DstPorts, t.DstPort, t.HasPorts, hidden) &&
		matchDevice(c.In, t.In) && matchDevice(c.Out, t.Out)
}

func matchProtocol(want packet.Protocol, t *Tuple, hidden bool) bool {
	if want == ProtocolAny {
		return true
	}
	if !t.HasProtocol {
		return hidden
	}
	return want == t.Protocol || want == packet.ProtoICMP && t.Protocol == packet.ProtoICMPv6
}

func matchPrefix(want []netip.Prefix, have netip.Addr) bool {
	if len(want) == 0 {
		return true
	}
	for i := range want {
		if want[i].Contains(have) {
			return true
		}
	}
	return false
}

func matchPort(want []PortRange, have uint16, known, hidden bool) bool {
	if len(want) == 0 {
		return true
	}
	if !known {
		return hidden
	}
	for i := range want {
		if want[i].Contains(have) {
			return true
		}
	}
	return false
}

func matchDevice(want, have string) bool {
	if want == "" {
		return true
	}
	if prefix, ok := strings.CutSuffix(want, "+"); ok {
		return strings.HasPrefix(have, prefix)
	}
	return want == have
}

// Reverse gives the criteria of the opposite flow: source and destination,
// and in and out, exchanged, in Not too.
func (c Criteria) Reverse() Criteria {
	c.Src, c.Dst = c.Dst, c.Src
	c.SrcPorts, c.DstPorts = c.DstPorts, c.SrcPorts
	c.In, c.Out = c.Out, c.In
	c.Not = slices.Clone(c.Not)
	for i := range c.Not {
		c.Not[i] = c.Not[i].Reverse()
	}
	return c
}

// String lists what is restricted, for people: "tcp 10.0.0.0/8 > 192.0.2.1:80
// in eth0 not …".
func (c Criteria) String() string {
	proto := "any"
	switch {
	case c.ARP:
		proto = "arp"
	case c.Protocol != ProtocolAny:
		proto = strings.ToLower(c.Protocol.String())
	}
	s := proto + " " + endpoint(c.Src, c.SrcPorts) + " > " + endpoint(c.Dst, c.DstPorts)
	if c.In != "" {
		s += " in " + c.In
	}
	if c.Out != "" {
		s += " out " + c.Out
	}
	for _, n := range c.Not {
		s += " not (" + n.String() + ")"
	}
	return s
}

func endpoint(addrs []netip.Prefix, ports []PortRange) string {
	s := "any"
	if len(addrs) > 0 {
		s = join(addrs, func(p netip.Prefix) string {
			if p.IsSingleIP() {
				return p.Addr().String()
			}
			return p.String()
		})
	}
	if len(ports) > 0 {
		s += ":" + join(ports, PortRange.String)
	}
	return s
}

func join[T any](list []T, text func(T) string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return strings.Join(parts, ",")
}
