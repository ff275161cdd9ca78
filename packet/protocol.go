package packet

import "strconv"

// Protocol is an upper-layer protocol or IPv6 extension header by its number
// (IANA "Assigned Internet Protocol Numbers").
type Protocol uint8

// The protocols this package knows.
const (
	ProtoHopByHop Protocol = 0
	ProtoICMP     Protocol = 1
	ProtoTCP      Protocol = 6
	ProtoUDP      Protocol = 17
	ProtoIPv6     Protocol = 41
	ProtoRouting  Protocol = 43
	ProtoFragment Protocol = 44
	ProtoAH       Protocol = 51
	ProtoICMPv6   Protocol = 58
	ProtoNone     Protocol = 59
	ProtoDstOpts  Protocol = 60
	ProtoMobility Protocol = 135
	ProtoHIP      Protocol = 139
	ProtoShim6    Protocol = 140
)

// String names TCP, UDP, ICMP and ICMPv6, and gives the number of others.
func (p Protocol) String() string {
	switch p {
	case ProtoICMP:
		return "ICMP"
	case ProtoTCP:
		return "TCP"
	case ProtoUDP:
		return "UDP"
	case ProtoICMPv6:
		return "ICMPv6"
	}
	return strconv.Itoa(int(p))
}
