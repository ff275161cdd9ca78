package icmp

import (
	"context"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "matches echo requests and replies, builds them anew and drops other messages"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "icmp", Version: "1.0.0", Doc: doc, Functions: []string{"icmp"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	exchanges := ppf.NewState[exchange](host)
	return host.Register(ppf.UserFunction{
		Name: "icmp", Doc: doc, Level: ppf.LevelPacket, Layer: 4,
		Settings: func() any { return DefaultConfig() },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			c := b.Settings.(*Config)
			return &tracker{timeout: int64(c.Timeout), limit: c.Connections, exchanges: exchanges}, nil
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// exchange is what is remembered of the echoes of one identifier between two
// hosts: how many requests each side has sent that are not answered.
type exchange struct{ open [2]uint32 }

// maxOpen bounds the replies that unanswered requests leave room for.
const maxOpen = 1 << 16

// What a side has done, in the Received and Sent fields of its half.
const (
	silent uint8 = iota
	asking
	answering
)

var sideNames = [...]string{silent: "SILENT", asking: "ASKING", answering: "ANSWERING"}

// tracker is the processor.
type tracker struct {
	timeout   int64 // ns
	limit     int
	exchanges *ppf.State[exchange]
}

var (
	_ ppf.SentObserver = (*tracker)(nil)
	_ ppf.StateNamer   = (*tracker)(nil)
)

// echo is an echo request or reply of either family.
type echo struct {
	reply   bool
	code    uint8
	id, seq uint16
}

// Process handles messages of ICMP and ICMPv6 and fragments of them; errors about
// TCP and UDP, and other packets, it hands on.
func (t *tracker) Process(x *ppf.Exchange) ppf.Verdict {
	switch {
	case x.Out.Has(packet.HasICMPv4 | packet.HasICMPv6): // built already, as nd does
	case x.In.IsICMPError():
		return about(x)
	case x.In.Has(packet.HasICMPv4):
		in := x.In.ICMPv4()
		if !in.IsEcho() {
			return x.Refuse(otherwise(&others4, in.Type()), uint64(in.Type()))
		}
		return t.echo(x, echo{in.Type() == packet.ICMPv4EchoReply, in.Code(), in.EchoID(), in.EchoSeq()})
	case x.In.Has(packet.HasICMPv6):
		in := x.In.ICMPv6()
		if !in.IsEcho() {
			return x.Refuse(otherwise(&others6, in.Type()), uint64(in.Type()))
		}
		return t.echo(x, echo{in.Type() == packet.ICMPv6EchoReply, in.Code(), in.EchoID(), in.EchoSeq()})
	case x.In.Has(packet.HasFragment) && (x.In.Proto() == packet.ProtoICMP || x.In.Has(packet.HasIPv6)):
		return x.Refuse(packet.ReasonIPFragment, uint64(x.In.Proto()))
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// about handles an error: of what it quotes, TCP and UDP are for their functions
// to answer for, and what is no echo either can be of no connection.
func about(x *ppf.Exchange) ppf.Verdict {
	if x.Quote != nil && (x.Quote.Proto == packet.ProtoTCP || x.Quote.Proto == packet.ProtoUDP) {
		return ppf.Verdict{Action: ppf.Accept}
	}
	if x.Quote != nil && x.Quote.Proto != x.In.Proto() {
		return x.Refuse(ip.ReasonUnrelated, uint64(x.Quote.Proto))
	}
	return ip.Error(x, x.In.Proto(), x.In.Src())
}

// echo checks, builds and tracks. What is refused leaves nothing behind.
func (t *tracker) echo(x *ppf.Exchange, e echo) ppf.Verdict {
	if v, stop := ip.Verify(x); stop {
		return v
	}
	if e.code != 0 {
		return x.Refuse(ReasonEchoCode, uint64(e.code))
	}
	if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
		return v
	}
	if x.In.Has(packet.HasICMPv4) {
		typ := packet.ICMPv4Echo
		if e.reply {
			typ = packet.ICMPv4EchoReply
		}
		x.Out.SetICMPv4(packet.ICMPv4{Type: typ, ID: e.id, Seq: e.seq})
	} else {
		typ := packet.ICMPv6Echo
		if e.reply {
			typ = packet.ICMPv6EchoReply
		}
		x.Out.SetICMPv6(packet.ICMPv6{Type: typ, ID: e.id, Seq: e.seq})
	}
	payload := x.In.Payload()
	x.Out.SetPayload(payload)
	if len(payload) > 0 {
		x.Out.SetPayloadSum(x.In.PayloadSum())
	}
	return t.track(x, e)
}

// track finds or makes the exchange: each request leaves room for one reply.
func (t *tracker) track(x *ppf.Exchange, e echo) ppf.Verdict {
	if e.reply {
		if x.Conn == nil {
			return x.Refuse(ReasonUnsolicited, uint64(e.id))
		}
		open := &t.exchanges.Of(x.Conn).open[x.Dir.Other()]
		if *open == 0 {
			return x.Refuse(ReasonUnsolicited, uint64(e.id))
		}
		*open--
	} else {
		if !x.Instance.MayOpen(x.Dir) {
			return x.Refuse(ReasonInitiate, uint64(e.id))
		}
		if x.Conn == nil {
			if r := x.Create(t.limit); r != packet.ReasonNone {
				return x.Refuse(r, uint64(t.limit))
			}
		}
		open := &t.exchanges.Of(x.Conn).open[x.Dir]
		*open = min(*open+1, maxOpen)
	}
	own := &x.Conn.Half[x.Dir]
	own.Received = asking
	if e.reply {
		own.Received = answering
	}
	own.Copy(x.In, ppf.CopyLayer2|ppf.CopyLayer3)
	x.SetDeadline(x.Now + t.timeout)
	return ppf.Verdict{Action: ppf.Accept}
}

// Sent notes in the receiver's half what was sent on.
func (*tracker) Sent(x *ppf.Exchange) {
	if x.Conn != nil && x.Quote == nil {
		x.Conn.Half[x.Dir.Other()].Sent = x.Conn.Half[x.Dir].Received
	}
}

// StateName names the exchange's state; "" for a connection that is not of ICMP.
func (*tracker) StateName(c *ppf.Conn) string {
	switch key := c.Key(ppf.ClientToServer); {
	case key.Protocol != packet.ProtoICMP && key.Protocol != packet.ProtoICMPv6:
		return ""
	case c.Half[c.OpenedBy().Other()].Received == silent:
		return "UNREPLIED"
	}
	return "REPLIED"
}

// HalfStateName names a side's state.
func (*tracker) HalfStateName(s uint8) string { return sideNames[s] }
