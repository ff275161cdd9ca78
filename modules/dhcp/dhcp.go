package dhcp

import (
	"context"
	"time"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "builds DHCP messages anew and lets servers answer only who has asked"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "dhcp", Version: "1.0.0", Doc: doc, Functions: []string{"dhcp"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "dhcp", Doc: doc, Level: ppf.LevelPacket, Layer: 7,
		Settings: func() any { return DefaultConfig() },
		Bind:     func(b ppf.Binding) (ppf.Processor, error) { return newGuard(b.Settings.(*Config)), nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// guard is the processor.
type guard struct {
	servers   Servers
	relays    Relays
	listed    [256]bool
	addresses int
	wait      uint32 // seconds
	requests  requests
}

func newGuard(c *Config) *guard {
	g := &guard{servers: c.Servers, relays: c.Relays, addresses: c.Addresses, wait: uint32(c.Wait / time.Second)}
	for _, o := range c.Options {
		g.listed[o] = true
	}
	return g
}

// carries reports whether an option is known or listed.
func (g *guard) carries(code byte) bool { return formats[code].kind != absent || g.listed[code] }

// The ports (RFC 2131 §4.1).
const (
	serverPort = 67
	clientPort = 68
)

// Process handles datagrams of DHCP over IPv4; other packets it hands on.
func (g *guard) Process(x *ppf.Exchange) ppf.Verdict {
	if !x.In.Has(packet.HasUDP) || !x.In.Has(packet.HasIPv4) {
		return ppf.Verdict{Action: ppf.Accept}
	}
	src, dst := x.In.SrcPort(), x.In.DstPort()
	if !ofDHCP(src) && !ofDHCP(dst) {
		return ppf.Verdict{Action: ppf.Accept}
	}
	var m message
	if r := m.parse(x.In.Payload()); r != packet.ReasonNone {
		return x.Refuse(r, uint64(len(x.In.Payload())))
	}
	if r := g.judge(x, &m, src, dst); r != packet.ReasonNone {
		return x.Refuse(r, uint64(m.typ))
	}
	return g.build(x, &m)
}

func ofDHCP(port uint16) bool { return port == serverPort || port == clientPort }

// judge looks at who says what to whom.
func (g *guard) judge(x *ppf.Exchange, m *message, src, dst uint16) ppf.Reason {
	m.relayed = src == serverPort && dst == serverPort
	switch {
	case m.relayed:
		if g.relays == refuse || m.via == [4]byte{} {
			return ReasonRelay
		}
	case m.op == request && (src != clientPort || dst != serverPort), m.op == reply && (src != serverPort || dst != clientPort):
		return ReasonPort
	case m.op == request && (m.via != [4]byte{} || m.hops > 0): // a client is no relay agent
		return ReasonRelay
	}
	if m.op == reply && g.servers&side(x) == 0 {
		return ReasonServer
	}
	if r := m.addresses(); r != packet.ReasonNone {
		return r
	}
	now := uint32(x.Now / int64(time.Second))
	if m.op == request {
		g.requests.ask(m.xid, m.mac, now)
	} else if !g.requests.asked(m.xid, m.mac, now, g.wait) {
		return ReasonUnsolicited
	}
	return packet.ReasonNone
}

// side is where a packet came from.
func side(x *ppf.Exchange) Servers {
	switch x.Hook {
	case ppf.InlineClient:
		return Client
	case ppf.InlineServer:
		return Server
	}
	return 1 << x.Dir
}

// build sends the message anew, in a datagram that udp has built or that is built
// here.
func (g *guard) build(x *ppf.Exchange, m *message) ppf.Verdict {
	if !x.Out.Has(packet.HasUDP) {
		if v, stop := ip.Verify(x); stop {
			return v
		}
		if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
			return v
		}
		x.Out.SetUDP(packet.UDP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
	}
	var out [maxMessage]byte
	n, removed, code, r := g.write(m, out[:])
	if r != packet.ReasonNone {
		return x.Refuse(r, uint64(code))
	}
	if n > max(len(x.In.Payload()), everyMessage) {
		return x.Refuse(ReasonTooLong, uint64(n))
	}
	if removed {
		if v, stop := x.Finding(ReasonOption, uint64(code)); stop {
			return v
		}
	}
	x.Out.SetPayload(x.Keep(out[:n]))
	return ppf.Verdict{Action: ppf.Accept}
}

// write puts the message into out, which is all zeros: the type first, the other
// options by their number, those of relay agents last (RFC 3046 §2.1). It gives the
// length, whether options were left out, and the code of the last one of these, or of
// the one with the reason.
func (g *guard) write(m *message, out []byte) (n int, removed bool, code byte, r ppf.Reason) {
	if m.op == reply && !m.options.has(optServerID) {
		return 0, false, optServerID, ReasonOptionMissing
	}
	m.write(out)
	w := writer{b: out[offOptions:]}
	w.put(optType, []byte{m.typ})
	if removed, code, r = g.options(m, &w); r != packet.ReasonNone {
		return 0, false, code, r
	}
	if w.full {
		return 0, false, code, ReasonTooLong
	}
	w.end()
	return max(offOptions+w.n, minMessage), removed, code, packet.ReasonNone
}

// options writes all options but the type; results as of write.
func (g *guard) options(m *message, w *writer) (removed bool, last byte, r ppf.Reason) {
	var joined, room [maxMessage]byte
	for code := byte(1); code < optEnd; code++ {
		if code == optType || code == optOverload || code == optRelay || !m.options.has(code) {
			continue
		}
		v, ok := m.options.join(code, joined[:])
		if !ok {
			return false, code, ReasonOptionSize
		}
		if f := formats[code]; !g.carries(code) || f.kind != absent && f.who&(1<<m.op) == 0 {
			removed, last = true, code
			continue
		}
		if v, r = g.value(code, v, room[:]); r != packet.ReasonNone {
			return false, code, r
		}
		if len(v) == 0 && formats[code].kind != empty {
			removed, last = true, code
			continue
		}
		w.put(code, v)
	}
	if m.options.has(optRelay) {
		v, ok := m.options.join(optRelay, joined[:])
		if !m.relayed || !ok { // for a client, whose agent has kept it
			return true, optRelay, packet.ReasonNone
		}
		w.put(optRelay, v)
	}
	return removed, last, packet.ReasonNone
}
