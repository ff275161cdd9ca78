package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// bridgeInterface is the name of a bridge.
const bridgeInterface = "bridge0"

// Bridge joins interfaces of the host by a bridge of the kernel: what the proxy
// host of an inline lab is without the proxy.
func (h *Host) Bridge(ports ...string) error {
	return h.withNetlink(func(nl *netlink.Handle) error {
		links := make([]netlink.Link, len(ports))
		for i, name := range ports {
			link, err := nl.LinkByName(name)
			if err != nil {
				return fmt.Errorf("interface %s: %w", name, err)
			}
			links[i] = link
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeInterface}}
		if err := nl.LinkAdd(bridge); err != nil {
			return fmt.Errorf("add %s: %w", bridgeInterface, err)
		}
		for i, link := range links {
			if err := nl.LinkSetMaster(link, bridge); err != nil {
				return fmt.Errorf("interface %s: add to %s: %w", ports[i], bridgeInterface, err)
			}
		}
		if err := nl.LinkSetUp(bridge); err != nil {
			return fmt.Errorf("interface %s: set up: %w", bridgeInterface, err)
		}
		return nil
	})
}
