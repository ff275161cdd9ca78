package ppf

import (
	"encoding/binary"
	"net"
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

// proxyHeader tells a server who the client is, and where it has connected to. Where
// only one of the addresses is of IPv4, it is written as an IPv6 one.
func (s *Session) proxyHeader() []byte {
	client, asked := s.ClientAddr, s.ServerAddr
	if a, ok := s.accepted.LocalAddr().(*net.TCPAddr); ok {
		asked = a.AddrPort() // that of the listener, where there is one
	}
	b := append([]byte(proxySignature), proxyCommand)
	src, dst := client.Addr().Unmap(), asked.Addr().Unmap()
	if src.Is4() && dst.Is4() {
		b = binary.BigEndian.AppendUint16(append(b, proxyTCP4), 12)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	} else {
		b = binary.BigEndian.AppendUint16(append(b, proxyTCP6), 36)
		from, to := src.As16(), dst.As16()
		b = append(append(b, from[:]...), to[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, asked.Port())
}
