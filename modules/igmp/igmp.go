package igmp

import (
	"context"
	"net/netip"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "builds anew what is said about multicast groups"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "igmp", Version: "1.0.0", Doc: doc, Functions: []string{"igmp", "mld"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	for _, f := range []ppf.UserFunction{
		{Name: "igmp", Doc: doc + " of IPv4", Bind: func(ppf.Binding) (ppf.Processor, error) { return listener4{}, nil }},
		{Name: "mld", Doc: doc + " of IPv6", Bind: func(ppf.Binding) (ppf.Processor, error) { return listener6{}, nil }},
	} {
		f.Level, f.Layer = ppf.LevelPacket, 3
		if err := host.Register(f); err != nil {
			return err
		}
	}
	return nil
}

func (*module) Stop(context.Context) error { return nil }

// linkTTL is the TTL and hop limit of what stays on its link.
const linkTTL = 1

// The groups that messages go to which are not about a group (RFC 3376 §4.1.12,
// §4.2.14; RFC 2236 §3.7).
var (
	allHosts4   = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	allRouters4 = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	reports4    = netip.AddrFrom4([4]byte{224, 0, 0, 22})
)

// listener4 is the processor of `igmp`.
type listener4 struct{}

// Process handles IGMP; other packets it hands on.
func (listener4) Process(x *ppf.Exchange) ppf.Verdict {
	if !x.In.Has(packet.HasIPv4) || x.In.Proto() != packet.ProtoIGMP {
		return ppf.Verdict{Action: ppf.Accept}
	}
	h := x.In.IPv4()
	if x.In.Has(packet.HasFragment) || h.TTL() != linkTTL {
		return x.Refuse(v4.origin, uint64(h.TTL()))
	}
	if v, stop := ip.Verify(x); stop {
		return v
	}
	in, r := packet.ParseIGMP(x.In.L4())
	switch {
	case r != packet.ReasonNone:
		return x.Refuse(r, uint64(len(x.In.L4())))
	case !in.ChecksumOK():
		return x.Refuse(v4.checksum, uint64(in.Type()))
	}
	if src := x.In.Src(); src.IsMulticast() || src.IsLoopback() || src == broadcast4 {
		return x.Refuse(v4.source, value4(src))
	}
	out := packet.IGMP{Type: in.Type(), Group: in.Group()}
	used, to, r := judge4(in, &out)
	if r != packet.ReasonNone {
		return x.Refuse(r, uint64(in.Type()))
	}
	dst := x.In.Dst()
	if to.IsValid() && dst != to || !dst.IsMulticast() || !toGroup(x, dst) {
		return x.Refuse(v4.destination, value4(dst))
	}
	if used < len(in.Body()) {
		if v, stop := x.Finding(v4.trailing, uint64(len(in.Body())-used)); stop {
			return v
		}
	}
	head := packet.IPv4{TOS: h.TOS(), TTL: linkTTL, DF: h.DF(), RouterAlert: in.Type() != packet.IGMPv1Report, Src: x.In.Src(), Dst: dst}
	if !head.DF {
		head.ID = uint16(x.Env().Uint32())
	}
	x.Out.SetIPv4(head)
	x.Out.SetIGMP(out)
	x.Out.SetPayload(in.Body()[:used])
	return ppf.Verdict{Action: ppf.Accept}
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func value4(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// judge4 checks a message by its type. It gives how much of what follows the fixed
// part belongs to it, and the group that it has to go to.
func judge4(in packet.IGMPView, out *packet.IGMP) (used int, to netip.Addr, r ppf.Reason) {
	group := in.Group()
	switch in.Type() {
	case packet.IGMPQuery:
		out.MaxResp = in.MaxResp()
		if to = group; group.IsUnspecified() {
			to = allHosts4
		} else if !group.IsMulticast() {
			return 0, to, v4.group
		}
		if len(in.Body()) == 0 {
			return 0, to, packet.ReasonNone
		}
		if len(in.Body()) < queryLen {
			return 0, to, v4.version
		}
		n, ok := family4.query(in.Body())
		if !ok || group.IsUnspecified() && n > queryLen {
			return 0, to, v4.records
		}
		return n, to, packet.ReasonNone
	case packet.IGMPv1Report, packet.IGMPv2Report, packet.IGMPLeave:
		if !group.IsMulticast() {
			return 0, to, v4.group
		}
		if to = group; in.Type() == packet.IGMPLeave {
			to = allRouters4
		}
		return 0, to, packet.ReasonNone
	case packet.IGMPv3Report:
		out.Records = uint16(in.Records())
		n, ok := family4.records(in.Body(), in.Records())
		if !ok {
			return 0, to, v4.records
		}
		return n, reports4, packet.ReasonNone
	}
	return 0, to, v4.typ
}

// toGroup reports whether a frame goes to where frames for a group go (RFC 1112
// §6.4, RFC 2464 §7). A packet without a frame does.
func toGroup(x *ppf.Exchange, group netip.Addr) bool {
	if !x.In.Has(packet.HasEthernet) {
		return true
	}
	b := group.As16()
	want := packet.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
	if group.Is4() {
		want = packet.MAC{1, 0, 0x5e, b[13] & 0x7f, b[14], b[15]}
	}
	return x.In.Ethernet().Dst() == want
}
