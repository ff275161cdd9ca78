package packet

import "encoding/binary"

// Encode writes all headers into buf, which has at least MaxHeaders bytes, with
// lengths and checksums, and returns them. The payload follows by reference; it
// is read for its checksum unless SetPayloadSum told it. On an error, one of the
// sentinels above, what buf holds means nothing and must not be sent.
func (o *Out) Encode(buf []byte) ([]byte, error) {
	if len(buf) < MaxHeaders {
		return nil, ErrBuffer
	}
	n := 0
	if o.has&HasEthernet != 0 {
		next, err := o.linkPayload()
		if err != nil {
			return nil, err
		}
		if n, err = o.encodeLink(buf, next); err != nil {
			return nil, err
		}
	} else if o.has&hasIP == 0 || o.vlans > 0 {
		return nil, ErrIncomplete
	}
	switch {
	case o.has&HasIPv4 != 0:
		return o.encodeIPv4(buf, n)
	case o.has&HasIPv6 != 0:
		return o.encodeIPv6(buf, n)
	case o.has&HasARP != 0:
		if !o.arp.valid() {
			return nil, ErrValue
		}
		if len(o.payload) > 0 {
			return nil, ErrLayers
		}
		o.arp.encode(buf[n : n+ARPLen])
		n += ARPLen
	}
	return buf[:n], nil
}

// UpperAt tells what stands behind the IP header in the headers that Encode
// returned, and where; 0 and the whole length without one. Destination options that
// are cut with their packet (IPv6.CutOptions) count as standing behind it.
func (o *Out) UpperAt(head []byte) (p Protocol, at int) {
	at = 0
	if o.has&HasEthernet != 0 {
		at = EthernetLen + int(o.vlans)*VLANLen
	}
	switch {
	case o.has&HasIPv4 != 0:
		p, at = o.ip4.Protocol, at+o.ip4.len()
	case o.has&HasIPv6 != 0:
		p, at = o.ip6.NextHeader, at+o.ip6.len()
		if o.ip6.Headers != nil {
			at -= o.ip6.Headers.Destination.len()
		}
	default:
		return 0, len(head)
	}
	switch {
	case o.has&HasTCP != 0:
		p = ProtoTCP
	case o.has&HasUDP != 0:
		p = ProtoUDP
	case o.has&HasICMPv4 != 0:
		p = ProtoICMP
	case o.has&HasICMPv6 != 0:
		p = ProtoICMPv6
	}
	return p, at
}

// linkPayload is the ethertype of what follows the Ethernet header and tags.
func (o *Out) linkPayload() (EtherType, error) {
	switch {
	case o.has&HasIPv4 != 0:
		return EtherTypeIPv4, nil
	case o.has&HasIPv6 != 0:
		return EtherTypeIPv6, nil
	case o.has&hasL4 != 0:
		return 0, ErrIncomplete
	case o.has&HasARP != 0:
		return EtherTypeARP, nil
	}
	switch t := o.eth.Type; {
	case t == 0:
		return 0, ErrIncomplete
	case t == EtherTypeIPv4, t == EtherTypeIPv6, t == EtherTypeARP, t.IsVLAN():
		return 0, ErrLayers
	case t < minEtherType && int(t) != len(o.payload): // an IEEE 802.3 length
		return 0, ErrValue
	default:
		return t, nil
	}
}

// encodeLink writes the Ethernet header and the tags; next is the type of what
// follows them.
func (o *Out) encodeLink(buf []byte, next EtherType) (int, error) {
	n := EthernetLen + int(o.vlans)*VLANLen
	for i := int(o.vlans) - 1; i >= 0; i-- {
		tag := &o.vlan[i]
		if !tag.valid() {
			return 0, ErrValue
		}
		tag.encode(buf[EthernetLen+i*VLANLen:], next)
		next = tag.TPID
	}
	o.eth.encode(buf, next)
	return n, nil
}

func (o *Out) encodeIPv4(buf []byte, n int) ([]byte, error) {
	h := &o.ip4
	p, l4, err := o.layer4(h.Protocol, h.isFragment())
	if err != nil {
		return nil, err
	}
	if o.has&HasICMPv6 != 0 {
		return nil, ErrLayers
	}
	length := l4.n + len(o.payload)
	if err := h.check(length); err != nil {
		return nil, err
	}
	h.encode(buf[n:], p, length)
	n += h.len()
	if l4.n == 0 {
		return buf[:n], nil
	}
	o.encodeL4(buf[n:], l4, PseudoSum4(h.Src.As4(), h.Dst.As4(), p, length))
	return buf[:n+l4.n], nil
}

func (o *Out) encodeIPv6(buf []byte, n int) ([]byte, error) {
	h := &o.ip6
	p, l4, err := o.layer4(h.NextHeader, h.HasFragment)
	if err != nil {
		return nil, err
	}
	if o.has&(HasICMPv4|HasIGMP) != 0 {
		return nil, ErrLayers
	}
	length := l4.n + len(o.payload)
	if err := h.check(length); err != nil {
		return nil, err
	}
	h.encode(buf[n:], p, length)
	n += h.len()
	if l4.n == 0 {
		return buf[:n], nil
	}
	o.encodeL4(buf[n:], l4, PseudoSum6(h.Src.As16(), h.Dst.As16(), p, length))
	return buf[:n+l4.n], nil
}

// l4Layout is the length of the layer 4 header, and how TCP options are written.
type l4Layout struct {
	n       int // bytes; 0 without a header: opaque payload
	options optionLayout
}

// layer4 checks the layer 4 header and tells its protocol; opaque is that of a
// payload without one. What has typed values is not sent as opaque payload,
// except in fragments.
func (o *Out) layer4(opaque Protocol, fragment bool) (p Protocol, l l4Layout, err error) {
	if fragment && o.has&hasL4 != 0 {
		return 0, l, ErrLayers
	}
	switch {
	case o.has&HasTCP != 0:
		p = ProtoTCP
		l.options, err = o.tcp.check()
		l.n = TCPMinLen + l.options.n
	case o.has&HasUDP != 0:
		p, l.n = ProtoUDP, UDPLen
		if UDPLen+len(o.payload) > udpMaxLen {
			err = ErrTooLong
		}
	case o.has&HasICMPv4 != 0:
		p, l.n = ProtoICMP, o.icmp4.len()
		err = o.icmp4.check(len(o.payload))
	case o.has&HasICMPv6 != 0:
		p, l.n = ProtoICMPv6, o.icmp6.len()
		err = o.icmp6.check(len(o.payload))
	case o.has&HasIGMP != 0:
		p, l.n, err = ProtoIGMP, IGMPLen, o.igmp.check()
	default:
		p, err = opaque, checkOpaque(opaque, fragment, o.has&HasIPv6 != 0)
	}
	return p, l, err
}

// checkOpaque judges the protocol of payload that has no layer 4 header of ours.
// Extension headers would be received bytes, too.
func checkOpaque(p Protocol, fragment, v6 bool) error {
	switch {
	case v6 && p.IsExtension():
		return ErrLayers
	case p == 0:
		return ErrIncomplete
	case !fragment && (p == ProtoTCP || p == ProtoUDP || !v6 && p == ProtoICMP || v6 && p == ProtoICMPv6):
		return ErrLayers
	}
	return nil
}

// encodeL4 writes the layer 4 header at the start of b.
func (o *Out) encodeL4(b []byte, l l4Layout, pseudo Sum) {
	o.l4Len = uint8(l.n)
	if o.partial && o.has&(HasTCP|HasUDP) != 0 {
		o.encodePartial(b, l, pseudo)
		return
	}
	sum := o.sum
	if !o.sumKnown {
		sum = SumBytes(o.payload)
	}
	switch {
	case o.has&HasTCP != 0:
		o.tcp.encode(b, l.options, pseudo.Add(sum))
	case o.has&HasUDP != 0:
		o.udp.encode(b, len(o.payload), pseudo.Add(sum))
	case o.has&HasICMPv4 != 0:
		o.icmp4.encode(b, sum)
	case o.has&HasIGMP != 0:
		o.igmp.encode(b, sum)
	default:
		o.icmp6.encode(b, pseudo.Add(sum))
	}
}

// encodePartial writes a TCP or UDP header at the start of b, with the sum of the
// pseudo header where the checksum belongs.
func (o *Out) encodePartial(b []byte, l l4Layout, pseudo Sum) {
	field := offUDPChecksum
	if o.has&HasTCP != 0 {
		field = offTCPChecksum
		o.tcp.encode(b, l.options, 0)
	} else {
		o.udp.encode(b, len(o.payload), 0)
	}
	binary.BigEndian.PutUint16(b[field:], pseudo.Fold())
}
