package packet

import "encoding/binary"

// MaxUnfragmentable is how many bytes of headers may stand before the fragment
// header of an IPv6 packet: the fixed header, and extension headers that every
// fragment repeats. What real hosts send there has 8 or 24 bytes.
const MaxUnfragmentable = 256

// Part is what one fragment says of the packet that it is a part of. Slices lie in
// the fragment.
type Part struct {
	ID     uint32
	Offset int  // of Data in the payload of the whole packet, in bytes
	More   bool // others follow
	DF     bool // IPv4's don't-fragment flag
	ECN    uint8
	// Upper is what the first header in Data is, as this fragment says. Of IPv6
	// only the first fragment's counts (RFC 8200 §4.5).
	Upper Protocol
	Data  []byte
	// Link is what stands before the IP header, Head the header that the whole
	// packet gets: of IPv6 all that stands before the fragment header.
	Link, Head []byte
	next       int // where in Head the IPv6 next header stands that names the fragment header
}

// Part tells where a fragment belongs. It reports a reason for a fragment with too
// many headers before it, and must be called for packets with HasFragment only.
func (p *Packet) Part() (Part, Reason) {
	if p.has&HasIPv4 != 0 {
		b := p.ip4.b
		return Part{
			ID: uint32(p.ip4.ID()), Offset: p.ip4.FragOffset(), More: p.ip4.MF(), DF: p.ip4.DF(), ECN: p.ip4.TOS() & ecnMask,
			Upper: p.proto, Data: p.ip4.Payload(), Link: p.before(b), Head: b[:p.ip4.HeaderLen()],
		}, ReasonNone
	}
	b := p.ip6.b
	out := Part{
		ID: p.ext.Fragment.ID, Offset: int(p.ext.Fragment.Offset), More: p.ext.Fragment.More, ECN: p.ip6.TrafficClass() & ecnMask,
		Link: p.before(b), next: offIP6NextHeader,
	}
	for _, e := range p.ext.list[:p.ext.n] {
		at := IPv6Len + int(e.Offset)
		if e.Protocol == ProtoFragment {
			out.Head, out.Data = b[:at], b[at+IPv6FragmentLen:]
			out.Upper = Protocol(b[at+offExtNext])
			break
		}
		out.next = at + offExtNext
	}
	if len(out.Head) > MaxUnfragmentable {
		return out, ReasonIP6ExtMany
	}
	return out, ReasonNone
}

// ecnMask is the lower part of TOS and traffic class (RFC 3168 §5).
const ecnMask = 3

// before is what of the received packet stands before its IP header.
func (p *Packet) before(ip []byte) []byte {
	return p.raw[:len(p.raw)-p.trailing-len(ip)]
}

// PutWhole writes the headers of the packet that fragments make into b, which is as
// long as Link and Head: those of the first fragment p, as if the packet had never
// been cut, for length bytes of payload. The result is a received packet, and is
// judged as any.
func (p *Part) PutWhole(b []byte, length int, ecn uint8) {
	ip := b[copy(b, p.Link):]
	copy(ip, p.Head)
	if ip[0]>>4 == 4 {
		ip[offIP4TOS] = ip[offIP4TOS]&^ecnMask | ecn
		binary.BigEndian.PutUint16(ip[offIP4TotalLen:], uint16(len(p.Head)+length))
		binary.BigEndian.PutUint16(ip[offIP4Fragment:], binary.BigEndian.Uint16(ip[offIP4Fragment:])&(ip4Reserved|ip4DF))
		binary.BigEndian.PutUint16(ip[offIP4Checksum:], 0)
		binary.BigEndian.PutUint16(ip[offIP4Checksum:], SumBytes(ip[:len(p.Head)]).Checksum())
		return
	}
	class := uint32(ip[offIP6VersionClass+1])
	ip[offIP6VersionClass+1] = uint8(class)&^(ecnMask<<4) | ecn<<4
	binary.BigEndian.PutUint16(ip[offIP6PayloadLen:], uint16(len(p.Head)-IPv6Len+length))
	ip[p.next] = uint8(p.Upper)
}

// Quotation is the packet as an ICMP error quotes it. It reports false for what has
// no IP header or too little behind it.
func (p *Packet) Quotation() (Quote, bool) {
	var q Quote
	r := ReasonIPTruncated
	switch {
	case p.has&HasIPv4 != 0:
		q, r = ParseQuote4(p.ip4.b)
	case p.has&HasIPv6 != 0:
		q, r = ParseQuote6(p.ip6.b)
	}
	return q, r == ReasonNone
}
