package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets that extension headers share, and those of the routing (RFC 8200 §4.4)
// and fragment header (RFC 8200 §4.5).
const (
	offExtNext         = 0
	offExtLen          = 1
	offExtOptions      = 2
	offRoutingType     = 2
	offRoutingSegments = 3
	offFragReserved    = 1
	offFragOffset      = 2
	offFragID          = 4

	ip6ExtMinLen = 8
	ip6FragMore  = 1
	ip6FragMask  = 0xfff8

	// IPv6FragmentLen is the length of a fragment header in bytes.
	IPv6FragmentLen = 8
)

// MaxExtensions is how many extension headers a packet may have (RFC 8504 §5.3
// lets a node limit them; legitimate traffic has at most three).
const MaxExtensions = 8

// Extension is one IPv6 extension header as it was received.
type Extension struct {
	Protocol Protocol
	Offset   uint16 // bytes from the start of the IPv6 payload
	Len      uint16 // bytes
}

// IPv6Fragment holds the values of a fragment header, received or to send.
type IPv6Fragment struct {
	Offset uint16 // bytes, a multiple of 8
	More   bool   // more fragments follow
	ID     uint32
}

// Atomic reports whether the header stands on a whole packet (RFC 6946).
func (f IPv6Fragment) Atomic() bool { return f.Offset == 0 && !f.More }

func (f *IPv6Fragment) check(length int) error {
	switch {
	case int(f.Offset)+length > IPv6MaxPayload:
		return ErrTooLong
	// RFC 8021: atomic fragments are not to be made.
	case f.Atomic(), f.Offset%8 != 0, f.More && (length == 0 || length%8 != 0):
		return ErrValue
	}
	return nil
}

func (f *IPv6Fragment) encode(b []byte, next Protocol) {
	field := f.Offset
	if f.More {
		field |= ip6FragMore
	}
	b[offExtNext], b[offFragReserved] = uint8(next), 0
	binary.BigEndian.PutUint16(b[offFragOffset:], field)
	binary.BigEndian.PutUint32(b[offFragID:], f.ID)
}

// String gives "fragment id=0x00000001 offset=0 more".
func (f IPv6Fragment) String() string {
	s := fmt.Sprintf("fragment id=%#08x offset=%d", f.ID, f.Offset)
	if f.More {
		s += " more"
	}
	return s
}

// IPv6Extensions is the chain of extension headers of one packet. Parse fills
// it; the zero value is an empty chain.
type IPv6Extensions struct {
	list [MaxExtensions]Extension
	n    uint8

	// Upper is the protocol behind the headers that were read, Offset where it
	// starts, in bytes from the start of the IPv6 payload.
	Upper  Protocol
	Offset int
	// HasFragment says that there is a fragment header, with the values in
	// Fragment.
	HasFragment bool
	Fragment    IPv6Fragment
}

// Len is the number of extension headers, at most MaxExtensions.
func (e *IPv6Extensions) Len() int { return int(e.n) }

// At gives one extension header, i in [0, Len).
func (e *IPv6Extensions) At(i int) Extension { return e.list[:e.n][i] }

// Has reports whether an extension header of this protocol is there.
func (e *IPv6Extensions) Has(p Protocol) bool {
	for _, x := range e.list[:e.n] {
		if x.Protocol == p {
			return true
		}
	}
	return false
}

// IsFragment reports whether the packet is a part of another. An atomic fragment
// is not.
func (e *IPv6Extensions) IsFragment() bool { return e.HasFragment && !e.Fragment.Atomic() }

// IsExtension reports whether p names an extension header (RFC 7045 §4). ESP is
// none here, since nothing behind it can be read.
func (p Protocol) IsExtension() bool {
	switch p {
	case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoAH, ProtoDstOpts, ProtoMobility, ProtoHIP, ProtoShim6:
		return true
	}
	return false
}

// Parse walks the chain that starts with header first in payload, the payload of
// an IPv6 packet of at most 65,535 bytes. Lengths, order and options are
// checked, routing headers refused (type 0 always, others while segments are
// left). Behind the header of a later fragment nothing is read. With a reason, e
// holds the headers before the offending one, and Upper is its protocol; the
// values of an offending fragment header are there.
func (e *IPv6Extensions) Parse(first Protocol, payload []byte) Reason {
	e.n, e.Upper, e.Offset, e.HasFragment = 0, first, 0, false
	for e.Upper.IsExtension() {
		if e.n == MaxExtensions {
			return ReasonIP6ExtMany
		}
		p, rest := e.Upper, payload[e.Offset:]
		if len(rest) < ip6ExtMinLen {
			return ReasonIP6ExtTruncated
		}
		length := (int(rest[offExtLen]) + 1) * 8
		switch p {
		case ProtoFragment:
			length = IPv6FragmentLen
		case ProtoAH: // RFC 4302 §2.2: in 4-byte words, minus 2
			length = (int(rest[offExtLen]) + 2) * 4
		}
		if length > len(rest) {
			return ReasonIP6ExtTruncated
		}
		if r := e.check(p, rest[:length], len(rest)-length); r != ReasonNone {
			return r
		}
		e.list[e.n] = Extension{p, uint16(e.Offset), uint16(length)}
		e.n++
		e.Upper = Protocol(rest[offExtNext])
		e.Offset += length
		if p == ProtoFragment && e.Fragment.Offset != 0 {
			return ReasonNone
		}
	}
	return ReasonNone
}

// check judges one header; follows is how many bytes come behind it.
func (e *IPv6Extensions) check(p Protocol, h []byte, follows int) Reason {
	before := 0
	for _, x := range e.list[:e.n] {
		if x.Protocol == p {
			before++
		}
	}
	// RFC 8200 §4.1: each at most once, destination options at most twice (before
	// a routing header and before the upper layer), hop-by-hop options first.
	if before > 1 || before == 1 && p != ProtoDstOpts || p == ProtoHopByHop && e.n != 0 {
		return ReasonIP6ExtOrder
	}
	switch p {
	case ProtoHopByHop, ProtoDstOpts:
		var o IPv6Options
		return o.Parse(p, h)
	case ProtoRouting:
		if h[offRoutingType] == routingType0 {
			return ReasonIP6RoutingType0
		}
		if h[offRoutingSegments] != 0 {
			return ReasonIP6Routing
		}
	case ProtoFragment:
		return e.readFragment(h, follows)
	}
	return ReasonNone
}

// readFragment reads a fragment header and judges the fragment's place in its
// packet (RFC 8200 §4.5).
func (e *IPv6Extensions) readFragment(h []byte, follows int) Reason {
	field := binary.BigEndian.Uint16(h[offFragOffset:])
	e.HasFragment = true
	e.Fragment = IPv6Fragment{Offset: field & ip6FragMask, More: field&ip6FragMore != 0, ID: binary.BigEndian.Uint32(h[offFragID:])}
	if int(e.Fragment.Offset)+follows > IPv6MaxPayload {
		return ReasonIPFragmentEnd
	}
	if e.Fragment.More && (follows == 0 || follows%8 != 0) {
		return ReasonIPFragmentLength
	}
	return ReasonNone
}
