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

// builder collects the matches of one rule.
type builder struct{ r rule }

const (
	reg = 1 // the 16-byte register that every match loads
	// The fields of a concatenation follow in 4-byte registers.
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

func (b *builder) cmp(op expr.CmpOp, data []byte) *builder {
	return b.add(&expr.Cmp{Op: op, Register: reg, Data: data})
}

// family restricts the rule to one IP version.
func (b *builder) family(v6 bool) *builder {
	name, n := "ipv4", byte(unix.NFPROTO_IPV4)
	if v6 {
		name, n = "ipv6", unix.NFPROTO_IPV6
	}
	return b.say("meta nfproto %s", name).add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}).cmp(expr.CmpOpEq, []byte{n})
}

// protocol restricts the rule to an upper-layer protocol.
func (b *builder) protocol(p packet.Protocol, not bool) *builder {
	return b.say("meta l4proto%s %d", notText(not), uint8(p)).
		add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).cmp(eq(not), []byte{byte(p)})
}

func notText(not bool) string {
	if not {
		return " !="
	}
	return ""
}

func eq(not bool) expr.CmpOp {
	if not {
		return expr.CmpOpNeq
	}
	return expr.CmpOpEq
}

// addrField is where an address stands.
type addrField struct {
	name string
	base expr.PayloadBase
	v4   uint32
	v6   uint32
}

var (
	fieldSrc = addrField{"saddr", expr.PayloadBaseNetworkHeader, 12, 8}
	fieldDst = addrField{"daddr", expr.PayloadBaseNetworkHeader, 16, 24}
	// What an ICMP error quotes starts 8 bytes into its header.
	fieldQuotedSrc = addrField{"quoted saddr", expr.PayloadBaseTransportHeader, 8 + 12, 8 + 8}
	fieldQuotedDst = addrField{"quoted daddr", expr.PayloadBaseTransportHeader, 8 + 16, 8 + 24}
)

func (f addrField) load(v6 bool, register uint32) expr.Any {
	if v6 {
		return &expr.Payload{DestRegister: register, Base: f.base, Offset: f.v6, Len: 16}
	}
	return &expr.Payload{DestRegister: register, Base: f.base, Offset: f.v4, Len: 4}
}

func (f addrField) text(v6 bool) string {
	if v6 {
		return "ip6 " + f.name
	}
	return "ip " + f.name
}

// addr restricts the rule to a network of its family.
func (b *builder) addr(f addrField, p netip.Prefix, not bool) *builder {
	v6 := !p.Addr().Is4()
	b.say("%s%s %v", f.text(v6), notText(not), p).add(f.load(v6, reg))
	if !p.IsSingleIP() {
		bits := make([]byte, p.Addr().BitLen()/8)
		for i := range p.Bits() {
			bits[i/8] |= 0x80 >> (i % 8)
		}
		b.add(&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(len(bits)), Mask: bits, Xor: make([]byte, len(bits))})
	}
	return b.cmp(eq(not), p.Addr().AsSlice())
}

// port restricts the rule to a range of ports.
func (b *builder) port(source bool, r ppf.PortRange, not bool) *builder {
	name, offset := "dport", uint32(2)
	if source {
		name, offset = "sport", 0
	}
	lo, hi := binary.BigEndian.AppendUint16(nil, r.Lo), binary.BigEndian.AppendUint16(nil, r.Hi)
	return b.say("th %s%s %v", name, notText(not), r).add(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Range{Op: eq(not), Register: reg, FromData: lo, ToData: hi})
}

// device restricts the rule to an interface; a trailing '+' matches any ending.
func (b *builder) device(out bool, name string, not bool) *builder {
	word, key := "iifname", expr.MetaKeyIIFNAME
	if out {
		word, key = "oifname", expr.MetaKeyOIFNAME
	}
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	shown := name
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		data, shown = []byte(prefix), prefix+"*"
	}
	b.say("%s%s %q", word, notText(not), shown)
	if len(data) == 0 { // "+" alone: every interface
		return b
	}
	return b.add(&expr.Meta{Key: key, Register: reg}).cmp(eq(not), data)
}

// mark restricts the rule to packets of ours.
func (b *builder) mark() *builder {
	m := make([]byte, 4)
	binary.NativeEndian.PutUint32(m, Mark)
	return b.say("meta mark & %#x == %#x", Mark, Mark).add(
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: m, Xor: make([]byte, 4)}).cmp(expr.CmpOpEq, m)
}

// l4Readable matches packets whose first 4 bytes of layer 4 are there and belong
// to a header: not later fragments, not truncated ones.
func (b *builder) l4Readable() *builder {
	return b.say("th load 32 bits").add(
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: []byte{0}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: []byte{0, 0, 0, 0}})
}

// fragment4 matches parts of IPv4 packets.
func (b *builder) fragment4() *builder {
	return b.say("ip frag-off & 0x3fff != 0").add(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: []byte{0x3f, 0xff}, Xor: []byte{0, 0}}).
		cmp(expr.CmpOpNeq, []byte{0, 0})
}

// fragment6 matches IPv6 packets with a fragment header.
func (b *builder) fragment6() *builder {
	const present = 1 // NFT_EXTHDR_F_PRESENT
	return b.say("exthdr frag exists").add(
		&expr.Exthdr{DestRegister: reg, Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: present, Op: expr.ExthdrOpIpv6}).
		cmp(expr.CmpOpEq, []byte{1})
}

// extensions are ranges of next headers that are extension headers.
var extensions = [][2]packet.Protocol{
	{packet.ProtoHopByHop, packet.ProtoHopByHop}, {packet.ProtoRouting, packet.ProtoFragment}, {packet.ProtoAH, packet.ProtoAH},
	{packet.ProtoDstOpts, packet.ProtoDstOpts}, {packet.ProtoMobility, packet.ProtoMobility},
	{packet.ProtoHIP, packet.ProtoShim6}, {253, 254},
}

// icmpError restricts the rule to ICMP errors of its family, by a range of
// types.
func (b *builder) icmpError(v6 bool, from, to uint8) *builder {
	name, p := "icmp", packet.ProtoICMP
	if v6 {
		name, p = "icmpv6", packet.ProtoICMPv6
	}
	return b.protocol(p, false).say("%s type %d-%d", name, from, to).add(
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: []byte{from}, ToData: []byte{to}})
}

// second is the second field of a set's key.
type second uint8

const (
	byL4Proto    second = iota // the upper-layer protocol
	byNextHeader               // the next header of the fixed IPv6 header, which is always there
)

// lookup restricts the rule to a set: address, protocol and, where the set has
// ports, the port of the same side.
func (b *builder) lookup(s *set, f addrField, by second, source bool) *builder {
	next := uint32(reg32 + 1)
	if s.v6 {
		next = reg32 + 4
	}
	b.add(f.load(s.v6, reg32))
	text := f.text(s.v6)
	if by == byL4Proto {
		text += " . meta l4proto"
		b.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next})
	} else {
		text += " . ip6 nexthdr"
		b.add(&expr.Payload{DestRegister: next, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1})
	}
	if s.ports {
		name, offset := "dport", uint32(2)
		if source {
			name, offset = "sport", 0
		}
		text += " . th " + name
		b.add(&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2})
	}
	b.say("%s @%s", text, s.name)
	if b.r.sets == nil {
		b.r.sets = map[int]*set{}
	}
	b.r.sets[len(b.r.exprs)] = s
	return b.add(&expr.Lookup{SourceRegister: reg32})
}

// target ends the rule.
func (b *builder) target(text string, e expr.Any) rule {
	b.say("%s", text).add(e)
	return b.r
}
