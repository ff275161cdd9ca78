package protect

import (
	"fmt"
	"slices"
	"strings"
)

// Wire is a pair of ports that this machine stands between as a bump in the wire.
type Wire struct{ Client, Server string }

// onWire writes the instances of a wire. DHCP comes first, since its answers go to
// the server's own address, then what is for the server; what the hosts on the wire
// need to find each other is for all of them, and so is the rest, which passes
// rebuilt: others stand behind the same ports.
func (c *composer) onWire() {
	w, f := &c.wish, &c.facts
	every := len(w.TCP) == 0 && len(w.UDP) == 0
	server := fmt.Sprintf("server: %q", w.Server)
	if slices.Contains(f.Functions, "udp") {
		e := entry{name: "wire-dhcp", match: `protocol: udp, port: ["67-68", "546-547"]`, chain: c.available("ip, udp, dhcp"), initiate: "both",
			comment: "how hosts on the wire get their addresses, the server too, from DHCP servers towards the clients"}
		if slices.Contains(f.Functions, "dhcp") {
			e.settings = "dhcp: {servers: client}"
		}
		c.instance(e)
	}
	for _, p := range []struct {
		protocol string
		ports    []string
	}{{"tcp", w.TCP}, {"udp", w.UDP}} {
		if !slices.Contains(f.Functions, p.protocol) {
			continue
		}
		match := "protocol: " + p.protocol + ", " + server
		if every {
			c.instance(entry{name: c.name + "-" + p.protocol, match: match, chain: c.available("ip, " + p.protocol), initiate: "both"})
			continue
		}
		if len(p.ports) > 0 {
			c.instance(entry{name: c.name + "-" + p.protocol, match: match + fmt.Sprintf(", port: [%s]", quoted(p.ports)), chain: c.available("ip, " + p.protocol), initiate: "client"})
		}
		c.instance(entry{name: c.name + "-opens-" + p.protocol, match: match, chain: c.available("ip, " + p.protocol), initiate: "server", comment: "what the server itself opens"})
	}
	for _, e := range []entry{
		{name: "wire-arp", match: "protocol: arp", chain: "arp", comment: "how hosts on the wire find each other, and routers towards the clients"},
		{name: "wire-icmp", match: "protocol: icmp", chain: "mld, ip, nd, icmp", settings: "nd: {routers: client}"},
		{name: "wire-igmp", match: "protocol: 2", chain: "igmp"},
	} {
		if e.chain = c.available(e.chain); e.chain != "" {
			c.instance(e)
		}
	}
	rest := entry{name: "wire-rest", match: "not: {" + server + "}", chain: c.available("ethernet, ip, udp, tcp"), initiate: "both",
		comment: "everything else to and from the server is refused, what is for others passes rebuilt"}
	if w.Monitor {
		rest.match, rest.comment = "", "everything else"
	}
	if len(w.EtherTypes) > 0 {
		rest.settings = fmt.Sprintf("ethernet: {ethertypes: [%s]}", strings.Join(w.EtherTypes, ", "))
	}
	c.instance(rest)
}

// available leaves out of a list the functions that this build does not have.
func (c *composer) available(functions string) string {
	list := slices.DeleteFunc(strings.Split(functions, ", "), func(f string) bool { return !slices.Contains(c.facts.Functions, f) })
	return strings.Join(list, ", ")
}

// warnWire tells what is not covered on a wire.
func (c *composer) warnWire(say func(string, ...any)) {
	f, w := &c.facts, &c.wish
	say("clients that stand on the side of %s reach the server without passing this machine", f.Wire.Server)
	say("other addresses of the server, %s included, are open at every port: protect each by itself", c.otherFamily())
	switch {
	case slices.Contains(f.Functions, "dhcp"):
		say("DHCP servers are expected on the side of %s, and DHCPv6 passes unread, to and from all hosts on the wire", f.Wire.Client)
	case slices.Contains(f.Functions, "udp"):
		say("DHCP passes to and from all hosts on the wire: its messages are not looked into")
	}
	if f.Bridge {
		say("while it runs nobody hears this machine itself at %s, and nothing passes between %s and %s but through it", f.Out, f.Wire.Client, f.Wire.Server)
	}
	if len(w.EtherTypes) == 0 && !w.Monitor {
		say("frames that are neither IP nor ARP are refused, spanning tree included: --ethertypes names those that shall pass")
	}
}

func (c *composer) otherFamily() string {
	if c.wish.Server.Is4() {
		return "IPv6"
	}
	return "IPv4"
}
