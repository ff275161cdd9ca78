package packet

import (
	"encoding/binary"
	"fmt"
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
	// IPv6MaxPayload is the greatest payload length of an IPv6 packet in bytes,
	// extension headers included.
	IPv6MaxPayload = 65535

	ip6FlowLabelMask = 0xfffff
)

// IPv6View reads an IPv6 packet in place. Only ParseIPv6 makes a usable one.
type IPv6View struct {
	b        []byte // cut at the payload length
	trailing int
}

// ParseIPv6 checks version and payload length; bytes behind it are cut off. A
// payload length of 0 with more behind it is a jumbogram (RFC 2675), which is
// refused, unless the next header says that nothing follows. Extension headers
// are for IPv6Extensions.Parse.
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
	if total == IPv6Len && len(b) > IPv6Len && Protocol(b[offIP6NextHeader]) != ProtoNone {
		return IPv6View{}, ReasonIP6Jumbogram
	}
	return IPv6View{b[:total:total], len(b) - total}, ReasonNone
}

// TrafficClass holds DSCP and ECN.
func (v IPv6View) TrafficClass() uint8 {
	return uint8(binary.BigEndian.Uint16(v.b[offIP6VersionClass:]) >> 4)
}

// FlowLabel has 20 bits.
func (v IPv6View) FlowLabel() uint32 {
	return binary.BigEndian.Uint32(v.b[offIP6VersionClass:]) & ip6FlowLabelMask
}

// PayloadLen is the length of what follows the fixed header in bytes.
func (v IPv6View) PayloadLen() int { return len(v.b) - IPv6Len }

// NextHeader is the first extension header or the upper-layer protocol.
func (v IPv6View) NextHeader() Protocol { return Protocol(v.b[offIP6NextHeader]) }

// HopLimit is the hop limit.
func (v IPv6View) HopLimit() uint8 { return v.b[offIP6HopLimit] }

// Src16 is the source address.
func (v IPv6View) Src16() [16]byte { return [16]byte(v.b[offIP6Src:offIP6Dst]) }

// Dst16 is the destination address.
func (v IPv6View) Dst16() [16]byte { return [16]byte(v.b[offIP6Dst:IPv6Len]) }

// Src is the source address. It may be an IPv4-mapped one, which is not the same
// as the IPv4 address.
func (v IPv6View) Src() netip.Addr { return netip.AddrFrom16(v.Src16()) }

// Dst is the destination address, as Src.
func (v IPv6View) Dst() netip.Addr { return netip.AddrFrom16(v.Dst16()) }

// Payload is what follows the fixed header, up to the payload length.
func (v IPv6View) Payload() []byte { return v.b[IPv6Len:] }

// Trailing is how many bytes stood behind the payload length.
func (v IPv6View) Trailing() int { return v.trailing }

// IPv6 holds the values of an IPv6 header to send, with its extension headers. The
// next header is derived from the layer 4 header that is set; NextHeader is for
// opaque payload. A packet with Fragment carries opaque payload only.
type IPv6 struct {
	TrafficClass uint8 // DSCP and ECN
	HopLimit     uint8
	NextHeader   Protocol // of the payload, behind a fragment header
	HasFragment  bool
	// CutOptions says of a fragment that it belongs to a packet whose destination
	// options were cut with it: they are what the payload of the first one begins with.
	CutOptions bool
	FlowLabel  uint32 // 20 bits
	Fragment   IPv6Fragment
	// Headers are the extension headers but for the fragment header, by reference; nil
	// for none.
	Headers  *IPv6Headers
	Src, Dst netip.Addr
}

func (h *IPv6) len() int {
	n := IPv6Len
	if h.Headers != nil {
		n += h.Headers.Len()
	}
	if h.HasFragment {
		n += IPv6FragmentLen
	}
	return n
}

// check reports whether a header with length bytes of payload can be sent.
func (h *IPv6) check(length int) error {
	switch {
	case !h.Src.Is6() || !h.Dst.Is6() || h.Src.Zone() != "" || h.Dst.Zone() != "":
		return ErrAddress
	case h.len()-IPv6Len+length > IPv6MaxPayload:
		return ErrTooLong
	case h.FlowLabel > ip6FlowLabelMask, h.CutOptions && !h.HasFragment:
		return ErrValue
	}
	if h.Headers != nil {
		if err := h.Headers.check(h.HasFragment); err != nil {
			return err
		}
	}
	if h.HasFragment {
		return h.Fragment.check(length)
	}
	return nil
}

// encode writes the header with its extension headers; length is that of the
// payload in bytes.
func (h *IPv6) encode(b []byte, p Protocol, length int) {
	src, dst := h.Src.As16(), h.Dst.As16()
	n := h.len()
	b = b[:n]
	binary.BigEndian.PutUint32(b[offIP6VersionClass:], 6<<28|uint32(h.TrafficClass)<<20|h.FlowLabel)
	binary.BigEndian.PutUint16(b[offIP6PayloadLen:], uint16(n-IPv6Len+length))
	b[offIP6HopLimit] = h.HopLimit
	copy(b[offIP6Src:], src[:])
	copy(b[offIP6Dst:], dst[:])
	if h.HasFragment {
		if h.CutOptions {
			p = ProtoDstOpts
		}
		n -= IPv6FragmentLen
		h.Fragment.encode(b[n:], p)
		p = ProtoFragment
	}
	if h.Headers != nil {
		p = h.Headers.encode(b[IPv6Len:n], p)
	}
	b[offIP6NextHeader] = uint8(p)
}

// String gives "2001:db8::1 > 2001:db8::2 hlim=64".
func (h IPv6) String() string {
	s := fmt.Sprintf("%v > %v hlim=%d", h.Src, h.Dst, h.HopLimit)
	if h.TrafficClass != 0 {
		s += fmt.Sprintf(" class=%#02x", h.TrafficClass)
	}
	if h.FlowLabel != 0 {
		s += fmt.Sprintf(" flow=%#05x", h.FlowLabel)
	}
	if h.Headers != nil && h.Headers.Len() > 0 {
		s += " " + h.Headers.String()
	}
	if h.HasFragment {
		s += " " + h.Fragment.String()
	}
	return s
}
