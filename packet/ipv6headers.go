package packet

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Offsets of the segment routing header (RFC 8754 §2).
const (
	offSegmentsLast = 4
	offSegmentsFlag = 5
	offSegmentsTag  = 6
	offSegmentsList = 8

	segmentLen = 16

	routingType0       = 0
	routingTypeSegment = 4
)

// MaxSegments is how many segments a routing header that is carried may list.
const MaxSegments = 8

// IPv6Segments is a segment routing header at the end of its route: no segment is
// left, the destination of the packet is the last one. Flags have no meaning yet, and
// TLVs are not carried. The zero value has no segments, and is not sent.
type IPv6Segments struct {
	Tag  uint16
	list [MaxSegments][segmentLen]byte // the last one of the route first
	n    uint8
}

// Len is the number of segments, at most MaxSegments.
func (s *IPv6Segments) Len() int { return int(s.n) }

// At gives one segment, i in [0, Len); the last one of the route comes first.
func (s *IPv6Segments) At(i int) netip.Addr { return netip.AddrFrom16(s.list[:s.n][i]) }

// Add appends a segment; false means that there is no room.
func (s *IPv6Segments) Add(a netip.Addr) bool {
	if s.n == MaxSegments {
		return false
	}
	s.list[s.n] = a.As16()
	s.n++
	return true
}

// Parse reads the routing header h of a packet to dst. known is false for other
// types of routing headers, which a node ignores at the end of the route (RFC 8200
// §4.4).
func (s *IPv6Segments) Parse(h []byte, dst [16]byte) (known bool, r Reason) {
	s.n = 0
	if h[offRoutingType] != routingTypeSegment {
		return false, ReasonNone
	}
	n := int(h[offSegmentsLast]) + 1
	if n > MaxSegments || offSegmentsList+n*segmentLen > len(h) || [16]byte(h[offSegmentsList:]) != dst {
		return true, ReasonIP6Segments
	}
	s.Tag = binary.BigEndian.Uint16(h[offSegmentsTag:])
	for i := range n {
		s.list[i] = [segmentLen]byte(h[offSegmentsList+i*segmentLen:])
	}
	s.n = uint8(n)
	return true, ReasonNone
}

func (s *IPv6Segments) len() int {
	if s.n == 0 {
		return 0
	}
	return offSegmentsList + int(s.n)*segmentLen
}

// encode writes the header, which is not empty, at the start of b.
func (s *IPv6Segments) encode(b []byte, next Protocol) {
	b[offExtNext], b[offExtLen] = uint8(next), uint8(s.len()/8-1)
	b[offRoutingType], b[offRoutingSegments] = routingTypeSegment, 0
	b[offSegmentsLast], b[offSegmentsFlag] = s.n-1, 0
	binary.BigEndian.PutUint16(b[offSegmentsTag:], s.Tag)
	for i := range s.list[:s.n] {
		copy(b[offSegmentsList+i*segmentLen:], s.list[i][:])
	}
}

// MaxIPv6Headers is how many bytes of extension headers, a fragment header aside,
// can be sent; with the fixed header they are MaxUnfragmentable.
const MaxIPv6Headers = MaxUnfragmentable - IPv6Len

// IPv6Headers are extension headers to send, in the order of RFC 8200 §4.1. What is
// empty is not written.
type IPv6Headers struct {
	HopByHop IPv6Options
	// EnRoute are destination options in front of a routing header, and need one.
	EnRoute  IPv6Options
	Segments IPv6Segments
	// Destination are destination options in front of the upper layer. A fragment has
	// none of its own: they are cut with the packet.
	Destination IPv6Options
}

// Reset takes all headers back.
func (h *IPv6Headers) Reset() {
	h.HopByHop.n, h.EnRoute.n, h.Segments.n, h.Destination.n = 0, 0, 0, 0
}

// Len is their length in bytes.
func (h *IPv6Headers) Len() int { return h.perFragment() + h.Destination.len() }

// perFragment is the length of those that every fragment repeats.
func (h *IPv6Headers) perFragment() int {
	return h.HopByHop.len() + h.EnRoute.len() + h.Segments.len()
}

func (h *IPv6Headers) check(fragment bool) error {
	switch {
	case h.Segments.n == 0 && h.EnRoute.n > 0, fragment && h.Destination.n > 0:
		return ErrLayers
	case h.Len() > MaxIPv6Headers:
		return ErrTooLong
	}
	for _, part := range []struct {
		o *IPv6Options
		p Protocol
	}{{&h.HopByHop, ProtoHopByHop}, {&h.EnRoute, ProtoDstOpts}, {&h.Destination, ProtoDstOpts}} {
		if err := part.o.check(part.p); err != nil {
			return err
		}
	}
	return nil
}

// encode writes the headers into b, which is as long as they are, and gives the
// protocol of the first; p is what follows them.
func (h *IPv6Headers) encode(b []byte, p Protocol) Protocol {
	at := len(b) // from the last header to the first, since each names the next
	if n := h.Destination.len(); n > 0 {
		at -= n
		h.Destination.encode(b[at:at+n], p)
		p = ProtoDstOpts
	}
	if n := h.Segments.len(); n > 0 {
		at -= n
		h.Segments.encode(b[at:at+n], p)
		p = ProtoRouting
	}
	if n := h.EnRoute.len(); n > 0 {
		at -= n
		h.EnRoute.encode(b[at:at+n], p)
		p = ProtoDstOpts
	}
	if n := h.HopByHop.len(); n > 0 {
		h.HopByHop.encode(b[:n], p)
		p = ProtoHopByHop
	}
	return p
}

// String gives "hop-by-hop(router-alert=0) destination(tunnel-limit=4)".
func (h *IPv6Headers) String() string {
	var list []string
	options := func(name string, o *IPv6Options) {
		if o.n > 0 {
			list = append(list, name+"("+o.String()+")")
		}
	}
	options("hop-by-hop", &h.HopByHop)
	options("en-route", &h.EnRoute)
	if h.Segments.n > 0 {
		var segments []string
		for i := range h.Segments.Len() {
			segments = append(segments, h.Segments.At(i).String())
		}
		list = append(list, "segments("+strings.Join(segments, ",")+")")
	}
	options("destination", &h.Destination)
	return strings.Join(list, " ")
}

// ListenerAlert is the hop-by-hop header of multicast listener discovery (RFC 3810
// §5); it must not be changed.
var ListenerAlert = &IPv6Headers{
	HopByHop: IPv6Options{n: 1, list: [MaxIPv6Options]IPv6Option{{Type: IPv6OptRouterAlert}}},
}
