package packet

import (
	"encoding/binary"
	"net/netip"
)

// Offsets of the IPv6 header (RFC 8200 §3).
const (
	offIP6VersionClass = 0
	offIP6PayloadLen   = 4
	offIP6NextHeader   = 6
	offIP6HopLimit     = 7
	offIP6Src          = 8
	offIP6Dst          = 24

	// IPv6Len is the length of the fixed IPv6 header in bytes.
	IPv6Len = 40
)

// IPv6View reads an IPv6 packet in place. Only ParseIPv6 makes a usable one.
type IPv6View struct {
	b        []byte // cut at the payload length
	trailing int
}

// ParseIPv6 checks version and payload length; bytes behind it are cut off.
func ParseIPv6(b []byte) (IPv6View, Reason) {
	if len(b) < IPv6Len {
		return IPv6View{}, ReasonIP6Truncated
	}
	if b[offIP6VersionClass]>>4 != 6 {
		return IPv6View{}, ReasonIPVersion
	}
	total := IPv6Len + int(binary.BigEndian.Uint16(b[offIP6PayloadLen:]))
	if total > len(b) {
		return IPv6View{}, ReasonIP6PayloadLength
	}
	if total == IPv6Len && Protocol(b[offIP6NextHeader]) == ProtoHopByHop {
		return IPv6View{}, ReasonIP6Jumbogram
	}
	return IPv6View{b[:total:total], len(b) - total}, ReasonNone
}

// TrafficClass holds DSCP and ECN.
func (v IPv6View) TrafficClass() uint8 { return v.b[0]<<4 | v.b[1]>>4 }

// FlowLabel has 20 bits.
func (v IPv6View) FlowLabel() uint32 { return binary.BigEndian.Uint32(v.b) & 0xfffff }

// NextHeader is the first extension header or the upper-layer protocol.
func (v IPv6View) NextHeader() Protocol { return Protocol(v.b[offIP6NextHeader]) }

// HopLimit is the hop limit.
func (v IPv6View) HopLimit() uint8 { return v.b[offIP6HopLimit] }

// Src16 is the source address.
func (v IPv6View) Src16() [16]byte { return [16]byte(v.b[offIP6Src:offIP6Dst]) }

// Dst16 is the destination address.
func (v IPv6View) Dst16() [16]byte { return [16]byte(v.b[offIP6Dst:IPv6Len]) }

// Src is the source address.
func (v IPv6View) Src() netip.Addr { return netip.AddrFrom16(v.Src16()) }

// Dst is the destination address.
func (v IPv6View) Dst() netip.Addr { return netip.AddrFrom16(v.Dst16()) }

// Payload is what follows the fixed header, up to the payload length.
func (v IPv6View) Payload() []byte { return v.b[IPv6Len:] }

// Trailing is how many bytes stood behind the payload length.
func (v IPv6View) Trailing() int { return v.trailing }

// IPv6 holds the values of an IPv6 header to send; extension headers have no
// field, and FlowLabel above 20 bits loses its high bits. The next header is
// derived from the layer 4 header that is set; NextHeader is for opaque payload.
type IPv6 struct {
	TrafficClass uint8
	HopLimit     uint8
	NextHeader   Protocol
	FlowLabel    uint32
	Src, Dst     netip.Addr
}

// encode writes the header; length is that of the payload in bytes.
func (h *IPv6) encode(b []byte, p Protocol, length int) {
	src, dst := h.Src.As16(), h.Dst.As16()
	binary.BigEndian.PutUint32(b[offIP6VersionClass:], 6<<28|uint32(h.TrafficClass)<<20|h.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(b[offIP6PayloadLen:], uint16(length))
	b[offIP6NextHeader], b[offIP6HopLimit] = uint8(p), h.HopLimit
	copy(b[offIP6Src:], src[:])
	copy(b[offIP6Dst:], dst[:])
}
