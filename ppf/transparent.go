package ppf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/promethos/promethos/packet"
)

// legFunctions run on the packets of both legs of a transparent stream chain, named
// or not: the first before what the chain names, the second behind it.
var legFunctions = [2]string{"ip", "tcp"}

// DefaultPending is how many connections to a server may be coming about at a time
// where the configuration does not say.
const DefaultPending = 256

// maxPending is less than what the queue of waiting SYNs holds.
const maxPending = 10_000

// Ends says how this host ends the connections of a transparent stream chain.
type Ends struct {
	Instance string
	// Honest lets a client's SYN wait until the server has accepted.
	Honest   bool
	Upstream UpstreamAddress
	// Pending is how many connections to one server may be coming about at a time.
	Pending int
	// Drain is how long what is under way may go on when the daemon ends.
	Drain time.Duration
}

// KeepsClient says that the server sees the client's own address and port.
func (e *Ends) KeepsClient() bool { return e.Upstream != UpstreamProxy }

// KeepsClient says that the server of the instance's streams sees the client's own
// address.
func (p *ProxyInstance) KeepsClient() bool {
	return p.source() != SourceListen && (p.spec == nil || p.spec.UpstreamAddress != UpstreamProxy)
}

// transparent reports whether the instance's connections end on this host,
// taken from the way of their packets.
func (p *ProxyInstance) transparent() bool { return p.Group == arriving }

// groupAt is the group of the instance's connections in the keys of packets
// that are received at a hook.
func (p *ProxyInstance) groupAt(h Hook) Hook {
	if p.transparent() && h == Postrouting {
		return leaving
	}
	return p.Group
}

// hook is where the client's packets are taken.
func (p *ProxyInstance) hook() Hook {
	if p.transparent() {
		return Prerouting
	}
	return p.Group
}

// functions lists the functions of both flows, with those that run on legs unnamed.
func (p *ProxyInstance) functions() []string {
	list := slices.Concat(p.Chain[ClientToServer], p.Chain[ServerToClient])
	if !p.transparent() {
		return list
	}
	for _, name := range legFunctions {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// ofPackets lists the functions that a flow's packets run through: for a
// transparent stream chain those of level packet, on each leg.
func (p *ProxyInstance) ofPackets(d Dir) []string {
	if !p.transparent() {
		return p.Chain[d]
	}
	var list []string
	for _, name := range p.Chain[d] {
		if _, higher := p.processors[name].(above); !higher {
			list = append(list, name)
		}
	}
	if first := legFunctions[0]; !slices.Contains(list, first) {
		list = slices.Insert(list, 0, first)
	}
	if last := legFunctions[1]; !slices.Contains(list, last) {
		list = append(list, last)
	}
	return list
}

// endsConnections reports whether a chain has a function above the level of
// packets.
func (e *Engine) endsConnections(chain []string) bool {
	return slices.ContainsFunc(chain, func(name string) bool {
		f, ok := e.functions.Lookup(name)
		return ok && f.Level != LevelPacket
	})
}

// prepareStream checks the settings of stream chains, and makes an instance
// transparent that has one at a hook. The functions of its chains are loaded.
func (e *Engine) prepareStream(in *InstanceSpec, proxy *ProxyInstance) error {
	ends := [2]bool{e.endsConnections(in.Chain[0]), e.endsConnections(in.Chain[1])}
	transparent := in.Source == SourceNFQueue && (ends[0] || ends[1])
	if !transparent {
		if in.UpstreamAddress != UpstreamDefault {
			return errors.New("upstream_address: needs a chain with a stream function at a hook (leave it out)")
		}
		if in.Handshake == HandshakeHonest || in.Handshake == HandshakeFirst {
			return errors.New("handshake: honest and first need a chain with a stream function at a hook (leave it out)")
		}
		if in.Drain != 0 && in.Drain != DefaultDrain && in.Source != SourceListen {
			return errors.New("drain: needs a chain with a stream function (leave it out)")
		}
		if in.Pending != 0 {
			return errors.New("pending: needs a chain with a stream function at a hook (leave it out)")
		}
		return nil
	}
	switch m := &in.Match; {
	case in.Handshake == HandshakeCookie:
		return errors.New("handshake: cookie is for chains of packet functions (write honest or first)")
	case in.Pending < 0 || in.Pending > maxPending:
		return fmt.Errorf("pending: %d is out of range (1 to %d)", in.Pending, maxPending)
	case !slices.Equal(in.Chain[0], in.Chain[1]):
		return errors.New("chain: both flows of a connection that ends here have one chain (write `chain: [...]`)")
	case e.exchanges(in.Chain[0]):
		return errors.New("chain: a function exchanges addresses, and the connection ends here (use upstream_address: proxy in place of it)")
	case m.Protocol != packet.ProtoTCP || len(m.Port) == 0:
		return errors.New("match: a chain with a stream function needs `protocol: tcp` and a port")
	case m.names(func(m *Match) bool { return m.In != "" || m.Out != "" }):
		return errors.New("match: in and out: one leg of a connection that ends here does not show them (name the clients' networks)")
	case in.UpstreamAddress == UpstreamProxy && len(m.Client) > 0:
		return errors.New("upstream_address: proxy: the server's side of a connection does not show its client (leave `client` out, or use `not`)")
	case in.Hook != Forward:
		return fmt.Errorf("hook: %v: a chain with a stream function takes its packets at prerouting and postrouting (leave it out)", in.Hook)
	case in.Initiate == InitiateBoth:
		return errors.New("initiate: both: connections that the server opens cannot be ended here (leave it out)")
	case in.Fail == FailOpen:
		return errors.New("fail: open: a connection that ends here cannot go on past us (write `fail: closed`)")
	}
	proxy.Group = arriving
	proxy.honest = in.Handshake == HandshakeHonest || in.Handshake == HandshakeDefault && !slices.ContainsFunc(in.Chain[0], func(name string) bool {
		f, ok := e.functions.Lookup(name)
		return ok && f.AnswersFirst
	})
	return e.loadModulesFor(e.ctx, legFunctions[:])
}

// names reports whether a match or something that it excludes has a property.
func (m *Match) names(has func(*Match) bool) bool {
	return has(m) || slices.ContainsFunc(m.Not, func(n Match) bool { return has(&n) })
}

// ends tells how an instance's connections end; nil where they do not.
func (p *ProxyInstance) ends() *Ends {
	if !p.transparent() {
		return nil
	}
	e := &Ends{Instance: p.Name, Honest: p.honest, Upstream: p.spec.UpstreamAddress, Pending: p.spec.Pending, Drain: p.spec.Drain}
	if e.Pending == 0 {
		e.Pending = DefaultPending
	}
	return e
}

// Accepting finds the instance whose client leg is the connection between a
// client and a server, as its packets arrive; nil where there is none.
func (e *Engine) Accepting(client, server netip.AddrPort) *Ends {
	key := MakeKey(arriving, packet.ProtoTCP, client, server)
	c, _ := e.table.find(&key)
	if c == nil {
		return nil
	}
	defer c.mu.Unlock()
	if p := e.proxy.proxyOf(c.proxy); p != nil {
		return p.ends()
	}
	return nil
}
