package packet

import (
	"fmt"
	"net/netip"
)

// LinkType says what the first byte of a received packet belongs to.
type LinkType uint8

// The link types.
const (
	LinkRawIP    LinkType = iota // an IP header
	LinkEthernet                 // an Ethernet header
)

// String gives "raw IP" or "Ethernet".
func (l LinkType) String() string {
	switch l {
	case LinkRawIP:
		return "raw IP"
	case LinkEthernet:
		return "Ethernet"
	}
	return fmt.Sprintf("link type %d", uint8(l))
}

// Layers is a set of headers that a packet has.
type Layers uint16

// The headers. HasFragment marks a part of a packet, of which no layer 4 header
// is read.
const (
	HasEthernet Layers = 1 << iota
	HasVLAN
	HasARP
	HasIPv4
	HasIPv6
	HasFragment
	HasTCP
	HasUDP
	HasICMPv4
	HasICMPv6
	HasIGMP // of packets to send; ParseIGMP reads those that are received
)

var layerNames = [...]string{"Ethernet", "VLAN", "ARP", "IPv4", "IPv6", "fragment", "TCP", "UDP", "ICMPv4", "ICMPv6", "IGMP"}

// String gives "IPv4|TCP", or "none".
func (l Layers) String() string { return setString(uint64(l), layerNames[:]) }

// Packet is a received packet, read-only. It is meant to be reused: Parse
// replaces everything. It is not safe for concurrent use, reading included,
// since PayloadSum keeps what it computed.
type Packet struct {
	raw      []byte
	has      Layers
	proto    Protocol
	options  IPv4OptionSet
	icmpErr  bool
	sumKnown bool
	vlans    uint8
	etype    EtherType
	trailing int
	sum      Sum
	l4       []byte
	payload  []byte
	eth      EthernetView
	vlan     [MaxVLANs]VLANView
	arp      ARPView
	ip4      IPv4View
	ip6      IPv6View
	ext      IPv6Extensions
	tcp      TCPView
	udp      UDPView
	icmp4    ICMPv4View
	icmp6    ICMPv6View
}

// Parse reads all headers of b, which is lent until the next Parse. It returns
// the first reason found; what was understood before it stays readable. Not
// looked at are checksums (VerifyChecksums), TCP options (TCPView.ParseOptions)
// and what ICMP errors quote (Quoted). Frames of an ethertype and packets of a
// protocol that this package does not know give no reason: their Payload is what
// follows the last header that was read.
func (p *Packet) Parse(link LinkType, b []byte) Reason {
	p.raw, p.l4, p.payload = b, nil, b
	p.has, p.proto, p.options, p.icmpErr, p.sumKnown, p.vlans, p.etype, p.trailing = 0, 0, 0, false, false, 0, 0, 0
	if link == LinkRawIP {
		if len(b) > 0 && b[0]>>4 == 6 {
			return p.parseIPv6(b)
		}
		return p.parseIPv4(b)
	}
	return p.parseEthernet(b)
}

func (p *Packet) parseEthernet(b []byte) (r Reason) {
	if p.eth, r = ParseEthernet(b); r != ReasonNone {
		return r
	}
	p.has |= HasEthernet
	next := p.eth.Type()
	p.payload = p.eth.Payload()
	for next.IsVLAN() {
		if p.vlans == MaxVLANs {
			return ReasonVLANDepth
		}
		v, r := ParseVLAN(next, p.payload)
		if r != ReasonNone {
			return r
		}
		p.has |= HasVLAN
		p.vlan[p.vlans] = v
		p.vlans++
		next, p.payload = v.Type(), v.Payload()
	}
	p.etype = next
	switch next {
	case EtherTypeIPv4:
		return p.parseIPv4(p.payload)
	case EtherTypeIPv6:
		return p.parseIPv6(p.payload)
	case EtherTypeARP:
		if p.arp, r = ParseARP(p.payload); r == ReasonNone {
			p.has |= HasARP
			p.payload, p.trailing = nil, p.arp.Trailing()
		}
	}
	return r
}

func (p *Packet) parseIPv4(b []byte) (r Reason) {
	if p.ip4, r = ParseIPv4(b); r != ReasonNone {
		return r
	}
	p.has |= HasIPv4
	p.proto, p.l4, p.trailing = p.ip4.Protocol(), p.ip4.Payload(), p.ip4.Trailing()
	p.payload = p.l4
	if opts := p.ip4.Options(); len(opts) > 0 {
		if p.options, r = CheckIPv4Options(opts); r != ReasonNone {
			return r
		}
	}
	if p.ip4.IsFragment() {
		p.has |= HasFragment
		return p.ip4.checkFragment()
	}
	return p.parseL4()
}

func (p *Packet) parseIPv6(b []byte) (r Reason) {
	if p.ip6, r = ParseIPv6(b); r != ReasonNone {
		return r
	}
	p.has |= HasIPv6
	p.l4, p.trailing = p.ip6.Payload(), p.ip6.Trailing()
	r = p.ext.Parse(p.ip6.NextHeader(), p.l4)
	p.proto, p.l4 = p.ext.Upper, p.l4[p.ext.Offset:]
	p.payload = p.l4
	if p.ext.IsFragment() {
		p.has |= HasFragment
		return r
	}
	if r != ReasonNone {
		return r
	}
	return p.parseL4()
}

// parseL4 reads a layer 4 header. ICMP of the other family is a protocol like
// any that is not known.
func (p *Packet) parseL4() (r Reason) {
	switch {
	case p.proto == ProtoTCP:
		if p.tcp, r = ParseTCP(p.l4); r == ReasonNone {
			p.has |= HasTCP
			p.payload = p.tcp.Payload()
		}
	case p.proto == ProtoUDP:
		if p.udp, r = ParseUDP(p.l4); r == ReasonNone {
			p.has |= HasUDP
			p.payload = p.udp.Payload()
		}
	case p.proto == ProtoICMP && p.has&HasIPv4 != 0:
		if p.icmp4, r = ParseICMPv4(p.l4); r == ReasonNone {
			p.has |= HasICMPv4
			p.icmpErr, p.payload = p.icmp4.IsError(), p.icmp4.Body()
		}
	case p.proto == ProtoICMPv6 && p.has&HasIPv6 != 0:
		if p.icmp6, r = ParseICMPv6(p.l4); r == ReasonNone {
			p.has |= HasICMPv6
			p.icmpErr, p.payload = p.icmp6.IsError(), p.icmp6.Body()
		}
	}
	return r
}

// Has reports whether the packet has one of the headers in l.
func (p *Packet) Has(l Layers) bool { return p.has&l != 0 }

// Layers are all headers that the packet has.
func (p *Packet) Layers() Layers { return p.has }

// Raw is the received packet.
func (p *Packet) Raw() []byte { return p.raw }

// Ethernet is the header with HasEthernet, else the zero view; the same holds for
// the views below.
func (p *Packet) Ethernet() EthernetView {
	if p.has&HasEthernet == 0 {
		return EthernetView{}
	}
	return p.eth
}

// VLANs are the tags, outermost first, at most MaxVLANs. The slice is good until
// the next Parse.
func (p *Packet) VLANs() []VLANView { return p.vlan[:p.vlans] }

// EtherType is what follows the Ethernet header and its tags: an ethertype, or
// below 0x0600 an IEEE 802.3 length. It is 0 where the header or a tag could not be
// read, and without one.
func (p *Packet) EtherType() EtherType { return p.etype }

// ARP is the packet with HasARP.
func (p *Packet) ARP() ARPView {
	if p.has&HasARP == 0 {
		return ARPView{}
	}
	return p.arp
}

// IPv4 is the header with HasIPv4.
func (p *Packet) IPv4() IPv4View {
	if p.has&HasIPv4 == 0 {
		return IPv4View{}
	}
	return p.ip4
}

// IPv4Options are the options of the IPv4 header, none without HasIPv4.
func (p *Packet) IPv4Options() IPv4OptionSet { return p.options }

// IPv6 is the header with HasIPv6.
func (p *Packet) IPv6() IPv6View {
	if p.has&HasIPv6 == 0 {
		return IPv6View{}
	}
	return p.ip6
}

// noExtensions is the chain of packets that are not IPv6.
var noExtensions IPv6Extensions

// Ext is the chain of extension headers, an empty one without HasIPv6. It is
// good until the next Parse and must not be changed.
func (p *Packet) Ext() *IPv6Extensions {
	if p.has&HasIPv6 == 0 {
		return &noExtensions
	}
	return &p.ext
}

// TCP is the segment with HasTCP.
func (p *Packet) TCP() TCPView {
	if p.has&HasTCP == 0 {
		return TCPView{}
	}
	return p.tcp
}

// UDP is the datagram with HasUDP.
func (p *Packet) UDP() UDPView {
	if p.has&HasUDP == 0 {
		return UDPView{}
	}
	return p.udp
}

// ICMPv4 is the message with HasICMPv4.
func (p *Packet) ICMPv4() ICMPv4View {
	if p.has&HasICMPv4 == 0 {
		return ICMPv4View{}
	}
	return p.icmp4
}

// ICMPv6 is the message with HasICMPv6.
func (p *Packet) ICMPv6() ICMPv6View {
	if p.has&HasICMPv6 == 0 {
		return ICMPv6View{}
	}
	return p.icmp6
}

// Proto is the upper-layer protocol, or where extension headers could not be
// read to their end, the offending one. It means something with an IP header
// only: 0 is also the number of hop-by-hop options.
func (p *Packet) Proto() Protocol { return p.proto }

// L4 is the layer 4 header with its payload, cut at the length that the IP
// header declares.
func (p *Packet) L4() []byte { return p.l4 }

// Payload is what follows the innermost header that was read, cut at the length
// that the IP header declares; with ARP nothing.
func (p *Packet) Payload() []byte { return p.payload }

// Trailing is how many bytes stood behind the IP or ARP packet: padding.
func (p *Packet) Trailing() int { return p.trailing }

// IsICMPError reports whether the packet is an ICMP error of either version.
func (p *Packet) IsICMPError() bool { return p.icmpErr }

// Src is the IP source address, the zero Addr without an IP header.
func (p *Packet) Src() netip.Addr {
	switch {
	case p.has&HasIPv4 != 0:
		return p.ip4.Src()
	case p.has&HasIPv6 != 0:
		return p.ip6.Src()
	}
	return netip.Addr{}
}

// Dst is the IP destination address, the zero Addr without an IP header.
func (p *Packet) Dst() netip.Addr {
	switch {
	case p.has&HasIPv4 != 0:
		return p.ip4.Dst()
	case p.has&HasIPv6 != 0:
		return p.ip6.Dst()
	}
	return netip.Addr{}
}

// SrcPort is the source port of TCP and UDP, else 0.
func (p *Packet) SrcPort() uint16 {
	switch {
	case p.has&HasTCP != 0:
		return p.tcp.SrcPort()
	case p.has&HasUDP != 0:
		return p.udp.SrcPort()
	}
	return 0
}

// DstPort is the destination port of TCP and UDP, else 0.
func (p *Packet) DstPort() uint16 {
	switch {
	case p.has&HasTCP != 0:
		return p.tcp.DstPort()
	case p.has&HasUDP != 0:
		return p.udp.DstPort()
	}
	return 0
}

// PayloadSum is the sum of Payload, computed once; Out.SetPayloadSum takes it.
func (p *Packet) PayloadSum() Sum {
	if !p.sumKnown {
		p.sum, p.sumKnown = SumBytes(p.payload), true
	}
	return p.sum
}

// VerifyChecksums checks the IPv4 header checksum, and that of layer 4 if l4 is
// set: the caller passes false where the kernel says that it is not filled in
// yet. A UDP checksum of 0 on IPv4 means none (RFC 768); on IPv6 it is wrong (RFC
// 8200 §8.1). Of fragments only the IPv4 header is checked.
func (p *Packet) VerifyChecksums(l4 bool) Reason {
	if p.has&HasIPv4 != 0 && !p.ip4.ChecksumOK() {
		return ReasonIPChecksum
	}
	if !l4 {
		return ReasonNone
	}
	var reason Reason
	switch {
	case p.has&HasTCP != 0:
		reason = ReasonTCPChecksum
	case p.has&HasUDP != 0:
		reason = ReasonUDPChecksum
		if p.udp.Checksum() == 0 {
			if p.has&HasIPv4 != 0 {
				return ReasonNone
			}
			return reason
		}
	case p.has&HasICMPv4 != 0:
		reason = ReasonICMPChecksum
	case p.has&HasICMPv6 != 0:
		reason = ReasonICMP6Checksum
	default:
		return ReasonNone
	}
	// The sum over layer 4 is that of its header, which has an even length, and
	// that of the payload; the latter is kept for the encoder.
	sum := SumBytes(p.l4[:len(p.l4)-len(p.payload)]).Add(p.PayloadSum())
	switch {
	case p.has&HasICMPv4 != 0: // no pseudo header
	case p.has&HasIPv4 != 0:
		sum = sum.Add(PseudoSum4(p.ip4.Src4(), p.ip4.Dst4(), p.proto, len(p.l4)))
	default:
		sum = sum.Add(PseudoSum6(p.ip6.Src16(), p.ip6.Dst16(), p.proto, len(p.l4)))
	}
	if sum.Fold() != 0xffff {
		return reason
	}
	return ReasonNone
}

// String describes the packet in one line, for people. It allocates.
func (p *Packet) String() string {
	src, dst := p.Src(), p.Dst()
	switch {
	case p.has&HasTCP != 0:
		return fmt.Sprintf("%v > %v TCP %v seq=%d ack=%d win=%d len=%d", netip.AddrPortFrom(src, p.SrcPort()),
			netip.AddrPortFrom(dst, p.DstPort()), p.tcp.Flags(), p.tcp.Seq(), p.tcp.Ack(), p.tcp.Window(), len(p.payload))
	case p.has&HasUDP != 0:
		return fmt.Sprintf("%v > %v UDP len=%d", netip.AddrPortFrom(src, p.SrcPort()), netip.AddrPortFrom(dst, p.DstPort()), len(p.payload))
	case p.has&HasICMPv4 != 0:
		return fmt.Sprintf("%v > %v ICMP type=%d code=%d len=%d", src, dst, p.icmp4.Type(), p.icmp4.Code(), len(p.payload))
	case p.has&HasICMPv6 != 0:
		return fmt.Sprintf("%v > %v ICMPv6 type=%d code=%d len=%d", src, dst, p.icmp6.Type(), p.icmp6.Code(), len(p.payload))
	case p.has&HasFragment != 0:
		return fmt.Sprintf("%v > %v fragment of protocol %v", src, dst, p.proto)
	case p.has&(HasIPv4|HasIPv6) != 0:
		return fmt.Sprintf("%v > %v protocol %v len=%d", src, dst, p.proto, len(p.l4))
	case p.has&HasARP != 0:
		return ARP{
			Op: p.arp.Op(), SenderMAC: p.arp.SenderMAC(), SenderIP: p.arp.SenderIP(), TargetMAC: p.arp.TargetMAC(), TargetIP: p.arp.TargetIP(),
		}.String()
	case p.has&HasEthernet != 0:
		return fmt.Sprintf("%v > %v ethertype %v len=%d", p.eth.Src(), p.eth.Dst(), p.eth.Type(), len(p.raw))
	}
	return fmt.Sprintf("%d bytes", len(p.raw))
}
