package tcp

import (
	"net/netip"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// icmpError builds an ICMP error about a connection anew: who sent it and what
// it says is carried over, what it quotes comes from the connection's own
// state, in the addresses that the receiver of the error knows.
func (t *Tracker) icmpError(x *ppf.Exchange) ppf.Verdict {
	if x.Quote == nil || x.Quote.Proto != packet.ProtoTCP || x.Conn == nil && !ownError(x) {
		return x.Refuse(ReasonUnrelated, 0)
	}
	if v, stop := ip.Verify(x); stop {
		return v
	}
	// The flow in which the error travels leads to the sender of what is
	// quoted; that sender's own flow is the other one.
	quoted := x.QuotedKey()
	src := x.In.Src()
	if t.translator != nil && src == x.Quote.Dst() {
		src = quoted.DstAddr()
	}
	if v, stop := ip.Build(x, src, quoted.SrcAddr()); stop {
		return v
	}
	q := *x.Quote
	q.SetEndpoints(netip.AddrPortFrom(quoted.SrcAddr(), quoted.SrcPort), netip.AddrPortFrom(quoted.DstAddr(), quoted.DstPort))
	if x.In.Has(packet.HasICMPv4) {
		return icmp4(x, q)
	}
	return icmp6(x, q)
}

// ownError reports an error that this machine's kernel made itself, about a
// packet that did not come as far as our hook: a hop limit that ended here, a
// missing route.
func ownError(x *ppf.Exchange) bool {
	return x.InDev.Index == 0 && (x.Hook == ppf.Output || x.Hook == ppf.Postrouting)
}

// minMTU4 is the smallest path MTU IPv4 knows (RFC 791 §3.2), minMTU6 that of
// IPv6 (RFC 8200 §5).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

func icmp4(x *ppf.Exchange, q packet.Quote) ppf.Verdict {
	in := x.In.ICMPv4()
	out := packet.ICMPv4{Type: in.Type(), Code: in.Code(), Quote: q, HasQuote: true}
	switch in.Type() {
	case packet.ICMPv4Unreachable:
		if in.Code() == packet.ICMPv4CodeFragNeeded {
			if out.MTU = in.MTU(); out.MTU != 0 && out.MTU < minMTU4 {
				return x.Refuse(ReasonICMPMTU, uint64(out.MTU))
			}
		}
	case packet.ICMPv4TimeExceeded:
	default:
		return x.Refuse(ReasonICMPType, uint64(in.Type()))
	}
	x.Out.SetICMPv4(out)
	return ppf.Verdict{Action: ppf.Accept}
}

func icmp6(x *ppf.Exchange, q packet.Quote) ppf.Verdict {
	in := x.In.ICMPv6()
	out := packet.ICMPv6{Type: in.Type(), Code: in.Code(), Quote: q, HasQuote: true}
	switch in.Type() {
	case packet.ICMPv6PacketTooBig:
		if out.MTU = in.MTU(); out.MTU < minMTU6 {
			return x.Refuse(ReasonICMPMTU, uint64(out.MTU))
		}
	case packet.ICMPv6Unreachable, packet.ICMPv6TimeExceeded:
	default:
		return x.Refuse(ReasonICMPType, uint64(in.Type()))
	}
	x.Out.SetICMPv6(out)
	return ppf.Verdict{Action: ppf.Accept}
}
