package udp

import (
	"context"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "tracks flows of UDP and builds every datagram anew"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "udp", Version: "1.0.0", Doc: doc, Functions: []string{"udp"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "udp", Doc: doc, Level: ppf.LevelPacket, Layer: 4, Apart: true,
		Settings: func() any { return DefaultConfig() },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			c := b.Settings.(*Config)
			return &tracker{timeout: [...]int64{unreplied: int64(c.Unreplied), replied: int64(c.Replied)}, limit: c.Connections}, nil
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// phase is how far a flow has come as a whole; it names it and chooses its
// timeout.
type phase uint8

const (
	unreplied phase = iota
	replied
	numPhases
)

var phaseNames = [numPhases]string{"UNREPLIED", "REPLIED"}

// What a side has done, in the Received and Sent fields of its half.
const (
	silent uint8 = iota
	talking
)

var sideNames = [...]string{silent: "SILENT", talking: "TALKING"}

// tracker is the processor.
type tracker struct {
	timeout [numPhases]int64 // ns
	limit   int
}

var (
	_ ppf.SentObserver = (*tracker)(nil)
	_ ppf.StateNamer   = (*tracker)(nil)
)

// Process handles datagrams, fragments of them, and ICMP errors about them;
// other packets it hands on.
func (t *tracker) Process(x *ppf.Exchange) ppf.Verdict {
	switch {
	case x.In.Has(packet.HasUDP):
		return t.datagram(x)
	case x.In.IsICMPError():
		return ip.Error(x, packet.ProtoUDP, x.In.Src())
	case x.In.Has(packet.HasFragment) && (x.In.Proto() == packet.ProtoUDP || x.In.Has(packet.HasIPv6)):
		return x.Refuse(packet.ReasonIPFragment, uint64(x.In.Proto()))
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// datagram checks, builds and tracks. That the length is right is the parse
// gate's work. What is refused leaves no flow behind.
func (t *tracker) datagram(x *ppf.Exchange) ppf.Verdict {
	if v, stop := ip.Verify(x); stop {
		return v
	}
	in := x.In.UDP()
	if in.SrcPort() == 0 || in.DstPort() == 0 {
		return x.Refuse(ReasonPort, 0)
	}
	if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
		return v
	}
	x.Out.SetUDP(packet.UDP{SrcPort: in.SrcPort(), DstPort: in.DstPort()})
	payload := x.In.Payload()
	x.Out.SetPayload(payload)
	if len(payload) > 0 {
		x.Out.SetPayloadSum(x.In.PayloadSum())
	}
	return t.track(x)
}

// track finds or makes the flow and moves its state on.
func (t *tracker) track(x *ppf.Exchange) ppf.Verdict {
	if x.Conn == nil {
		if !x.Instance.MayOpen(x.Dir) {
			return x.Refuse(ReasonInitiate, uint64(x.In.SrcPort()))
		}
		if r := x.Create(t.limit); r != packet.ReasonNone {
			return x.Refuse(r, uint64(t.limit))
		}
	}
	own := &x.Conn.Half[x.Dir]
	own.Received = talking
	own.Copy(x.In, ppf.CopyLayer2|ppf.CopyLayer3)
	x.SetDeadline(x.Now + t.timeout[phaseOf(x.Conn)])
	return ppf.Verdict{Action: ppf.Accept}
}

func phaseOf(c *ppf.Conn) phase {
	for d := range c.Half {
		if c.Half[d].Received == silent {
			return unreplied
		}
	}
	return replied
}

// Sent notes in the receiver's half what was sent on.
func (*tracker) Sent(x *ppf.Exchange) {
	if x.Conn != nil && x.Quote == nil {
		x.Conn.Half[x.Dir.Other()].Sent = x.Conn.Half[x.Dir].Received
	}
}

// StateName names the flow's state; "" for a connection that is not of UDP.
func (*tracker) StateName(c *ppf.Conn) string {
	if key := c.Key(ppf.ClientToServer); key.Protocol != packet.ProtoUDP {
		return ""
	}
	return phaseNames[phaseOf(c)]
}

// HalfStateName names a side's state.
func (*tracker) HalfStateName(s uint8) string { return sideNames[s] }
