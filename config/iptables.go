package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Op is what an iptables command does.
type Op byte

// The operations, by the letter of their option.
const (
	OpAppend  Op = 'A'
	OpInsert  Op = 'I'
	OpDelete  Op = 'D'
	OpReplace Op = 'R'
	OpList    Op = 'L'
	OpFlush   Op = 'F'
	OpSpecs   Op = 'S'
	OpZero    Op = 'Z'
)

// Command is a parsed iptables command (thesis 1.4.3).
type Command struct {
	Op    Op
	Chain ppf.Hook // HookNone: every chain
	// Position is a rule's number in its chain, from 1; 0 where none was given.
	Position int
	Rule     ppf.RuleSpec
	HasRule  bool
	// How -L and -S print.
	Numeric, Verbose, LineNumbers, YAML bool
}

// ParseIPTables reads the thesis' iptables syntax. Where problems are returned
// the Command must not be executed.
func ParseIPTables(args []string) (*Command, []ppf.Problem) {
	p := &iptablesParser{args: args}
	p.parse()
	p.check()
	return &p.cmd, p.problems
}

// iptablesParser goes through the arguments once.
type iptablesParser struct {
	args     []string
	at       int
	negate   bool
	cmd      Command
	problems []ppf.Problem

	ops                   int
	table, jump, plugin   string
	family                ppf.Family
	familySet, configured bool
}

func (p *iptablesParser) problem(fix, what string, args ...any) {
	p.problems = append(p.problems, ppf.Problem{Path: "iptables", What: fmt.Sprintf(what, args...), Fix: fix})
}

// next takes the argument of an option.
func (p *iptablesParser) next(option string) string {
	if p.at >= len(p.args) {
		p.problem("", "%s needs an argument", option)
		return ""
	}
	p.at++
	return p.args[p.at-1]
}

// peek is the next argument if it is no option.
func (p *iptablesParser) peek() (string, bool) {
	if p.at < len(p.args) && !strings.HasPrefix(p.args[p.at], "-") && p.args[p.at] != "!" {
		return p.args[p.at], true
	}
	return "", false
}

// canonical names an option: one dash or two, with long names for short ones.
var canonical = map[string]string{
	"-A": "append", "-I": "insert", "-D": "delete", "-R": "replace", "-L": "list", "-F": "flush", "-S": "list-rules", "-Z": "zero",
	"-t": "table", "-p": "protocol", "--proto": "protocol", "-s": "source", "--src": "source", "-d": "destination", "--dst": "destination",
	"-i": "in-interface", "-o": "out-interface", "-j": "jump", "-m": "match", "-n": "numeric", "-v": "verbose",
	"-4": "ipv4", "-6": "ipv6", "--sport": "source-port", "--dport": "destination-port",
	"--sports": "source-ports", "--dports": "destination-ports",
	// The thesis writes these with one dash in chapter 4 and two in appendix A.
	"-plugin": "plugin", "-autoinstance": "autoinstance", "-config": "config",
}

var longOptions = []string{
	"append", "insert", "delete", "replace", "list", "flush", "list-rules", "zero", "table", "protocol", "source", "destination",
	"in-interface", "out-interface", "jump", "match", "numeric", "verbose", "line-numbers", "yaml", "ipv4", "ipv6", "source-port",
	"destination-port", "source-ports", "destination-ports", "plugin", "autoinstance", "config",
}

func (p *iptablesParser) parse() {
	for p.at < len(p.args) {
		arg := p.args[p.at]
		p.at++
		if arg == "!" {
			p.negate = true
			continue
		}
		if name, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			p.args = slices.Insert(slices.Clone(p.args), p.at, value)
			arg = name
		}
		name, ok := canonical[arg]
		if !ok {
			name = strings.TrimPrefix(arg, "--")
			if name == arg || !slices.Contains(longOptions, name) {
				p.problem("see `promethos iptables --help`", "%q is not an option", arg)
				continue
			}
		}
		p.option(name, arg)
		if p.negate && name != "match" {
			p.problem("put ! before -p, -s, -d, -i, -o or a port option", "! before %s means nothing", arg)
			p.negate = false
		}
	}
	if p.negate {
		p.problem("put it before an option", "! stands at the end")
	}
}

func (p *iptablesParser) option(name, arg string) {
	switch name {
	case "append", "insert", "delete", "replace", "list", "flush", "list-rules", "zero":
		p.op(name, arg)
	case "table":
		p.table = p.next(arg)
	case "jump":
		p.jump = p.next(arg)
	case "match":
		switch m := p.next(arg); m {
		case "tcp", "udp", "multiport":
		default:
			p.problem("tcp, udp and multiport are there", "match %q is unknown", m)
		}
	case "numeric":
		p.cmd.Numeric = true
	case "verbose":
		p.cmd.Verbose = true
	case "line-numbers":
		p.cmd.LineNumbers = true
	case "yaml":
		p.cmd.YAML = true
	case "ipv4":
		p.family, p.familySet = ppf.FamilyIPv4, true
	case "ipv6":
		p.family, p.familySet = ppf.FamilyIPv6, true
	case "autoinstance": // numbers are always chosen by the framework
	case "plugin":
		p.plugin = p.next(arg)
	case "config":
		p.cmd.Rule.Config, p.configured = p.next(arg), true
	default:
		p.criterion(name, arg)
	}
}

// op reads an operation with its chain and position.
func (p *iptablesParser) op(name, arg string) {
	letters := map[string]Op{
		"append": OpAppend, "insert": OpInsert, "delete": OpDelete, "replace": OpReplace,
		"list": OpList, "flush": OpFlush, "list-rules": OpSpecs, "zero": OpZero,
	}
	p.ops++
	p.cmd.Op = letters[name]
	needsChain := slices.Contains([]Op{OpAppend, OpInsert, OpDelete, OpReplace}, p.cmd.Op)
	chain, ok := p.peek()
	if !ok {
		if needsChain {
			p.problem("write PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING", "%s needs a chain", arg)
		}
		return
	}
	p.at++
	hook, known := ppf.ParseHook(strings.ToLower(chain))
	if !known || chain != strings.ToUpper(chain) {
		p.problem("write PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING", "chain %q is unknown", chain)
	}
	p.cmd.Chain, p.cmd.Rule.Chain = hook, hook
	if p.cmd.Op == OpAppend || p.cmd.Op == OpFlush || p.cmd.Op == OpZero {
		return
	}
	number, ok := p.peek()
	if !ok {
		if p.cmd.Op == OpReplace {
			p.problem("write its number in the chain, from 1", "%s needs a rule number", arg)
		}
		return
	}
	p.at++
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		p.problem("write its number in the chain, from 1", "rule number %q is not a number", number)
	}
	p.cmd.Position = n
}

// criterion reads an option that restricts packets.
func (p *iptablesParser) criterion(name, arg string) {
	not := p.negate
	if next, ok := p.peekNot(); ok { // the old place of !: behind the option
		not = not || next
	}
	p.negate = false
	value := p.next(arg)
	p.cmd.HasRule = true
	c := &p.cmd.Rule.Criteria
	if not {
		c.Not = append(c.Not, ppf.Criteria{})
		c = &c.Not[len(c.Not)-1]
	}
	switch name {
	case "protocol":
		c.Protocol = p.protocol(value, not)
	case "source":
		c.Src = append(c.Src, p.addresses(value)...)
	case "destination":
		c.Dst = append(c.Dst, p.addresses(value)...)
	case "in-interface":
		c.In = p.device(value, arg)
	case "out-interface":
		c.Out = p.device(value, arg)
	case "source-port", "source-ports":
		c.SrcPorts = append(c.SrcPorts, p.ports(value, name)...)
	case "destination-port", "destination-ports":
		c.DstPorts = append(c.DstPorts, p.ports(value, name)...)
	}
}

func (p *iptablesParser) peekNot() (bool, bool) {
	if p.at < len(p.args) && p.args[p.at] == "!" {
		p.at++
		return true, true
	}
	return false, false
}

func (p *iptablesParser) protocol(s string, not bool) packet.Protocol {
	switch strings.ToLower(s) {
	case "all", "0":
		if not {
			p.problem("name one protocol", "! -p all leaves nothing")
		}
		return ppf.ProtocolAny
	case "icmpv6", "ipv6-icmp":
		return packet.ProtoICMPv6
	case "any":
	default:
		if proto, ok := parseProtocol(s); ok {
			return proto
		}
	}
	p.problem("write tcp, udp, icmp, icmpv6, all or a number", "protocol %q is unknown", s)
	return 0
}

// addresses reads a comma list of addresses, networks and networks with a mask
// in address form.
func (p *iptablesParser) addresses(list string) (prefixes []netip.Prefix) {
	for s := range strings.SplitSeq(list, ",") {
		if addr, mask, ok := strings.Cut(s, "/"); ok && strings.Contains(mask, ".") {
			m, err := netip.ParseAddr(mask)
			if err != nil || !m.Is4() {
				p.problem("write 192.0.2.0/24 or 192.0.2.0/255.255.255.0", "mask %q is not a mask", mask)
				continue
			}
			ones, bits := net.IPMask(m.AsSlice()).Size()
			if bits == 0 {
				p.problem("the ones of a mask come first", "mask %q has gaps", mask)
				continue
			}
			s = fmt.Sprintf("%s/%d", addr, ones)
		}
		prefix, err := ppf.ParsePrefix(s)
		if err != nil {
			if cidr, cidrErr := netip.ParsePrefix(s); cidrErr == nil { // iptables masks host bits itself
				prefixes = append(prefixes, cidr.Masked())
				continue
			}
			p.problem("write an address, a network such as 192.0.2.0/24, or a comma list", "%v", err)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

func (p *iptablesParser) device(name, arg string) string {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ ") {
		p.problem("write a name such as eth0, or eth+", "%s: %q is not an interface name", arg, name)
	}
	return name
}

func (p *iptablesParser) ports(list, name string) (ranges []ppf.PortRange) {
	items := []string{list}
	if strings.HasSuffix(name, "s") {
		items = strings.Split(list, ",")
	}
	for _, s := range items {
		if strings.HasPrefix(s, ":") {
			s = "0" + s
		}
		if strings.HasSuffix(s, ":") {
			s += "65535"
		}
		r, err := parsePorts(s, ":")
		if err != nil {
			p.problem("", "%v", err)
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// check looks at the command as a whole.
func (p *iptablesParser) check() {
	if p.table != "promethos" {
		p.problem("write -t promethos", "the table is %q", p.table)
	}
	switch {
	case p.ops == 0:
		p.problem("use -A, -I, -D, -R, -L, -F, -S or -Z", "no operation is given")
	case p.ops > 1:
		p.problem("use one of them", "%d operations are given", p.ops)
	}
	makes := p.cmd.Op == OpAppend || p.cmd.Op == OpInsert || p.cmd.Op == OpReplace
	byRule := p.cmd.Op == OpDelete && p.cmd.Position == 0
	if !makes && !byRule {
		if p.jump != "" || p.plugin != "" || p.configured || p.cmd.HasRule {
			p.problem("leave the rule out", "this operation takes no rule")
		}
		return
	}
	p.cmd.HasRule = true
	switch p.jump {
	case "":
		p.problem("write -j PROMETHOS", "the target is missing")
	case "PROMETHOS":
	default:
		p.problem("write -j PROMETHOS", "target %q is unknown", p.jump)
	}
	if p.plugin == "" {
		p.problem("write --plugin PROXY", "the plugin is missing")
	}
	p.cmd.Rule.Plugin = p.plugin
	c := &p.cmd.Rule.Criteria
	p.checkFamily(c)
	hasPorts := func(c *ppf.Criteria) bool { return len(c.SrcPorts)+len(c.DstPorts) > 0 }
	if (hasPorts(c) || slices.ContainsFunc(c.Not, func(n ppf.Criteria) bool { return hasPorts(&n) })) &&
		c.Protocol != packet.ProtoTCP && c.Protocol != packet.ProtoUDP {
		p.problem("add -p tcp or -p udp", "ports need a protocol that has them")
	}
	uses := func(f func(*ppf.Criteria) bool) bool {
		return f(c) || slices.ContainsFunc(c.Not, func(n ppf.Criteria) bool { return f(&n) })
	}
	if h := p.cmd.Chain; (h == ppf.Output || h == ppf.Postrouting) && uses(func(c *ppf.Criteria) bool { return c.In != "" }) {
		p.problem("leave -i out", "the incoming interface is not known at %v", strings.ToUpper(h.String()))
	}
	if h := p.cmd.Chain; (h == ppf.Prerouting || h == ppf.Input) && uses(func(c *ppf.Criteria) bool { return c.Out != "" }) {
		p.problem("leave -o out", "the outgoing interface is not known at %v", strings.ToUpper(h.String()))
	}
}

// checkFamily finds the IP version: as iptables, version 4 unless an address or
// -6 says otherwise.
func (p *iptablesParser) checkFamily(c *ppf.Criteria) {
	var v4, v6 bool
	for _, k := range append([]ppf.Criteria{*c}, c.Not...) {
		for _, a := range slices.Concat(k.Src, k.Dst) {
			v4, v6 = v4 || a.Addr().Is4(), v6 || a.Addr().Is6()
		}
		v6 = v6 || k.Protocol == packet.ProtoICMPv6
	}
	c.Family = ppf.FamilyIPv4
	switch {
	case v4 && v6:
		p.problem("make one rule for each", "addresses of both IP versions in one rule")
	case p.familySet && (v4 && p.family == ppf.FamilyIPv6 || v6 && p.family == ppf.FamilyIPv4):
		p.problem("leave -4 and -6 out", "-4 or -6 contradicts the rest of the rule")
	case p.familySet:
		c.Family = p.family
	case v6:
		c.Family = ppf.FamilyIPv6
	}
	if c.Family == ppf.FamilyIPv6 && c.Protocol == packet.ProtoICMP {
		c.Protocol = packet.ProtoICMPv6
	}
}
