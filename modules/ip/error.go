package ip

import (
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in ICMP errors.
var (
	ReasonUnrelated = newReason(ppf.ReasonInfo{Name: "icmp.unrelated", Field: "icmp.quoted", RFC: "5927 §4",
		Doc:   "the ICMP error quotes no connection of this instance",
		CVE:   []string{"CVE-2020-11910"},
		Trips: "errors about connections that have just expired", Relax: "reasons: {icmp.unrelated: monitor}"})
	ReasonErrorType = newReason(ppf.ReasonInfo{Name: "icmp.type", Field: "icmp.type", RFC: "1122 §3.2.2",
		Doc: "an ICMP error of a type that nothing needs, such as redirect or source quench",
		CVE: []string{"CVE-2020-11902"}, Trips: "none known"})
	ReasonErrorNoMTU = newReason(ppf.ReasonInfo{Name: "icmp.mtu-added", Class: packet.Repaired, Field: "icmp.mtu", RFC: "1191 §5",
		Doc:   "the ICMP error of an old router does not tell the path MTU: the next common one below the length of the quoted packet is put in",
		Trips: "routers that do not know RFC 1191", Relax: "reasons: {icmp.mtu-added: repair}, where the mode is strict"})
	ReasonErrorMTU = newReason(ppf.ReasonInfo{Name: "icmp.mtu", Field: "icmp.mtu", RFC: "8899 §4.6.2",
		Doc:   "the path MTU that the ICMP error announces is below what IP guarantees, or below mtu_min",
		CVE:   []string{"CVE-2020-11910"},
		Trips: "paths narrower than mtu_min, where that is above 68", Relax: "modules: {ip: {mtu_min: 68}}"})
)

// Error builds an ICMP error about a connection of a protocol anew: who sent it,
// given as src, and what it says is carried over, what it quotes comes from the
// connection's own state, in the addresses that the receiver of the error knows.
// Errors about other protocols are handed on.
func Error(x *ppf.Exchange, about packet.Protocol, src netip.Addr) ppf.Verdict {
	switch {
	case x.Quote == nil:
		return x.Refuse(ReasonUnrelated, 0)
	case x.Quote.Proto != about:
		return ppf.Verdict{Action: ppf.Accept}
	case x.Conn == nil && !OwnError(x):
		return x.Refuse(ReasonUnrelated, uint64(about))
	}
	return ErrorQuoting(x, *x.Quote, src)
}

// ErrorQuoting is Error for an error whose connection is known, with a quotation
// in the numbers that its receiver knows.
func ErrorQuoting(x *ppf.Exchange, q packet.Quote, src netip.Addr) ppf.Verdict {
	if v, stop := Verify(x); stop {
		return v
	}
	// The flow in which the error travels leads to the sender of what is
	// quoted; that sender's own flow is the other one.
	quoted := x.QuotedKey()
	if v, stop := Build(x, src, quoted.SrcAddr()); stop {
		return v
	}
	q.SetEndpoints(netip.AddrPortFrom(quoted.SrcAddr(), quoted.SrcPort), netip.AddrPortFrom(quoted.DstAddr(), quoted.DstPort))
	if x.In.Has(packet.HasICMPv4) {
		return error4(x, q)
	}
	return error6(x, q)
}

// OwnError reports an error that this machine's kernel made itself, perhaps about
// a packet that did not come as far as our hook: a hop limit that ended here, a
// missing route.
func OwnError(x *ppf.Exchange) bool {
	return x.InDev.Index == 0 && (x.Hook == ppf.Output || x.Hook == ppf.Postrouting)
}

// minMTU4 is the smallest path MTU IPv4 knows (RFC 791 §3.2), minMTU6 that of
// IPv6 (RFC 8200 §5).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// plateaus are the MTUs of common networks, for routers that do not tell theirs (RFC
// 1191 §7.1).
var plateaus = [...]uint16{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, minMTU4}

// pathMTU is the path MTU that an error tells, or where it tells none (0) the
// plateau below the length of what it quotes: a sender that tries them one after
// the other finds the path's, which 0 would not let it. 0 is for a packet that no
// path is too narrow for.
func pathMTU(told uint16, q *packet.Quote) uint16 {
	if told != 0 || q == nil {
		return told
	}
	for _, mtu := range plateaus {
		if uint32(mtu) < packet.IPv4MinLen+uint32(q.L4Len) {
			return mtu
		}
	}
	return 0
}

func error4(x *ppf.Exchange, q packet.Quote) ppf.Verdict {
	in := x.In.ICMPv4()
	out := packet.ICMPv4{Type: in.Type(), Code: in.Code(), Quote: q, HasQuote: true}
	switch in.Type() {
	case packet.ICMPv4Unreachable:
		if in.Code() == packet.ICMPv4CodeFragNeeded {
			if out.MTU = pathMTU(in.MTU(), &q); out.MTU < minMTU4 {
				return x.Refuse(ReasonErrorMTU, uint64(out.MTU))
			}
			if in.MTU() == 0 {
				if v, stop := x.Finding(ReasonErrorNoMTU, uint64(out.MTU)); stop {
					return v
				}
			}
		}
	case packet.ICMPv4TimeExceeded:
	default:
		return x.Refuse(ReasonErrorType, uint64(in.Type()))
	}
	x.Out.SetICMPv4(out)
	return ppf.Verdict{Action: ppf.Accept}
}

func error6(x *ppf.Exchange, q packet.Quote) ppf.Verdict {
	in := x.In.ICMPv6()
	out := packet.ICMPv6{Type: in.Type(), Code: in.Code(), Quote: q, HasQuote: true}
	switch in.Type() {
	case packet.ICMPv6PacketTooBig:
		if out.MTU = in.MTU(); out.MTU < minMTU6 {
			return x.Refuse(ReasonErrorMTU, uint64(out.MTU))
		}
	case packet.ICMPv6Unreachable, packet.ICMPv6TimeExceeded:
	default:
		return x.Refuse(ReasonErrorType, uint64(in.Type()))
	}
	x.Out.SetICMPv6(out)
	return ppf.Verdict{Action: ppf.Accept}
}
