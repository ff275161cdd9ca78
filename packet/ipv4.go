package packet

import (
	"encoding/binary"
	"net/netip"
)

// Offsets of the IPv4 header (RFC 791 §3.1).
const (
	offIP4VersionIHL = 0
	offIP4TOS        = 1
	offIP4TotalLen   = 2
	offIP4ID         = 4
	offIP4Fragment   = 6
	offIP4TTL        = 8
	offIP4Protocol   = 9
	offIP4Checksum   = 10
	offIP4Src        = 12
	offIP4Dst        = 16

	// IPv4MinLen is the length of an IPv4 header without options in bytes.
	IPv4MinLen = 20

	ip4Reserved   = 0x8000
	ip4DF         = 0x4000
	ip4MF         = 0x2000
	ip4OffsetMask = 0x1fff
)

// IPv4View reads an IPv4 packet in place. Only ParseIPv4 makes a usable one.
type IPv4View struct {
	b        []byte // cut at the total length
	trailing int
}

// ParseIPv4 checks version, header length and total length; bytes behind the
// total length are cut off.
func ParseIPv4(b []byte) (IPv4View, Reason) {
	if len(b) < IPv4MinLen {
		return IPv4View{}, ReasonIPTruncated
	}
	if b[offIP4VersionIHL]>>4 != 4 {
		return IPv4View{}, ReasonIPVersion
	}
	header := int(b[offIP4VersionIHL]&0x0f) * 4
	if header < IPv4MinLen || header > len(b) {
		return IPv4View{}, ReasonIPHeaderLength
	}
	total := int(binary.BigEndian.Uint16(b[offIP4TotalLen:]))
	if total < header || total > len(b) {
		return IPv4View{}, ReasonIPTotalLength
	}
	return IPv4View{b[:total:total], len(b) - total}, ReasonNone
}

// HeaderLen is the header's length in bytes, 20 to 60.
func (v IPv4View) HeaderLen() int { return int(v.b[offIP4VersionIHL]&0x0f) * 4 }

// TOS holds DSCP and ECN.
func (v IPv4View) TOS() uint8 { return v.b[offIP4TOS] }

// TotalLen is the packet's length in bytes with its header.
func (v IPv4View) TotalLen() int { return len(v.b) }

// Trailing is how many bytes stood behind the total length.
func (v IPv4View) Trailing() int { return v.trailing }

// ID is the identification.
func (v IPv4View) ID() uint16 { return binary.BigEndian.Uint16(v.b[offIP4ID:]) }

func (v IPv4View) fragment() uint16 { return binary.BigEndian.Uint16(v.b[offIP4Fragment:]) }

// ReservedFlag is the flag that must be zero.
func (v IPv4View) ReservedFlag() bool { return v.fragment()&ip4Reserved != 0 }

// DF is the don't-fragment flag.
func (v IPv4View) DF() bool { return v.fragment()&ip4DF != 0 }

// MF is the more-fragments flag.
func (v IPv4View) MF() bool { return v.fragment()&ip4MF != 0 }

// FragOffset is the fragment offset in bytes.
func (v IPv4View) FragOffset() int { return int(v.fragment()&ip4OffsetMask) * 8 }

// IsFragment reports whether this is a part of a packet.
func (v IPv4View) IsFragment() bool { return v.fragment()&(ip4MF|ip4OffsetMask) != 0 }

// TTL is the time to live.
func (v IPv4View) TTL() uint8 { return v.b[offIP4TTL] }

// Protocol is the upper-layer protocol.
func (v IPv4View) Protocol() Protocol { return Protocol(v.b[offIP4Protocol]) }

// ChecksumOK reports whether the header checksum is right.
func (v IPv4View) ChecksumOK() bool { return SumBytes(v.b[:v.HeaderLen()]).Fold() == 0xffff }

// Src4 is the source address.
func (v IPv4View) Src4() [4]byte { return [4]byte(v.b[offIP4Src:offIP4Dst]) }

// Dst4 is the destination address.
func (v IPv4View) Dst4() [4]byte { return [4]byte(v.b[offIP4Dst:IPv4MinLen]) }

// Src is the source address.
func (v IPv4View) Src() netip.Addr { return netip.AddrFrom4(v.Src4()) }

// Dst is the destination address.
func (v IPv4View) Dst() netip.Addr { return netip.AddrFrom4(v.Dst4()) }

// Options are the bytes of the options, 0 to 40.
func (v IPv4View) Options() []byte { return v.b[IPv4MinLen:v.HeaderLen()] }

// Payload is what follows the header, up to the total length.
func (v IPv4View) Payload() []byte { return v.b[v.HeaderLen():] }

// Kinds of IPv4 options (RFC 791 §3.1).
const (
	ip4OptEnd  = 0
	ip4OptNop  = 1
	ip4OptLSRR = 131
	ip4OptSSRR = 137
)

// CheckIPv4Options walks options and refuses malformed ones and source routes.
func CheckIPv4Options(o []byte) Reason {
	for len(o) > 0 {
		switch o[0] {
		case ip4OptEnd:
			return ReasonNone
		case ip4OptNop:
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return ReasonIPOption
		}
		if o[0] == ip4OptLSRR || o[0] == ip4OptSSRR {
			return ReasonIPSourceRoute
		}
		o = o[o[1]:]
	}
	return ReasonNone
}

// IPv4 holds the values of an IPv4 header to send. Options and the reserved
// flag have no field. The protocol is derived from the layer 4 header that is
// set; Protocol is for opaque payload.
type IPv4 struct {
	TOS        uint8 // DSCP and ECN
	TTL        uint8
	Protocol   Protocol
	ID         uint16
	DF, MF     bool
	FragOffset uint16 // bytes, a multiple of 8
	Src, Dst   netip.Addr
}

// encode writes the header; length is that of the payload in bytes.
func (h *IPv4) encode(b []byte, p Protocol, length int) {
	src, dst := h.Src.As4(), h.Dst.As4()
	frag := h.FragOffset / 8
	if h.DF {
		frag |= ip4DF
	}
	if h.MF {
		frag |= ip4MF
	}
	b[offIP4VersionIHL], b[offIP4TOS] = 0x45, h.TOS
	binary.BigEndian.PutUint16(b[offIP4TotalLen:], uint16(IPv4MinLen+length))
	binary.BigEndian.PutUint16(b[offIP4ID:], h.ID)
	binary.BigEndian.PutUint16(b[offIP4Fragment:], frag)
	b[offIP4TTL], b[offIP4Protocol] = h.TTL, uint8(p)
	binary.BigEndian.PutUint16(b[offIP4Checksum:], 0)
	copy(b[offIP4Src:], src[:])
	copy(b[offIP4Dst:], dst[:])
	binary.BigEndian.PutUint16(b[offIP4Checksum:], SumBytes(b[:IPv4MinLen]).Checksum())
}
