package ip

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// extensions are what of IPv6 extension headers is carried over. The zero value
// carries nothing.
type extensions struct {
	hopByHop, routing, destination bool
	options                        [256]bool
}

// nothing is for functions in whose chain ip does not stand.
var nothing extensions

// carries reports whether headers of protocol p are listed.
func (c *extensions) carries(p packet.Protocol) bool {
	switch p {
	case packet.ProtoHopByHop:
		return c.hopByHop
	case packet.ProtoRouting:
		return c.routing
	case packet.ProtoDstOpts:
		return c.destination
	}
	return false
}

// build fills h with what is carried over of the extension headers of x.In. What is
// not is left out, unless it says of itself that a packet must not be taken by whoever
// does not know it.
func (c *extensions) build(x *ppf.Exchange, h *packet.IPv6Headers) (v ppf.Verdict, stop bool) {
	ext, in := x.In.Ext(), x.In.IPv6()
	var header packet.Protocol
	var option packet.IPv6OptionType
	headers, options := 0, 0 // left out
	for i := range ext.Len() {
		e := ext.At(i)
		b := in.Payload()[e.Offset : e.Offset+e.Len]
		listed := c.carries(e.Protocol)
		switch {
		case e.Protocol == packet.ProtoHopByHop || e.Protocol == packet.ProtoDstOpts:
			to := &h.Destination
			if e.Protocol == packet.ProtoHopByHop {
				to = &h.HopByHop
			}
			left, last, r := c.list(e.Protocol, b, listed, to)
			if r != packet.ReasonNone {
				return x.Refuse(r, uint64(last)), true
			}
			if listed && left > 0 {
				options, option = options+left, last
			}
		case listed:
			known, r := h.Segments.Parse(b, in.Dst16())
			if r != packet.ReasonNone {
				return x.Refuse(r, uint64(e.Protocol)), true
			}
			if listed = known; known { // what stands in front of it is for its route
				h.EnRoute, h.Destination = h.Destination, packet.IPv6Options{}
			}
		}
		if !listed {
			if headers++; headers == 1 {
				header = e.Protocol
			}
		}
	}
	if h.Len() > packet.MaxIPv6Headers {
		return x.Refuse(packet.ReasonIP6ExtMany, uint64(h.Len())), true
	}
	if headers > 0 {
		if v, stop := x.Finding(ppf.ReasonExtension, uint64(header)); stop {
			return v, true
		}
	}
	if options > 0 {
		return x.Finding(ReasonOption6, uint64(option))
	}
	return v, false
}

// list adds the options of a header to those in to, where the header is listed. It
// gives how many were left out, and the last of these, or the one with the reason.
func (c *extensions) list(p packet.Protocol, b []byte, listed bool, to *packet.IPv6Options) (left int, last packet.IPv6OptionType, r ppf.Reason) {
	var all packet.IPv6Options
	if r := all.Parse(p, b); r != packet.ReasonNone { // the gates have looked
		return 0, 0, r
	}
	for i := range all.Len() {
		switch o := all.At(i); {
		case listed && c.options[o.Type]:
			if o.Type.Typed() && to.Has(o.Type) { // two headers become one where the routing header goes
				return left, o.Type, packet.ReasonIP6OptionTwice
			}
			if !to.Add(o) {
				return left, o.Type, packet.ReasonIP6ExtMany
			}
		case !o.Type.Skippable():
			return left, o.Type, ReasonOptionUnknown
		default:
			left, last = left+1, o.Type
		}
	}
	return left, last, packet.ReasonNone
}
