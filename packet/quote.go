package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// quoteL4 is how many bytes of layer 4 a quotation must hold (RFC 792); we write
// as many.
const quoteL4 = 8

// Quote is what an ICMP error quotes of the packet that it is about: the values
// of its IP header and of the first 8 bytes of its layer 4 header. Extension
// headers, options and all that follows are not carried over.
type Quote struct {
	V6    bool     // IP6 holds the IP header, else IP4
	Proto Protocol // of layer 4
	L4Len uint16   // layer 4 in bytes, as the quoted IP header declares it
	N     uint16   // how many of these bytes were quoted, 8 or more; not sent

	SrcPort, DstPort uint16 // TCP, UDP
	Seq              Seq    // TCP
	Checksum         uint16 // UDP, ICMPv4, ICMPv6: as it was received

	Type, Code  uint8  // ICMPv4, ICMPv6
	ID, EchoSeq uint16 // ICMPv4, ICMPv6

	IP4 IPv4
	IP6 IPv6
}

// ParseQuote4 reads a quoted IPv4 packet. Its end may be cut off, but 8 bytes of
// layer 4 must be there. Checksums are not looked at: routers quote packets they
// have changed. A quoted fragment gives ReasonIPFragment, since we send none.
func ParseQuote4(b []byte) (Quote, Reason) {
	if len(b) < IPv4MinLen || b[offIP4VersionIHL]>>4 != 4 {
		return Quote{}, ReasonICMPQuote
	}
	v := IPv4View{b: b}
	header := v.HeaderLen()
	length := int(binary.BigEndian.Uint16(b[offIP4TotalLen:])) - header
	if header < IPv4MinLen || len(b) < header+quoteL4 || length < quoteL4 {
		return Quote{}, ReasonICMPQuote
	}
	if v.IsFragment() {
		return Quote{}, ReasonIPFragment
	}
	q := Quote{
		Proto: v.Protocol(), L4Len: uint16(length),
		IP4: IPv4{TOS: v.TOS(), TTL: v.TTL(), ID: v.ID(), DF: v.DF(), Src: v.Src(), Dst: v.Dst(), Protocol: v.Protocol()},
	}
	q.readL4(b[header:])
	return q, ReasonNone
}

// ParseQuote6 is ParseQuote4 for IPv6; extension headers are walked.
func ParseQuote6(b []byte) (Quote, Reason) {
	if len(b) < IPv6Len+quoteL4 || b[offIP6VersionClass]>>4 != 6 {
		return Quote{}, ReasonICMP6Quote
	}
	v := IPv6View{b: b}
	var ext IPv6Extensions
	r := ext.Parse(v.NextHeader(), v.Payload()[:min(v.PayloadLen(), IPv6MaxPayload)])
	if ext.IsFragment() || ext.Upper == ProtoFragment {
		return Quote{}, ReasonIPFragment
	}
	length := int(binary.BigEndian.Uint16(b[offIP6PayloadLen:])) - ext.Offset
	if r != ReasonNone || v.PayloadLen() < ext.Offset+quoteL4 || length < quoteL4 {
		return Quote{}, ReasonICMP6Quote
	}
	q := Quote{
		V6: true, Proto: ext.Upper, L4Len: uint16(length),
		IP6: IPv6{
			TrafficClass: v.TrafficClass(), FlowLabel: v.FlowLabel(), HopLimit: v.HopLimit(),
			Src: v.Src(), Dst: v.Dst(), NextHeader: ext.Upper,
		},
	}
	q.readL4(v.Payload()[ext.Offset:])
	return q, ReasonNone
}

// readL4 reads the first 8 bytes of layer 4 from b, which may go on with what is
// not part of it.
func (q *Quote) readL4(b []byte) {
	q.N = uint16(min(len(b), int(q.L4Len)))
	switch q.Proto {
	case ProtoTCP:
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b[offTCPSrcPort:]), binary.BigEndian.Uint16(b[offTCPDstPort:])
		q.Seq = Seq(binary.BigEndian.Uint32(b[offTCPSeq:]))
	case ProtoUDP:
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b[offUDPSrcPort:]), binary.BigEndian.Uint16(b[offUDPDstPort:])
		q.Checksum = binary.BigEndian.Uint16(b[offUDPChecksum:])
	case ProtoICMP, ProtoICMPv6:
		q.Type, q.Code = b[offICMPType], b[offICMPCode]
		q.ID, q.EchoSeq = binary.BigEndian.Uint16(b[offICMPID:]), binary.BigEndian.Uint16(b[offICMPSeq:])
		q.Checksum = binary.BigEndian.Uint16(b[offICMPChecksum:])
	}
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

// SetEndpoints replaces addresses and, for TCP and UDP, ports; for other
// protocols the ports are ignored. A checksum that covers them follows, so that
// senders which recognise their packets by it still do.
func (q *Quote) SetEndpoints(src, dst netip.AddrPort) {
	covered := q.Proto == ProtoUDP && q.Checksum != 0 || q.Proto == ProtoICMPv6
	if covered {
		old := q.endpointSum()
		q.replace(src, dst)
		q.Checksum = Sum(0).AddUint16(^q.Checksum).AddUint16(^old.Fold()).Add(q.endpointSum()).Checksum() // RFC 1624 §3
		if q.Proto == ProtoUDP && q.Checksum == 0 {
			q.Checksum = 0xffff
		}
		return
	}
	q.replace(src, dst)
}

func (q *Quote) replace(src, dst netip.AddrPort) {
	if q.V6 {
		q.IP6.Src, q.IP6.Dst = src.Addr(), dst.Addr()
	} else {
		q.IP4.Src, q.IP4.Dst = src.Addr(), dst.Addr()
	}
	if q.Proto == ProtoTCP || q.Proto == ProtoUDP {
		q.SrcPort, q.DstPort = src.Port(), dst.Port()
	}
}

// endpointSum sums addresses and ports. An IPv4 address counts as mapped into
// IPv6: the constant before it is the same in what goes and what comes.
func (q *Quote) endpointSum() Sum {
	src, dst := q.Src().As16(), q.Dst().As16()
	return SumBytes(src[:]).Add(SumBytes(dst[:])).AddUint16(q.SrcPort).AddUint16(q.DstPort)
}

// check reports whether the quotation can be sent in an ICMP error of a family.
func (q *Quote) check(v6 bool) error {
	if q.V6 != v6 {
		return ErrLayers
	}
	switch q.Proto {
	case ProtoTCP, ProtoUDP:
	case ProtoICMP:
		if v6 || isICMPv4Error(q.Type) { // RFC 1122 §3.2.2: no error about an error
			return ErrValue
		}
	case ProtoICMPv6:
		if !v6 || q.Type < icmp6FirstInformational {
			return ErrValue
		}
	default:
		return ErrValue
	}
	if q.L4Len < quoteL4 {
		return ErrValue
	}
	if v6 {
		if q.IP6.HasFragment || q.IP6.Headers != nil {
			return ErrValue
		}
		return q.IP6.check(int(q.L4Len))
	}
	if q.IP4.isFragment() {
		return ErrValue
	}
	return q.IP4.check(int(q.L4Len))
}

func (q *Quote) ipLen() int {
	if q.V6 {
		return q.IP6.len()
	}
	return q.IP4.len()
}

// len is how many bytes the quotation takes.
func (q *Quote) len() int { return q.ipLen() + quoteL4 }

func (q *Quote) encode(b []byte) {
	if q.V6 {
		q.IP6.encode(b, q.Proto, int(q.L4Len))
	} else {
		q.IP4.encode(b, q.Proto, int(q.L4Len))
	}
	b = b[q.ipLen():]
	switch q.Proto {
	case ProtoTCP:
		binary.BigEndian.PutUint16(b[offTCPSrcPort:], q.SrcPort)
		binary.BigEndian.PutUint16(b[offTCPDstPort:], q.DstPort)
		binary.BigEndian.PutUint32(b[offTCPSeq:], uint32(q.Seq))
	case ProtoUDP:
		binary.BigEndian.PutUint16(b[offUDPSrcPort:], q.SrcPort)
		binary.BigEndian.PutUint16(b[offUDPDstPort:], q.DstPort)
		binary.BigEndian.PutUint16(b[offUDPLength:], q.L4Len)
		binary.BigEndian.PutUint16(b[offUDPChecksum:], q.Checksum)
	case ProtoICMP, ProtoICMPv6:
		b[offICMPType], b[offICMPCode] = q.Type, q.Code
		binary.BigEndian.PutUint16(b[offICMPChecksum:], q.Checksum)
		binary.BigEndian.PutUint16(b[offICMPID:], q.ID)
		binary.BigEndian.PutUint16(b[offICMPSeq:], q.EchoSeq)
	}
}

// String gives "192.0.2.1:40000 > 198.51.100.2:80 TCP seq=1".
func (q *Quote) String() string {
	switch q.Proto {
	case ProtoTCP, ProtoUDP:
		s := fmt.Sprintf("%v > %v %v", netip.AddrPortFrom(q.Src(), q.SrcPort), netip.AddrPortFrom(q.Dst(), q.DstPort), q.Proto)
		if q.Proto == ProtoTCP {
			s += fmt.Sprintf(" seq=%d", q.Seq)
		}
		return s
	case ProtoICMP, ProtoICMPv6:
		return fmt.Sprintf("%v > %v %v type=%d code=%d id=%d seq=%d", q.Src(), q.Dst(), q.Proto, q.Type, q.Code, q.ID, q.EchoSeq)
	}
	return fmt.Sprintf("%v > %v protocol %v", q.Src(), q.Dst(), q.Proto)
}
