package packet

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// rebuild sets o from the values of p, as modules do field by field: what has no
// field in o is left out. It reports false for what cannot be sent at all.
func rebuild(p *Packet, o *Out) bool {
	if p.Has(HasEthernet) {
		v := p.Ethernet()
		o.SetEthernet(Ethernet{Dst: v.Dst(), Src: v.Src(), Type: v.Type()})
	}
	if p.Has(HasVLAN) {
		v := p.VLANs()
		o.Ethernet().Type = v[len(v)-1].Type()
		tags := [MaxVLANs]VLANTag{}
		for i, v := range v {
			tags[i] = VLANTag{v.TPID(), v.PCP(), v.DEI(), v.VID()}
		}
		o.SetVLANs(tags[:len(v)]...)
	}
	o.SetPayload(p.Payload())
	switch {
	case p.Has(HasARP):
		v := p.ARP()
		o.SetARP(ARP{v.Op(), v.SenderMAC(), v.TargetMAC(), v.SenderIP(), v.TargetIP()})
		return v.Op() == ARPRequest || v.Op() == ARPReply
	case p.Has(HasIPv4):
		v := p.IPv4()
		o.SetIPv4(IPv4{
			TOS: v.TOS(), TTL: v.TTL(), Protocol: v.Protocol(), ID: v.ID(), DF: v.DF(), MF: v.MF(), FragOffset: uint16(v.FragOffset()),
			RouterAlert: p.IPv4Options()&IPOptRouterAlert != 0, Src: v.Src(), Dst: v.Dst(),
		})
		if !p.Has(hasL4) && v.Protocol() == 0 {
			return false
		}
	case p.Has(HasIPv6):
		v, ext := p.IPv6(), p.Ext()
		h := IPv6{
			TrafficClass: v.TrafficClass(), HopLimit: v.HopLimit(), NextHeader: p.Proto(), FlowLabel: v.FlowLabel(),
			HasFragment: ext.IsFragment(), Fragment: ext.Fragment, Src: v.Src(), Dst: v.Dst(),
		}
		if ext.Len() > 0 {
			h.Headers = o.NewHeaders()
			if !rebuildHeaders(p, h.Headers) {
				return false
			}
		}
		o.SetIPv6(h)
		if ext.IsFragment() && (p.Proto().IsExtension() || len(p.Payload())%8 != 0 && ext.Fragment.More) {
			return false // what remains of a fragment without its extension headers is none
		}
	default:
		t := p.Ethernet().Type()
		if v := p.VLANs(); len(v) > 0 {
			t = v[len(v)-1].Type()
		}
		return t >= minEtherType || t != 0 && int(t) == len(p.Payload())
	}
	return rebuildL4(p, o)
}

// rebuildHeaders carries over all extension headers that can be sent, and of their
// options all but those that cannot.
func rebuildHeaders(p *Packet, h *IPv6Headers) bool {
	ext := p.Ext()
	behind := false // a fragment header: what follows is a part of the first fragment only
	for i := range ext.Len() {
		e := ext.At(i)
		b := p.IPv6().Payload()[e.Offset : e.Offset+e.Len]
		to := &h.Destination
		switch e.Protocol {
		case ProtoHopByHop:
			to = &h.HopByHop
		case ProtoDstOpts:
			if i+1 < ext.Len() && ext.At(i+1).Protocol == ProtoRouting {
				to = &h.EnRoute
			}
			if behind {
				return false
			}
		case ProtoRouting:
			if known, r := h.Segments.Parse(b, p.IPv6().Dst16()); known && r != ReasonNone {
				return false
			}
			continue
		case ProtoFragment:
			behind = ext.IsFragment()
			continue
		default:
			continue
		}
		var all IPv6Options
		if all.Parse(e.Protocol, b) != ReasonNone {
			return false
		}
		for i := range all.Len() {
			if x := all.At(i); x.check(e.Protocol) == nil && !to.Add(x) {
				return false
			}
		}
	}
	return h.check(ext.IsFragment()) == nil
}

func rebuildL4(p *Packet, o *Out) bool {
	switch {
	case p.Has(HasTCP):
		v := p.TCP()
		h := TCP{
			SrcPort: v.SrcPort(), DstPort: v.DstPort(), Seq: v.Seq(), Ack: v.Ack(), Flags: v.Flags() &^ URG, Window: v.Window(),
			OptionLimit: v.HeaderLen() - TCPMinLen,
		}
		if v.ParseOptions(&h.Options) != ReasonNone {
			return false
		}
		o.SetTCP(h)
	case p.Has(HasUDP):
		o.SetUDP(UDP{p.UDP().SrcPort(), p.UDP().DstPort()})
	case p.Has(HasICMPv4):
		v := p.ICMPv4()
		h := ICMPv4{Type: v.Type(), Code: v.Code(), ID: v.EchoID(), Seq: v.EchoSeq()}
		if v.IsError() {
			q, r := v.Quoted()
			if r != ReasonNone || q.check(false) != nil {
				return false
			}
			h.HasQuote, h.Quote, h.MTU = true, q, v.MTU()
			o.SetPayload(nil)
		}
		o.SetICMPv4(h)
	case p.Has(HasICMPv6):
		v := p.ICMPv6()
		h := ICMPv6{Type: v.Type(), Code: v.Code(), ID: v.EchoID(), Seq: v.EchoSeq()}
		if v.IsError() {
			q, r := v.Quoted()
			if r != ReasonNone || q.check(true) != nil {
				return false
			}
			h.HasQuote, h.Quote, h.MTU = true, q, v.MTU()
			o.SetPayload(nil)
		}
		if v.IsND() {
			if v.ParseND(&h.ND) != ReasonNone {
				return false
			}
			h.ID, h.Seq, h.HasND = 0, 0, true
			o.SetPayload(nil)
		}
		o.SetICMPv6(h)
	}
	return true
}

// values is all of a packet that has a typed value.
type values struct {
	Ethernet Ethernet
	VLANs    []VLANTag
	ARP      *ARP
	IPv4     *IPv4
	IPv6     *IPv6
	TCP      *TCP
	UDP      *UDP
	ICMPv4   *ICMPv4
	ICMPv6   *ICMPv6
	Payload  []byte
}

// valuesOf reads the values of p by way of an Out. Differences that are meant
// are taken out: option limits, the bits of options that cannot be sent, the
// length of quotations, the MTU and identifiers of messages without them.
func valuesOf(p *Packet) (values, bool) {
	var o Out
	ok := rebuild(p, &o)
	v := values{
		VLANs: slices.Clone(o.VLANs()), ARP: o.ARP(), IPv4: o.IPv4(), IPv6: o.IPv6(), TCP: o.TCP(), UDP: o.UDP(), ICMPv4: o.ICMPv4(), ICMPv6: o.ICMPv6(),
		Payload: o.Payload(),
	}
	if len(v.Payload) == 0 {
		v.Payload = nil
	}
	if h := o.Ethernet(); h != nil {
		v.Ethernet = *h
		v.Ethernet.Type = 0
	}
	if h := v.TCP; h != nil {
		h.OptionLimit = 0
		h.Options.Has &= optSendable
	}
	if h := v.IPv6; h != nil && !h.HasFragment {
		h.Fragment = IPv6Fragment{}
	}
	if h := v.IPv6; h != nil && h.Headers != nil && h.Headers.Len() == 0 {
		h.Headers = nil
	}
	if h := v.ICMPv4; h != nil && h.HasQuote {
		h.ID, h.Seq, h.Quote.N = 0, 0, 0
		if h.Type != ICMPv4Unreachable || h.Code != ICMPv4CodeFragNeeded {
			h.MTU = 0
		}
	}
	if h := v.ICMPv6; h != nil && h.HasQuote {
		h.ID, h.Seq, h.Quote.N = 0, 0, 0
		if h.Type != ICMPv6PacketTooBig {
			h.MTU = 0
		}
	}
	if h := v.ICMPv6; h != nil {
		h.ND.Has &^= NDOptUnknown
	}
	return v, ok
}

// prefixEqual is what addrEqual is for addresses.
var prefixEqual = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// headersEqual is what addrEqual is for extension headers.
var headersEqual = cmp.Comparer(func(a, b *IPv6Headers) bool { return bytes.Equal(headersBytes(a), headersBytes(b)) })

func headersBytes(h *IPv6Headers) []byte {
	if h == nil {
		return nil
	}
	b := make([]byte, h.Len())
	return append(b, uint8(h.encode(b, ProtoTCP)))
}

// checkRebuild holds a packet to three promises: what was parsed can be built
// anew unless rebuild says otherwise; the new packet has the same values and
// right checksums; and building it once more gives the same bytes.
func checkRebuild(t tester, link LinkType, b []byte) {
	t.Helper()
	var p Packet
	if p.Parse(link, b) != ReasonNone {
		return
	}
	var o Out
	if !rebuild(&p, &o) {
		return
	}
	sent, err := tryEmit(t, &o)
	if err != nil {
		t.Fatalf("%v: Encode: %v", &p, err)
	}
	if len(sent) > len(b) {
		t.Fatalf("%v: %d bytes received, %d sent", &p, len(b), len(sent))
	}
	again := parse(t, link, sent)
	if r := again.VerifyChecksums(true); r != ReasonNone {
		t.Fatalf("%v: sent with %v", again, r)
	}
	if again.Trailing() != 0 {
		t.Fatalf("%v: %d bytes trailing", again, again.Trailing())
	}
	want, _ := valuesOf(&p)
	got, ok := valuesOf(again)
	if diff := cmp.Diff(want, got, addrEqual, prefixEqual, headersEqual); diff != "" || !ok {
		t.Fatalf("%v: -received +sent\n%s", &p, diff)
	}
	var twice Out
	rebuild(again, &twice)
	if b := emit(t, &twice); !bytes.Equal(b, sent) {
		t.Fatalf("encode after parse is no identity:\n%x\n%x", sent, b)
	}
}
