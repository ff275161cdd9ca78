package packet

import (
	"bytes"
	"testing"
)

func TestParseICMPv4(t *testing.T) {
	b := unhex(t, "08 00 e5ca 1234 0001 616263")
	v, r := ParseICMPv4(b)
	if r != ReasonNone {
		t.Fatalf("ParseICMPv4(%x): got %v", b, r)
	}
	if v.Type() != ICMPv4Echo || v.Code() != 0 || v.Checksum() != 0xe5ca || v.EchoID() != 0x1234 || v.EchoSeq() != 1 || !bytes.Equal(v.Body(), b[8:]) {
		t.Errorf("got type %d, code %d, checksum %04x, ID %x, seq %d, body %x", v.Type(), v.Code(), v.Checksum(), v.EchoID(), v.EchoSeq(), v.Body())
	}
	putChecksum(b, 2, Sum(0).AddUint16(^uint16(0xe5ca)))
	if !v.ChecksumOK() || !v.IsEcho() || v.IsError() {
		t.Errorf("checksum %v, echo %v, error %v", v.ChecksumOK(), v.IsEcho(), v.IsError())
	}
	b[9]++
	if v.ChecksumOK() {
		t.Error("a changed byte keeps the checksum right")
	}
	wantPrefixes(t, b, ICMPLen, func(b []byte) Reason { _, r := ParseICMPv4(b); return r })
}

func TestParseICMPv6(t *testing.T) {
	b := unhex(t, "02 00 0000 00000578 616263")
	v, r := ParseICMPv6(b)
	if r != ReasonNone {
		t.Fatalf("ParseICMPv6(%x): got %v", b, r)
	}
	if v.Type() != ICMPv6PacketTooBig || v.Code() != 0 || v.MTU() != 1400 || !v.IsError() || v.IsEcho() || !bytes.Equal(v.Body(), b[8:]) {
		t.Errorf("got type %d, code %d, MTU %d, error %v, body %x", v.Type(), v.Code(), v.MTU(), v.IsError(), v.Body())
	}
	src, dst := client6.As16(), server6.As16()
	putChecksum(b, 2, PseudoSum6(src, dst, ProtoICMPv6, len(b)))
	if v.Checksum() == 0 || !v.ChecksumOK(src, dst) || v.ChecksumOK(src, src) {
		t.Errorf("checksum %04x: right %v, with another address %v", v.Checksum(), v.ChecksumOK(src, dst), v.ChecksumOK(src, src))
	}
	wantPrefixes(t, b, ICMPLen, func(b []byte) Reason { _, r := ParseICMPv6(b); return r })
	if _, r := ParseICMPv6(b[:7]); r != ReasonICMP6Truncated {
		t.Errorf("7 bytes: got %v, want %v", r, ReasonICMP6Truncated)
	}
	b[0], b[4], b[5], b[6], b[7] = ICMPv6Echo, 1, 2, 3, 4
	if !v.IsEcho() || v.IsError() || v.EchoID() != 0x0102 || v.EchoSeq() != 0x0304 {
		t.Errorf("echo %v, error %v, ID %x, seq %x", v.IsEcho(), v.IsError(), v.EchoID(), v.EchoSeq())
	}
}

func TestICMPErrorTypes(t *testing.T) {
	errors4 := map[uint8]bool{3: true, 4: true, 5: true, 11: true, 12: true}
	for i := range 256 {
		b := make([]byte, ICMPLen)
		b[0] = uint8(i)
		v4, _ := ParseICMPv4(b)
		v6, _ := ParseICMPv6(b)
		if v4.IsError() != errors4[uint8(i)] || v6.IsError() != (i < 128) {
			t.Errorf("type %d: error in IPv4 %v, in IPv6 %v", i, v4.IsError(), v6.IsError())
		}
	}
}

func TestEncodeEcho(t *testing.T) {
	var o Out
	o.SetIPv4(IPv4{TTL: 64, Src: client4, Dst: server4})
	o.SetICMPv4(ICMPv4{Type: ICMPv4Echo, ID: 0x1234, Seq: 1, MTU: 9})
	o.SetPayload([]byte("abc"))
	want := unhex(t, "08 00 0000 1234 0001 616263")
	putChecksum(want, 2, 0)
	b := emit(t, &o)
	if got := b[IPv4MinLen:]; !bytes.Equal(got, want) || Protocol(b[9]) != ProtoICMP {
		t.Errorf("IPv4: got %x, want %x", got, want)
	}
	o.Reset()
	o.SetIPv6(IPv6{HopLimit: 64, Src: client6, Dst: server6})
	o.SetICMPv6(ICMPv6{Type: ICMPv6Echo, ID: 0x1234, Seq: 1, MTU: 9})
	o.SetPayload([]byte("abc"))
	want = unhex(t, "80 00 0000 1234 0001 616263")
	putChecksum(want, 2, PseudoSum6(client6.As16(), server6.As16(), ProtoICMPv6, len(want)))
	b = emit(t, &o)
	if got := b[IPv6Len:]; !bytes.Equal(got, want) || Protocol(b[6]) != ProtoICMPv6 {
		t.Errorf("IPv6: got %x, want %x", got, want)
	}
	p := parse(t, LinkRawIP, b)
	if r := p.VerifyChecksums(true); r != ReasonNone || !p.Has(HasICMPv6) || p.IsICMPError() {
		t.Errorf("parsed: %v, layers %v", r, p.Layers())
	}
}

func TestICMPOfTheOtherFamily(t *testing.T) {
	p := parse(t, LinkRawIP, unhex(t, "45 00 0015 0000 4000 40 3a 0000 c0000201 c6336402 80"))
	if p.Has(hasL4) || p.Proto() != ProtoICMPv6 || p.VerifyChecksums(true) != ReasonIPChecksum {
		t.Errorf("ICMPv6 on IPv4: layers %v, protocol %v", p.Layers(), p.Proto())
	}
	p = parse(t, LinkRawIP, unhex(t, "60000000 0001 01 40"+ip6Addrs+"08"))
	if p.Has(hasL4) || p.Proto() != ProtoICMP || p.VerifyChecksums(true) != ReasonNone {
		t.Errorf("ICMPv4 on IPv6: layers %v, protocol %v", p.Layers(), p.Proto())
	}
}

func TestICMPStrings(t *testing.T) {
	q4, q6 := tcpQuote4(), udpQuote6()
	for want, got := range map[string]string{
		"ICMP type=8 code=0 id=1 seq=2": ICMPv4{Type: 8, ID: 1, Seq: 2}.String(),
		"ICMP type=3 code=4 mtu=1400 about (192.0.2.1:40000 > 198.51.100.2:80 TCP seq=7)":   ICMPv4{Type: 3, Code: 4, MTU: 1400, HasQuote: true, Quote: q4}.String(),
		"ICMPv6 type=129 code=0 id=1 seq=2":                                                 ICMPv6{Type: 129, ID: 1, Seq: 2}.String(),
		"ICMPv6 type=2 code=0 mtu=1280 about ([2001:db8::1]:5353 > [2001:db8:1::2]:53 UDP)": ICMPv6{Type: 2, MTU: 1280, HasQuote: true, Quote: q6}.String(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
