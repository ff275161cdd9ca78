package packet

import "strconv"

// Protocol is an upper-layer protocol or IPv6 extension header by its number
// (IANA "Assigned Internet Protocol Numbers").
type Protocol uint8

// The protocols this package knows.
const (
	ProtoHopByHop Protocol = 0
	ProtoICMP     Protocol = 1
	ProtoIGMP     Protocol = 2
	ProtoIPv4     Protocol = 4 // IP in IP
	ProtoTCP      Protocol = 6
	ProtoUDP      Protocol = 17
	ProtoIPv6     Protocol = 41 // IPv6 in IP
	ProtoRouting  Protocol = 43
	ProtoFragment Protocol = 44
	ProtoGRE      Protocol = 47
	ProtoESP      Protocol = 50
	ProtoAH       Protocol = 51
	ProtoICMPv6   Protocol = 58
	ProtoNone     Protocol = 59
	ProtoDstOpts  Protocol = 60
	ProtoSCTP     Protocol = 132
	ProtoMobility Protocol = 135
	ProtoHIP      Protocol = 139
	ProtoShim6    Protocol = 140
)

var protocolNames = map[Protocol]string{
	ProtoHopByHop: "hop-by-hop", ProtoICMP: "ICMP", ProtoIGMP: "IGMP", ProtoIPv4: "IPv4", ProtoTCP: "TCP", ProtoUDP: "UDP",
	ProtoIPv6: "IPv6", ProtoRouting: "routing", ProtoFragment: "fragment", ProtoGRE: "GRE", ProtoESP: "ESP", ProtoAH: "AH",
	ProtoICMPv6: "ICMPv6", ProtoNone: "no next header", ProtoDstOpts: "destination options", ProtoSCTP: "SCTP",
	ProtoMobility: "mobility", ProtoHIP: "HIP", ProtoShim6: "shim6",
}

// String is the name of a known protocol, such as "TCP", and the number of
// others.
func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}
