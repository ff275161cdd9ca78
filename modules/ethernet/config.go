package ethernet

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/promethos/promethos/packet"
)

// Config says which frames pass.
type Config struct {
	// EtherTypes are those whose payload passes unread; default none.
	EtherTypes []EtherType `conf:"ethertypes"`
	// VLANs are the VLANs that may be used; default any, and no tag.
	VLANs []VLANs `conf:"vlans"`
	// DoubleTags is for frames with two tags; default refuse.
	DoubleTags Policy `conf:"double_tags"`
	// PriorityTags is for tags without a VLAN; default pass.
	PriorityTags Policy `conf:"priority_tags"`
	// LLC is for IEEE 802.3 frames that have a length for an ethertype, but for
	// spanning tree; default refuse.
	LLC Policy `conf:"llc"`
	// STP is for spanning tree; default refuse.
	STP Policy `conf:"stp"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config { return Config{VLANs: []VLANs{anyVLAN}, PriorityTags: pass} }

// Policy tells whether something passes. The zero value refuses.
type Policy bool

const (
	refuse Policy = false
	pass   Policy = true
)

// UnmarshalText reads "pass" or "refuse".
func (p *Policy) UnmarshalText(b []byte) error {
	switch string(b) {
	case "pass":
		*p = pass
	case "refuse":
		*p = refuse
	default:
		return fmt.Errorf("%q is neither pass nor refuse", b)
	}
	return nil
}

// String gives the word.
func (p Policy) String() string {
	if p == pass {
		return "pass"
	}
	return "refuse"
}

// EtherType is what a frame carries.
type EtherType packet.EtherType

// minEtherType is the lowest one; what is below is a length (IEEE 802.3 §3.2.6).
const minEtherType = 0x0600

// names are those of the protocols that are asked for most.
var names = map[string]EtherType{
	"wol": 0x0842, "eapol": 0x888e, "profinet": 0x8892, "ethercat": 0x88a4, "powerlink": 0x88ab,
	"goose": 0x88b8, "gse": 0x88b9, "sv": 0x88ba, "lldp": 0x88cc, "sercos3": 0x88cd, "mrp": 0x88e3, "macsec": 0x88e5,
	"ptp": 0x88f7, "prp": 0x88fb, "hsr": 0x892f,
}

// UnmarshalText reads a name, or a number such as 0x8892.
func (t *EtherType) UnmarshalText(b []byte) error {
	if known, ok := names[strings.ToLower(string(b))]; ok {
		*t = known
		return nil
	}
	n, err := strconv.ParseUint(string(b), 0, 16)
	if err != nil {
		return fmt.Errorf("%q is no ethertype: write a number such as 0x8892, or a name: %s", b, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
	switch typ := packet.EtherType(n); {
	case n < minEtherType:
		return fmt.Errorf("%q is a length, not an ethertype; llc: pass is for such frames", b)
	case typ.IsVLAN():
		return fmt.Errorf("%q is that of a VLAN tag; vlans and double_tags are for those", b)
	case handled(typ):
		return fmt.Errorf("%q is %v, which is built anew by a function of its own and never passes unread", b, typ)
	}
	*t = EtherType(n)
	return nil
}

// String gives the name, or the number.
func (t EtherType) String() string {
	for name, known := range names {
		if known == t {
			return name
		}
	}
	return packet.EtherType(t).String()
}

// VLANs is a range of identifiers; 0 stands for frames without a VLAN.
type VLANs struct{ First, Last uint16 }

// maxVLAN is the highest identifier; the one above is reserved (IEEE 802.1Q §9.6).
const maxVLAN = 4094

var (
	anyVLAN  = VLANs{0, maxVLAN}
	untagged = VLANs{}
)

// UnmarshalText reads "any", "untagged", "7" or "100-199".
func (v *VLANs) UnmarshalText(b []byte) error {
	switch string(b) {
	case "any":
		*v = anyVLAN
		return nil
	case "untagged":
		*v = untagged
		return nil
	}
	first, last, isRange := strings.Cut(string(b), "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from < 1 || to > maxVLAN || from > to {
		return fmt.Errorf("%q is no VLAN: write any, untagged, an identifier from 1 to %d or a range such as 100-199", b, maxVLAN)
	}
	*v = VLANs{uint16(from), uint16(to)}
	return nil
}

// String gives what UnmarshalText reads.
func (v VLANs) String() string {
	switch {
	case v == anyVLAN:
		return "any"
	case v == untagged:
		return "untagged"
	case v.First == v.Last:
		return strconv.Itoa(int(v.First))
	}
	return fmt.Sprintf("%d-%d", v.First, v.Last)
}
