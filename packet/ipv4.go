package packet

import (
	"encoding/binary"
	"fmt"
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
	// IPv4MaxPacket is the greatest length of an IPv4 packet in bytes.
	IPv4MaxPacket = 65535

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
// total length are cut off. Options and checksum are for CheckIPv4Options and
// ChecksumOK.
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

// IHL is the header's length in 4-byte words, 5 to 15.
func (v IPv4View) IHL() int { return int(v.b[offIP4VersionIHL] & 0x0f) }

// HeaderLen is the header's length in bytes, 20 to 60.
func (v IPv4View) HeaderLen() int { return v.IHL() * 4 }

// TOS holds DSCP and ECN.
func (v IPv4View) TOS() uint8 { return v.b[offIP4TOS] }

// TotalLen is the packet's length in bytes with its header.
func (v IPv4View) TotalLen() int { return len(v.b) }

// ID is the identification.
func (v IPv4View) ID() uint16 { return binary.BigEndian.Uint16(v.b[offIP4ID:]) }

func (v IPv4View) fragment() uint16 { return binary.BigEndian.Uint16(v.b[offIP4Fragment:]) }

// ReservedFlag is the flag that must be zero.
func (v IPv4View) ReservedFlag() bool { return v.fragment()&ip4Reserved != 0 }

// DF is the don't-fragment flag.
func (v IPv4View) DF() bool { return v.fragment()&ip4DF != 0 }

// MF is the more-fragments flag.
func (v IPv4View) MF() bool { return v.fragment()&ip4MF != 0 }

// FragOffset is the fragment offset in bytes, a multiple of 8.
func (v IPv4View) FragOffset() int { return int(v.fragment()&ip4OffsetMask) * 8 }

// IsFragment reports whether this is a part of a packet.
func (v IPv4View) IsFragment() bool { return v.fragment()&(ip4MF|ip4OffsetMask) != 0 }

// TTL is the time to live.
func (v IPv4View) TTL() uint8 { return v.b[offIP4TTL] }

// Protocol is the upper-layer protocol.
func (v IPv4View) Protocol() Protocol { return Protocol(v.b[offIP4Protocol]) }

// Checksum is the header checksum field.
func (v IPv4View) Checksum() uint16 { return binary.BigEndian.Uint16(v.b[offIP4Checksum:]) }

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

// Trailing is how many bytes stood behind the total length.
func (v IPv4View) Trailing() int { return v.trailing }

// checkFragment judges the place of a fragment in its packet: what it holds must
// end at 65,535 bytes or before, and all but the last part are multiples of 8
// bytes long (RFC 791 §3.2).
func (v IPv4View) checkFragment() Reason {
	payload := len(v.b) - v.HeaderLen()
	if IPv4MinLen+v.FragOffset()+payload > IPv4MaxPacket {
		return ReasonIPFragmentEnd
	}
	if v.MF() && (payload == 0 || payload%8 != 0) {
		return ReasonIPFragmentLength
	}
	return ReasonNone
}

// IPv4 holds the values of an IPv4 header to send. The reserved flag and all
// options but Router Alert have no field. The protocol is derived from the layer
// 4 header that is set; Protocol is for opaque payload. A packet with MF or
// FragOffset is a fragment and carries opaque payload only.
type IPv4 struct {
	TOS         uint8 // DSCP and ECN
	TTL         uint8
	Protocol    Protocol
	ID          uint16
	DF, MF      bool
	RouterAlert bool   // RFC 2113: routers look at the packet
	FragOffset  uint16 // bytes, a multiple of 8
	Src, Dst    netip.Addr
}

// routerAlert is the option with the only value that RFC 2113 §2.1 defines.
const routerAlert = ip4OptRouterAlert<<24 | 4<<16

func (h *IPv4) len() int {
	if h.RouterAlert {
		return IPv4MinLen + 4
	}
	return IPv4MinLen
}

func (h *IPv4) isFragment() bool { return h.MF || h.FragOffset != 0 }

// check reports whether a header with length bytes of payload can be sent.
func (h *IPv4) check(length int) error {
	switch {
	case !h.Src.Is4() || !h.Dst.Is4():
		return ErrAddress
	case h.len()+length > IPv4MaxPacket || IPv4MinLen+int(h.FragOffset)+length > IPv4MaxPacket:
		return ErrTooLong
	case h.FragOffset%8 != 0 || h.MF && (length == 0 || length%8 != 0):
		return ErrValue
	}
	return nil
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
	n := h.len()
	b = b[:n]
	b[offIP4VersionIHL], b[offIP4TOS] = 4<<4|uint8(n/4), h.TOS
	binary.BigEndian.PutUint16(b[offIP4TotalLen:], uint16(n+length))
	binary.BigEndian.PutUint16(b[offIP4ID:], h.ID)
	binary.BigEndian.PutUint16(b[offIP4Fragment:], frag)
	b[offIP4TTL], b[offIP4Protocol] = h.TTL, uint8(p)
	binary.BigEndian.PutUint16(b[offIP4Checksum:], 0)
	copy(b[offIP4Src:], src[:])
	copy(b[offIP4Dst:], dst[:])
	if h.RouterAlert {
		binary.BigEndian.PutUint32(b[IPv4MinLen:], routerAlert)
	}
	binary.BigEndian.PutUint16(b[offIP4Checksum:], SumBytes(b).Checksum())
}

// String gives "192.0.2.1 > 198.51.100.2 ttl=64 id=0 DF".
func (h IPv4) String() string {
	s := fmt.Sprintf("%v > %v ttl=%d id=%d", h.Src, h.Dst, h.TTL, h.ID)
	if h.TOS != 0 {
		s += fmt.Sprintf(" tos=%#02x", h.TOS)
	}
	if h.DF {
		s += " DF"
	}
	if h.isFragment() {
		s += fmt.Sprintf(" offset=%d", h.FragOffset)
		if h.MF {
			s += " MF"
		}
	}
	if h.RouterAlert {
		s += " router-alert"
	}
	return s
}
