package rules

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The queues of selection tests: a packet that our rules do not take goes on to
// the witness, a rule of the operator's behind them.
const (
	closedQueue  = 5
	openQueue    = 6
	openingQueue = 7
	witnessQueue = 9
)

const (
	ours   = closedQueue
	passed = witnessQueue
)

var (
	c4, s4, r4 = clientAddr, serverAddr, routerAddr
	c6, s6, r6 = clientAddr6, serverAddr6, routerAddr6
	other4     = netip.MustParseAddr("192.0.2.81")
	other6     = netip.MustParseAddr("2001:db8:2::81")
	server4    = netip.PrefixFrom(s4, 32)
	server6    = netip.PrefixFrom(s6, 128)
	client4    = netip.PrefixFrom(c4, 32)
	networks   = prefixes("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32") // the router is in one of them
)

const moreFragments = 0x2000

type sample struct {
	what string
	from string // "client", "server" or "router"
	data []byte
	want uint16 // a queue
}

func selectors(hook ppf.Hook, list ...ppf.Criteria) []Selector {
	var out []Selector
	for _, c := range list {
		out = append(out, Selector{Instance: "test", Hook: hook, Criteria: c})
	}
	return out
}

var tcp80 = ppf.Criteria{Protocol: packet.ProtoTCP, Dst: []netip.Prefix{server4, server6}, DstPorts: port(80)}

func with(c ppf.Criteria, change func(*ppf.Criteria)) ppf.Criteria {
	change(&c)
	return c
}

var selectionTests = []struct {
	name      string
	witness   ppf.Hook
	selectors []Selector
	refuse    []Selector
	samples   []sample
}{
	{"protocol, server and port", ppf.Forward, selectors(ppf.Forward, tcp80), nil, []sample{
		{"its port", "client", ip4(c4, s4, 6, 0, tcp(40000, 80)), ours},
		{"another port", "client", ip4(c4, s4, 6, 0, tcp(40000, 81)), passed},
		{"its port as source", "client", ip4(c4, s4, 6, 0, tcp(80, 40000)), passed},
		{"another protocol", "client", ip4(c4, s4, 17, 0, udp(40000, 80)), passed},
		{"another server", "client", ip4(c4, other4, 6, 0, tcp(40000, 80)), passed},
		{"the other way", "server", ip4(s4, c4, 6, 0, tcp(80, 40000)), passed},
		{"its port, IPv6", "client", ip6(c6, s6, 6, tcp(40000, 80)), ours},
		{"another port, IPv6", "client", ip6(c6, s6, 6, tcp(40000, 81)), passed},
		{"another server, IPv6", "client", ip6(c6, other6, 6, tcp(40000, 80)), passed},
		{"ports cut off", "client", ip4(c4, s4, 6, 0, []byte{0x9c, 0x40}), ours},
		{"no transport header", "client", ip4(c4, s4, 6, 0, nil), ours},
		{"ports cut off, another protocol", "client", ip4(c4, s4, 17, 0, []byte{0x9c, 0x40}), passed},
		{"ports cut off, another server", "client", ip4(c4, other4, 6, 0, []byte{0x9c, 0x40}), passed},
		{"ports cut off, IPv6", "client", ip6(c6, s6, 6, []byte{0x9c, 0x40}), ours},
	}},
	{"fragments", ppf.Forward, selectors(ppf.Forward, tcp80), nil, []sample{
		{"first", "client", ip4(c4, s4, 6, moreFragments, tcp(40000, 80)), ours},
		{"first, another port", "client", ip4(c4, s4, 6, moreFragments, tcp(40000, 81)), ours},
		{"later, payload like another port", "client", ip4(c4, s4, 6, 10, tcp(40000, 81)), ours},
		{"last, short", "client", ip4(c4, s4, 6, 10, []byte{1}), ours},
		{"another protocol, payload like the port", "client", ip4(c4, s4, 17, 10, tcp(40000, 80)), passed},
		{"another server, payload like the port", "client", ip4(c4, other4, 6, 10, tcp(40000, 80)), passed},
		{"the other way", "server", ip4(s4, c4, 6, 10, tcp(80, 40000)), passed},
		{"do not fragment is no fragment", "client", ip4(c4, s4, 6, 0x4000, tcp(40000, 81)), passed},
		{"IPv6", "client", ip6(c6, s6, 44, append([]byte{17, 0, 0, 9, 0, 0, 0, 1}, udp(1, 2)...)), ours},
		{"IPv6, behind destination options", "client", ip6(c6, s6, 60, extension(44, append([]byte{6, 0, 0, 9, 0, 0, 0, 1}, tcp(1, 2)...))), ours},
		{"IPv6, another server", "client", ip6(c6, other6, 44, append([]byte{6, 0, 0, 9, 0, 0, 0, 1}, tcp(1, 80)...)), passed},
	}},
	{"fragments of criteria without addresses", ppf.Prerouting, selectors(ppf.Prerouting, ppf.Criteria{Protocol: packet.ProtoTCP, DstPorts: port(80)}), nil, []sample{
		{"later", "client", ip4(c4, other4, 6, 10, tcp(40000, 81)), ours},
		{"later, another protocol", "client", ip4(c4, other4, 17, 10, tcp(40000, 80)), passed},
		{"IPv6", "client", ip6(c6, other6, 44, append([]byte{6, 0, 0, 9, 0, 0, 0, 1}, tcp(1, 2)...)), ours},
		{"ICMP error", "client", ip4(c4, other4, 1, 0, icmp(3, ip4(other4, c4, 6, 0, tcp(1, 2)))), ours},
		{"ports cut off", "client", ip4(c4, other4, 6, 0, []byte{0}), ours},
		{"another port", "client", ip4(c4, other4, 6, 0, tcp(40000, 81)), passed},
	}},
	{"extension headers", ppf.Forward, selectors(ppf.Forward, tcp80), nil, []sample{
		{"hop-by-hop", "client", ip6(c6, s6, 0, extension(6, tcp(40000, 81))), ours},
		{"routing", "client", ip6(c6, s6, 43, extension(6, tcp(40000, 81))), ours},
		{"authentication", "client", ip6(c6, s6, 51, extension(6, tcp(40000, 81))), ours},
		{"destination options", "client", ip6(c6, s6, 60, extension(17, udp(1, 2))), ours},
		{"mobility", "client", ip6(c6, s6, 135, extension(59, nil)), ours},
		{"HIP", "client", ip6(c6, s6, 139, extension(6, tcp(1, 2))), ours},
		{"shim6", "client", ip6(c6, s6, 140, extension(6, tcp(1, 2))), ours},
		{"experiments", "client", ip6(c6, s6, 253, tcp(1, 2)), ours},
		{"cut off", "client", ip6(c6, s6, 60, []byte{6, 0}), ours},
		{"longer than the packet", "client", ip6(c6, s6, 60, []byte{6, 200, 1, 4, 0, 0, 0, 0}), ours},
		{"another server", "client", ip6(c6, other6, 60, extension(6, tcp(40000, 80))), passed},
		{"the other way", "server", ip6(s6, c6, 60, extension(6, tcp(80, 40000))), passed},
		{"ESP is an upper layer", "client", ip6(c6, s6, 50, tcp(40000, 80)), passed},
		{"no next header", "client", ip6(c6, s6, 59, tcp(40000, 80)), passed},
	}},
	{"ICMP errors", ppf.Forward, selectors(ppf.Forward, tcp80), nil, []sample{
		{"about a packet from the server", "client", ip4(c4, other4, 1, 0, icmp(3, ip4(s4, c4, 6, 0, tcp(80, 1)))), ours},
		{"about a packet to the server", "server", ip4(other4, c4, 1, 0, icmp(11, ip4(c4, s4, 6, 0, tcp(1, 80)))), ours},
		{"about others", "client", ip4(c4, other4, 1, 0, icmp(3, ip4(other4, c4, 6, 0, tcp(80, 1)))), passed},
		{"to the server, nothing quoted", "client", ip4(c4, s4, 1, 0, icmp(3, nil)), ours},
		{"to the server, type only", "client", ip4(c4, s4, 1, 0, []byte{12}), ours},
		{"from the server", "server", ip4(s4, c4, 1, 0, icmp(4, nil)), ours},
		{"echo request", "client", ip4(c4, s4, 1, 0, icmp(8, nil)), passed},
		{"router advertisement", "client", ip4(c4, s4, 1, 0, icmp(9, ip4(s4, c4, 6, 0, nil))), passed},
		{"IPv6, about a packet from the server", "client", ip6(c6, other6, 58, icmp(1, ip6(s6, c6, 6, tcp(80, 1)))), ours},
		{"IPv6, about a packet to the server", "server", ip6(other6, c6, 58, icmp(2, ip6(c6, s6, 6, tcp(1, 80)))), ours},
		{"IPv6, about others", "client", ip6(c6, other6, 58, icmp(4, ip6(other6, c6, 6, tcp(80, 1)))), passed},
		{"IPv6, to the server", "client", ip6(c6, s6, 58, icmp(3, nil)), ours},
		{"IPv6, echo request", "client", ip6(c6, s6, 58, icmp(128, nil)), passed},
	}},
	{"source and ports of the answer", ppf.Forward, []Selector{{Dir: ppf.ServerToClient, Hook: ppf.Forward, Criteria: tcp80.Reverse()}}, nil, []sample{
		{"its port", "server", ip4(s4, c4, 6, 0, tcp(80, 40000)), ours},
		{"another port", "server", ip4(s4, c4, 6, 0, tcp(81, 80)), passed},
		{"the other way", "client", ip4(c4, s4, 6, 0, tcp(80, 80)), passed},
		{"later fragment", "server", ip4(s4, c4, 6, 10, tcp(1, 2)), ours},
		{"extension header", "server", ip6(s6, c6, 60, extension(6, tcp(1, 2))), ours},
		{"ICMP error", "server", ip4(other4, c4, 1, 0, icmp(3, ip4(c4, s4, 6, 0, tcp(1, 80)))), ours},
	}},
	{"port ranges and several networks", ppf.Forward, selectors(ppf.Forward, ppf.Criteria{
		Protocol: packet.ProtoUDP, Src: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/30"), client4}, Dst: []netip.Prefix{server4},
		SrcPorts: []ppf.PortRange{{Lo: 1000, Hi: 1999}, {Lo: 5000, Hi: 5000}}, DstPorts: []ppf.PortRange{{Lo: 500, Hi: 503}, {Lo: 600, Hi: 600}},
	}), nil, []sample{
		{"lowest", "client", ip4(c4, s4, 17, 0, udp(1000, 500)), ours},
		{"highest", "client", ip4(c4, s4, 17, 0, udp(1999, 503)), ours},
		{"single", "client", ip4(c4, s4, 17, 0, udp(5000, 600)), ours},
		{"below", "client", ip4(c4, s4, 17, 0, udp(1000, 499)), passed},
		{"above", "client", ip4(c4, s4, 17, 0, udp(1000, 504)), passed},
		{"source below", "client", ip4(c4, s4, 17, 0, udp(999, 500)), passed},
		{"source above", "client", ip4(c4, s4, 17, 0, udp(2000, 600)), passed},
		{"network with host bits", "client", ip4(netip.MustParseAddr("198.51.100.4"), s4, 17, 0, udp(1000, 500)), ours},
		{"after the network", "client", ip4(netip.MustParseAddr("198.51.100.8"), s4, 17, 0, udp(1000, 500)), passed},
		{"fragment of another client", "client", ip4(netip.MustParseAddr("198.51.100.8"), s4, 17, 10, udp(1000, 500)), passed},
	}},
	{"ICMP covers ICMPv6", ppf.Forward, selectors(ppf.Forward, ppf.Criteria{Protocol: packet.ProtoICMP, Dst: []netip.Prefix{server4, server6}}), nil, []sample{
		{"IPv4", "client", ip4(c4, s4, 1, 0, icmp(8, nil)), ours},
		{"IPv6", "client", ip6(c6, s6, 58, icmp(128, nil)), ours},
		{"TCP", "client", ip4(c4, s4, 6, 0, tcp(1, 2)), passed},
		{"fragment", "client", ip4(c4, s4, 1, 10, make([]byte, 16)), ours},
		{"TCP fragment", "client", ip4(c4, s4, 6, 10, make([]byte, 16)), passed},
	}},
	{"family", ppf.Forward, selectors(ppf.Forward, ppf.Criteria{Family: ppf.FamilyIPv6, Protocol: packet.ProtoTCP}), nil, []sample{
		{"IPv4", "client", ip4(c4, s4, 6, 0, tcp(1, 2)), passed},
		{"IPv6", "client", ip6(c6, s6, 6, tcp(1, 2)), ours},
	}},
	{"everything", ppf.Forward, selectors(ppf.Forward, ppf.Criteria{}), nil, []sample{
		{"IPv4", "client", ip4(c4, s4, 200, 0, nil), ours},
		{"IPv6", "server", ip6(s6, c6, 59, nil), ours},
	}},
	{"protocol by number", ppf.Forward, selectors(ppf.Forward, ppf.Criteria{Protocol: 47, Dst: []netip.Prefix{server4}}), nil, []sample{
		{"it", "client", ip4(c4, s4, 47, 0, make([]byte, 8)), ours},
		{"its neighbour", "client", ip4(c4, s4, 48, 0, make([]byte, 8)), passed},
		{"ICMP error", "client", ip4(c4, s4, 1, 0, icmp(3, nil)), passed},
	}},
	{"interfaces", ppf.Forward, selectors(ppf.Forward,
		ppf.Criteria{Protocol: packet.ProtoTCP, In: "client0", DstPorts: port(1)},
		ppf.Criteria{Protocol: packet.ProtoTCP, In: "clien+", DstPorts: port(2)},
		ppf.Criteria{Protocol: packet.ProtoTCP, Out: "server0", DstPorts: port(3)},
		ppf.Criteria{Protocol: packet.ProtoTCP, In: "client", DstPorts: port(4)},
		ppf.Criteria{Protocol: packet.ProtoTCP, In: "client0", Out: "s+", DstPorts: port(5)},
		ppf.Criteria{Protocol: packet.ProtoTCP, In: "+", DstPorts: port(6)},
	), nil, []sample{
		{"in", "client", ip4(c4, s4, 6, 0, tcp(9, 1)), ours},
		{"in, the other way", "server", ip4(s4, c4, 6, 0, tcp(9, 1)), passed},
		{"in, wildcard", "client", ip4(c4, s4, 6, 0, tcp(9, 2)), ours},
		{"in, wildcard, the other way", "server", ip4(s4, c4, 6, 0, tcp(9, 2)), passed},
		{"out", "client", ip4(c4, s4, 6, 0, tcp(9, 3)), ours},
		{"out, the other way", "server", ip4(s4, c4, 6, 0, tcp(9, 3)), passed},
		{"a beginning is not the name", "client", ip4(c4, s4, 6, 0, tcp(9, 4)), passed},
		{"both", "client", ip4(c4, s4, 6, 0, tcp(9, 5)), ours},
		{"both, the other way", "server", ip4(s4, c4, 6, 0, tcp(9, 5)), passed},
		{"any", "server", ip4(s4, c4, 6, 0, tcp(9, 6)), ours},
	}},
	{"not", ppf.Forward, selectors(ppf.Forward,
		with(tcp80, func(c *ppf.Criteria) {
			c.Not = []ppf.Criteria{
				{Src: []netip.Prefix{client4, netip.MustParsePrefix("2001:db8:1::/120")}},
				{Src: []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}, SrcPorts: port(99)},
				{In: "server0"}, {Protocol: packet.ProtoUDP}, {SrcPorts: port(77)},
			}
		})), nil, []sample{
		{"client", "client", ip4(c4, s4, 6, 0, tcp(40000, 80)), passed},
		{"client, IPv6", "client", ip6(c6, s6, 6, tcp(40000, 80)), passed},
		{"another client", "client", ip4(netip.MustParseAddr("198.51.100.3"), s4, 6, 0, tcp(40000, 80)), ours},
		{"another client, IPv6", "client", ip6(netip.MustParseAddr("2001:db8:1::1:3"), s6, 6, tcp(40000, 80)), ours},
		{"both keys of an item", "client", ip4(netip.MustParseAddr("198.51.100.9"), s4, 6, 0, tcp(99, 80)), passed},
		{"one key of an item", "client", ip4(netip.MustParseAddr("198.51.100.9"), s4, 6, 0, tcp(98, 80)), ours},
		{"the other key of an item", "client", ip4(netip.MustParseAddr("198.51.100.3"), s4, 6, 0, tcp(99, 80)), ours},
		{"port", "client", ip4(netip.MustParseAddr("198.51.100.3"), s4, 6, 0, tcp(77, 80)), passed},
		{"not asked for at all", "client", ip4(netip.MustParseAddr("198.51.100.3"), s4, 6, 0, tcp(40000, 81)), passed},
		{"ports cut off", "client", ip4(c4, s4, 6, 0, []byte{0}), ours},
	}},
	{"keys that the hook hides select more", ppf.Prerouting, selectors(ppf.Prerouting, with(tcp80, func(c *ppf.Criteria) {
		c.Out, c.Not = "nosuch0", []ppf.Criteria{{Out: "+"}}
	})), nil, []sample{
		{"its port", "client", ip4(c4, s4, 6, 0, tcp(1, 80)), ours},
		{"another port", "client", ip4(c4, s4, 6, 0, tcp(1, 81)), passed},
	}},
	{"early", ppf.Prerouting, []Selector{{Dir: ppf.ServerToClient, Hook: ppf.Prerouting, Early: true, Criteria: ppf.Criteria{
		Protocol: packet.ProtoTCP, Src: []netip.Prefix{server4}, SrcPorts: port(80), Dst: []netip.Prefix{client4}, Out: "client0",
		Not: []ppf.Criteria{{Dst: []netip.Prefix{netip.PrefixFrom(r4, 32)}}},
	}}}, nil, []sample{
		{"to the proxy", "server", ip4(s4, r4, 6, 0, tcp(80, 1)), ours},
		{"another port", "server", ip4(s4, r4, 6, 0, tcp(81, 1)), passed},
		{"ICMP error", "server", ip4(other4, r4, 1, 0, icmp(3, ip4(r4, s4, 6, 0, tcp(1, 80)))), ours},
	}},
	{"early, a network", ppf.Prerouting, []Selector{
		{Dir: ppf.ClientToServer, Hook: ppf.Prerouting, Early: true, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: networks, DstPorts: port(80)}},
	}, nil, []sample{
		{"to a server", "client", ip4(c4, s4, 6, 0, tcp(1, 80)), ours},
		{"to a server, IPv6", "client", ip6(c6, s6, 6, tcp(1, 80)), ours},
		{"to the proxy", "client", ip4(c4, r4, 6, 0, tcp(1, 80)), passed},
		{"to the proxy, ports cut off", "client", ip4(c4, r4, 6, 0, []byte{0}), passed},
		{"another port", "client", ip4(c4, s4, 6, 0, tcp(1, 81)), passed},
	}},
	{"beside at output, a network", ppf.Output, []Selector{
		{Dir: ppf.ServerToClient, Hook: ppf.Output, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: networks, SrcPorts: port(80)}},
	}, nil, []sample{
		{"in a server's name", "router", ip4(s4, c4, 6, 0, tcp(80, 1)), ours},
		{"in a server's name, IPv6", "router", ip6(s6, c6, 6, tcp(80, 1)), ours},
		{"of the proxy", "router", ip4(r4, c4, 6, 0, tcp(80, 1)), passed},
		{"ICMP error about a server", "router", ip4(r4, c4, 1, 0, icmp(3, ip4(c4, s4, 6, 0, tcp(1, 80)))), ours},
		{"ICMP error about another", "router", ip4(r4, c4, 1, 0, icmp(3, ip4(netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), 6, 0, tcp(1, 80)))), passed},
	}},
	{"fail open", ppf.Forward, []Selector{
		{Hook: ppf.Forward, Fail: ppf.FailOpen, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: []netip.Prefix{server4}}},
		{Hook: ppf.Forward, Criteria: tcp80},
	}, nil, []sample{
		{"the closed one", "client", ip4(c4, s4, 6, 0, tcp(1, 80)), closedQueue},
		{"the open one", "client", ip4(c4, s4, 6, 0, tcp(1, 81)), openQueue},
		{"neither", "client", ip4(c4, s4, 17, 0, udp(1, 80)), passed},
		{"fragment of both", "client", ip4(c4, s4, 6, 10, tcp(1, 81)), closedQueue},
	}},
	{"others refused", ppf.Forward, selectors(ppf.Forward, tcp80), []Selector{
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Dst: []netip.Prefix{server4, server6}}},
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Src: []netip.Prefix{server4, server6}}},
	}, []sample{
		{"another protocol", "client", ip4(c4, s4, 50, 0, make([]byte, 8)), ours},
		{"another port", "client", ip4(c4, s4, 6, 0, tcp(1, 81)), ours},
		{"fragment", "client", ip4(c4, s4, 99, 10, make([]byte, 8)), ours},
		{"the other way", "server", ip6(s6, c6, 17, udp(1, 2)), ours},
		{"extension header cut off", "client", ip6(c6, s6, 60, []byte{6}), ours},
		{"another server", "client", ip4(c4, other4, 50, 0, make([]byte, 8)), passed},
	}},
	{"input", ppf.Input, selectors(ppf.Input, ppf.Criteria{Protocol: packet.ProtoUDP, Dst: []netip.Prefix{netip.PrefixFrom(r4, 32), netip.PrefixFrom(r6, 128)}, DstPorts: port(53)}), nil, []sample{
		{"its port", "client", ip4(c4, r4, 17, 0, udp(1, 53)), ours},
		{"another port", "client", ip4(c4, r4, 17, 0, udp(1, 54)), passed},
		{"IPv6", "client", ip6(c6, r6, 17, udp(1, 53)), ours},
		{"IPv6, another port", "client", ip6(c6, r6, 17, udp(1, 54)), passed},
		{"fragment", "client", ip4(c4, r4, 17, 10, udp(1, 54)), ours},
		{"loopback", "router", ip4(r4, r4, 17, 0, udp(1, 53)), ours},
		{"loopback, another port", "router", ip4(r4, r4, 17, 0, udp(1, 54)), passed},
	}},
	{"output", ppf.Output, selectors(ppf.Output, tcp80, ppf.Criteria{Protocol: packet.ProtoICMP}), nil, []sample{
		{"its port", "router", ip4(r4, s4, 6, 0, tcp(1, 80)), ours},
		{"another port", "router", ip4(r4, s4, 6, 0, tcp(1, 81)), passed},
		{"IPv6", "router", ip6(r6, s6, 6, tcp(1, 80)), ours},
		{"no address", "router", ip4(r4, other4, 1, 0, icmp(8, nil)), ours},
		{"later fragment written by a program", "router", ip4(r4, s4, 6, 10, tcp(1, 81)), ours},
		{"loopback", "router", ip4(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1"), 1, 0, icmp(8, nil)), ours},
	}},
	{"fragments are not read as ports", ppf.Output, selectors(ppf.Output, with(tcp80, func(c *ppf.Criteria) { c.Not = []ppf.Criteria{{SrcPorts: port(77)}} })), nil, []sample{
		{"excluded port", "router", ip4(r4, s4, 6, 0, tcp(77, 80)), passed},
		{"another port", "router", ip4(r4, s4, 6, 0, tcp(78, 80)), ours},
		{"later, payload like the excluded port", "router", ip4(r4, s4, 6, 10, tcp(77, 80)), ours},
		{"later, another server, payload like an ICMP error", "router", ip4(r4, other4, 1, 10, icmp(3, ip4(s4, r4, 6, 0, nil))), passed},
	}},
	{"prerouting on loopback", ppf.Prerouting, selectors(ppf.Prerouting, ppf.Criteria{Protocol: packet.ProtoUDP, In: "lo", DstPorts: port(53)}), nil, []sample{
		{"its port", "router", ip4(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1"), 17, 0, udp(1, 53)), ours},
		{"another interface", "client", ip4(c4, s4, 17, 0, udp(1, 53)), passed},
	}},
	{"postrouting", ppf.Postrouting, selectors(ppf.Postrouting, tcp80, ppf.Criteria{Protocol: packet.ProtoUDP, Out: "lo"}), nil, []sample{
		{"forwarded", "client", ip4(c4, s4, 6, 0, tcp(1, 80)), ours},
		{"of this host", "router", ip4(r4, s4, 6, 0, tcp(1, 80)), ours},
		{"another port", "client", ip4(c4, s4, 6, 0, tcp(1, 81)), passed},
		{"loopback", "router", ip4(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1"), 17, 0, udp(1, 53)), ours},
		{"fragment", "client", ip4(c4, s4, 6, 10, tcp(1, 81)), ours},
	}},
}

func TestSelection(t *testing.T) {
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	f = Features{Queue: f.Queue, Own: f.Own}
	senders := map[string]interface{ send(*testing.T, []byte) }{
		"client": openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"]),
		"server": openWire(t, n.server, "eth0", n.mac["peer/server0"], n.mac["router/server0"]),
		"router": openHost(t, n.router),
	}
	got := make(chan taken, 16)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, closedQueue, openQueue, witnessQueue)
	for _, c := range selectionTests {
		t.Run(c.name, func(t *testing.T) {
			witness(t, n, c.witness, f)
			apply(t, k, Plan{Selectors: c.selectors, Refuse: c.refuse, Closed: Queues{closedQueue, 1}, Open: Queues{openQueue, 1}}, f)
			for i, s := range c.samples {
				mark := uint16(i + 1)
				data := append([]byte(nil), s.data...)
				setMark(data, mark)
				senders[s.from].send(t, data)
				if p := await(t, got, data, s.what); p.queue != s.want {
					t.Errorf("%s: queue %d at %v, want %d: %x", s.what, p.queue, p.hook, s.want, s.data)
				}
			}
		})
	}
}

// await gives the packet with the same mark and addresses; what the hosts say by
// themselves is left out.
func await(t *testing.T, got <-chan taken, want []byte, what string) taken {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case p := <-got:
			if p.data[0]>>4 == want[0]>>4 && markOf(p.data) == markOf(want) && protoByte(p.data) == protoByte(want) {
				return p
			}
		case <-deadline:
			t.Fatalf("%s: no queue got %x", what, want)
		}
	}
}

func protoByte(b []byte) byte {
	if b[0]>>4 == 6 {
		return b[6]
	}
	return b[9]
}

// witness makes the operator's rule that queues what comes out behind ours.
func witness(t *testing.T, n *network, hook ppf.Hook, f Features) {
	t.Helper()
	operator(t, n.router, func(c *nftables.Conn, table *nftables.Table) {
		c.DelTable(table)
		c.AddTable(table)
		ch := c.AddChain(&nftables.Chain{
			Name: "witness", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookRef(nftables.ChainHook(hook - 1)), Priority: nftables.ChainPriorityRef(1000),
		})
		queue := compiler{plan: &Plan{Closed: Queues{witnessQueue, 1}}, features: f}
		c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: queue.take(new(builder), ppf.FailClosed).exprs})
	})
}
