package packet

import "testing"

// Each target below calls all that can be called on what its gate accepts; a
// panic or a broken promise is a finding.

func FuzzParseEthernet(f *testing.F) {
	f.Add(emit(f, ethernetOut()))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseEthernet(b)
		if r != ReasonNone {
			return
		}
		if len(v.Payload()) != len(b)-EthernetLen {
			t.Errorf("payload of %d bytes in a frame of %d", len(v.Payload()), len(b))
		}
		if v.Type().IsVLAN() {
			if tag, r := ParseVLAN(v.Type(), v.Payload()); r == ReasonNone && (tag.VID() > 4095 || tag.PCP() > 7 || len(tag.Payload())+EthernetLen+VLANLen != len(b)) {
				t.Errorf("tag %d %d, payload of %d bytes in a frame of %d", tag.VID(), tag.PCP(), len(tag.Payload()), len(b))
			}
		}
	})
}

func FuzzParseVLAN(f *testing.F) {
	f.Add([]byte{0xb0, 0x64, 8, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseVLAN(EtherTypeVLAN, b)
		if r == ReasonNone && (v.VID() > 4095 || v.PCP() > 7 || len(v.Payload()) != len(b)-VLANLen || v.Type().String() == "") {
			t.Errorf("%x: VID %d, PCP %d, payload of %d bytes", b, v.VID(), v.PCP(), len(v.Payload()))
		}
	})
}

func FuzzParseARP(f *testing.F) {
	f.Add(unhex(f, arpReply))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseARP(b)
		if r == ReasonNone && (!v.SenderIP().Is4() || !v.TargetIP().Is4() || v.Trailing() != len(b)-ARPLen || v.Op().String() == "" || v.SenderMAC().String() == v.TargetMAC().String() && v.SenderMAC() != v.TargetMAC()) {
			t.Errorf("%x: %v %v, %d trailing", b, v.SenderIP(), v.TargetIP(), v.Trailing())
		}
	})
}

func FuzzParseIPv4(f *testing.F) {
	f.Add(emit(f, tcpOut4()))
	f.Add(unhex(f, "46 b8 001c abcd e123 40 11 0000 c0000201 c6336402 94040000 01020304"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseIPv4(b)
		if r != ReasonNone {
			return
		}
		if v.HeaderLen()+len(v.Payload()) != v.TotalLen() || v.TotalLen()+v.Trailing() != len(b) || len(v.Options()) != v.HeaderLen()-IPv4MinLen {
			t.Errorf("%x: header %d, payload %d, total %d, trailing %d", b, v.HeaderLen(), len(v.Payload()), v.TotalLen(), v.Trailing())
		}
		v.ChecksumOK()
		if v.IsFragment() {
			v.checkFragment()
		}
	})
}

func FuzzCheckIPv4Options(f *testing.F) {
	f.Add(unhex(f, "01 94040000 440c0500000000000000 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, r := CheckIPv4Options(b)
		if routed := set&(IPOptLSRR|IPOptSSRR) != 0; routed != (r == ReasonIPSourceRoute) {
			t.Errorf("%x: %v with %v", b, set, r)
		}
	})
}

func FuzzParseIPv6(f *testing.F) {
	f.Add(emit(f, udpOut6()))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseIPv6(b)
		if r != ReasonNone {
			return
		}
		if len(v.Payload()) != v.PayloadLen() || IPv6Len+v.PayloadLen()+v.Trailing() != len(b) || v.FlowLabel() > ip6FlowLabelMask {
			t.Errorf("%x: payload %d of %d, trailing %d, flow label %x", b, len(v.Payload()), v.PayloadLen(), v.Trailing(), v.FlowLabel())
		}
	})
}

func FuzzParseExtensions(f *testing.F) {
	f.Add(uint8(0), unhex(f, "3c 00 01 04 00000000 2c 00 01 04 00000000 06 00 0001 00000001 0102030405060708"))
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		b = b[:min(len(b), IPv6MaxPayload)]
		var e IPv6Extensions
		r := e.Parse(Protocol(first), b)
		end := 0
		for i := range e.Len() {
			x := e.At(i)
			if int(x.Offset) != end || x.Len == 0 {
				t.Fatalf("header %d is %+v, the one before ends at %d", i, x, end)
			}
			end += int(x.Len)
		}
		if end != e.Offset || end > len(b) {
			t.Errorf("headers end at %d of %d, Offset %d", end, len(b), e.Offset)
		}
		if r == ReasonNone && e.Upper.IsExtension() && !e.IsFragment() {
			t.Errorf("the walk ends at %v", e.Upper)
		}
	})
}

func FuzzParseTCP(f *testing.F) {
	f.Add(emit(f, tcpOut4())[IPv4MinLen:])
	f.Add(emit(f, dataOut4())[IPv4MinLen:])
	f.Add(segment(unhex(f, "01 01 05 12 00000001 00000002 00000003 00000004 22 06 01020304")))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseTCP(b)
		if r != ReasonNone {
			return
		}
		if v.HeaderLen()+len(v.Payload()) != len(b) || TCPMinLen+len(v.Options()) != v.HeaderLen() {
			t.Errorf("header %d, options %d, payload %d of %d", v.HeaderLen(), len(v.Options()), len(v.Payload()), len(b))
		}
		var o TCPOptions
		if v.ParseOptions(&o) != ReasonNone {
			return
		}
		l, err := o.layout(len(v.Options()))
		if err != nil || l.n > len(v.Options()) {
			t.Errorf("options %x: %d bytes to be sent, %v", v.Options(), l.n, err)
		}
		_ = o.String()
	})
}

func FuzzParseUDP(f *testing.F) {
	f.Add(unhex(f, "9c40 0035 000a beef 0102"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, r := ParseUDP(b); r == ReasonNone && (len(v.Payload()) != len(b)-UDPLen || v.Length() != len(b)) {
			t.Errorf("%x: payload of %d bytes", b, len(v.Payload()))
		}
	})
}

func FuzzParseICMPv4(f *testing.F) {
	f.Add(append(unhex(f, "0304 0000 00000578"), emit(f, tcpOut4())...))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseICMPv4(b)
		if r != ReasonNone {
			return
		}
		v.ChecksumOK()
		q, r := v.Quoted()
		checkQuote(t, &q, r, len(v.Body()), false)
	})
}

func FuzzParseICMPv6(f *testing.F) {
	f.Add(append(unhex(f, "0200 0000 00000578"), emit(f, udpOut6())...))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := ParseICMPv6(b)
		if r != ReasonNone {
			return
		}
		v.ChecksumOK(client6.As16(), server6.As16())
		q, r := v.Quoted()
		checkQuote(t, &q, r, len(v.Body()), true)
	})
}

func checkQuote(t *testing.T, q *Quote, r Reason, length int, v6 bool) {
	t.Helper()
	if r != ReasonNone {
		return
	}
	if q.V6 != v6 || q.N < quoteL4 || int(q.N) > length || q.N > q.L4Len || !q.Src().IsValid() || !q.Dst().IsValid() || q.String() == "" {
		t.Errorf("quotation %+v of %d bytes", q, length)
	}
	if err := q.check(v6); err != nil && err != ErrValue {
		t.Errorf("quotation %+v: %v", q, err)
	}
}

// FuzzParseEncodeParse holds whole packets to the promises of checkRebuild.
func FuzzParseEncodeParse(f *testing.F) {
	for _, o := range []*Out{tcpOut4(), dataOut4(), udpOut6(), ethernetOut()} {
		f.Add(o.Ethernet() != nil, emit(f, o))
	}
	for _, quote := range []Quote{tcpQuote4(), udpQuote6()} {
		o := new(Out)
		if quote.V6 {
			o.SetIPv6(IPv6{HopLimit: 1, Src: server6, Dst: client6})
			o.SetICMPv6(ICMPv6{Type: ICMPv6TimeExceeded, HasQuote: true, Quote: quote})
		} else {
			o.SetIPv4(IPv4{TTL: 1, Src: server4, Dst: client4})
			o.SetICMPv4(ICMPv4{Type: ICMPv4TimeExceeded, HasQuote: true, Quote: quote})
		}
		f.Add(false, emit(f, o))
	}
	f.Add(true, append(unhex(f, "ffffffffffff 020000000001 0806"), unhex(f, arpReply)...))
	f.Add(false, unhex(f, "60000000 0018 3c 40"+ip6Addrs+"2c 00 01 04 00000000 11 00 0001 00000001 0102030405060708"))
	f.Add(false, unhex(f, "60000000 0048 00 40"+ip6Addrs+"3c 00 05 02 0000 01 00"+"2b 01 1e 01 aa 04 01 05 0000 000000000000"+
		"06 02 04 00 00 00 0007 20010db8000100000000000000000002"+"9c400050000000010000000050025840000000000000000000000000"[:40]))
	f.Fuzz(func(t *testing.T, ethernet bool, b []byte) {
		link := LinkRawIP
		if ethernet {
			link = LinkEthernet
		}
		checkRebuild(t, link, b)
		var p Packet
		p.Parse(link, b)
		_ = p.String()
		p.VerifyChecksums(true)
	})
}
