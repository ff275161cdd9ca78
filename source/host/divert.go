package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// divertTable is the routing table that delivers everything here.
	divertTable = 0x5046
	// divertPriority is where the kernel asks for it: before the tables of others
	// and after the local one (0).
	divertPriority = 246
)

// everything4 and everything6 are all addresses.
var (
	everything4 = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	everything6 = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
)

// Diversion is the policy routing by which packets with a mark are delivered to
// sockets of this host, whatever their addresses: a rule and a table of our own
// for each IP version, in the network namespace of the thread that opened it.
type Diversion struct{ nl *netlink.Handle }

// OpenDiversion opens it and changes nothing.
func OpenDiversion() (*Diversion, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("host: open rtnetlink: %w", err)
	}
	return &Diversion{nl}, nil
}

// Close gives the socket back; rules and routes stay.
func (d *Diversion) Close() { d.nl.Close() }

// families lists the IP versions of this host.
func families() []int {
	if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, fs.ErrNotExist) {
		return []int{netlink.FAMILY_V4}
	}
	return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
}

func divertRule(family int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Table, r.Priority = family, divertTable, divertPriority
	return r
}

// Add lets packets with mark in the bits of mask be delivered here. What a killed
// predecessor left is replaced.
func (d *Diversion) Add(mark, mask uint32) error {
	lo, err := d.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("host: divert: interface lo: %w", err)
	}
	for _, family := range families() {
		route := &netlink.Route{
			Family: family, Table: divertTable, Dst: everything4, LinkIndex: lo.Attrs().Index,
			Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		}
		if family == netlink.FAMILY_V6 {
			route.Dst, route.Scope = everything6, unix.RT_SCOPE_UNIVERSE
		}
		if err := d.nl.RouteReplace(route); err != nil {
			return fmt.Errorf("host: divert: route of table %d: %w", divertTable, err)
		}
		rule := divertRule(family)
		rule.Mark, rule.Mask = mark, &mask
		// A rule that is there already is as good; others of ours are leftovers.
		if err := d.nl.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("host: divert: rule %d: %w", divertPriority, err)
		}
		if err := d.dropRules(family, func(r *netlink.Rule) bool { return r.Mark != mark || r.Mask == nil || *r.Mask != mask }); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes rules and routes away, also those that a killed daemon left, and
// tells whether there were any.
func (d *Diversion) Remove() (removed bool, err error) {
	for _, family := range families() {
		if err := d.dropRules(family, func(*netlink.Rule) bool { removed = true; return true }); err != nil {
			return removed, err
		}
		routes, err := d.nl.RouteListFiltered(family, &netlink.Route{Table: divertTable}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return removed, fmt.Errorf("host: divert: list routes: %w", err)
		}
		for _, r := range routes {
			removed = true
			if r.Dst == nil { // as the kernel tells a default route
				r.Dst = everything4
				if family == netlink.FAMILY_V6 {
					r.Dst = everything6
				}
			}
			if err := d.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return removed, fmt.Errorf("host: divert: remove route %v: %w", r, err)
			}
		}
	}
	return removed, nil
}

// dropRules removes those of our rules that gone says.
func (d *Diversion) dropRules(family int, gone func(*netlink.Rule) bool) error {
	list, err := d.nl.RuleListFiltered(family, divertRule(family), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PRIORITY)
	if err != nil {
		return fmt.Errorf("host: divert: list rules: %w", err)
	}
	for _, r := range list {
		if !gone(&r) {
			continue
		}
		r.Family = family
		if err := d.nl.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("host: divert: remove rule %d: %w", divertPriority, err)
		}
	}
	return nil
}
