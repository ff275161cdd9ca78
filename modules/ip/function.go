package ip

import (
	"context"
	"net/netip"
	"slices"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "decides what IP headers may say and builds them anew for the functions behind it"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "ip", Version: "1.0.0", Doc: doc, Functions: []string{"ip"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "ip", Doc: doc, Level: ppf.LevelPacket, Layer: 3, Apart: true,
		Settings: func() any { return DefaultConfig() },
		Bind: func(b ppf.Binding) (_ ppf.Processor, err error) {
			c := b.Settings.(*Config)
			f := newFilter(c)
			f.host = host
			f.clients, err = host.ClientLists(c.Clients, c.RefuseClients)
			return f, err
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// filter is the processor.
type filter struct {
	protocols [256]bool
	ttlMin    uint8
	dscp      DSCP
	flowLabel Carry
	multicast Policy
	mtuMin    uint32
	martians  []netip.Prefix
	host      *ppf.ModuleHost
	clients   *ppf.ClientLists
	ext       extensions
}

func newFilter(c *Config) *filter {
	f := &filter{ttlMin: c.TTLMin, dscp: c.DSCP, flowLabel: c.FlowLabel, multicast: c.Multicast, mtuMin: uint32(c.MTUMin), martians: c.Martians}
	for _, p := range c.Protocols {
		f.protocols[p] = true
	}
	f.ext.hopByHop = slices.Contains(c.Extensions, hopByHop)
	f.ext.routing = slices.Contains(c.Extensions, routing)
	f.ext.destination = slices.Contains(c.Extensions, destination)
	for _, o := range c.ExtensionOptions {
		f.ext.options[o] = true
	}
	return f
}

// Process handles packets of IPv4 and IPv6 and hands others on.
func (f *filter) Process(x *ppf.Exchange) ppf.Verdict {
	if !x.In.Has(packet.HasIPv4|packet.HasIPv6) || x.Out.Has(packet.HasIGMP) { // igmp has judged that, and built it
		return ppf.Verdict{Action: ppf.Accept}
	}
	if r := x.In.VerifyChecksums(false); r != packet.ReasonNone {
		return x.Refuse(r, uint64(len(x.In.Raw())))
	}
	if ttl := ttlOf(x.In); ttl < f.ttlMin {
		return x.Refuse(ReasonTTL, uint64(ttl))
	}
	if !f.carries(x.In) {
		return x.Refuse(ReasonProtocol, uint64(x.In.Proto()))
	}
	if x.In.Has(packet.HasFragment) {
		return x.Refuse(packet.ReasonIPFragment, uint64(x.In.Proto()))
	}
	if v, stop := f.addresses(x); stop {
		return v
	}
	if v, stop := f.client(x); stop {
		return v
	}
	if mtu, ok := announced(x); ok && mtu < f.mtuMin {
		return x.Refuse(ReasonErrorMTU, uint64(mtu))
	}
	return f.build(x)
}

// announced is the path MTU that an ICMP error tells, or that is put in where it
// tells none.
func announced(x *ppf.Exchange) (mtu uint32, ok bool) {
	switch in := x.In; {
	case !in.IsICMPError():
	case in.Has(packet.HasICMPv4):
		icmp := in.ICMPv4()
		return uint32(pathMTU(icmp.MTU(), x.Quote)), icmp.Type() == packet.ICMPv4Unreachable && icmp.Code() == packet.ICMPv4CodeFragNeeded
	case in.ICMPv6().Type() == packet.ICMPv6PacketTooBig:
		return in.ICMPv6().MTU(), true
	}
	return 0, false
}

func ttlOf(in *packet.Packet) uint8 {
	if in.Has(packet.HasIPv4) {
		return in.IPv4().TTL()
	}
	return in.IPv6().HopLimit()
}

// carries looks the protocol up. ICMP of the other version is a protocol like any.
func (f *filter) carries(in *packet.Packet) bool {
	p := in.Proto()
	if in.Has(packet.HasIPv6) {
		switch p {
		case packet.ProtoICMPv6:
			p = packet.ProtoICMP
		case packet.ProtoICMP:
			return false
		}
	} else if p == packet.ProtoICMPv6 {
		return false
	}
	return f.protocols[p]
}

// build sets the header, and the payload of a protocol that no function of layer
// 4 will build anew.
func (f *filter) build(x *ppf.Exchange) ppf.Verdict {
	if v, stop := build(x, x.In.Src(), x.In.Dst(), &f.ext); stop {
		return v
	}
	opaque := packet.Protocol(0)
	if !x.In.Has(packet.HasTCP | packet.HasUDP | packet.HasICMPv4 | packet.HasICMPv6) {
		opaque = x.In.Proto()
		x.Out.SetPayload(x.In.L4())
	}
	if h := x.Out.IPv4(); h != nil {
		h.TOS, h.Protocol = f.dscp.apply(h.TOS), opaque
	} else if h := x.Out.IPv6(); h != nil {
		h.TrafficClass, h.NextHeader = f.dscp.apply(h.TrafficClass), opaque
		if f.flowLabel == clear {
			h.FlowLabel = 0
		}
	}
	return ppf.Verdict{Action: ppf.Accept}
}
