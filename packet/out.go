package packet

import "errors"

// MaxHeaders is how many bytes of headers Encode writes at most: Ethernet, two
// VLAN tags, IPv6, and TCP with all options or ICMPv6 with a quoted header.
const MaxHeaders = EthernetLen + MaxVLANs*VLANLen + IPv6Len + 64

// What Encode refuses.
var (
	// ErrIncomplete reports that nothing, or a layer 4 header without an IP
	// header, or addresses of two families were set.
	ErrIncomplete = errors.New("encode packet: layers are missing or do not fit together")
	// ErrTooLong reports a packet beyond 65,535 bytes or options beyond 40.
	ErrTooLong = errors.New("encode packet: it is too long for its header")
	// ErrBuffer reports that the buffer is shorter than MaxHeaders.
	ErrBuffer = errors.New("encode packet: the buffer is shorter than MaxHeaders")
)

// Out is a packet being built from typed values. The zero value is empty; it is
// meant to be reused after Reset. It is not safe for concurrent use.
type Out struct {
	has      Layers
	sumKnown bool
	vlans    uint8
	sum      Sum
	payload  []byte
	eth      Ethernet
	vlan     [MaxVLANs]VLANTag
	arp      ARP
	ip4      IPv4
	ip6      IPv6
	tcp      TCP
	udp      UDP
	icmp     ICMPv4
}

// Reset empties the packet.
func (o *Out) Reset() { o.has, o.vlans, o.payload, o.sumKnown = 0, 0, nil, false }

// IsSet reports whether anything is set.
func (o *Out) IsSet() bool { return o.has != 0 }

// SetEthernet sets the Ethernet header.
func (o *Out) SetEthernet(h Ethernet) { o.eth, o.has = h, o.has|HasEthernet }

// SetVLANs sets the tags, outermost first; more than MaxVLANs are cut.
func (o *Out) SetVLANs(tags ...VLANTag) {
	o.vlans = uint8(copy(o.vlan[:], tags))
	o.has |= HasVLAN
}

// SetARP makes the packet an ARP packet.
func (o *Out) SetARP(h ARP) { o.arp, o.has = h, o.has|HasARP }

// SetIPv4 sets the IP header; an IPv6 header set before is taken back.
func (o *Out) SetIPv4(h IPv4) { o.ip4, o.has = h, o.has&^HasIPv6|HasIPv4 }

// SetIPv6 sets the IP header; an IPv4 header set before is taken back.
func (o *Out) SetIPv6(h IPv6) { o.ip6, o.has = h, o.has&^HasIPv4|HasIPv6 }

const hasL4 = HasTCP | HasUDP | HasICMPv4 | HasICMPv6

// SetTCP sets the layer 4 header in place of any other.
func (o *Out) SetTCP(h TCP) { o.tcp, o.has = h, o.has&^hasL4|HasTCP }

// SetUDP sets the layer 4 header in place of any other.
func (o *Out) SetUDP(h UDP) { o.udp, o.has = h, o.has&^hasL4|HasUDP }

// SetICMPv4 sets the layer 4 header in place of any other.
func (o *Out) SetICMPv4(h ICMPv4) { o.icmp, o.has = h, o.has&^hasL4|HasICMPv4 }

// SetICMPv6 sets the layer 4 header in place of any other.
func (o *Out) SetICMPv6(h ICMPv6) { o.icmp, o.has = ICMPv4(h), o.has&^hasL4|HasICMPv6 }

// SetPayload sets what follows the headers, by reference: b must not change
// until the packet is sent.
func (o *Out) SetPayload(b []byte) { o.payload, o.sumKnown = b, false }

// SetPayloadSum tells the sum of the payload where it is known already.
func (o *Out) SetPayloadSum(s Sum) { o.sum, o.sumKnown = s, true }

// Payload is what follows the headers.
func (o *Out) Payload() []byte { return o.payload }

// IPv4 gives the header for a later function to edit; nil where it is not set.
func (o *Out) IPv4() *IPv4 {
	if o.has&HasIPv4 == 0 {
		return nil
	}
	return &o.ip4
}

// IPv6 gives the header for a later function to edit; nil where it is not set.
func (o *Out) IPv6() *IPv6 {
	if o.has&HasIPv6 == 0 {
		return nil
	}
	return &o.ip6
}

// TCP gives the header for a later function to edit; nil where it is not set.
func (o *Out) TCP() *TCP {
	if o.has&HasTCP == 0 {
		return nil
	}
	return &o.tcp
}

// UDP gives the header for a later function to edit; nil where it is not set.
func (o *Out) UDP() *UDP {
	if o.has&HasUDP == 0 {
		return nil
	}
	return &o.udp
}

// Ethernet gives the header for a later function to edit; nil where it is not
// set.
func (o *Out) Ethernet() *Ethernet {
	if o.has&HasEthernet == 0 {
		return nil
	}
	return &o.eth
}

// Encode writes all headers into buf, which has at least MaxHeaders bytes, with
// lengths and checksums, and returns them. The payload follows by reference; it
// is read for its checksum unless SetPayloadSum told it.
func (o *Out) Encode(buf []byte) ([]byte, error) {
	if len(buf) < MaxHeaders {
		return nil, ErrBuffer
	}
	n, err := o.encodeLink(buf)
	if err != nil || o.has&(HasIPv4|HasIPv6) == 0 {
		return buf[:n], err
	}
	return o.encodeIP(buf, n)
}

// encodeLink writes what stands before the IP header, and a whole ARP packet.
func (o *Out) encodeLink(buf []byte) (int, error) {
	var next EtherType
	switch {
	case o.has&HasIPv4 != 0:
		next = EtherTypeIPv4
	case o.has&HasIPv6 != 0:
		next = EtherTypeIPv6
	case o.has&hasL4 != 0, o.has&HasEthernet == 0:
		return 0, ErrIncomplete
	case o.has&HasARP != 0:
		next = EtherTypeARP
	default:
		next = o.eth.Type
	}
	if o.has&HasEthernet == 0 {
		if o.vlans > 0 {
			return 0, ErrIncomplete
		}
		return 0, nil
	}
	n := EthernetLen
	for i := range o.vlan[:o.vlans] {
		follows := next
		if i+1 < int(o.vlans) {
			follows = o.vlan[i+1].TPID
		}
		o.vlan[i].encode(buf[n:], follows)
		n += VLANLen
	}
	if o.vlans > 0 {
		next = o.vlan[0].TPID
	}
	o.eth.encode(buf, next)
	if o.has&HasARP != 0 && o.has&(HasIPv4|HasIPv6) == 0 {
		o.arp.encode(buf[n:])
		n += ARPLen
	}
	return n, nil
}

// encodeIP writes the IP header at n and layer 4 behind it.
func (o *Out) encodeIP(buf []byte, n int) ([]byte, error) {
	var proto Protocol
	var l4 int
	var options int
	var packed bool
	switch {
	case o.has&HasTCP != 0:
		if options, packed = o.tcp.Options.layout(o.tcp.OptionLimit); options > TCPMaxOptions {
			return nil, ErrTooLong
		}
		proto, l4 = ProtoTCP, TCPMinLen+options
	case o.has&HasUDP != 0:
		proto, l4 = ProtoUDP, UDPLen
	case o.has&HasICMPv4 != 0:
		proto, l4 = ProtoICMP, o.icmp.len()
	case o.has&HasICMPv6 != 0:
		proto, l4 = ProtoICMPv6, o.icmp.len()
	}
	length := l4 + len(o.payload)
	var pseudo Sum
	header := ipLen(o.has)
	if header+length > 65535 && o.has&HasIPv4 != 0 || length > 65535 {
		return nil, ErrTooLong
	}
	if o.has&HasIPv4 != 0 {
		if !o.ip4.Src.Is4() || !o.ip4.Dst.Is4() || o.has&HasICMPv6 != 0 || o.badQuote(false) {
			return nil, ErrIncomplete
		}
		if proto == 0 {
			proto = o.ip4.Protocol
		}
		o.ip4.encode(buf[n:], proto, length)
		pseudo = PseudoSum4(o.ip4.Src.As4(), o.ip4.Dst.As4(), proto, length)
	} else {
		if !o.ip6.Src.Is6() || !o.ip6.Dst.Is6() || o.has&HasICMPv4 != 0 || o.badQuote(true) {
			return nil, ErrIncomplete
		}
		if o.has&hasL4 == 0 {
			proto = o.ip6.NextHeader
		}
		o.ip6.encode(buf[n:], proto, length)
		pseudo = PseudoSum6(o.ip6.Src.As16(), o.ip6.Dst.As16(), proto, length)
	}
	b := buf[n+header:]
	if o.has&hasL4 == 0 {
		return buf[:n+header], nil
	}
	sum := o.sum
	if !o.sumKnown {
		sum = SumBytes(o.payload)
	}
	switch {
	case o.has&HasTCP != 0:
		o.tcp.encode(b, options, packed, pseudo.Add(sum))
	case o.has&HasUDP != 0:
		o.udp.encode(b, len(o.payload), pseudo.Add(sum))
	case o.has&HasICMPv4 != 0:
		o.icmp.encode(b, false, sum)
	default:
		o.icmp.encode(b, true, pseudo.Add(sum))
	}
	return buf[:n+header+l4], nil
}

// badQuote reports whether an ICMP error quotes a packet of the other family.
func (o *Out) badQuote(v6 bool) bool {
	if o.has&(HasICMPv4|HasICMPv6) == 0 || !o.icmp.HasQuote {
		return false
	}
	q := &o.icmp.Quote
	return q.V6 != v6 || q.Src().Is4() == v6 || q.Dst().Is4() == v6 || !q.Src().IsValid() || !q.Dst().IsValid()
}

// ipLen is the length of the IP header that is set.
func ipLen(has Layers) int {
	if has&HasIPv4 != 0 {
		return IPv4MinLen
	}
	return IPv6Len
}
