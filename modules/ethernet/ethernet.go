package ethernet

import (
	"context"
	"encoding/binary"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const doc = "says which frames pass, and builds those anew whose payload nobody knows"

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "ethernet", Version: "1.0.0", Doc: doc, Functions: []string{"ethernet"},
		New: func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "ethernet", Doc: doc, Level: ppf.LevelPacket, Layer: 2,
		Settings: func() any { c := DefaultConfig(); return &c },
		Bind:     func(b ppf.Binding) (ppf.Processor, error) { return newGuard(b.Settings.(*Config)), nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// guard is the processor.
type guard struct {
	types  map[packet.EtherType]bool
	vlans  [maxVLAN + 1]bool // [0] is for frames without a VLAN
	config Config
}

func newGuard(c *Config) *guard {
	g := &guard{types: map[packet.EtherType]bool{}, config: *c}
	for _, t := range c.EtherTypes {
		g.types[packet.EtherType(t)] = true
	}
	for _, v := range c.VLANs {
		for id := v.First; id <= v.Last; id++ {
			g.vlans[id] = true
		}
	}
	return g
}

// handled reports an ethertype that a function of its own builds anew.
func handled(t packet.EtherType) bool {
	switch t {
	case packet.EtherTypeIPv4, packet.EtherTypeIPv6, packet.EtherTypeARP, packet.EtherTypeRARP:
		return true
	}
	return false
}

// Process judges the frame, and builds it where its payload passes unread; IP and
// ARP it hands on.
func (g *guard) Process(x *ppf.Exchange) ppf.Verdict {
	if !x.In.Has(packet.HasEthernet) {
		return ppf.Verdict{Action: ppf.Accept}
	}
	if src := x.In.Ethernet().Src(); src.IsMulticast() || src == (packet.MAC{}) {
		return x.Refuse(ReasonSource, uint64(binary.BigEndian.Uint16(src[:2]))<<32|uint64(binary.BigEndian.Uint32(src[2:])))
	}
	if r, id := g.tags(x.In.VLANs()); r != packet.ReasonNone {
		return x.Refuse(r, uint64(id))
	}
	t, payload := x.In.EtherType(), x.In.Payload()
	switch {
	case t < minEtherType:
		r := packet.ReasonNone
		if payload, r = g.length(x.In.Ethernet().Dst(), int(t), payload); r != packet.ReasonNone {
			return x.Refuse(r, uint64(t))
		}
	case handled(t):
		return ppf.Verdict{Action: ppf.Accept}
	case !g.types[t]:
		return x.Refuse(ReasonType, uint64(t))
	}
	x.Out.SetEthernet(x.LinkHeader(t))
	x.CopyVLANs(&x.Out)
	x.Out.SetPayload(payload)
	return ppf.Verdict{Action: ppf.Accept}
}

// tags judges the VLAN tags; each identifier has to be allowed.
func (g *guard) tags(tags []packet.VLANView) (packet.Reason, uint16) {
	if len(tags) == 0 && !g.vlans[0] {
		return ReasonUntagged, 0
	}
	if len(tags) > 1 && g.config.DoubleTags == refuse {
		return ReasonDoubleTags, tags[1].VID()
	}
	for _, tag := range tags {
		switch id := tag.VID(); {
		case id == 0 && g.config.PriorityTags == refuse:
			return ReasonPriorityTag, uint16(tag.PCP())
		case id == 0 && !g.vlans[0]:
			return ReasonUntagged, 0
		case id > maxVLAN || !g.vlans[id]:
			return ReasonVLAN, id
		}
	}
	return packet.ReasonNone, 0
}

// The LLC header (IEEE 802.2 §3.2): the service access points of destination and
// source, and the control field.
const (
	llcLen  = 3
	snapLen = 5 // behind it, with sapSNAP: organization and type (RFC 1042)

	sapSTP  = 0x42
	sapSNAP = 0xaa
	sapIP   = 0x06
	sapARP  = 0x98

	controlUI = 0x03 // unnumbered information, without poll bit
)

// maxLength is the highest IEEE 802.3 length (§3.2.6).
const maxLength = 1500

// groupSTP is where bridges listen to spanning tree (IEEE 802.1D §7.12.3); those
// of providers listen to the one that follows (IEEE 802.1ad).
var groupSTP, groupProvider = packet.MAC{1, 0x80, 0xc2, 0, 0, 0}, packet.MAC{1, 0x80, 0xc2, 0, 0, 8}

// length judges an IEEE 802.3 frame, and gives its payload without padding.
func (g *guard) length(dst packet.MAC, n int, b []byte) ([]byte, packet.Reason) {
	if n > maxLength || n > len(b) || n < llcLen {
		return nil, ReasonLength
	}
	b = b[:n]
	dsap, ssap := b[0], b[1]
	switch {
	case dsap == sapSTP || ssap == sapSTP || dst == groupSTP || dst == groupProvider:
		if g.config.STP == refuse {
			return nil, ReasonSTP
		}
		if dsap != sapSTP || ssap != sapSTP || b[2] != controlUI {
			return nil, ReasonLLC
		}
	case g.config.LLC == refuse:
		return nil, ReasonLLC
	case dsap == sapSNAP || ssap == sapSNAP:
		if n < llcLen+snapLen {
			return nil, ReasonLength
		}
		if org := [3]byte(b[llcLen:]); carriesEthernet(org) {
			return nil, ReasonEncapsulated
		}
	case dsap == sapIP, dsap == sapARP:
		return nil, ReasonEncapsulated
	}
	return b, packet.ReasonNone
}

// carriesEthernet reports an organization whose SNAP types are ethertypes: what
// would be IP or ARP to who receives it (RFC 1042, IEEE 802.1H).
func carriesEthernet(org [3]byte) bool { return org == [3]byte{} || org == [3]byte{0, 0, 0xf8} }
