package packet

import "encoding/binary"

// maxExtensions is how many extension headers a packet may have (RFC 8504 §5.3
// lets a node limit them; legitimate traffic has at most three).
const maxExtensions = 8

// Extension is one IPv6 extension header as it was received.
type Extension struct {
	Protocol    Protocol
	Offset, Len int // bytes, in the IPv6 payload
}

// IPv6Extensions is the chain of extension headers of one packet.
type IPv6Extensions struct {
	list [maxExtensions]Extension
	n    int
	// Upper is the protocol behind the chain, Offset where it starts in the
	// IPv6 payload.
	Upper  Protocol
	Offset int
	// Fragment tells whether there is a fragment header; with an offset of 0
	// and no more fragments it is an atomic fragment (RFC 6946).
	Fragment     bool
	FragOffset   int // bytes
	MoreFragment bool
	FragID       uint32
}

// Len is the number of extension headers.
func (e *IPv6Extensions) Len() int { return e.n }

// At gives one extension header, i below Len.
func (e *IPv6Extensions) At(i int) Extension { return e.list[i] }

// isExtension reports whether p names an extension header (RFC 7045 §4).
func isExtension(p Protocol) bool {
	switch p {
	case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoAH, ProtoDstOpts, ProtoMobility, ProtoHIP, ProtoShim6:
		return true
	}
	return false
}

// parse walks the chain that starts with header first. Behind a fragment header
// of a later fragment nothing is read.
func (e *IPv6Extensions) parse(first Protocol, b []byte) Reason {
	*e = IPv6Extensions{Upper: first}
	for isExtension(e.Upper) {
		if e.n == maxExtensions {
			return ReasonIP6ExtMany
		}
		p, rest := e.Upper, b[e.Offset:]
		if len(rest) < 8 {
			return ReasonIP6ExtTruncated
		}
		length := (int(rest[1]) + 1) * 8
		switch p {
		case ProtoFragment:
			length = 8
		case ProtoAH:
			length = (int(rest[1]) + 2) * 4
		}
		if length > len(rest) {
			return ReasonIP6ExtTruncated
		}
		if r := e.check(p, rest[:length]); r != ReasonNone {
			return r
		}
		e.list[e.n] = Extension{p, e.Offset, length}
		e.n++
		e.Upper = Protocol(rest[0])
		e.Offset += length
		if p == ProtoFragment && e.FragOffset != 0 {
			return ReasonNone
		}
	}
	return ReasonNone
}

// check looks into one header.
func (e *IPv6Extensions) check(p Protocol, h []byte) Reason {
	for _, seen := range e.list[:e.n] {
		// Destination options may stand twice, before and behind a routing header.
		if seen.Protocol == p && p != ProtoDstOpts {
			return ReasonIP6ExtOrder
		}
	}
	switch p {
	case ProtoHopByHop:
		if e.n != 0 {
			return ReasonIP6ExtOrder
		}
		return checkIP6Options(h[2:])
	case ProtoDstOpts:
		return checkIP6Options(h[2:])
	case ProtoRouting:
		return ReasonIP6RoutingType0
	case ProtoFragment:
		field := binary.BigEndian.Uint16(h[2:])
		e.Fragment, e.FragOffset, e.MoreFragment = true, int(field&^7), field&1 != 0
		e.FragID = binary.BigEndian.Uint32(h[4:])
	}
	return ReasonNone
}

// checkIP6Options walks the options of a hop-by-hop or destination options
// header (RFC 8200 §4.2).
func checkIP6Options(o []byte) Reason {
	for len(o) > 0 {
		if o[0] == 0 { // Pad1
			o = o[1:]
			continue
		}
		if len(o) < 2 || 2+int(o[1]) > len(o) {
			return ReasonIP6ExtOption
		}
		o = o[2+int(o[1]):]
	}
	return ReasonNone
}
