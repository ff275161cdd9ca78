package packet

import (
	"encoding/binary"
	"net/netip"
)

// quoteL4 is how many bytes of layer 4 a quote must hold (RFC 792); we write as
// many.
const quoteL4 = 8

// Quote is what an ICMP error quotes of the packet that it is about: its IP
// header, and ports and sequence number of its layer 4 header.
type Quote struct {
	V6       bool
	IP4      IPv4
	IP6      IPv6
	TotalLen uint16 // of the quoted IPv4 packet, or IPv6 payload length
	Proto    Protocol
	SrcPort  uint16
	DstPort  uint16
	// Rest is what follows the ports: the sequence number of TCP, length and
	// checksum of UDP.
	Rest uint32
}

// ParseQuote4 reads a quoted IPv4 packet; its end may be cut off, but 8 bytes
// of layer 4 must be there.
func ParseQuote4(b []byte) (Quote, Reason) {
	if len(b) < IPv4MinLen || b[offIP4VersionIHL]>>4 != 4 {
		return Quote{}, ReasonICMPQuote
	}
	header := int(b[offIP4VersionIHL]&0x0f) * 4
	if header < IPv4MinLen || len(b) < header+quoteL4 {
		return Quote{}, ReasonICMPQuote
	}
	v := IPv4View{b: b}
	if v.IsFragment() {
		return Quote{}, ReasonIPFragment
	}
	q := Quote{
		IP4:      IPv4{TOS: v.TOS(), TTL: v.TTL(), ID: v.ID(), DF: v.DF(), Src: v.Src(), Dst: v.Dst(), Protocol: v.Protocol()},
		TotalLen: binary.BigEndian.Uint16(b[offIP4TotalLen:]), Proto: v.Protocol(),
	}
	if int(q.TotalLen) < header+quoteL4 {
		return Quote{}, ReasonICMPQuote
	}
	q.l4(b[header:])
	return q, ReasonNone
}

// ParseQuote6 is ParseQuote4 for IPv6; a quoted packet with extension headers
// is not understood.
func ParseQuote6(b []byte) (Quote, Reason) {
	if len(b) < IPv6Len+quoteL4 || b[offIP6VersionClass]>>4 != 6 {
		return Quote{}, ReasonICMPQuote
	}
	v := IPv6View{b: b}
	if isExtension(v.NextHeader()) {
		return Quote{}, ReasonICMPQuote
	}
	q := Quote{
		V6: true,
		IP6: IPv6{
			TrafficClass: v.TrafficClass(), FlowLabel: v.FlowLabel(), HopLimit: v.HopLimit(),
			Src: v.Src(), Dst: v.Dst(), NextHeader: v.NextHeader(),
		},
		TotalLen: binary.BigEndian.Uint16(b[offIP6PayloadLen:]), Proto: v.NextHeader(),
	}
	if q.TotalLen < quoteL4 {
		return Quote{}, ReasonICMPQuote
	}
	q.l4(b[IPv6Len:])
	return q, ReasonNone
}

func (q *Quote) l4(b []byte) {
	q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	q.Rest = binary.BigEndian.Uint32(b[4:])
}

// Src is the source address of the quoted packet.
func (q *Quote) Src() netip.Addr {
	if q.V6 {
		return q.IP6.Src
	}
	return q.IP4.Src
}

// Dst is the destination address of the quoted packet.
func (q *Quote) Dst() netip.Addr {
	if q.V6 {
		return q.IP6.Dst
	}
	return q.IP4.Dst
}

// SetEndpoints replaces addresses and ports.
func (q *Quote) SetEndpoints(src, dst netip.AddrPort) {
	if q.V6 {
		q.IP6.Src, q.IP6.Dst = src.Addr(), dst.Addr()
	} else {
		q.IP4.Src, q.IP4.Dst = src.Addr(), dst.Addr()
	}
	q.SrcPort, q.DstPort = src.Port(), dst.Port()
}

func (q *Quote) len() int {
	if q.V6 {
		return IPv6Len + quoteL4
	}
	return IPv4MinLen + quoteL4
}

func (q *Quote) encode(b []byte) {
	n := IPv4MinLen
	if q.V6 {
		n = IPv6Len
		q.IP6.encode(b, q.Proto, int(q.TotalLen))
	} else {
		q.IP4.encode(b, q.Proto, int(q.TotalLen)-IPv4MinLen)
	}
	binary.BigEndian.PutUint16(b[n:], q.SrcPort)
	binary.BigEndian.PutUint16(b[n+2:], q.DstPort)
	binary.BigEndian.PutUint32(b[n+4:], q.Rest)
}
