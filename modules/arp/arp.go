package arp

import (
	"context"
	"encoding/binary"

	"github.com/promethos/promethos/modules/link"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "builds ARP packets anew and checks who has which address"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "arp", Version: "1.0.0", Doc: doc, Functions: []string{"arp"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "arp", Doc: doc, Level: ppf.LevelPacket, Layer: 2,
		Settings: func() any { c := link.DefaultConfig(); return &c },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			return &guard{hosts: link.NewTable(b.Settings.(*link.Config))}, nil
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// guard is the processor: it knows the hosts of its instance's wire.
type guard struct{ hosts *link.Table }

// claims tells why a claim is refused; none for a good one.
var claims = [...]ppf.Reason{link.Unknown: ReasonUnknown, link.Taken: ReasonBinding, link.Full: ReasonHosts, link.Good: packet.ReasonNone}

// Process handles ARP and reverse ARP; other frames it hands on.
func (g *guard) Process(x *ppf.Exchange) ppf.Verdict {
	switch {
	case x.In.Has(packet.HasARP):
		return g.build(x)
	case x.In.EtherType() == packet.EtherTypeRARP:
		return x.Refuse(ReasonReverse, uint64(packet.EtherTypeRARP))
	}
	return ppf.Verdict{Action: ppf.Accept}
}

func (g *guard) build(x *ppf.Exchange) ppf.Verdict {
	in, eth := x.In.ARP(), x.In.Ethernet()
	out := packet.ARP{Op: in.Op(), SenderMAC: in.SenderMAC(), SenderIP: in.SenderIP(), TargetIP: in.TargetIP()}
	if out.SenderMAC != eth.Src() || out.SenderMAC.IsMulticast() || out.SenderMAC == (packet.MAC{}) {
		return x.Refuse(ReasonSenderMAC, link.Number(out.SenderMAC))
	}
	target := out.TargetIP.As4()
	if r := groupOrNone(target); r || eth.Dst().IsMulticast() && eth.Dst() != packet.BroadcastMAC {
		return x.Refuse(ReasonTarget, uint64(binary.BigEndian.Uint32(target[:])))
	}
	switch out.Op {
	case packet.ARPRequest: // whose target's link-layer address means nothing (RFC 826)
	case packet.ARPReply:
		out.TargetMAC = in.TargetMAC()
		if eth.Dst() != out.TargetMAC && eth.Dst() != packet.BroadcastMAC {
			return x.Refuse(ReasonTarget, link.Number(out.TargetMAC))
		}
	default:
		return x.Refuse(ReasonOperation, uint64(out.Op))
	}
	sender := out.SenderIP.As4()
	value := uint64(binary.BigEndian.Uint32(sender[:]))
	// A host that asks whether its address is free does not say that it has it (RFC
	// 5227 §2.1.1).
	if probe := sender == [4]byte{} && out.Op == packet.ARPRequest; !probe {
		if groupOrNone(sender) {
			return x.Refuse(ReasonSenderIP, value)
		}
		if r := claims[g.hosts.Claim(x, out.SenderIP, out.SenderMAC)]; r != packet.ReasonNone {
			return x.Refuse(r, value)
		}
	}
	x.Out.SetARP(out)
	return ppf.Verdict{Action: ppf.Accept}
}

// groupOrNone reports an IPv4 address that no host has: 0.0.0.0/8, loopback,
// multicast, and the reserved ones with broadcast (RFC 1122 §3.2.1.3).
func groupOrNone(a [4]byte) bool { return a[0] == 0 || a[0] == 127 || a[0] >= 224 }
