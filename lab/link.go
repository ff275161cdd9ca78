package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// port is one end of a veth pair.
type port struct {
	host  *Host
	name  string
	mac   net.HardwareAddr
	addrs []netip.Prefix // none: a bump in the wire, without IPv6 of its own
	via   []netip.Addr   // default routes
}

// withNetlink runs f in the host with a route socket of the host.
func (h *Host) withNetlink(f func(*netlink.Handle) error) error {
	return h.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		defer handle.Close()
		return f(handle)
	})
}

// connect joins two ports with a veth pair. Both stay down.
func connect(a, b port) error {
	return a.host.withNetlink(func(nl *netlink.Handle) error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.name, HardwareAddr: a.mac},
			PeerName:  b.name, PeerHardwareAddr: b.mac, PeerNamespace: netlink.NsFd(b.host.ns.Fd()),
		}
		if err := nl.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s to %s of %s: %w", a.name, b.name, b.host.Name, err)
		}
		return nil
	})
}

// open sets the port up, still without addresses.
func (p port) open(offloads bool) error {
	return p.withLink(func(nl *netlink.Handle, link netlink.Link) error {
		if !offloads {
			if err := disableOffloads(p.name); err != nil {
				return err
			}
		}
		if err := p.sysctls(); err != nil {
			return err
		}
		if err := nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("interface %s: set up: %w", p.name, err)
		}
		return nil
	})
}

// address gives the port, once it is open, its addresses and routes.
func (p port) address() error {
	return p.withLink(func(nl *netlink.Handle, link netlink.Link) error {
		for _, prefix := range p.addrs {
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}}
			if prefix.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := nl.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("interface %s: add address %v: %w", p.name, prefix, err)
			}
		}
		for _, gateway := range p.via {
			if err := nl.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
				return fmt.Errorf("interface %s: add default route via %v: %w", p.name, gateway, err)
			}
		}
		return nil
	})
}

// readyPoll is how often await looks.
const readyPoll = time.Millisecond

// await waits until ready says so of the port's link. The kernel tells carrier and
// addresses from a work queue: right after LinkSetUp neither can be relied on.
func (p port) await(ctx context.Context, ready func(*netlink.Handle, netlink.Link) (bool, error)) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		var done bool
		err := p.withLink(func(nl *netlink.Handle, link netlink.Link) (err error) {
			done, err = ready(nl, link)
			return err
		})
		if err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("interface %s of %s: wait until it is ready: %w", p.name, p.host.Name, context.Cause(ctx))
		}
	}
}

// hasCarrier tells that the link's two ends are up.
func hasCarrier(_ *netlink.Handle, link netlink.Link) (bool, error) {
	return link.Attrs().OperState == netlink.OperUp, nil
}

// hasAddresses tells that no IPv6 address, the link-local one included, is still
// tentative.
func hasAddresses(nl *netlink.Handle, link netlink.Link) (bool, error) {
	addrs, err := nl.AddrList(link, netlink.FAMILY_V6)
	for _, a := range addrs {
		if a.Flags&unix.IFA_F_TENTATIVE != 0 {
			return false, err
		}
	}
	return true, err
}

// withLink runs f in the port's host.
func (p port) withLink(f func(*netlink.Handle, netlink.Link) error) error {
	return p.host.withNetlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(p.name)
		if err != nil {
			return fmt.Errorf("interface %s: %w", p.name, err)
		}
		return f(nl, link)
	})
}

// sysctls runs in the host. Duplicate address detection is off, so that
// addresses are usable at once.
func (p port) sysctls() error {
	dir := "net/ipv6/conf/" + p.name + "/"
	settings := [][2]string{{dir + "accept_dad", "0"}, {dir + "accept_ra", "0"}, {dir + "disable_ipv6", "0"}}
	if len(p.addrs) == 0 {
		settings = [][2]string{{dir + "disable_ipv6", "1"}}
	}
	return writeSysctls(settings)
}

// prepare sets the loopback interface up and what holds for the whole host.
func (h *Host) prepare(forward bool) error {
	return h.withNetlink(func(nl *netlink.Handle) error {
		if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
			return fmt.Errorf("this kernel has no IPv6 (start it without ipv6.disable=1): %w", err)
		}
		on := "0"
		if forward {
			on = "1"
		}
		if err := writeSysctls([][2]string{
			{"net/ipv4/ip_forward", on},
			{"net/ipv6/conf/all/disable_ipv6", "0"},
			{"net/ipv6/conf/all/forwarding", on},
			{"net/ipv4/conf/all/rp_filter", "0"}, // packets with foreign sources are part of the lab
			{"net/ipv4/conf/default/rp_filter", "0"},
		}); err != nil {
			return err
		}
		lo, err := nl.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("interface lo: %w", err)
		}
		return nl.LinkSetUp(lo)
	})
}

func writeSysctls(settings [][2]string) error {
	for _, s := range settings {
		if err := writeSysctl(s[0], s[1]); err != nil {
			return fmt.Errorf("set %s to %s: %w", strings.ReplaceAll(s[0], "/", "."), s[1], err)
		}
	}
	return nil
}
