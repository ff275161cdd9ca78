package ppf

import (
	"cmp"
	"slices"

	"github.com/promethos/promethos/packet"
)

// NumberTranslator is a Processor that may send other sequence numbers than it
// received. Conntrack of this machine has to see one number space of each
// connection, so one of the flows is taken before it.
type NumberTranslator interface {
	// TranslatesNumbers says that its settings want it.
	TranslatesNumbers() bool
	// Translation tells what it adds to the sequence numbers of each side of a
	// connection that is translated.
	Translation(c *Conn) [2]packet.Seq
}

// numbering says where the flows of an instance are taken that translates
// sequence numbers (docs/hooks.md); the zero value is for one that does not.
type numbering struct {
	// opens are the hooks at which the first SYN of a flow may begin a translated
	// connection: there it is certain that both flows pass the instance.
	opens [2][]Hook
	// before is the hook at which a flow is taken before conntrack, HookNone: none.
	before [2]Hook
	// beside is a further hook of a flow, at which packets of translated
	// connections are taken and others go on as they are.
	beside [2]Hook
}

// on says that the instance translates.
func (n *numbering) on() bool { return len(n.opens[ClientToServer]) > 0 }

// ConnEnder is a Processor that can tell the sides of a connection that it is
// over; the connection is locked.
type ConnEnder interface {
	EndConn(c *Conn, emit func(*packet.Out))
}

// EndTranslated tells the sides of all connections whose numbers are translated
// that they are over: from now on nobody is between them any more. It gives the
// number of connections. No worker may run.
func (e *Engine) EndTranslated() (n int, err error) {
	e.table.each(func(c *Conn) bool {
		p := e.proxy.proxyOf(c.proxy)
		if !c.Translated || p == nil || p.Group.Inline() {
			return true // nothing crosses a wire without us
		}
		for _, proc := range p.processors {
			if ender, ok := proc.(ConnEnder); ok {
				ender.EndConn(c, func(out *packet.Out) {
					head, failed := out.Encode(make([]byte, packet.MaxHeaders))
					if failed == nil {
						failed = e.emit(head)
					}
					err = cmp.Or(err, failed)
				})
			}
		}
		n++
		return true
	})
	return n, err
}

// numberingAt is the numbering of an instance at a hook.
func numberingAt(hook Hook, exchanges bool) numbering {
	switch {
	case exchanges: // answers are taken before conntrack anyway
		return numbering{opens: [2][]Hook{ClientToServer: {Forward, Output}}}
	case hook == Forward:
		// Behind conntrack the client's numbers are the server's already, and so are
		// those in what this machine itself sends to the client: at OUTPUT.
		return numbering{
			opens:  [2][]Hook{ClientToServer: {Prerouting}},
			before: [2]Hook{ClientToServer: Prerouting},
			beside: [2]Hook{ClientToServer: Prerouting, ServerToClient: Output},
		}
	case hook == Input:
		return numbering{opens: [2][]Hook{{Input}, {Output}}, before: [2]Hook{ServerToClient: Output}}
	case hook.Inline():
		return numbering{opens: [2][]Hook{{InlineClient}, {InlineServer}}}
	}
	return numbering{}
}

// numbering decides whether an instance translates sequence numbers. It does not
// where a received packet may go on as it came, in monitor, with fail: open or by
// a function that passes packets; where the answers are not seen; and for packets
// of a capture, whose ends never see what is sent. Nor does it at FORWARD where no
// server is named: NAT of this machine may lead to any of them.
func (e *Engine) numbering(in *InstanceSpec, proxy *ProxyInstance) numbering {
	switch proto := in.Match.Protocol; {
	case e.recorded, in.Source == SourceListen, proxy.Mode == Monitor, proxy.Fail == FailOpen,
		len(in.Chain[0]) == 0, len(in.Chain[1]) == 0, in.Hook == Forward && len(in.Match.Server) == 0,
		proto != packet.ProtoTCP && proto != ProtocolAny && proto != 0,
		!in.Hook.Inline() && in.Match.names(func(m *Match) bool { return m.Out != "" }):
		return numbering{}
	}
	for _, chain := range in.Chain {
		translates := false
		for _, name := range chain {
			if f := proxy.bound[name]; f.Passes || f.Level != LevelPacket {
				return numbering{}
			}
			t, ok := proxy.processors[name].(NumberTranslator)
			translates = translates || ok && t.TranslatesNumbers()
		}
		if !translates {
			return numbering{}
		}
	}
	return numberingAt(in.Hook, e.exchanges(in.Chain[0]))
}

// MayTranslate says whether the packet, the first SYN of a connection, may begin
// one whose numbers are translated. It may not while an override lets something
// pass as it was received, nor where the SYN is for this machine itself, since
// answers of its own programs are not taken.
func (x *Exchange) MayTranslate() bool {
	p := x.Instance
	if !slices.Contains(p.numbers.opens[x.Dir], x.Hook) || p.passesReceived() {
		return false
	}
	if p.numbers.beside[x.Dir] != x.Hook {
		return true
	}
	route, err := x.Route(x.In.Dst())
	return err == nil && !route.Local
}

// Behind says that the packet was taken behind the hook where its flow is
// translated, as one is that hid what it belongs to: its numbers are the
// receiver's already.
func (x *Exchange) Behind() bool {
	at := x.Instance.numbers.before[x.Dir]
	return at != HookNone && x.Hook != at
}

// judged says that the instance's own hook, which the packet has still to pass,
// has nothing to judge any more.
func (x *Exchange) judged() bool {
	return x.Conn != nil && x.Conn.Translated && x.Hook == Prerouting && x.Instance.numbers.beside[x.Dir] == Prerouting
}

// passesReceived reports an override that lets received packets pass.
func (p *ProxyInstance) passesReceived() bool {
	for _, list := range p.overrides {
		if slices.ContainsFunc(list, func(o override) bool { return o.do == DoMonitor }) {
			return true
		}
	}
	return false
}

// takes reports whether a packet of a connection, of flow d, is the instance's at
// this hook.
func (p *ProxyInstance) takes(x *Exchange, c *Conn, d Dir) bool {
	switch x.Hook {
	case p.numbers.beside[d]:
		// What an error before routing quotes may still bear addresses of NAT.
		return x.Hook == HookNone || c.Translated && (x.Quote == nil || x.Hook != Prerouting)
	case p.numbers.beside[d.Other()]:
		return false // such as an error that this machine sends to the server
	}
	return true
}

// besides finds the rule that had a packet taken at a hook that is not its
// instance's own, nil for none: the order of rules is that of the instance's hook.
func (s *snapshot) besides(x *Exchange, t *Tuple) *Rule {
	if r := s.byHook[Forward].rules.match(t); r != nil && r.Beside == x.Hook {
		return r
	}
	return nil
}

// opensBeside reports whether a packet without a connection is for the rule that
// besides found: a SYN that may begin a translated one, or what completes a
// handshake that a function answered.
func (w *worker) opensBeside(r *Rule) bool {
	x := w.x
	if x.Quote != nil || !x.In.Has(packet.HasTCP) {
		return false
	}
	view := x.In.TCP()
	opens := view.Flags()&(packet.SYN|packet.ACK|packet.RST|packet.FIN) == packet.SYN
	proxy := w.engine.proxy.find(r.Number)
	if proxy == nil {
		return false
	}
	x.Instance, x.Dir = proxy, r.dir
	if !opens {
		taker := proxy.taker()
		return taker != nil && taker.Completes(x)
	}
	return x.MayTranslate()
}

// hides says that conntrack, which sees the numbers of one side only, and of a
// handshake that a function answered nothing, must not see the extra packets of
// flow d.
func (p *ProxyInstance) hides(d Dir) bool {
	if p.taker() == nil {
		return false
	}
	return p.Group == Input || p.Group == Forward && d == ServerToClient
}
