package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// drawOut draws any packet that can be sent.
func drawOut(t *rapid.T) *Out {
	o := new(Out)
	drawLink(t, o)
	if o.Ethernet() != nil && rapid.IntRange(0, 9).Draw(t, "layer 3") == 0 {
		if rapid.Bool().Draw(t, "ARP") {
			o.SetARP(ARP{
				Op: rapid.SampledFrom([]ARPOp{ARPRequest, ARPReply}).Draw(t, "operation"), SenderMAC: drawMAC(t), SenderIP: drawAddr(t, false),
				TargetMAC: drawMAC(t), TargetIP: drawAddr(t, false),
			})
			return o
		}
		o.Ethernet().Type = EtherType(rapid.Uint16Range(0x88b5, 0x88b6).Draw(t, "ethertype")) // IEEE 802: for experiments
		o.SetPayload(drawPayload(t))
		return o
	}
	v6 := rapid.Bool().Draw(t, "IPv6")
	drawIP(t, o, v6)
	if v6 && rapid.IntRange(0, 2).Draw(t, "extension headers") == 0 {
		o.IPv6().Headers = drawHeaders(t, o.NewHeaders(), o.IPv6().Dst)
	}
	o.SetPayload(drawPayload(t))
	switch rapid.IntRange(0, 5).Draw(t, "layer 4") {
	case 0, 1:
		o.SetTCP(drawTCP(t))
	case 2:
		o.SetUDP(UDP{rapid.Uint16().Draw(t, "source port"), rapid.Uint16().Draw(t, "destination port")})
	case 3:
		drawEcho(t, o, v6)
	case 4:
		drawError(t, o, v6)
	case 5:
		drawFragment(t, o, v6)
	}
	if rapid.Bool().Draw(t, "sum known") {
		o.SetPayloadSum(SumBytes(o.Payload()))
	}
	return o
}

func drawMAC(t *rapid.T) MAC {
	return MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "MAC"))
}

func drawAddr(t *rapid.T, v6 bool) netip.Addr {
	n := 4
	if v6 {
		n = 16
	}
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	return a
}

func drawPayload(t *rapid.T) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
}

func drawLink(t *rapid.T, o *Out) {
	if !rapid.Bool().Draw(t, "Ethernet") {
		return
	}
	o.SetEthernet(Ethernet{Dst: drawMAC(t), Src: drawMAC(t)})
	tags := make([]VLANTag, rapid.IntRange(0, MaxVLANs).Draw(t, "tags"))
	for i := range tags {
		tags[i] = VLANTag{
			TPID: rapid.SampledFrom([]EtherType{EtherTypeVLAN, EtherTypeQinQ}).Draw(t, "TPID"), PCP: rapid.Uint8Range(0, 7).Draw(t, "PCP"),
			DEI: rapid.Bool().Draw(t, "DEI"), VID: rapid.Uint16Range(0, 4095).Draw(t, "VID"),
		}
	}
	o.SetVLANs(tags...)
}

func drawIP(t *rapid.T, o *Out, v6 bool) {
	if v6 {
		o.SetIPv6(drawIPv6(t))
		return
	}
	o.SetIPv4(drawIPv4(t))
}

func drawIPv4(t *rapid.T) IPv4 {
	return IPv4{
		TOS: rapid.Byte().Draw(t, "TOS"), TTL: rapid.Byte().Draw(t, "TTL"), ID: rapid.Uint16().Draw(t, "ID"), DF: rapid.Bool().Draw(t, "DF"),
		RouterAlert: rapid.Bool().Draw(t, "router alert"), Src: drawAddr(t, false), Dst: drawAddr(t, false),
	}
}

func drawIPv6(t *rapid.T) IPv6 {
	return IPv6{
		TrafficClass: rapid.Byte().Draw(t, "class"), HopLimit: rapid.Byte().Draw(t, "hop limit"),
		FlowLabel: rapid.Uint32Range(0, ip6FlowLabelMask).Draw(t, "flow label"), Src: drawAddr(t, true), Dst: drawAddr(t, true),
	}
}

// drawHeaders fills extension headers of a packet to dst.
func drawHeaders(t *rapid.T, h *IPv6Headers, dst netip.Addr) *IPv6Headers {
	drawOptions(t, &h.HopByHop, IPv6OptRouterAlert)
	for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
		if i > 0 {
			dst = drawAddr(t, true)
		}
		h.Segments.Add(dst)
		h.Segments.Tag = rapid.Uint16().Draw(t, "tag")
	}
	if h.Segments.Len() > 0 {
		drawOptions(t, &h.EnRoute, IPv6OptTunnelLimit)
	}
	drawOptions(t, &h.Destination, IPv6OptTunnelLimit)
	if h.Len() > MaxIPv6Headers {
		h.Destination.n = 0
	}
	return h
}

// drawOptions fills one header; typed is the type with typed values that may stand
// there.
func drawOptions(t *rapid.T, o *IPv6Options, typed IPv6OptionType) {
	if rapid.Bool().Draw(t, typed.String()) {
		o.Add(IPv6Option{Type: typed, Value: rapid.Uint16Range(0, 255).Draw(t, "value")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "options") {
		o.Add(IPv6Option{
			Type:  rapid.SampledFrom([]IPv6OptionType{0x1e, 0x3e, 0x5e, 0x9e, 0xfe}).Draw(t, "type"), // RFC 4727: for experiments
			Place: rapid.Uint8Range(0, 7).Draw(t, "place"), Data: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "data"),
		})
	}
}

func drawTCP(t *rapid.T) TCP {
	o := TCPOptions{
		Has: TCPOptionSet(rapid.Uint16().Draw(t, "options")), MSS: rapid.Uint16().Draw(t, "MSS"), WScale: rapid.Byte().Draw(t, "window scale"),
		TSVal: rapid.Uint32().Draw(t, "TSval"), TSEcr: rapid.Uint32().Draw(t, "TSecr"), UserTimeout: rapid.Uint16().Draw(t, "user timeout"),
		NumSACK: rapid.Uint8Range(1, 4).Draw(t, "SACK blocks"), FastOpenLen: rapid.SampledFrom([]uint8{0, 4, 6, 8, 16}).Draw(t, "cookie length"),
	}
	for i := range o.SACK[:o.NumSACK] {
		o.SACK[i] = SACKBlock{Seq(rapid.Uint32().Draw(t, "left")), Seq(rapid.Uint32().Draw(t, "right"))}
	}
	copy(o.FastOpen[:o.FastOpenLen], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "cookie"))
	if _, err := o.layout(0); err == ErrTooLong {
		o.Has &^= OptFastOpen | OptSACK
	}
	return TCP{
		SrcPort: rapid.Uint16().Draw(t, "source port"), DstPort: rapid.Uint16().Draw(t, "destination port"), Seq: Seq(rapid.Uint32().Draw(t, "seq")),
		Ack: Seq(rapid.Uint32().Draw(t, "ack")), Flags: TCPFlags(rapid.Byte().Draw(t, "flags")) &^ URG, Window: rapid.Uint16().Draw(t, "window"),
		OptionLimit: rapid.IntRange(0, TCPMaxOptions).Draw(t, "option limit"), Options: o,
	}
}

func drawEcho(t *rapid.T, o *Out, v6 bool) {
	id, seq, code := rapid.Uint16().Draw(t, "ID"), rapid.Uint16().Draw(t, "seq"), rapid.Byte().Draw(t, "code")
	if v6 {
		o.SetICMPv6(ICMPv6{Type: rapid.SampledFrom([]uint8{ICMPv6Echo, ICMPv6EchoReply}).Draw(t, "type"), Code: code, ID: id, Seq: seq})
		return
	}
	o.SetICMPv4(ICMPv4{Type: rapid.SampledFrom([]uint8{ICMPv4Echo, ICMPv4EchoReply}).Draw(t, "type"), Code: code, ID: id, Seq: seq})
}

func drawError(t *rapid.T, o *Out, v6 bool) {
	o.SetPayload(nil)
	q := Quote{V6: v6, Proto: rapid.SampledFrom([]Protocol{ProtoTCP, ProtoUDP}).Draw(t, "quoted protocol"), L4Len: rapid.Uint16Range(8, 1480).Draw(t, "quoted length")}
	q.SrcPort, q.DstPort = rapid.Uint16().Draw(t, "quoted source port"), rapid.Uint16().Draw(t, "quoted destination port")
	if q.Proto == ProtoTCP {
		q.Seq = Seq(rapid.Uint32().Draw(t, "quoted seq"))
	} else {
		q.Checksum = rapid.Uint16().Draw(t, "quoted checksum")
	}
	if v6 {
		q.IP6 = drawIPv6(t)
		h := ICMPv6{Type: rapid.Uint8Range(1, 4).Draw(t, "type"), Code: rapid.Byte().Draw(t, "code"), HasQuote: true, Quote: q}
		if h.Type == ICMPv6PacketTooBig {
			h.MTU = rapid.Uint32().Draw(t, "MTU")
		}
		o.SetICMPv6(h)
		return
	}
	q.IP4 = drawIPv4(t)
	q.IP4.RouterAlert = false
	h := ICMPv4{
		Type: rapid.SampledFrom([]uint8{ICMPv4Unreachable, ICMPv4TimeExceeded}).Draw(t, "type"), Code: rapid.Uint8Range(0, 15).Draw(t, "code"),
		HasQuote: true, Quote: q,
	}
	if h.Type == ICMPv4Unreachable && h.Code == ICMPv4CodeFragNeeded {
		h.MTU = rapid.Uint16().Draw(t, "MTU")
	}
	o.SetICMPv4(h)
}

func drawFragment(t *rapid.T, o *Out, v6 bool) {
	offset := rapid.Uint16Range(0, 8000).Draw(t, "offset/8") * 8
	more := offset == 0 || rapid.Bool().Draw(t, "more")
	if more {
		o.SetPayload(testPayload(8 * rapid.IntRange(1, 10).Draw(t, "length/8")))
	}
	p := rapid.SampledFrom([]Protocol{ProtoTCP, ProtoUDP, ProtoGRE}).Draw(t, "protocol")
	if v6 {
		h := o.IPv6()
		h.HasFragment, h.NextHeader = true, p
		if h.Headers != nil {
			h.Headers.Destination.n = 0
		}
		h.Fragment = IPv6Fragment{offset, more, rapid.Uint32().Draw(t, "fragment ID")}
		return
	}
	h := o.IPv4()
	h.MF, h.FragOffset, h.Protocol = more, offset, p
}

func linkOf(o *Out) LinkType {
	if o.Ethernet() != nil {
		return LinkEthernet
	}
	return LinkRawIP
}

// TestEncodeThenParseIsIdentity draws packets, and reads back what was sent.
func TestEncodeThenParseIsIdentity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := drawOut(rt)
		sent, err := tryEmit(rt, o)
		if err != nil {
			rt.Fatalf("Encode: %v", err)
		}
		var p Packet
		if r := p.Parse(linkOf(o), sent); r != ReasonNone {
			rt.Fatalf("Parse(%x): %v", sent, r)
		}
		if r := p.VerifyChecksums(true); r != ReasonNone {
			rt.Fatalf("VerifyChecksums(%x): %v", sent, r)
		}
		var again Out
		if !rebuild(&p, &again) {
			rt.Fatalf("%x cannot be built anew", sent)
		}
		b, err := tryEmit(rt, &again)
		if err != nil || !bytes.Equal(b, sent) {
			rt.Fatalf("built anew: %v\n%x\n%x", err, sent, b)
		}
		if h := o.TCP(); h != nil {
			var opts TCPOptions
			p.TCP().ParseOptions(&opts)
			if opts.Has != h.Options.Has&optSendable {
				rt.Fatalf("options sent %v, received %v", h.Options.Has, opts.Has)
			}
		}
	})
}

// TestDamagedPackets changes and cuts packets: whatever Parse still accepts can
// be built anew with the same values.
func TestDamagedPackets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := drawOut(rt)
		b, err := tryEmit(rt, o)
		if err != nil {
			rt.Fatalf("Encode: %v", err)
		}
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			b[rapid.IntRange(0, len(b)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "to")
		}
		b = append(b, make([]byte, rapid.IntRange(0, 8).Draw(rt, "padding"))...)
		checkRebuild(rt, linkOf(o), b[:len(b)-rapid.IntRange(0, len(b)/2).Draw(rt, "cut")])
	})
}
