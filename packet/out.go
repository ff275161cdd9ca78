package packet

import "errors"

// MaxHeaders is how many bytes of headers Encode writes at most: Ethernet, two
// VLAN tags, IPv6 with all extension headers and a router advertisement with all
// options.
const MaxHeaders = EthernetLen + MaxVLANs*VLANLen + IPv6Len + MaxIPv6Headers + maxNDLen

// What Encode refuses. The errors are returned as they are, never wrapped.
var (
	// ErrIncomplete reports that nothing was set, or a header without the one
	// that has to stand around it, or opaque payload without its type.
	ErrIncomplete = errors.New("encode packet: a header is missing (set the one around it, or the type of the payload)")
	// ErrLayers reports headers that do not belong together: ICMP of the other
	// family, ARP with payload, a fragment with a layer 4 header, an ICMP error
	// without its quotation or with payload, or opaque payload of a protocol that
	// has typed values.
	ErrLayers = errors.New("encode packet: headers do not fit together")
	// ErrAddress reports an address that is not of its header's family.
	ErrAddress = errors.New("encode packet: an address is not of its header's family")
	// ErrValue reports a value outside the range of its field.
	ErrValue = errors.New("encode packet: a value is outside the range of its field")
	// ErrTooLong reports a packet beyond 65,535 bytes or options beyond 40.
	ErrTooLong = errors.New("encode packet: it is too long for its header")
	// ErrBuffer reports that the buffer is shorter than MaxHeaders.
	ErrBuffer = errors.New("encode packet: the buffer is shorter than MaxHeaders")
)

const (
	hasIP = HasIPv4 | HasIPv6
	hasL4 = HasTCP | HasUDP | HasICMPv4 | HasICMPv6 | HasIGMP
)

// Out is a packet being built from typed values. The zero value is empty; it is
// meant to be reused after Reset. It is not safe for concurrent use.
type Out struct {
	has      Layers
	sumKnown bool
	partial  bool
	vlans    uint8
	l4Len    uint8 // of the layer 4 header that Encode wrote
	sum      Sum
	payload  []byte
	eth      Ethernet
	vlan     [MaxVLANs]VLANTag
	arp      ARP
	ip4      IPv4
	ip6      IPv6
	tcp      TCP
	udp      UDP
	icmp4    ICMPv4
	icmp6    ICMPv6
	igmp     IGMP
	headers  IPv6Headers
}

// Reset empties the packet.
func (o *Out) Reset() { o.has, o.vlans, o.payload, o.sumKnown, o.partial = 0, 0, nil, false, false }

// IsSet reports whether any header is set.
func (o *Out) IsSet() bool { return o.has != 0 }

// IsComplete reports whether it is settled what the packet carries. It is not with
// nothing set, or with an IP header that is still without a layer 4 header or the
// protocol of opaque payload.
func (o *Out) IsComplete() bool {
	switch {
	case o.has&(hasL4|HasARP) != 0:
		return true
	case o.has&HasIPv4 != 0:
		return o.ip4.Protocol != 0
	case o.has&HasIPv6 != 0:
		return o.ip6.NextHeader != 0
	}
	return o.has != 0
}

// Has reports whether one of the headers in l is set.
func (o *Out) Has(l Layers) bool { return o.has&l != 0 }

// SetEthernet sets the Ethernet header.
func (o *Out) SetEthernet(h Ethernet) { o.eth, o.has = h, o.has|HasEthernet }

// SetVLANs sets the tags, outermost first, in place of those set before; none
// takes them back. It panics with more than MaxVLANs.
func (o *Out) SetVLANs(tags ...VLANTag) {
	if len(tags) > MaxVLANs {
		panic("set VLAN tags: more than MaxVLANs")
	}
	o.vlans = uint8(copy(o.vlan[:], tags))
	o.has &^= HasVLAN
	if o.vlans > 0 {
		o.has |= HasVLAN
	}
}

// SetARP makes the packet an ARP packet: IP and layer 4 headers are taken back.
func (o *Out) SetARP(h ARP) { o.arp, o.has = h, o.has&^(hasIP|hasL4)|HasARP }

// SetIPv4 sets the IP header; an IPv6 header or ARP set before is taken back.
func (o *Out) SetIPv4(h IPv4) { o.ip4, o.has = h, o.has&^(HasIPv6|HasARP)|HasIPv4 }

// SetIPv6 sets the IP header; an IPv4 header or ARP set before is taken back.
func (o *Out) SetIPv6(h IPv6) { o.ip6, o.has = h, o.has&^(HasIPv4|HasARP)|HasIPv6 }

// NewHeaders gives extension headers to fill, empty, for SetIPv6. They are taken
// back by the next call.
func (o *Out) NewHeaders() *IPv6Headers {
	o.headers.Reset()
	return &o.headers
}

// SetTCP sets the layer 4 header in place of any other.
func (o *Out) SetTCP(h TCP) { o.tcp, o.has = h, o.has&^hasL4|HasTCP }

// SetUDP sets the layer 4 header in place of any other.
func (o *Out) SetUDP(h UDP) { o.udp, o.has = h, o.has&^hasL4|HasUDP }

// SetICMPv4 sets the layer 4 header in place of any other.
func (o *Out) SetICMPv4(h ICMPv4) { o.icmp4, o.has = h, o.has&^hasL4|HasICMPv4 }

// SetICMPv6 sets the layer 4 header in place of any other.
func (o *Out) SetICMPv6(h ICMPv6) { o.icmp6, o.has = h, o.has&^hasL4|HasICMPv6 }

// SetIGMP sets the layer 4 header in place of any other.
func (o *Out) SetIGMP(h IGMP) { o.igmp, o.has = h, o.has&^hasL4|HasIGMP }

// SetPayload sets what follows the headers, by reference: b must not change
// until the packet is sent. A sum set before is forgotten.
func (o *Out) SetPayload(b []byte) { o.payload, o.sumKnown = b, false }

// SetPayloadSum tells the sum of the payload where it is known already; it comes
// after SetPayload. It is not checked: a wrong one makes a wrong checksum.
func (o *Out) SetPayloadSum(s Sum) { o.sum, o.sumKnown = s, true }

// SetPartialSum lets Encode write a TCP or UDP checksum as the sum of the pseudo
// header alone, for a card or kernel that completes it over the payload (virtio
// 1.2 §5.1.6.2, VIRTIO_NET_HDR_F_NEEDS_CSUM). Other checksums are always complete.
func (o *Out) SetPartialSum(on bool) { o.partial = on }

// PartialSumAt tells where in the headers that Encode returned the header begins
// whose checksum is partial, and where in that header it stands; 0, 0 where it is
// complete.
func (o *Out) PartialSumAt(head []byte) (start, field uint16) {
	switch {
	case !o.partial:
	case o.has&HasTCP != 0:
		return uint16(len(head) - int(o.l4Len)), offTCPChecksum
	case o.has&HasUDP != 0:
		return uint16(len(head) - UDPLen), offUDPChecksum
	}
	return 0, 0
}

// Payload is what follows the headers.
func (o *Out) Payload() []byte { return o.payload }

// Ethernet gives the header for a later function to edit; nil where it is not
// set. The same holds for the headers below.
func (o *Out) Ethernet() *Ethernet {
	if o.has&HasEthernet == 0 {
		return nil
	}
	return &o.eth
}

// VLANs gives the tags for a later function to edit, outermost first.
func (o *Out) VLANs() []VLANTag { return o.vlan[:o.vlans] }

// ARP gives the ARP packet.
func (o *Out) ARP() *ARP {
	if o.has&HasARP == 0 {
		return nil
	}
	return &o.arp
}

// IPv4 gives the IPv4 header.
func (o *Out) IPv4() *IPv4 {
	if o.has&HasIPv4 == 0 {
		return nil
	}
	return &o.ip4
}

// IPv6 gives the IPv6 header.
func (o *Out) IPv6() *IPv6 {
	if o.has&HasIPv6 == 0 {
		return nil
	}
	return &o.ip6
}

// TCP gives the TCP header.
func (o *Out) TCP() *TCP {
	if o.has&HasTCP == 0 {
		return nil
	}
	return &o.tcp
}

// UDP gives the UDP header.
func (o *Out) UDP() *UDP {
	if o.has&HasUDP == 0 {
		return nil
	}
	return &o.udp
}

// ICMPv4 gives the ICMPv4 message.
func (o *Out) ICMPv4() *ICMPv4 {
	if o.has&HasICMPv4 == 0 {
		return nil
	}
	return &o.icmp4
}

// ICMPv6 gives the ICMPv6 message.
func (o *Out) ICMPv6() *ICMPv6 {
	if o.has&HasICMPv6 == 0 {
		return nil
	}
	return &o.icmp6
}

// IGMP gives the IGMP message.
func (o *Out) IGMP() *IGMP {
	if o.has&HasIGMP == 0 {
		return nil
	}
	return &o.igmp
}
