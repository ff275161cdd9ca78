package pcapfile

import (
	"encoding/binary"
	"fmt"

	"github.com/promethos/promethos/packet"
)

// LinkType says what a captured packet begins with (LINKTYPE_ of tcpdump.org).
type LinkType uint16

// The link types that can be taken apart.
const (
	LinkNull     LinkType = 0   // BSD loopback, in the byte order of the machine
	LinkEthernet LinkType = 1   //
	LinkRawBSD   LinkType = 12  // raw IP, as DLT_RAW is on most systems
	LinkRawOBSD  LinkType = 14  // raw IP, as DLT_RAW is on OpenBSD
	LinkRaw      LinkType = 101 // raw IP
	LinkLoop     LinkType = 108 // OpenBSD loopback, in network byte order
	LinkCooked   LinkType = 113 // Linux cooked capture
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkCooked2  LinkType = 276 // Linux cooked capture, second version
)

var linkNames = map[LinkType]string{
	LinkNull: "BSD loopback", LinkEthernet: "Ethernet", LinkRawBSD: "raw IP", LinkRawOBSD: "raw IP", LinkRaw: "raw IP",
	LinkLoop: "OpenBSD loopback", LinkCooked: "Linux cooked", LinkIPv4: "raw IPv4", LinkIPv6: "raw IPv6", LinkCooked2: "Linux cooked v2",
}

// String gives "Ethernet", and "link type 147" for what is not known.
func (l LinkType) String() string {
	if name, ok := linkNames[l]; ok {
		return name
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

func (l LinkType) known() bool {
	_, ok := linkNames[l]
	return ok
}

// Lengths of link headers.
const (
	loopbackLen = 4
	cookedLen   = 16
	cooked2Len  = 20
)

// Offsets in a Linux cooked header: packet type, hardware type, address length,
// address, protocol; and in one of the second version.
const (
	offCookedType     = 0
	offCookedHardware = 2
	offCookedAddrLen  = 4
	offCookedAddr     = 6
	offCookedProto    = 14

	offCooked2Proto    = 0
	offCooked2Index    = 4
	offCooked2Hardware = 8
	offCooked2Type     = 10
	offCooked2AddrLen  = 11
	offCooked2Addr     = 12

	maxCookedAddr = 8
)

// Packet types of a cooked header.
const (
	cookedToUs     = 0
	cookedOutgoing = 4
)

// linkHeader holds the values of a packet's link header, from which that of the
// packet to send is written anew.
type linkHeader struct {
	link  LinkType
	eth   packet.Ethernet
	vlans []packet.VLANTag

	family uint32 // loopback: the number of the IP version, which differs by system
	order  binary.ByteOrder

	cookedType uint16
	hardware   uint16
	index      uint32
	addr       [maxCookedAddr]byte
	addrLen    uint16
}

// parse takes a packet apart. ok is false where what it carries is no IP packet,
// or where the header is cut; order is the file's byte order.
func (h *linkHeader) parse(r *Record, order binary.ByteOrder) (ip []byte, ok bool) {
	*h = linkHeader{link: r.Link, order: order}
	b := r.Data
	switch r.Link {
	case LinkEthernet:
		return h.parseEthernet(b)
	case LinkNull, LinkLoop:
		if len(b) < loopbackLen {
			return nil, false
		}
		if r.Link == LinkLoop {
			h.order = binary.BigEndian
		}
		h.family = h.order.Uint32(b)
		return b[loopbackLen:], isIP(b[loopbackLen:])
	case LinkCooked:
		if len(b) < cookedLen {
			return nil, false
		}
		h.cookedType, h.hardware = binary.BigEndian.Uint16(b[offCookedType:]), binary.BigEndian.Uint16(b[offCookedHardware:])
		h.addrLen = min(binary.BigEndian.Uint16(b[offCookedAddrLen:]), maxCookedAddr)
		copy(h.addr[:h.addrLen], b[offCookedAddr:])
		return b[cookedLen:], carriesIP(packet.EtherType(binary.BigEndian.Uint16(b[offCookedProto:])))
	case LinkCooked2:
		if len(b) < cooked2Len {
			return nil, false
		}
		h.index, h.hardware = binary.BigEndian.Uint32(b[offCooked2Index:]), binary.BigEndian.Uint16(b[offCooked2Hardware:])
		h.cookedType, h.addrLen = uint16(b[offCooked2Type]), min(uint16(b[offCooked2AddrLen]), maxCookedAddr)
		copy(h.addr[:h.addrLen], b[offCooked2Addr:])
		return b[cooked2Len:], carriesIP(packet.EtherType(binary.BigEndian.Uint16(b[offCooked2Proto:])))
	}
	return b, true
}

func (h *linkHeader) parseEthernet(b []byte) (ip []byte, ok bool) {
	eth, reason := packet.ParseEthernet(b)
	if reason != packet.ReasonNone {
		return nil, false
	}
	h.eth = packet.Ethernet{Dst: eth.Dst(), Src: eth.Src()}
	next, rest := eth.Type(), eth.Payload()
	for next.IsVLAN() && len(h.vlans) < packet.MaxVLANs {
		v, reason := packet.ParseVLAN(next, rest)
		if reason != packet.ReasonNone {
			return nil, false
		}
		h.vlans = append(h.vlans, packet.VLANTag{TPID: v.TPID(), PCP: v.PCP(), DEI: v.DEI(), VID: v.VID()})
		next, rest = v.Type(), v.Payload()
	}
	return rest, carriesIP(next)
}

func carriesIP(t packet.EtherType) bool {
	return t == packet.EtherTypeIPv4 || t == packet.EtherTypeIPv6
}

// isIP looks at the version where the link header does not tell it.
func isIP(b []byte) bool { return len(b) > 0 && (b[0]>>4 == 4 || b[0]>>4 == 6) }

// append writes the header for an IP packet.
func (h *linkHeader) append(b []byte, ip []byte) []byte {
	proto := packet.EtherTypeIPv4
	if ip[0]>>4 == 6 {
		proto = packet.EtherTypeIPv6
	}
	switch h.link {
	case LinkEthernet:
		b = append(append(b, h.eth.Dst[:]...), h.eth.Src[:]...)
		for _, tag := range h.vlans {
			tci := uint16(tag.PCP)<<13 | tag.VID
			if tag.DEI {
				tci |= 1 << 12
			}
			b = binary.BigEndian.AppendUint16(b, uint16(tag.TPID))
			b = binary.BigEndian.AppendUint16(b, tci)
		}
		return binary.BigEndian.AppendUint16(b, uint16(proto))
	case LinkNull, LinkLoop:
		var family [loopbackLen]byte
		h.order.PutUint32(family[:], h.family)
		return append(b, family[:]...)
	case LinkCooked:
		b = binary.BigEndian.AppendUint16(b, h.cookedType)
		b = binary.BigEndian.AppendUint16(b, h.hardware)
		b = binary.BigEndian.AppendUint16(b, h.addrLen)
		b = append(b, h.addr[:]...)
		return binary.BigEndian.AppendUint16(b, uint16(proto))
	case LinkCooked2:
		b = binary.BigEndian.AppendUint16(b, uint16(proto))
		b = append(b, 0, 0) // reserved
		b = binary.BigEndian.AppendUint32(b, h.index)
		b = binary.BigEndian.AppendUint16(b, h.hardware)
		b = append(b, byte(h.cookedType), byte(h.addrLen))
		return append(b, h.addr[:]...)
	}
	return b
}

// reverse gives the header of an answer. Who it is for is not known where a
// header has the sender's address only; it counts as sent by this host.
func (h *linkHeader) reverse() linkHeader {
	r := *h
	r.eth.Src, r.eth.Dst = h.eth.Dst, h.eth.Src
	if h.cookedType == cookedOutgoing {
		r.cookedType = cookedToUs
	} else {
		r.cookedType = cookedOutgoing
	}
	if h.link == LinkCooked || h.link == LinkCooked2 {
		r.addr, r.addrLen = [maxCookedAddr]byte{}, 0
	}
	return r
}
