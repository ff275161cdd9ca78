package relay

import (
	"encoding/binary"
	"net/netip"
)

// proxySignature starts a header of the PROXY protocol, version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// What the header says: version 2, a connection that is passed on for a client,
// and the family with TCP.
const (
	proxyCommand = 0x21
	proxyTCP4    = 0x11
	proxyTCP6    = 0x21
)

// proxyHeader tells a server who the client is. Where only one of the addresses
// is of IPv4, it is written as an IPv6 one.
func proxyHeader(client, server netip.AddrPort) []byte {
	b := append([]byte(proxySignature), proxyCommand)
	src, dst := client.Addr().Unmap(), server.Addr().Unmap()
	if src.Is4() && dst.Is4() {
		b = binary.BigEndian.AppendUint16(append(b, proxyTCP4), 12)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	} else {
		b = binary.BigEndian.AppendUint16(append(b, proxyTCP6), 36)
		s, d := src.As16(), dst.As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, server.Port())
}
