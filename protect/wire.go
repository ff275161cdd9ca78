package protect

import (
	"fmt"
	"slices"
	"strings"
)

// Wire is a pair of ports that this machine stands between as a bump in the wire.
type Wire struct{ Client, Server string }

// onWire writes the instances of a wire. What is for the server comes first; what
// the hosts on the wire need to find each other is for all of them, and so is the
// rest, which passes rebuilt: others stand behind the same ports.
func (c *composer) onWire() {
	w, f := &c.wish, &c.facts
	every := len(w.TCP) == 0 && len(w.UDP) == 0
	server := fmt.Sprintf("server: %q", w.Server)
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
	for _, group := range []struct{ name, match, comment, functions string }{
		{"wire-arp", "protocol: arp", "how hosts on the wire find each other", "arp"},
		{"wire-icmp", "protocol: icmp", "", "ip, nd, icmp"},
	} {
		if chain := c.available(group.functions); chain != "" {
			c.instance(entry{name: group.name, match: group.match, chain: chain, comment: group.comment})
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
