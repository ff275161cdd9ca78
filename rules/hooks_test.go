package rules

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// builtTOS is what the consumer of these tests writes into each IPv4 packet, as a
// proxy writes a new header: who sees it has seen the packet that was built.
const builtTOS = 0x28

// rebuild gives a copy of an IPv4 packet with builtTOS.
func rebuild(b []byte) []byte {
	if b[0]>>4 != 4 {
		return nil
	}
	b = append([]byte(nil), b...)
	b[1], b[10], b[11] = builtTOS, 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:int(b[0]&15)*4]))
	return b
}

// drop adds a rule that drops what the exprs match.
func drop(c *nftables.Conn, table *nftables.Table, ch *nftables.Chain, exprs ...expr.Any) {
	c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})})
}

func baseChain(c *nftables.Conn, table *nftables.Table, name string, kind nftables.ChainType, hook ppf.Hook, priority nftables.ChainPriority) *nftables.Chain {
	return c.AddChain(&nftables.Chain{
		Name: name, Table: table, Type: kind, Hooknum: nftables.ChainHookRef(nftables.ChainHook(hook - 1)), Priority: &priority,
	})
}

// statefulFilter is `ct state invalid drop` in input, forward and output.
func statefulFilter(c *nftables.Conn, table *nftables.Table) map[ppf.Hook]*nftables.Chain {
	chains := map[ppf.Hook]*nftables.Chain{}
	for _, hook := range []ppf.Hook{ppf.Input, ppf.Forward, ppf.Output} {
		ch := baseChain(c, table, hook.String(), nftables.ChainTypeFilter, hook, 0)
		drop(c, table, ch, &expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitINVALID), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
		chains[hook] = ch
	}
	return chains
}

// wantsBuilt adds to a filter that TCP must carry builtTOS.
func wantsBuilt(c *nftables.Conn, table *nftables.Table, ch *nftables.Chain) {
	b := new(builder).family(false).load(expr.PayloadBaseNetworkHeader, 1, 1).cmp(expr.CmpOpNeq, builtTOS)
	drop(c, table, ch, append(b.r.exprs, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}})...)
}

// nat forwards port 8080 of the router to the server and masquerades.
func nat(c *nftables.Conn, table *nftables.Table) {
	dnat := baseChain(c, table, "dnat", nftables.ChainTypeNAT, ppf.Prerouting, -100)
	b := new(builder).family(false)
	b.addr(fieldDst, netip.PrefixFrom(routerAddr, 32))
	b.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, unix.IPPROTO_TCP)
	b.port("dport", 2, ppf.PortRange{Lo: 8080, Hi: 8080})
	b.add(&expr.Immediate{Register: 1, Data: serverAddr.AsSlice()}, &expr.Immediate{Register: 2, Data: []byte{0, 80}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true})
	c.AddRule(&nftables.Rule{Table: table, Chain: dnat, Exprs: b.r.exprs})
	snat := baseChain(c, table, "snat", nftables.ChainTypeNAT, ppf.Postrouting, 100)
	b = new(builder).devices("", "server0")
	c.AddRule(&nftables.Rule{Table: table, Chain: snat, Exprs: append(b.r.exprs, &expr.Masq{})})
}

// echo answers on a port of a namespace until the test ends.
func echo(t *testing.T, ns netns.NsHandle, address string) {
	t.Helper()
	var l net.Listener
	inNS(t, ns, func() {
		var err error
		if l, err = net.Listen("tcp", address); err != nil {
			t.Error(err)
		}
	})
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// The rules may be gone before the end of the connection was told.
			context.AfterFunc(ctx, func() { c.Close() })
			running.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); running.Wait() })
}

// exchange sends some data to an echo server and wants it back.
func exchange(t *testing.T, ns netns.NsHandle, address string) {
	t.Helper()
	var c net.Conn
	inNS(t, ns, func() {
		var err error
		if c, err = net.DialTimeout("tcp", address, patience); err != nil {
			t.Error(err)
		}
	})
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := strings.Repeat("promethos ", 2000)
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != sent {
		t.Fatalf("echo: %v, %d bytes that differ", err, len(got))
	}
}

// seen collects the address pairs of what a consumer got, by hook.
type seen struct {
	mu    sync.Mutex
	pairs map[ppf.Hook]map[[2]netip.Addr]bool
}

func (s *seen) decide(p taken) verdict {
	src, _ := netip.AddrFromSlice(p.data[12:16])
	dst, _ := netip.AddrFromSlice(p.data[16:20])
	if p.data[0]>>4 == 6 {
		src, _ = netip.AddrFromSlice(p.data[8:24])
		dst, _ = netip.AddrFromSlice(p.data[24:40])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pairs == nil {
		s.pairs = map[ppf.Hook]map[[2]netip.Addr]bool{}
	}
	if s.pairs[p.hook] == nil {
		s.pairs[p.hook] = map[[2]netip.Addr]bool{}
	}
	s.pairs[p.hook][[2]netip.Addr{src, dst}] = true
	return verdict{accept: true, data: rebuild(p.data)}
}

// want checks that a hook showed one pair of addresses and its reverse, and which.
func (s *seen) want(t *testing.T, hook ppf.Hook, pairs ...[2]netip.Addr) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pairs[hook]) != len(pairs) {
		t.Errorf("%v showed %v, want %v", hook, s.pairs[hook], pairs)
	}
	for _, p := range pairs {
		if !s.pairs[hook][p] {
			t.Errorf("%v showed %v, want also %v", hook, s.pairs[hook], p)
		}
	}
}

// TestHooksAmongTheOperatorsRules takes a connection at each pair of hooks on a
// host with a stateful filter, on one that also forwards the port and
// masquerades, and with a filter that lets only what was built pass.
func TestHooksAmongTheOperatorsRules(t *testing.T) {
	client, server := clientAddr, serverAddr
	there, back := [2]netip.Addr{client, server}, [2]netip.Addr{server, client}
	for _, c := range []struct {
		name   string
		nat    bool
		cs, sc ppf.Hook
		built  []ppf.Hook // whose filter must see what was built
		dial   string
	}{
		{"prerouting", false, ppf.Prerouting, ppf.Prerouting, []ppf.Hook{ppf.Forward}, "192.0.2.80:80"},
		{"forward", false, ppf.Forward, ppf.Forward, []ppf.Hook{ppf.Forward}, "192.0.2.80:80"},
		{"postrouting", false, ppf.Postrouting, ppf.Postrouting, nil, "192.0.2.80:80"},
		{"prerouting with DNAT and masquerade", true, ppf.Prerouting, ppf.Prerouting, []ppf.Hook{ppf.Forward}, "198.51.100.1:8080"},
		{"forward with DNAT and masquerade", true, ppf.Forward, ppf.Forward, []ppf.Hook{ppf.Forward}, "198.51.100.1:8080"},
		{"postrouting with DNAT and masquerade", true, ppf.Postrouting, ppf.Postrouting, nil, "198.51.100.1:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			operator(t, n.router, func(conn *nftables.Conn, table *nftables.Table) {
				filters := statefulFilter(conn, table)
				for _, hook := range c.built {
					wantsBuilt(conn, table, filters[hook])
				}
				if c.nat {
					nat(conn, table)
				}
			})
			echo(t, n.server, "192.0.2.80:80")
			k, f := openKernelIn(t, n.router)
			var s seen
			consume(t, n.router, s.decide, closedQueue)
			m := ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(server, 32)}, Client: []netip.Prefix{netip.PrefixFrom(client, 32)}, Port: port(80)}
			apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Selectors: []Selector{
				{Dir: ppf.ClientToServer, Hook: c.cs, Criteria: m.Flow(ppf.ClientToServer)},
				{Dir: ppf.ServerToClient, Hook: c.sc, Criteria: m.Flow(ppf.ServerToClient)},
			}}, f)
			exchange(t, n.client, c.dial)
			s.want(t, c.cs, there, back)
		})
	}
}

// TestHooksOfThisHost is the same for a server and for a client on the proxy's own
// host.
func TestHooksOfThisHost(t *testing.T) {
	for _, c := range []struct {
		name     string
		cs, sc   ppf.Hook
		from, to netip.Addr
	}{
		{"server here", ppf.Input, ppf.Output, clientAddr, routerAddr},
		{"client here", ppf.Output, ppf.Input, netip.MustParseAddr("192.0.2.1"), serverAddr},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			operator(t, n.router, func(conn *nftables.Conn, table *nftables.Table) {
				filters := statefulFilter(conn, table)
				wantsBuilt(conn, table, filters[ppf.Input])
				wantsBuilt(conn, table, filters[ppf.Output])
				nat(conn, table)
			})
			at, by := n.router, n.client
			if c.cs == ppf.Output {
				at, by = n.server, n.router
			}
			echo(t, at, netip.AddrPortFrom(c.to, 80).String())
			k, f := openKernelIn(t, n.router)
			var s seen
			consume(t, n.router, s.decide, closedQueue)
			m := ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(c.to, 32)}, Port: port(80)}
			apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Selectors: []Selector{
				{Dir: ppf.ClientToServer, Hook: c.cs, Criteria: m.Flow(ppf.ClientToServer)},
				{Dir: ppf.ServerToClient, Hook: c.sc, Criteria: m.Flow(ppf.ServerToClient)},
			}}, f)
			exchange(t, by, netip.AddrPortFrom(c.to, 80).String())
			s.want(t, c.cs, [2]netip.Addr{c.from, c.to})
			s.want(t, c.sc, [2]netip.Addr{c.to, c.from})
		})
	}
}

// TestEarlySeesTheProxysAddress: with masquerade, an answer is still addressed to
// the proxy where an instance that exchanges addresses takes it, and conntrack
// has not seen it; the fragments chain and the early chain come first.
func TestEarlySeesTheProxysAddress(t *testing.T) {
	n := newNetwork(t)
	operator(t, n.router, func(conn *nftables.Conn, table *nftables.Table) {
		statefulFilter(conn, table)
		nat(conn, table)
	})
	echo(t, n.server, "192.0.2.80:80")
	k, f := openKernelIn(t, n.router)
	var s seen
	consume(t, n.router, s.decide, closedQueue)
	m := ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(serverAddr, 32)}, Client: []netip.Prefix{netip.PrefixFrom(clientAddr, 32)}, Port: port(80)}
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Selectors: []Selector{
		{Dir: ppf.ServerToClient, Hook: ppf.Prerouting, Early: true, Criteria: m.Flow(ppf.ServerToClient)},
	}}, f)
	exchange(t, n.client, "192.0.2.80:80")
	s.want(t, ppf.Prerouting, [2]netip.Addr{serverAddr, netip.MustParseAddr("192.0.2.1")})
}

// TestFragmentsBeforeDefragmentation: on a host that tracks connections, each
// fragment is seen as it came.
func TestFragmentsBeforeDefragmentation(t *testing.T) {
	n := newNetwork(t)
	operator(t, n.router, func(conn *nftables.Conn, table *nftables.Table) { statefulFilter(conn, table) })
	k, f := openKernelIn(t, n.router)
	got := make(chan taken, 16)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, closedQueue)
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Selectors: selectors(ppf.Postrouting, tcp80)}, f)
	w := openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"])
	whole := append(tcp(40000, 80), make([]byte, 28)...)
	for i, data := range [][]byte{
		ip4(clientAddr, serverAddr, 6, moreFragments, whole[:24]),
		ip4(clientAddr, serverAddr, 6, 3, whole[24:]),
	} {
		setMark(data, 7)
		w.send(t, data)
		if p := await(t, got, data, "fragment"); p.hook != ppf.Prerouting || len(p.data) != len(data) {
			t.Errorf("fragment %d: %d bytes at %v, want %d at prerouting", i, len(p.data), p.hook, len(data))
		}
	}
}

// TestOursGoesOn: packets with our mark are not selected, others are, whatever
// other bits their mark has.
func TestOursGoesOn(t *testing.T) {
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	witness(t, n, ppf.Output, f)
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Selectors: selectors(ppf.Output, tcp80)}, f)
	got := make(chan taken, 16)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, closedQueue, witnessQueue)
	h := openHost(t, n.router)
	for i, c := range []struct {
		mark int
		want uint16
	}{
		{0, closedQueue}, {Mark, witnessQueue}, {Mark | 0x80000001, witnessQueue}, {Mark &^ 0x10000000, closedQueue}, {0x0000ffff, closedQueue},
	} {
		if err := unix.SetsockoptInt(h.v4, unix.SOL_SOCKET, unix.SO_MARK, c.mark); err != nil {
			t.Fatal(err)
		}
		data := ip4(routerAddr, serverAddr, 6, 0, tcp(1, 80))
		setMark(data, uint16(i+1))
		h.send(t, data)
		if p := await(t, got, data, "marked packet"); p.queue != c.want {
			t.Errorf("mark %#x: queue %d, want %d", c.mark, p.queue, c.want)
		}
	}
}

// TestNobodyListens: without a listener a closed queue drops and an open one lets
// pass.
func TestNobodyListens(t *testing.T) {
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	witness(t, n, ppf.Forward, f)
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Open: Queues{openQueue, 1}, Selectors: []Selector{
		{Hook: ppf.Forward, Criteria: tcp80},
		{Hook: ppf.Forward, Fail: ppf.FailOpen, Criteria: with(tcp80, func(c *ppf.Criteria) { c.DstPorts = port(81) })},
	}}, f)
	got := make(chan taken, 16)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, witnessQueue)
	w := openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"])
	closed := [][]byte{
		ip4(clientAddr, serverAddr, 6, 0, tcp(1, 80)),
		ip4(clientAddr, serverAddr, 6, 10, tcp(1, 80)),
		ip4(clientAddr, serverAddr, 1, 0, icmp(3, nil)),
		ip6(clientAddr6, serverAddr6, 6, tcp(1, 80)),
		ip6(clientAddr6, serverAddr6, 60, extension(6, tcp(1, 80))),
	}
	for i, data := range append(closed, ip4(clientAddr, serverAddr, 6, 0, tcp(1, 81))) {
		setMark(data, uint16(i+1))
		w.send(t, data)
	}
	select {
	case p := <-got:
		if markOf(p.data) != uint16(len(closed)+1) {
			t.Errorf("%x went on, though nobody listens on the closed queue", p.data)
		}
	case <-time.After(patience):
		t.Error("the open queue let nothing pass")
	}
}

// TestOpening: a SYN in one piece has a queue of its own, everything else has
// another, also the first piece of a SYN: its other pieces go there.
func TestOpening(t *testing.T) {
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Opening: Queues{openingQueue, 1}, Selectors: []Selector{{Hook: ppf.Forward}}}, f)
	got := make(chan taken, 16)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, closedQueue, openingQueue)
	w := openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"])
	flagged := func(flags byte) []byte {
		b := tcp(1, 80)
		b[13] = flags
		return b
	}
	for i, c := range []struct {
		name string
		data []byte
		want uint16
	}{
		{"SYN", ip4(clientAddr, serverAddr, 6, 0, flagged(0x02)), openingQueue},
		{"SYN with ECE, CWR, PSH and URG", ip4(clientAddr, serverAddr, 6, 0, flagged(0xea)), openingQueue},
		{"SYN, IPv6", ip6(clientAddr6, serverAddr6, 6, flagged(0x02)), openingQueue},
		{"SYN-ACK", ip4(clientAddr, serverAddr, 6, 0, flagged(0x12)), closedQueue},
		{"SYN and FIN", ip4(clientAddr, serverAddr, 6, 0, flagged(0x03)), closedQueue},
		{"SYN and RST", ip4(clientAddr, serverAddr, 6, 0, flagged(0x06)), closedQueue},
		{"ACK", ip4(clientAddr, serverAddr, 6, 0, flagged(0x10)), closedQueue},
		{"nothing", ip4(clientAddr, serverAddr, 6, 0, flagged(0)), closedQueue},
		{"UDP with a SYN's octets", ip4(clientAddr, serverAddr, 17, 0, flagged(0x02)), closedQueue},
		{"first piece of a SYN", ip4(clientAddr, serverAddr, 6, moreFragments, append(flagged(0x02), 0, 0, 0, 0)), closedQueue},
		{"SYN behind an extension header", ip6(clientAddr6, serverAddr6, 60, extension(6, flagged(0x02))), closedQueue},
	} {
		setMark(c.data, uint16(i+1))
		w.send(t, c.data)
		if p := await(t, got, c.data, c.name); p.queue != c.want {
			t.Errorf("%s: queue %d, want %d", c.name, p.queue, c.want)
		}
	}
}

// placesTable is the table of docs/hooks.md.
func placesTable() string {
	var b strings.Builder
	b.WriteString("| chain | hook | priority | why there |\n| --- | --- | ---: | --- |\n")
	for _, p := range places {
		fmt.Fprintf(&b, "| `%s` | %v | %d | %s |\n", p.name, p.hook, p.priority, p.why)
	}
	return b.String()
}

// TestHooksDoc compares the table in docs/hooks.md with the one in the code.
func TestHooksDoc(t *testing.T) {
	b, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), placesTable()) {
		t.Errorf("docs/hooks.md does not have this table:\n%s", placesTable())
	}
}
