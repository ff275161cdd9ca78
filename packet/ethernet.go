package packet

import (
	"encoding/binary"
	"net"
	"strconv"
)

// Offsets and lengths of the Ethernet header (IEEE 802.3 §3.2).
const (
	offEthDst  = 0
	offEthSrc  = 6
	offEthType = 12

	// EthernetLen is the length of an Ethernet header in bytes.
	EthernetLen = 14
)

// MAC is a link-layer address.
type MAC [6]byte

// String gives "02:00:00:00:00:01".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// EtherType names what follows an Ethernet header or VLAN tag.
type EtherType uint16

// The ethertypes this package knows.
const (
	EtherTypeIPv4 EtherType = 0x0800
	EtherTypeARP  EtherType = 0x0806
	EtherTypeVLAN EtherType = 0x8100 // 802.1Q
	EtherTypeIPv6 EtherType = 0x86dd
	EtherTypeQinQ EtherType = 0x88a8 // 802.1ad
)

// String gives "0x0800".
func (t EtherType) String() string { return "0x" + strconv.FormatUint(uint64(t)|1<<16, 16)[1:] }

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

// Type is the ethertype, or below 0x0600 an 802.3 length.
func (v EthernetView) Type() EtherType { return EtherType(binary.BigEndian.Uint16(v.b[offEthType:])) }

// Payload is what follows the header, with padding.
func (v EthernetView) Payload() []byte { return v.b[EthernetLen:] }

// Ethernet holds the values of an Ethernet header to send. The type of a frame
// whose payload the encoder knows is derived; Type is for opaque payload.
type Ethernet struct {
	Dst, Src MAC
	Type     EtherType
}

func (h *Ethernet) encode(b []byte, t EtherType) {
	copy(b[offEthDst:], h.Dst[:])
	copy(b[offEthSrc:], h.Src[:])
	binary.BigEndian.PutUint16(b[offEthType:], uint16(t))
}
