package nd

import (
	"context"
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/modules/link"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "builds IPv6 neighbour discovery anew and checks who has which address"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "nd", Version: "1.0.0", Doc: doc, Functions: []string{"nd"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "nd", Doc: doc, Level: ppf.LevelPacket, Layer: 2,
		Settings: func() any { c := DefaultConfig(); return &c },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			c := b.Settings.(*Config)
			return &guard{hosts: link.NewTable(&c.Config), routers: c.Routers}, nil
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// guard is the processor: it knows the hosts of its instance's wire.
type guard struct {
	hosts   *link.Table
	routers Routers
}

// claims tells why a claim is refused; none for a good one.
var claims = [...]ppf.Reason{link.Unknown: ReasonUnknown, link.Taken: ReasonBinding, link.Full: ReasonHosts, link.Good: packet.ReasonNone}

// hopLimit is that of every message: no router has forwarded it (RFC 4861 §3.1).
const hopLimit = 255

// minMTU is the least MTU of IPv6 (RFC 8200 §5).
const minMTU = 1280

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// Process handles neighbour discovery on Ethernet; other packets it hands on.
func (g *guard) Process(x *ppf.Exchange) ppf.Verdict {
	if !x.In.Has(packet.HasEthernet) || !x.In.Has(packet.HasIPv6) || x.In.Proto() != packet.ProtoICMPv6 {
		return ppf.Verdict{Action: ppf.Accept}
	}
	// Of a fragment that is not the first one nobody can tell what it is; without
	// the first one it is nothing.
	b := x.In.L4()
	if len(b) == 0 || b[0] < packet.ICMPv6RouterSolicitation || b[0] > packet.ICMPv6Redirect || x.In.Ext().Fragment.Offset != 0 {
		return ppf.Verdict{Action: ppf.Accept}
	}
	if n := x.In.Ext().Len(); n > 0 || x.In.Has(packet.HasFragment) || x.Reassembled() {
		return x.Refuse(ReasonExtension, uint64(x.In.IPv6().NextHeader()))
	}
	if v, stop := ip.Verify(x); stop {
		return v
	}
	in := x.In.ICMPv6()
	switch {
	case x.In.IPv6().HopLimit() != hopLimit:
		return x.Refuse(ReasonHopLimit, uint64(x.In.IPv6().HopLimit()))
	case in.Code() != 0:
		return x.Refuse(ReasonCode, uint64(in.Code()))
	case in.Type() == packet.ICMPv6Redirect:
		return x.Refuse(ReasonRedirect, uint64(in.Type()))
	case in.Type() == packet.ICMPv6RouterAdvertisement && g.routers&(1<<x.Dir) == 0:
		return x.Refuse(ReasonRouter, uint64(in.Type()))
	}
	return g.build(x, in)
}

func (g *guard) build(x *ppf.Exchange, in packet.ICMPv6View) ppf.Verdict {
	out := packet.ICMPv6{Type: in.Type(), HasND: true}
	if r := in.ParseND(&out.ND); r != packet.ReasonNone {
		return x.Refuse(r, uint64(len(x.In.L4())))
	}
	if r, value := judge(x, out.Type, &out.ND); r != packet.ReasonNone {
		return x.Refuse(r, value)
	}
	if out.ND.Has&packet.NDOptUnknown != 0 {
		if v, stop := x.Finding(ReasonOption, uint64(out.Type)); stop {
			return v
		}
	}
	if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
		return v
	}
	// A host that asks whether its address is free does not say that it has it (RFC
	// 4862 §5.4.2).
	mac := x.In.Ethernet().Src()
	if src := x.In.Src(); !src.IsUnspecified() {
		if r := claims[g.hosts.Claim(x, src, mac)]; r != packet.ReasonNone {
			return x.Refuse(r, low(src))
		}
	}
	if out.Type == packet.ICMPv6NeighborAdvertisement && out.ND.Target != x.In.Src() {
		if r := claims[g.hosts.Claim(x, out.ND.Target, mac)]; r != packet.ReasonNone {
			return x.Refuse(r, low(out.ND.Target))
		}
	}
	x.Out.SetICMPv6(out)
	return ppf.Verdict{Action: ppf.Accept}
}

// judge checks a message against its addresses and its frame (RFC 4861 §6.1,
// §7.1).
func judge(x *ppf.Exchange, typ uint8, h *packet.ND) (ppf.Reason, uint64) {
	eth, src, dst := x.In.Ethernet(), x.In.Src(), x.In.Dst()
	mac := eth.Src()
	switch {
	case mac.IsMulticast() || mac == (packet.MAC{}) || h.Has&packet.NDOptLinkAddr != 0 && h.LinkAddr != mac:
		return ReasonLinkAddress, link.Number(h.LinkAddr)
	case !isHost(src) && !src.IsUnspecified():
		return ReasonSource, low(src)
	case eth.Dst().IsMulticast() && eth.Dst() != group(dst) || !dst.IsMulticast() && !isHost(dst):
		return ReasonDestination, low(dst)
	}
	nobody := src.IsUnspecified()
	switch typ {
	case packet.ICMPv6NeighborSolicitation:
		solicited := solicitedNode(h.Target)
		switch {
		case !isHost(h.Target):
			return ReasonTarget, low(h.Target)
		case dst.IsMulticast() && dst != solicited, nobody && dst != solicited:
			return ReasonDestination, low(dst)
		case nobody && h.Has&packet.NDOptLinkAddr != 0, !nobody && dst.IsMulticast() && h.Has&packet.NDOptLinkAddr == 0:
			return ReasonLinkAddress, link.Number(h.LinkAddr)
		}
	case packet.ICMPv6NeighborAdvertisement:
		switch {
		case !isHost(h.Target):
			return ReasonTarget, low(h.Target)
		case nobody:
			return ReasonSource, low(src)
		case dst.IsMulticast() && dst != allNodes:
			return ReasonDestination, low(dst)
		case dst.IsMulticast() && h.Flags&packet.NDSolicited != 0:
			return ReasonSolicited, uint64(h.Flags)
		case dst.IsMulticast() && h.Has&packet.NDOptLinkAddr == 0:
			return ReasonLinkAddress, link.Number(h.LinkAddr)
		}
	case packet.ICMPv6RouterSolicitation:
		switch {
		case dst.IsMulticast() && dst != allRouters:
			return ReasonDestination, low(dst)
		case nobody && h.Has&packet.NDOptLinkAddr != 0:
			return ReasonLinkAddress, link.Number(h.LinkAddr)
		}
	case packet.ICMPv6RouterAdvertisement:
		switch {
		case !src.IsLinkLocalUnicast():
			return ReasonSource, low(src)
		case dst.IsMulticast() && dst != allNodes:
			return ReasonDestination, low(dst)
		case h.Has&packet.NDOptMTU != 0 && h.MTU < minMTU:
			return ReasonMTU, uint64(h.MTU)
		}
	}
	return packet.ReasonNone, 0
}

// isHost reports an address that a host can have on a link.
func isHost(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback() && !a.Is4In6()
}

// solicitedNode is the group of those who may have an address (RFC 4291 §2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, b[13], b[14], b[15]})
}

// group is the link-layer address of a group (RFC 2464 §7); that of another
// address is none.
func group(a netip.Addr) packet.MAC {
	if !a.IsMulticast() {
		return packet.MAC{}
	}
	b := a.As16()
	return packet.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// low gives the lower half of an address as a value to show.
func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}
