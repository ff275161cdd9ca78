// Package packet knows the formats of layers 2 to 4: Ethernet, 802.1Q and
// 802.1ad, ARP, IPv4, IPv6 with its extension headers, ICMPv4, ICMPv6, TCP and
// UDP. For each header there is a read-only view of received bytes behind one
// parse gate, and a typed value. One encoder, Out.Encode, is all that writes
// header bytes, lengths and checksums; what has no field in a typed value cannot
// be sent.
//
// Views are lent: they alias the received bytes and are good while these do not
// change. The zero value of a view stands for a header that is not there; its
// accessors panic. Nothing in this package allocates on the way of a packet, and
// nothing but the reason registry is shared between goroutines.
package packet
