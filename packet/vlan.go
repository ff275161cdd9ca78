package packet

import "encoding/binary"

// Offsets inside a VLAN tag, counted from behind its TPID, which stands in the
// ethertype field before it (IEEE 802.1Q §9).
const (
	offVLANTCI  = 0
	offVLANType = 2

	// VLANLen is the length of a VLAN tag in bytes.
	VLANLen = 4
	// MaxVLANs is how many tags a frame may have (802.1ad).
	MaxVLANs = 2
)

// VLANView reads a VLAN tag in place. Only ParseVLAN makes a usable one.
type VLANView struct {
	b    []byte
	tpid EtherType
}

// ParseVLAN checks that b, which follows the TPID, holds a tag.
func ParseVLAN(tpid EtherType, b []byte) (VLANView, Reason) {
	if len(b) < VLANLen {
		return VLANView{}, ReasonVLANTruncated
	}
	return VLANView{b[:len(b):len(b)], tpid}, ReasonNone
}

func (v VLANView) tci() uint16 { return binary.BigEndian.Uint16(v.b[offVLANTCI:]) }

// TPID is the tag's own ethertype.
func (v VLANView) TPID() EtherType { return v.tpid }

// Priority is the PCP, 0 to 7.
func (v VLANView) Priority() uint8 { return uint8(v.tci() >> 13) }

// DropEligible is the DEI.
func (v VLANView) DropEligible() bool { return v.tci()&0x1000 != 0 }

// ID is the VLAN, 0 to 4095.
func (v VLANView) ID() uint16 { return v.tci() & 0x0fff }

// Type is the ethertype of what follows.
func (v VLANView) Type() EtherType { return EtherType(binary.BigEndian.Uint16(v.b[offVLANType:])) }

// Payload is what follows the tag.
func (v VLANView) Payload() []byte { return v.b[VLANLen:] }

// VLANTag holds the values of a tag to send; Priority above 7 and ID above 4095
// lose their high bits.
type VLANTag struct {
	TPID         EtherType
	Priority     uint8
	DropEligible bool
	ID           uint16
}

func (t *VLANTag) encode(b []byte, next EtherType) {
	tci := uint16(t.Priority&7)<<13 | t.ID&0x0fff
	if t.DropEligible {
		tci |= 0x1000
	}
	binary.BigEndian.PutUint16(b[offVLANTCI:], tci)
	binary.BigEndian.PutUint16(b[offVLANType:], uint16(next))
}
