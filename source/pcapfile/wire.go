package pcapfile

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// ErrWires reports a configuration whose frames a capture cannot tell apart.
var ErrWires = errors.New("a capture of frames is of one wire (leave out the instances of other inline pairs, and those of hooks)")

// maxSides bounds how many hosts are remembered; of others the side is guessed anew.
const maxSides = 1 << 16

// wire is that of a capture with Ethernet headers: which ports its frames came
// in by, and what is sent out of them.
type wire struct {
	source  *Source
	servers []netip.Prefix // of the instances; none: whoever speaks first is a client
	sides   map[packet.MAC]ppf.Hook
	parsed  packet.Packet
}

var _ ppf.Wire = (*wire)(nil)

// newWire makes the wire of a configuration with an inline pair; nil for one
// without, or for a capture whose packets have no Ethernet header.
func newWire(s *Source, spec *ppf.Spec) (*wire, error) {
	inline := func(in ppf.InstanceSpec) bool { return in.Source == ppf.SourceInline }
	i := slices.IndexFunc(spec.Instances, inline)
	if i < 0 || s.first == nil || s.first.Link != LinkEthernet {
		return nil, nil
	}
	w := &wire{source: s, sides: map[packet.MAC]ppf.Hook{}}
	for _, in := range spec.Instances {
		if !inline(in) || in.Inline != spec.Instances[i].Inline {
			return nil, ErrWires
		}
		w.servers = append(w.servers, in.Match.Server...)
	}
	return w, nil
}

// Number is 1: a capture is of one wire.
func (*wire) Number() uint8 { return 1 }

// Emit keeps an extra frame until the packet that it answers is written.
func (w *wire) Emit(frame []byte, _ ppf.Hook) error {
	w.source.emitted = append(w.source.emitted, extra{slices.Clone(frame), true})
	return nil
}

// port guesses by which port a frame came in, which no capture says: the address
// of a server tells, then on which side the hosts are that have spoken, or were
// spoken to, before.
func (w *wire) port(frame []byte) ppf.Hook {
	p := &w.parsed
	p.Parse(packet.LinkEthernet, frame)
	if !p.Has(packet.HasEthernet) {
		return ppf.InlineClient
	}
	src, dst := p.Ethernet().Src(), p.Ethernet().Dst()
	from, to := p.Src(), p.Dst()
	if p.Has(packet.HasARP) {
		from, to = p.ARP().SenderIP(), p.ARP().TargetIP()
	}
	side, known := w.sides[src]
	switch other, knownOther := w.sides[dst]; {
	case w.isServer(from):
		side = ppf.InlineServer
	case w.isServer(to):
		side = ppf.InlineClient
	case known:
	case knownOther:
		side = opposite(other)
	default:
		side = ppf.InlineClient
	}
	w.note(src, side)
	w.note(dst, opposite(side))
	return side
}

func opposite(h ppf.Hook) ppf.Hook { return ppf.InlineClient + ppf.InlineServer - h }

func (w *wire) isServer(a netip.Addr) bool {
	return slices.ContainsFunc(w.servers, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (w *wire) note(host packet.MAC, side ppf.Hook) {
	if _, known := w.sides[host]; !host.IsMulticast() && (known || len(w.sides) < maxSides) {
		w.sides[host] = side
	}
}
