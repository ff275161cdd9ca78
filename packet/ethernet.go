package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets and lengths of the Ethernet header (IEEE 802.3 §3.2).
const (
	offEthDst  = 0
	offEthSrc  = 6
	offEthType = 12

	// EthernetLen is the length of an Ethernet header in bytes.
	EthernetLen = 14

	// minEtherType is the lowest ethertype; what is below is the length of an
	// IEEE 802.3 frame (IEEE 802.3 §3.2.6).
	minEtherType = 0x0600
)

// MAC is a link-layer address.
type MAC [6]byte

// BroadcastMAC is the address of all stations.
var BroadcastMAC = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// IsMulticast reports whether the address is of a group, the broadcast address
// included.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// String gives "02:00:00:00:00:01".
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// EtherType names what follows an Ethernet header or VLAN tag (IANA "IEEE 802
// Numbers").
type EtherType uint16

// The ethertypes this package knows.
const (
	EtherTypeIPv4 EtherType = 0x0800
	EtherTypeARP  EtherType = 0x0806
	EtherTypeRARP EtherType = 0x8035
	EtherTypeVLAN EtherType = 0x8100 // 802.1Q
	EtherTypeIPv6 EtherType = 0x86dd
	EtherTypeQinQ EtherType = 0x88a8 // 802.1ad
)

// IsVLAN reports whether a VLAN tag follows.
func (t EtherType) IsVLAN() bool { return t == EtherTypeVLAN || t == EtherTypeQinQ }

// String gives "IPv4" for a known type, and "0x88cc" for others.
func (t EtherType) String() string {
	switch t {
	case EtherTypeIPv4:
		return "IPv4"
	case EtherTypeARP:
		return "ARP"
	case EtherTypeRARP:
		return "RARP"
	case EtherTypeVLAN:
		return "802.1Q"
	case EtherTypeIPv6:
		return "IPv6"
	case EtherTypeQinQ:
		return "802.1ad"
	}
	return fmt.Sprintf("0x%04x", uint16(t))
}

// EthernetView reads an Ethernet header in place. Only ParseEthernet makes a
// usable one.
type EthernetView struct{ b []byte }

// ParseEthernet checks that b holds an Ethernet header.
func ParseEthernet(b []byte) (EthernetView, Reason) {
	if len(b) < EthernetLen {
		return EthernetView{}, ReasonFrameTruncated
	}
	return EthernetView{b[:len(b):len(b)]}, ReasonNone
}

// Dst is the destination address.
func (v EthernetView) Dst() MAC { return MAC(v.b[offEthDst:offEthSrc]) }

// Src is the source address.
func (v EthernetView) Src() MAC { return MAC(v.b[offEthSrc:offEthType]) }

// Type is the ethertype, or below 0x0600 an IEEE 802.3 length.
func (v EthernetView) Type() EtherType { return EtherType(binary.BigEndian.Uint16(v.b[offEthType:])) }

// Payload is what follows the header, with padding.
func (v EthernetView) Payload() []byte { return v.b[EthernetLen:] }

// Ethernet holds the values of an Ethernet header to send. The type of a frame
// whose payload the encoder knows is derived; Type is for opaque payload.
type Ethernet struct {
	Dst, Src MAC
	Type     EtherType
}

// encode writes the header; t is the type of what follows, a VLAN tag included.
func (h *Ethernet) encode(b []byte, t EtherType) {
	copy(b[offEthDst:], h.Dst[:])
	copy(b[offEthSrc:], h.Src[:])
	binary.BigEndian.PutUint16(b[offEthType:], uint16(t))
}

// String gives "02:00:00:00:00:01 > 02:00:00:00:00:02".
func (h Ethernet) String() string { return h.Src.String() + " > " + h.Dst.String() }
