package protect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Wish is what the operator asked for.
type Wish struct {
	Server netip.Addr
	// TCP and UDP are ports of the server that clients may use, such as "80" or
	// "502-503". Where both are empty, all are.
	TCP, UDP []string
	// EtherTypes are those that pass a wire with their payload unread.
	EtherTypes []string
	Monitor    bool
	// Block makes the end of the daemon leave the server closed.
	Block bool
}

// Facts is what is known of this machine.
type Facts struct {
	// Local says that the server's address is this machine's own.
	Local bool
	// Out is the interface towards the server, and OnLink that no other router
	// is in between.
	Out    string
	OnLink bool
	// Bridge says that Out is a bridge, Ports which interfaces it joins.
	Bridge bool
	Ports  []string
	// Wire is the pair of ports between which the machine is a bump in the wire,
	// nil where it routes.
	Wire *Wire
	// Default is the interface of the route to everywhere; "" without one.
	Default string
	// Interfaces are those that are up, without the loopback one.
	Interfaces []string
	// Forwards says that this machine forwards packets of the server's family.
	Forwards bool
	// Multipath says that packets to the server may leave by several interfaces.
	Multipath bool
	// Ways are the ways that answers of the server take; none where nobody asked.
	Ways []Way
	// Sessions are the TCP connections that the operator's own session stands on.
	Sessions []Session
	// Cut are those of them that come in at a port of Wire.
	Cut []Session
	// Functions are the user functions that there are.
	Functions []string
}

// Way is where an answer of the server to an address of this machine comes in.
type Way struct {
	From netip.Addr // an address of this machine
	Of   string     // its interface
	In   string     // where the answer came in; "" for nowhere
}

// Session is a TCP connection that must not be cut.
type Session struct {
	Client, Server netip.AddrPort
}

// Plan is a configuration with what must be known of it.
type Plan struct {
	YAML     string
	Warnings []string
	// Advice says what is better done first; "" for nothing.
	Advice string
}

// What cannot be protected.
var (
	// ErrPorts reports a bridge of which two ports cannot be told to be the
	// client's and the server's.
	ErrPorts = errors.New("which of its ports lead to the clients and to the server cannot be told (name both: --inline CLIENT,SERVER)")
	// ErrSession reports a wire that would cut the operator off.
	ErrSession = errors.New("the session in which this is typed comes in there, and nobody hears a machine at the ports of a wire (come by another interface, or type it at the console)")
	// ErrNoFunction reports that nothing is there for a protocol that was asked for.
	ErrNoFunction = errors.New("this build has no user function for it (leave the option out; other traffic to the server is refused)")
)

// Compose makes the configuration.
func Compose(w Wish, f Facts) (*Plan, error) {
	w.Server = w.Server.Unmap()
	if !w.Server.IsValid() || w.Server.IsUnspecified() || w.Server.IsMulticast() || w.Server.Zone() != "" {
		return nil, fmt.Errorf("protect %v: not the address of one server (write 192.0.2.1 or 2001:db8::1)", w.Server)
	}
	switch {
	case f.Local:
		f.Wire = nil
	case f.Bridge && f.Wire == nil:
		return nil, fmt.Errorf("protect %v: %s joins %s: %w", w.Server, f.Out, strings.Join(f.Ports, ", "), ErrPorts)
	case f.Wire != nil && len(f.Cut) > 0:
		return nil, fmt.Errorf("protect %v: %s and %s: %w", w.Server, f.Wire.Client, f.Wire.Server, ErrSession)
	}
	if !slices.Contains(f.Functions, "tcp") {
		return nil, fmt.Errorf("protect %v: tcp: %w", w.Server, ErrNoFunction)
	}
	if len(w.UDP) > 0 && !slices.Contains(f.Functions, "udp") {
		return nil, fmt.Errorf("protect %v: --udp: %w", w.Server, ErrNoFunction)
	}
	c := composer{wish: w, facts: f, hook: "forward", name: strings.NewReplacer(":", "-").Replace(w.Server.String())}
	if f.Local {
		c.hook = "input"
	}
	c.write()
	c.warn()
	p := &Plan{YAML: c.yaml.String(), Warnings: c.warnings}
	if !w.Monitor {
		p.Advice = "run it with --monitor first, and look at `promethos ledger`: it lists what would be dropped, and for whom"
	}
	return p, nil
}

type composer struct {
	wish     Wish
	facts    Facts
	hook     string
	name     string
	yaml     strings.Builder
	warnings []string
	refused  bool // said already
}

func (c *composer) line(format string, args ...any) { fmt.Fprintf(&c.yaml, format+"\n", args...) }

// everywhere is every address of the server's family.
func (c *composer) everywhere() string {
	if c.wish.Server.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}

func (c *composer) write() {
	w := &c.wish
	c.line("# Written by `promethos protect %v`.", w.Server)
	c.line("version: 1")
	if w.Block {
		c.line("on_exit: block")
	}
	c.line("instances:")
	for i, s := range c.sessions() {
		match := fmt.Sprintf("protocol: tcp, server: %q, port: %d", s.Server.Addr(), s.Server.Port())
		if s.Client.IsValid() {
			match += fmt.Sprintf(", client: %q", s.Client.Addr())
		}
		c.instance(entry{name: fmt.Sprintf("session-%d", i+1), match: match, chain: "tcp", initiate: "both", session: true,
			comment: "the session in which this was typed: never cut"})
	}
	if c.facts.Wire != nil {
		c.onWire()
		return
	}
	every := len(w.TCP) == 0 && len(w.UDP) == 0
	initiate := "client"
	if every {
		initiate = "both"
	}
	for _, p := range []struct {
		protocol string
		ports    []string
	}{{"tcp", w.TCP}, {"udp", w.UDP}} {
		if !every && len(p.ports) == 0 || !slices.Contains(c.facts.Functions, p.protocol) {
			continue
		}
		match := fmt.Sprintf("protocol: %s, server: %q", p.protocol, w.Server)
		if len(p.ports) > 0 {
			match += fmt.Sprintf(", port: [%s]", quoted(p.ports))
		}
		c.instance(entry{name: c.name + "-" + p.protocol, match: match, chain: c.available("ip, " + p.protocol), initiate: initiate})
	}
	for _, protocol := range []string{"tcp", "udp"} {
		if every || !slices.Contains(c.facts.Functions, protocol) {
			continue
		}
		c.instance(entry{name: c.name + "-opens-" + protocol, match: fmt.Sprintf("protocol: %s, client: %q, server: %q", protocol, w.Server, c.everywhere()),
			chain: c.available("ip, " + protocol), initiate: "client", comment: "what the server itself opens"})
	}
	// Neighbor discovery of a local server comes by the same hooks.
	if slices.Contains(c.facts.Functions, "icmp") && (!c.facts.Local || w.Server.Is4()) {
		c.instance(entry{name: c.name + "-icmp", match: fmt.Sprintf("protocol: icmp, server: %q", w.Server), chain: c.available("ip, icmp"), initiate: "both"})
	}
}

func quoted(ports []string) string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = fmt.Sprintf("%q", p)
	}
	return strings.Join(list, ", ")
}

// entry is one instance to write; what is empty is left out.
type entry struct {
	name, match, chain, initiate, settings, comment string
	session                                         bool // the operator's own
}

// instance writes one entry. The first one that is not a session's is of the
// server, and at netfilter's hooks refuses everything else to and from it.
func (c *composer) instance(e entry) {
	if e.comment != "" {
		c.line("  # %s", e.comment)
	}
	c.line("  - name: %s", e.name)
	if w := c.facts.Wire; w != nil {
		c.line("    source: inline")
		c.line("    inline: {client: %s, server: %s}", w.Client, w.Server)
	} else {
		c.line("    hook: %s", c.hookOf(e.match))
	}
	if e.match != "" {
		c.line("    match: {%s}", e.match)
	}
	if e.initiate != "" {
		c.line("    initiate: %s", e.initiate)
	}
	if !e.session && !c.refused && c.refuses() {
		c.line("    others: refuse")
		c.refused = true
	}
	c.line("    chain: [%s]", e.chain)
	if e.settings != "" {
		c.line("    modules: {%s}", e.settings)
	}
	if c.wish.Monitor || e.session {
		c.line("    mode: monitor")
	}
}

// hookOf is where an instance is taken: connections that a local server opens
// start at output.
func (c *composer) hookOf(match string) string {
	if c.facts.Local && strings.Contains(match, fmt.Sprintf("client: %q", c.wish.Server)) {
		return "output"
	}
	return c.hook
}

// refuses says whether everything else is to be refused by a word of its own. A
// wire refuses what no instance matches, and monitor nothing; a local server needs
// its own neighbour discovery and address configuration, which come by the same
// hooks.
func (c *composer) refuses() bool { return !c.wish.Monitor && !c.facts.Local && c.facts.Wire == nil }

// sshPort is that of a session to a server through which the operator came.
const sshPort = 22

// sessions are the operator's own connections that pass where the server's
// packets are taken.
func (c *composer) sessions() (list []Session) {
	for _, s := range c.facts.Sessions {
		switch {
		case c.facts.Local && s.Server.Addr().Unmap() == c.wish.Server:
			list = append(list, Session{unmap(s.Client), unmap(s.Server)})
		case !c.facts.Local && s.Client.Addr().Unmap() == c.wish.Server:
			// Typed on the server, which the operator may have reached through this
			// machine.
			list = append(list, Session{Server: netip.AddrPortFrom(c.wish.Server, sshPort)})
		}
	}
	return list
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (c *composer) warn() {
	f, w := &c.facts, &c.wish
	say := func(format string, args ...any) { c.warnings = append(c.warnings, fmt.Sprintf(format, args...)) }
	if f.Wire != nil {
		c.warnWire(say)
	} else {
		say("%s addresses of the server are not covered: protect each by itself", c.otherFamily())
		c.warnRoutes(say)
	}
	if f.Local {
		return
	}
	if !slices.Contains(f.Functions, "icmp") && !w.Monitor {
		say("ping to and from the server is refused: this build has no user function for ICMP")
	}
	if !slices.Contains(f.Functions, "udp") && !w.Monitor {
		say("UDP to and from the server is refused, name service and time for the server included: this build has no user function for it")
	}
	if w.Monitor {
		say("monitor: NOT PROTECTING; everything passes, and is counted")
	}
}

// warnRoutes tells what does not pass a machine that routes.
func (c *composer) warnRoutes(say func(string, ...any)) {
	f := &c.facts
	if f.Local {
		say("the server is this machine: what no instance matches is left to its own firewall")
		return
	}
	if !f.Forwards {
		say("this machine does not forward packets: clients cannot reach the server through it until `sysctl -w %s=1`", c.forwarding())
	}
	if f.Default == f.Out && f.OnLink || len(f.Interfaces) < 2 {
		say("clients on the segment of %s reach the server without passing this machine: put the server behind an interface of its own", f.Out)
	} else if f.OnLink {
		say("other hosts on the segment of %s reach the server without passing this machine", f.Out)
	} else {
		say("the server is behind another router: what reaches it by another way is not seen here")
	}
	if f.Multipath {
		say("packets to the server leave by several interfaces: if its answers come back another way, connections are refused as incomplete")
	}
	c.warnWays(say)
}

// warnWays tells of answers that take another way than by the interface towards the
// server: they do not pass this machine where its instances take packets.
func (c *composer) warnWays(say func(string, ...any)) {
	f := &c.facts
	near := slices.IndexFunc(f.Ways, func(w Way) bool { return w.Of == f.Out })
	for i, w := range f.Ways {
		if i == near || w.In == f.Out {
			continue
		}
		by := "this machine"
		if near >= 0 {
			by = f.Ways[near].From.String()
		}
		fix := fmt.Sprintf("on the server, or the router before it, make %s the way to the clients and take the other one away, or nothing but --monitor lets their connections pass", by)
		switch {
		case w.In != "":
			say("asymmetric route: an answer of the server to %v comes in by %s and not by %s, so it has another way to clients on that side, whose connections are refused as incomplete (%s)", w.From, w.In, f.Out, fix)
		case near >= 0 && f.Ways[near].In == f.Out:
			say("asymmetric route: the server answers %v and not %v: if its answers to clients on the side of %s take another way, their connections are refused as incomplete (%s)", f.Ways[near].From, w.From, w.Of, fix)
		}
	}
}

func (c *composer) forwarding() string {
	if c.wish.Server.Is4() {
		return "net.ipv4.ip_forward"
	}
	return "net.ipv6.conf.all.forwarding"
}

// SSHSession reads the value of SSH_CONNECTION, which sshd(8) sets: client's
// address and port, server's address and port.
func SSHSession(value string) (Session, bool) {
	f := strings.Fields(value)
	if len(f) != 4 {
		return Session{}, false
	}
	client, err1 := netip.ParseAddrPort(join(f[0], f[1]))
	server, err2 := netip.ParseAddrPort(join(f[2], f[3]))
	return Session{client, server}, err1 == nil && err2 == nil
}

func join(addr, port string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]:" + port
	}
	return addr + ":" + port
}
