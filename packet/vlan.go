package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets inside a VLAN tag, counted from behind its TPID, which stands in the
// ethertype field before it (IEEE 802.1Q §9.6).
const (
	offVLANTCI  = 0
	offVLANType = 2

	// VLANLen is the length of a VLAN tag in bytes.
	VLANLen = 4
	// MaxVLANs is how many tags a frame may have (802.1ad).
	MaxVLANs = 2

	vlanPCPShift = 13
	vlanDEI      = 0x1000
	vlanVIDMask  = 0x0fff
	vlanMaxPCP   = 7
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

// TPID is the tag's own ethertype: EtherTypeVLAN or EtherTypeQinQ.
func (v VLANView) TPID() EtherType { return v.tpid }

// PCP is the priority code point, 0 to 7.
func (v VLANView) PCP() uint8 { return uint8(v.tci() >> vlanPCPShift) }

// DEI is the drop eligible indicator.
func (v VLANView) DEI() bool { return v.tci()&vlanDEI != 0 }

// VID is the VLAN identifier, 0 to 4095; 0 is a tag with a priority only.
func (v VLANView) VID() uint16 { return v.tci() & vlanVIDMask }

// Type is the ethertype of what follows.
func (v VLANView) Type() EtherType { return EtherType(binary.BigEndian.Uint16(v.b[offVLANType:])) }

// Payload is what follows the tag, with padding.
func (v VLANView) Payload() []byte { return v.b[VLANLen:] }

// VLANTag holds the values of a tag to send.
type VLANTag struct {
	TPID EtherType // EtherTypeVLAN or EtherTypeQinQ
	PCP  uint8     // 0 to 7
	DEI  bool
	VID  uint16 // 0 to 4095
}

func (t *VLANTag) valid() bool { return t.TPID.IsVLAN() && t.PCP <= vlanMaxPCP && t.VID <= vlanVIDMask }

// encode writes what follows the tag's TPID; next is the type of what follows
// the tag.
func (t *VLANTag) encode(b []byte, next EtherType) {
	tci := uint16(t.PCP)<<vlanPCPShift | t.VID
	if t.DEI {
		tci |= vlanDEI
	}
	binary.BigEndian.PutUint16(b[offVLANTCI:], tci)
	binary.BigEndian.PutUint16(b[offVLANType:], uint16(next))
}

// String gives "802.1Q vid=10 pcp=0", and "dei" behind it where it is set.
func (t VLANTag) String() string {
	s := fmt.Sprintf("%v vid=%d pcp=%d", t.TPID, t.VID, t.PCP)
	if t.DEI {
		s += " dei"
	}
	return s
}
