package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// builder collects the matches of one rule. A match whose bytes are not in the
// packet makes the rule not match. A match of up to 4 bytes of the transport
// header reads the payload of a later fragment instead (Linux 6.18,
// net/netfilter/nf_tables_core.c, nft_payload_fast_eval; only longer ones look at
// the offset), so such fragments must not get that far.
type builder struct{ r rule }

const (
	reg = unix.NFT_REG_1 // the 16-byte register that single matches load
	// The fields of a set's key follow each other in 4-byte registers, which
	// share their memory with those of 16 bytes.
	reg32 = unix.NFT_REG32_00
)

func (b *builder) say(format string, args ...any) *builder {
	b.r.text = append(b.r.text, fmt.Sprintf(format, args...))
	return b
}

func (b *builder) add(e ...expr.Any) *builder {
	b.r.exprs = append(b.r.exprs, e...)
	return b
}

func (b *builder) cmp(op expr.CmpOp, data ...byte) *builder {
	return b.add(&expr.Cmp{Op: op, Register: reg, Data: data})
}

func (b *builder) load(base expr.PayloadBase, offset, length uint32) *builder {
	return b.add(&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length})
}

// within compares what was loaded with an inclusive range.
func (b *builder) within(lo, hi []byte) *builder {
	if string(lo) == string(hi) {
		return b.cmp(expr.CmpOpEq, lo...)
	}
	return b.cmp(expr.CmpOpGte, lo...).cmp(expr.CmpOpLte, hi...)
}

// family restricts the rule to one IP version. In text it is left out where
// another match says it.
func (b *builder) family(v6 bool) *builder {
	n := byte(unix.NFPROTO_IPV4)
	if v6 {
		n = unix.NFPROTO_IPV6
	}
	return b.add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}).cmp(expr.CmpOpEq, n)
}

func (b *builder) sayFamily(v6 bool) *builder {
	if v6 {
		return b.say("meta nfproto ipv6")
	}
	return b.say("meta nfproto ipv4")
}

// addrField is where an address stands.
type addrField struct {
	name   string // "" where nft knows none
	base   expr.PayloadBase
	offset [2]uint32 // IPv4, IPv6
}

// quoteOffset is where an ICMP error quotes the packet it is about (RFC 792, RFC
// 4443 §3).
const quoteOffset = 8

var (
	fieldSrc       = addrField{"saddr", expr.PayloadBaseNetworkHeader, [2]uint32{12, 8}}
	fieldDst       = addrField{"daddr", expr.PayloadBaseNetworkHeader, [2]uint32{16, 24}}
	fieldQuotedSrc = addrField{"", expr.PayloadBaseTransportHeader, [2]uint32{quoteOffset + 12, quoteOffset + 8}}
	fieldQuotedDst = addrField{"", expr.PayloadBaseTransportHeader, [2]uint32{quoteOffset + 16, quoteOffset + 24}}
)

func (f addrField) payload(v6 bool, register uint32) *expr.Payload {
	p := &expr.Payload{DestRegister: register, Base: f.base, Offset: f.offset[0], Len: 4}
	if v6 {
		p.Offset, p.Len = f.offset[1], 16
	}
	return p
}

func (f addrField) text(v6 bool) string {
	switch p := f.payload(v6, reg); {
	case f.name == "":
		return fmt.Sprintf("@th,%d,%d", p.Offset*8, p.Len*8)
	case v6:
		return "ip6 " + f.name
	default:
		return "ip " + f.name
	}
}

// addr restricts the rule to a network.
func (b *builder) addr(f addrField, p netip.Prefix) {
	if p.Bits() == 0 {
		return
	}
	v6 := p.Addr().Is6()
	b.add(f.payload(v6, reg))
	if !p.IsSingleIP() {
		mask := maskOf(p)
		b.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))})
		if f.name == "" {
			b.say("%s & %#x ==", f.text(v6), mask)
		}
	}
	b.cmp(expr.CmpOpEq, p.Addr().AsSlice()...)
	switch {
	case f.name != "":
		b.say("%s %s", f.text(v6), addrText(p, false))
	case p.IsSingleIP():
		b.say("%s %#x", f.text(v6), p.Addr().AsSlice())
	default:
		b.say("%#x", p.Addr().AsSlice())
	}
}

// own restricts the rule to packets whose address in that field is one of this
// machine's (struct nft_fib, include/net/netfilter/nft_fib.h: the type of its route).
func (b *builder) own(f addrField) *builder {
	return b.say("fib %s type local", f.name).
		add(&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: f == fieldDst, FlagSADDR: f == fieldSrc}).
		cmp(expr.CmpOpEq, bits(unix.RTN_LOCAL)...)
}

// port restricts the rule to a range of ports.
func (b *builder) port(name string, offset uint32, r ppf.PortRange) *builder {
	lo, hi := portBytes(r)
	return b.say("th %s %v", name, r).load(expr.PayloadBaseTransportHeader, offset, 2).within(lo, hi)
}

// inline restricts the rule to one box.
func (b *builder) inline(s shape, x *box) *builder {
	b.family(s.v6)
	if x.src.Bits()+x.dst.Bits() == 0 {
		b.sayFamily(s.v6)
	}
	b.addr(fieldSrc, x.src)
	b.addr(fieldDst, x.dst)
	if x.protoLo == x.protoHi {
		b.say("meta l4proto %d", x.protoLo).add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, x.protoLo)
	}
	if x.sport != anyPort {
		b.port("sport", 0, x.sport)
	}
	if x.dport != anyPort {
		b.port("dport", 2, x.dport)
	}
	return b
}

// lookup restricts the rule to a set. address is read in place of the one address
// of a quoted set. byNextHeader reads the next header of the fixed IPv6 header,
// which is always there, in place of the upper-layer protocol, which is not where
// extension headers cannot be read.
func (b *builder) lookup(s *set, address *addrField, byNextHeader bool) *builder {
	b.family(s.shape.v6)
	r := uint32(reg32)
	var parts []string
	field := func(text string, e expr.Any, registers uint32) {
		parts = append(parts, text)
		b.add(e)
		r += registers
	}
	width := uint32(1)
	if s.shape.v6 {
		width = 4
	}
	src, dst := fieldSrc, fieldDst
	if address != nil {
		src, dst = *address, *address
	}
	if s.shape.src {
		field(src.text(s.shape.v6), src.payload(s.shape.v6, r), width)
	}
	if s.shape.dst {
		field(dst.text(s.shape.v6), dst.payload(s.shape.v6, r), width)
	}
	if byNextHeader {
		field("ip6 nexthdr", &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1}, 1)
	} else {
		field("meta l4proto", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r}, 1)
	}
	if s.shape.sport {
		field("th sport", &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2}, 1)
	}
	if s.shape.dport {
		field("th dport", &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, 1)
	}
	if s.quoted {
		b.sayFamily(s.shape.v6)
	}
	b.say("%s @%s", strings.Join(parts, " . "), s.name)
	return b.find(s, reg32)
}

// find looks up what was loaded.
func (b *builder) find(s *set, register uint32) *builder {
	b.r.set = s
	b.r.lookup = len(b.r.exprs)
	return b.add(&expr.Lookup{SourceRegister: register})
}

// devices restricts the rule to interfaces; "" does not restrict, and a trailing
// '+' matches any ending.
func (b *builder) devices(in, out string) *builder {
	return b.device("iifname", expr.MetaKeyIIFNAME, in).device("oifname", expr.MetaKeyOIFNAME, out)
}

func (b *builder) device(word string, key expr.MetaKey, name string) *builder {
	prefix, wild := strings.CutSuffix(name, "+")
	if prefix == "" {
		return b
	}
	data, shown := []byte(prefix), prefix+"*"
	if !wild {
		data, shown = append(data, make([]byte, max(0, unix.IFNAMSIZ-len(data)))...), name
	}
	return b.say("%s %q", word, shown).add(&expr.Meta{Key: key, Register: reg}).cmp(expr.CmpOpEq, data...)
}

// ours restricts the rule to packets with our mark.
func (b *builder) ours() *builder { return b.marked(Mark) }

// marked restricts the rule to packets that have this value in the bits of our
// mark.
func (b *builder) marked(value uint32) *builder {
	return b.say("meta mark & %#x == %#x", Mark, value).add(
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: bits(Mark), Xor: make([]byte, 4)}).cmp(expr.CmpOpEq, bits(value)...)
}

// bits gives a number as the kernel holds it.
func bits(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// portsReadable matches packets with at least the first 4 bytes of a transport
// header: every destination port is at least 0, if it is there.
func (b *builder) portsReadable() *builder {
	return b.say("th dport >= 0").load(expr.PayloadBaseTransportHeader, 2, 2).cmp(expr.CmpOpGte, 0, 0)
}

// Which fragments of IPv4 packets to match: those with an offset or more fragments
// to come, or those with an offset, which have no transport header.
const (
	wholeOffset = 0x3fff
	laterOffset = 0x1fff
)

// fragment matches parts of packets; on IPv6 those with a fragment header, also an
// atomic one (RFC 6946), whatever the mask.
func (b *builder) fragment(v6 bool, mask uint16) *builder {
	b.family(v6)
	if v6 {
		return b.sayFamily(true).say("exthdr frag exists").
			add(&expr.Exthdr{DestRegister: reg, Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6}).
			cmp(expr.CmpOpEq, 1)
	}
	return b.say("ip frag-off & %#x != 0", mask).load(expr.PayloadBaseNetworkHeader, 6, 2).
		add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: binary.BigEndian.AppendUint16(nil, mask), Xor: []byte{0, 0}}).
		cmp(expr.CmpOpNeq, 0, 0)
}

// defragment is a rule that no packet matches, since none has no length.
// While it is there the kernel puts fragments together behind this chain: that a
// tproxy statement asks for (net/netfilter/nft_tproxy.c, nft_tproxy_init), without
// the connection tracking that others ask for it with.
func (b *builder) defragment() rule {
	return b.say("meta length 0").add(&expr.Meta{Key: expr.MetaKeyLEN, Register: reg}).cmp(expr.CmpOpEq, bits(0)...).
		say("meta l4proto 6").add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, unix.IPPROTO_TCP).
		say("tproxy to :1").add(
		&expr.Immediate{Register: reg, Data: []byte{0, 1}},
		&expr.TProxy{Family: unix.NFPROTO_UNSPEC, TableFamily: unix.NFPROTO_INET, RegPort: reg}).r
}

// extensionHeaders are the next headers that are extension headers: those that
// package packet reads (RFC 7045 §4, without ESP, which is an upper layer to us)
// and the two for experiments (RFC 4727 §3.3).
var extensionHeaders = []packet.Protocol{
	packet.ProtoHopByHop, packet.ProtoRouting, packet.ProtoFragment, packet.ProtoAH, packet.ProtoDstOpts,
	packet.ProtoMobility, packet.ProtoHIP, packet.ProtoShim6, 253, 254,
}

// extended matches IPv6 packets whose fixed header is followed by an extension
// header.
func (b *builder) extended() *builder {
	list := make([]string, len(extensionHeaders))
	for i, p := range extensionHeaders {
		list[i] = fmt.Sprint(uint8(p))
	}
	return b.family(true).load(expr.PayloadBaseNetworkHeader, 6, 1).
		say("ip6 nexthdr { %s }", strings.Join(list, ", ")).find(extensionSet, reg)
}

// icmpErrors are the ranges of ICMP types that quote a packet, by IP version (RFC
// 792; RFC 4443 §2.1).
var icmpErrors = [2][][2]byte{{{3, 5}, {11, 12}}, {{1, 4}}}

// icmpError matches a range of ICMP types.
func (b *builder) icmpError(v6 bool, types [2]byte) *builder {
	name, p := "icmp", packet.ProtoICMP
	if v6 {
		name, p = "icmpv6", packet.ProtoICMPv6
	}
	return b.family(v6).say("%s type %d-%d", name, types[0], types[1]).
		add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(expr.CmpOpEq, byte(p)).
		load(expr.PayloadBaseTransportHeader, 0, 1).within(types[:1], types[1:])
}

// to ends the rule with a target.
func (b *builder) to(text string, e expr.Any) rule { return b.say("%s", text).add(e).r }

func (b *builder) jump(ch *chain) rule {
	return b.to("jump "+ch.name, &expr.Verdict{Kind: expr.VerdictJump, Chain: ch.name})
}

func (b *builder) accept() rule { return b.to("accept", &expr.Verdict{Kind: expr.VerdictAccept}) }

func (b *builder) back() rule { return b.to("return", &expr.Verdict{Kind: expr.VerdictReturn}) }
