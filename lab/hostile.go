package lab

import (
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// The types here write packets that are wrong on purpose, byte by byte: package
// packet's encoder cannot express them. Lengths and checksums are right unless a
// field says otherwise, so that each packet has one fault.

// TCP flags (RFC 9293 §3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
)

// Protocol numbers (IANA).
const (
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoDstOpts  = 60
)

// hostileIP is an IPv4 or IPv6 packet, as src says.
type hostileIP struct {
	src, dst netip.Addr
	proto    byte
	ttl      byte   // 0: initialTL
	id       uint16 // IPv4
	fragment uint16 // IPv4: flags and offset
	options  []byte // IPv4: a multiple of 4; IPv6: extension headers
	first    byte   // IPv6: the first of these
	payload  []byte
}

const (
	ip4Evil   = 0x8000 // the reserved flag (RFC 3514)
	ip4DF     = 0x4000
	ip4MF     = 0x2000
	ipv4Len   = 20
	ipv6Len   = 40
	initialTL = 64
)

func (p hostileIP) bytes() []byte {
	if p.src.Is6() {
		return p.bytes6()
	}
	length := ipv4Len + len(p.options)
	b := make([]byte, length, length+len(p.payload))
	b[0] = 4<<4 | byte(length/4)
	binary.BigEndian.PutUint16(b[2:], uint16(length+len(p.payload)))
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], p.fragment)
	b[8], b[9] = p.hops(), p.proto
	copy(b[12:], p.src.AsSlice())
	copy(b[16:], p.dst.AsSlice())
	copy(b[ipv4Len:], p.options)
	binary.BigEndian.PutUint16(b[10:], packet.SumBytes(b).Checksum()) // routers look at it
	return append(b, p.payload...)
}

func (p hostileIP) hops() byte {
	if p.ttl == 0 {
		return initialTL
	}
	return p.ttl
}

func (p hostileIP) bytes6() []byte {
	b := make([]byte, ipv6Len, ipv6Len+len(p.options)+len(p.payload))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(p.options)+len(p.payload)))
	b[6], b[7] = p.proto, p.hops()
	if len(p.options) > 0 {
		b[6] = p.first
	}
	copy(b[8:], p.src.AsSlice())
	copy(b[24:], p.dst.AsSlice())
	return append(append(b, p.options...), p.payload...)
}

// pseudoSum is the sum of the pseudo header for length bytes of layer 4.
func pseudoSum(src, dst netip.Addr, proto byte, length int) packet.Sum {
	if src.Is6() {
		return packet.PseudoSum6(src.As16(), dst.As16(), packet.Protocol(proto), length)
	}
	return packet.PseudoSum4(src.As4(), dst.As4(), packet.Protocol(proto), length)
}

// hostileTCP is a TCP segment.
type hostileTCP struct {
	srcPort, dstPort uint16
	seq, ack         uint32
	offset           byte // words; 0: what fits the options
	reserved         byte // the four bits beside the data offset
	flags            byte
	urgent           uint16
	options          []byte // a multiple of 4
	payload          []byte
	wrongSum         bool
}

const tcpLen = 20

func (s hostileTCP) bytes(src, dst netip.Addr) []byte {
	b := make([]byte, tcpLen, tcpLen+len(s.options)+len(s.payload))
	binary.BigEndian.PutUint16(b, s.srcPort)
	binary.BigEndian.PutUint16(b[2:], s.dstPort)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	offset := s.offset
	if offset == 0 {
		offset = byte(tcpLen+len(s.options)) / 4
	}
	b[12], b[13] = offset<<4|s.reserved, s.flags
	binary.BigEndian.PutUint16(b[14:], 0xffff)
	binary.BigEndian.PutUint16(b[18:], s.urgent)
	b = append(append(b, s.options...), s.payload...)
	sum := pseudoSum(src, dst, protoTCP, len(b)).Add(packet.SumBytes(b)).Checksum()
	if s.wrongSum {
		sum ^= 0x5555
	}
	binary.BigEndian.PutUint16(b[16:], sum)
	return b
}

// hostileUDP is a UDP datagram.
type hostileUDP struct {
	srcPort, dstPort uint16
	lengthError      int // added to the length field; the checksum is made for that length
	payload          []byte
	wrongSum         bool
}

const udpLen = 8

func (d hostileUDP) bytes(src, dst netip.Addr) []byte {
	b := make([]byte, udpLen, udpLen+len(d.payload))
	binary.BigEndian.PutUint16(b, d.srcPort)
	binary.BigEndian.PutUint16(b[2:], d.dstPort)
	length := udpLen + len(d.payload) + d.lengthError
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	b = append(b, d.payload...)
	sum := pseudoSum(src, dst, protoUDP, length).Add(packet.SumBytes(b[:min(length, len(b))])).Checksum()
	if d.wrongSum {
		sum ^= 0x5555
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// fragmentHeader is an IPv6 fragment header (RFC 8200 §4.5); offset in bytes.
func fragmentHeader(next byte, offset uint16, more bool, id uint32) []byte {
	b := []byte{next, 0}
	field := offset &^ 7
	if more {
		field |= 1
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, field), id)
}

// ethernet puts an IP packet into a frame.
func (e AttackEnv) ethernet(ip []byte) []byte {
	b := append(append(make([]byte, 0, 14+len(ip)), e.DstMAC[:]...), e.SrcMAC[:]...)
	if ip[0]>>4 == 6 {
		b = append(b, 0x86, 0xdd)
	} else {
		b = append(b, 0x08, 0x00)
	}
	return append(b, ip...)
}
