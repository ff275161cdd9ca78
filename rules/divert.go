package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// zoneIn puts what clients send on a connection whose server sees their own
// address into Zone: conntrack would take the server's side for the same
// connection. It stands before DNAT: what has another destination yet stays in the
// operator's zone.
func (c *compiler) zoneIn() {
	if c.features.Block {
		return
	}
	ch := c.base(placeZoneIn)
	clients := c.streams(ppf.ClientToServer, keepsClient)
	c.lead(ch, ch.name, clients, func(b *builder, _ ppf.Fail) rule { return b.toZone() })
	if len(clients) > 0 {
		// An error comes from any router on the client's side. The socket that it is about
		// tells whose leg it concerns: conntrack would take it for one of the server's, and
		// translate it where that is masqueraded.
		for family, ranges := range icmpErrors {
			for _, types := range ranges {
				ch.rules = append(ch.rules, new(builder).icmpError(family == 1, types).socketMarked(ZonedMark).toZone())
			}
		}
	}
	c.keep(ch, placeZoneIn)
}

// zoneOut does the same for what our sockets and our answers send to clients.
func (c *compiler) zoneOut() {
	answers := c.streams(ppf.ServerToClient, keepsClient)
	if c.features.Block || len(answers) == 0 {
		return
	}
	ch := &chain{name: c.name(places[placeZoneOut].name), base: &places[placeZoneOut]}
	ch.rules = append(ch.rules, new(builder).marked(ZonedMark).toZone())
	own := &chain{name: c.name(ch.name + "_answers")}
	c.lead(own, own.name, answers, func(b *builder, _ ppf.Fail) rule { return b.toZone() })
	ch.rules = append(ch.rules, new(builder).ours().jump(own))
	c.rules.chains = append(c.rules.chains, own, ch)
}

// hide keeps extra packets of some flows from conntrack: what answers a SYN in its
// server's place belongs to no connection that it knows, and counts as invalid.
func (c *compiler) hide() {
	if c.features.Block || len(c.plan.Hidden) == 0 {
		return
	}
	ch := &chain{name: c.name(places[placeHide].name), base: &places[placeHide]}
	own := &chain{name: c.name(ch.name + "_answers")}
	var list []ppf.Criteria
	for _, s := range placeOutput.of(c.plan.Hidden) {
		list = append(list, s.Criteria)
	}
	c.lead(own, own.name, list, func(b *builder, _ ppf.Fail) rule { return b.to("notrack", &expr.Notrack{}) })
	ch.rules = append(ch.rules, new(builder).ours().jump(own))
	c.rules.chains = append(c.rules.chains, own, ch)
}

// hold lets SYNs wait for what becomes of the connection to the server. Those in
// Zone bear ZonedMark meanwhile.
func (c *compiler) hold() {
	if c.features.Block {
		return
	}
	ch := c.base(placeHold)
	own := &chain{name: c.name(ch.name + "_syn")}
	if len(c.streams(ppf.ClientToServer, keepsClient)) > 0 {
		own.rules = append(own.rules, new(builder).inZone().mark(ZonedMark).r)
	}
	own.rules = append(own.rules, c.queue(new(builder).syn(), Queues{c.plan.Hold, 1}, 0, "queue to "))
	c.lead(ch, ch.name, c.streams(ppf.ClientToServer, isHonest), func(b *builder, _ ppf.Fail) rule { return b.jump(own) })
	if len(ch.rules) > len(c.skip(placeHold)) {
		c.rules.chains = append(c.rules.chains, own, ch)
	}
}

// refusals lets the kernel's own answers to SYNs that waited in vain go to their
// clients: a reset or an ICMP error of a connection that conntrack has not
// confirmed. It would drop them in a queue (net/netfilter/nfnetlink_queue.c,
// nf_ct_drop_unconfirmed), and nothing else looks like them: what is forwarded is
// either new or belongs to what is confirmed.
func refusals() []rule {
	list := []rule{new(builder).rst().unconfirmed().accept()}
	for family, ranges := range icmpErrors {
		for _, types := range ranges {
			list = append(list, new(builder).icmpError(family == 1, types).unconfirmed().accept())
		}
	}
	return list
}

// divert gives packets to the sockets of connections that end here. A packet of
// theirs that no socket takes goes no further: without a listener, as when the
// program was killed, nothing of a client reaches the server.
func (c *compiler) divert() {
	if c.features.Block || len(c.plan.Streams) == 0 {
		return
	}
	ch := c.base(placeDivert)
	ch.rules = append(ch.rules, new(builder).marked(SocketMark).accept()) // to a server on this host
	clients := &chain{name: c.name(ch.name + "_clients")}
	if len(c.streams(ppf.ClientToServer, isHonest)) > 0 {
		clients.rules = append(clients.rules,
			new(builder).marked(RefusedMark).reject("tcp reset", unix.NFT_REJECT_TCP_RST, 0),
			new(builder).marked(NoHostMark).reject("icmpx type host-unreachable", unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_HOST_UNREACH),
			new(builder).marked(NoNetworkMark).reject("icmpx type no-route", unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_NO_ROUTE))
	}
	zoned := len(c.streams(ppf.ClientToServer, keepsClient)) > 0
	for version, v6 := range []bool{false, true} {
		if c.plan.Plain != (Ports{}) && c.plan.Plain[version] == 0 {
			continue
		}
		if zoned {
			clients.rules = append(clients.rules, new(builder).inZone().tproxy(v6, c.plan.Zoned[version]).divert())
		}
		clients.rules = append(clients.rules, new(builder).tproxy(v6, c.plan.Plain[version]).divert())
	}
	clients.rules = append(clients.rules, new(builder).drop())
	// A socket that is not transparent is this host's own, as a client.
	servers := &chain{name: c.name(ch.name + "_servers")}
	servers.rules = append(servers.rules,
		new(builder).socket(true).divert(),
		new(builder).socket(false).accept(),
		new(builder).drop())
	c.rules.chains = append(c.rules.chains, clients, servers)
	c.lead(ch, clients.name, c.streams(ppf.ClientToServer, allStreams), func(b *builder, _ ppf.Fail) rule { return b.jump(clients) })
	c.lead(ch, servers.name, c.streams(ppf.ServerToClient, allStreams), func(b *builder, _ ppf.Fail) rule { return b.jump(servers) })
	for family, ranges := range icmpErrors {
		for _, types := range ranges {
			ch.rules = append(ch.rules, new(builder).icmpError(family == 1, types).socket(true).divert())
		}
	}
	c.keep(ch, placeDivert)
}

// Which connections streams lists: all, those whose server sees the client's own
// address, and those whose SYNs wait.
func allStreams(*Stream) bool    { return true }
func keepsClient(s *Stream) bool { return s.KeepsClient }
func isHonest(s *Stream) bool    { return s.Honest }

// streams lists the criteria of one flow of connections that end here.
func (c *compiler) streams(d ppf.Dir, which func(*Stream) bool) (list []ppf.Criteria) {
	for _, s := range c.plan.Streams {
		if !which(&s) {
			continue
		}
		if d == ppf.ServerToClient {
			s.Criteria = s.Criteria.Reverse()
		}
		list = append(list, s.Criteria)
	}
	return list
}

// lead writes rules for criteria that all lead to the same target.
func (c *compiler) lead(ch *chain, name string, list []ppf.Criteria, to func(*builder, ppf.Fail) rule) {
	g := newGroups(c, ppf.FailClosed)
	for i := range list {
		if len(list[i].Not) > 0 {
			c.selectExcept(ch, &list[i], ppf.FailClosed, to)
		} else {
			g.add(&list[i])
		}
	}
	g.write(ch, name, to)
}

// reg2 is the register after reg.
const reg2 = unix.NFT_REG_2

// toZone ends the rule by choosing the conntrack zone.
func (b *builder) toZone() rule {
	return b.add(&expr.Immediate{Register: reg, Data: zoneData()}).
		to(fmt.Sprintf("ct zone set %d", Zone), &expr.Ct{Key: expr.CtKeyZONE, Register: reg, SourceRegister: true})
}

// inZone restricts the rule to packets that conntrack has seen in our zone.
func (b *builder) inZone() *builder {
	return b.say("ct zone %d", Zone).add(&expr.Ct{Key: expr.CtKeyZONE, Register: reg}).cmp(expr.CmpOpEq, zoneData()...)
}

func zoneData() []byte { return binary.NativeEndian.AppendUint16(nil, Zone) }

// tproxy restricts the rule to packets that a socket takes: that of an established
// connection, or the listener.
func (b *builder) tproxy(v6 bool, port uint16) *builder {
	family, word, to := byte(unix.NFPROTO_IPV4), "ip", netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if v6 {
		family, word, to = unix.NFPROTO_IPV6, "ip6", netip.IPv6Loopback()
	}
	return b.family(v6).say("meta l4proto tcp tproxy %s to %v", word, netip.AddrPortFrom(to, port)).add(
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, unix.IPPROTO_TCP).add(
		&expr.Immediate{Register: reg, Data: to.AsSlice()},
		&expr.Immediate{Register: reg2, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.TProxy{Family: family, TableFamily: unix.NFPROTO_INET, RegAddr: reg, RegPort: reg2})
}

// socket restricts the rule to packets of a connection of this host, or ICMP
// errors about one, whose socket is transparent or is not.
func (b *builder) socket(transparent bool) *builder {
	value := byte(0)
	if transparent {
		value = 1
	}
	return b.say("socket transparent %d", value).
		add(&expr.Socket{Key: expr.SocketKeyTransparent, Register: reg}).cmp(expr.CmpOpEq, value)
}

// socketMarked restricts the rule to packets of a connection of this host, or ICMP
// errors about one, whose socket has a mark.
func (b *builder) socketMarked(value uint32) *builder {
	return b.say("socket mark %#x", value).
		add(&expr.Socket{Key: expr.SocketKeyMark, Register: reg}).cmp(expr.CmpOpEq, bits(value)...)
}

// divert ends the rule: policy routing delivers the packet here.
func (b *builder) divert() rule { return b.mark(DivertMark).accept() }

// mark gives the packet a value in the bits of our mark.
func (b *builder) mark(value uint32) *builder {
	return b.say("meta mark set meta mark & %#x | %#x", ^uint32(Mark), value).add(
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: bits(^uint32(Mark)), Xor: bits(value)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true})
}

// syn restricts the rule, of TCP, to segments that open a connection (RFC 9293
// §3.1: FIN, SYN, RST and ACK in the control bits).
func (b *builder) syn() *builder {
	return b.say("tcp flags & (fin | syn | rst | ack) == syn").load(expr.PayloadBaseTransportHeader, 13, 1).
		add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}}).cmp(expr.CmpOpEq, 0x02)
}

// tcp restricts the rule to TCP.
func (b *builder) tcp() *builder {
	return b.say("meta l4proto tcp").add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, unix.IPPROTO_TCP)
}

// rst restricts the rule to segments that reset a connection.
func (b *builder) rst() *builder {
	return b.tcp().say("tcp flags & rst != 0").load(expr.PayloadBaseTransportHeader, 13, 1).
		add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{0x04}, Xor: []byte{0}}).cmp(expr.CmpOpNeq, 0)
}

// confirmed is IPS_CONFIRMED (include/uapi/linux/netfilter/nf_conntrack_common.h).
const confirmed = 1 << 3

// unconfirmed restricts the rule to packets that are related to a connection of
// which nothing has left yet.
func (b *builder) unconfirmed() *builder {
	return b.say("ct state related ct status & %#x == 0", confirmed).
		add(&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: bits(expr.CtStateBitRELATED), Xor: bits(0)}).cmp(expr.CmpOpNeq, bits(0)...).
		add(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: bits(confirmed), Xor: bits(0)}).cmp(expr.CmpOpEq, bits(0)...)
}

// reject ends the rule with an answer that says no.
func (b *builder) reject(with string, kind uint32, code uint8) rule {
	return b.say("meta l4proto tcp").add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, unix.IPPROTO_TCP).
		to("reject with "+with, &expr.Reject{Type: kind, Code: code})
}

func (b *builder) drop() rule { return b.to("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }
