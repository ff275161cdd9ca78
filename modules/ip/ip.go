package ip

import (
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Verify checks the IPv4 header checksum and, where the kernel says that it is
// filled in, the layer 4 checksum of x.In. A wrong one is a refusal, never a
// repair: corruption is not laundered. When stop is true v is the answer.
func Verify(x *ppf.Exchange) (v ppf.Verdict, stop bool) {
	if r := x.In.VerifyChecksums(!x.CsumNotReady()); r != packet.ReasonNone {
		return x.Refuse(r, uint64(len(x.In.Raw()))), true
	}
	return ppf.Verdict{}, false
}

// Build sets x.Out's IP header from x.In with the given addresses. DSCP, ECN,
// TTL and DF are carried over; the identification is 0 with DF (thesis A.2.2;
// RFC 6864 §4.1) and random without; options and extension headers are left
// out. Where a function before has set the header, as ip does, only the addresses
// are set. When stop is true v is the answer.
func Build(x *ppf.Exchange, src, dst netip.Addr) (v ppf.Verdict, stop bool) {
	return build(x, src, dst, &nothing)
}

func build(x *ppf.Exchange, src, dst netip.Addr, c *extensions) (v ppf.Verdict, stop bool) {
	if h := x.Out.IPv4(); h != nil && src.Is4() {
		h.Src, h.Dst = src, dst
		return ppf.Verdict{}, false
	}
	if h := x.Out.IPv6(); h != nil && src.Is6() {
		h.Src, h.Dst = src, dst
		return ppf.Verdict{}, false
	}
	if x.In.Has(packet.HasIPv6) {
		return build6(x, src, dst, c)
	}
	in := x.In.IPv4()
	if in.HeaderLen() > packet.IPv4MinLen {
		if v, stop := x.Finding(ReasonOptions, uint64(in.HeaderLen())); stop {
			return v, true
		}
	}
	if in.ReservedFlag() {
		if v, stop := x.Finding(ReasonReserved, 1); stop {
			return v, true
		}
	}
	out := packet.IPv4{TOS: in.TOS(), TTL: in.TTL(), DF: in.DF(), Src: src, Dst: dst}
	if !out.DF {
		out.ID = uint16(x.Env().Uint32())
	}
	x.Out.SetIPv4(out)
	return ppf.Verdict{}, false
}

func build6(x *ppf.Exchange, src, dst netip.Addr, c *extensions) (v ppf.Verdict, stop bool) {
	in := x.In.IPv6()
	var headers *packet.IPv6Headers
	if x.In.Ext().Len() > 0 {
		headers = x.Out.NewHeaders()
		if v, stop := c.build(x, headers); stop {
			return v, true
		}
	}
	x.Out.SetIPv6(packet.IPv6{
		TrafficClass: in.TrafficClass(), FlowLabel: in.FlowLabel(), HopLimit: in.HopLimit(), Headers: headers, Src: src, Dst: dst,
	})
	return ppf.Verdict{}, false
}

// ownTTL is the TTL and hop limit of packets that are ours from the start (RFC
// 1700, "IP option numbers").
const ownTTL = 64

// SetHeader sets the IP header of a packet that answers on behalf of src.
func SetHeader(out *packet.Out, src, dst netip.Addr) {
	if src.Is4() {
		out.SetIPv4(packet.IPv4{TTL: ownTTL, DF: true, Src: src, Dst: dst})
		return
	}
	out.SetIPv6(packet.IPv6{HopLimit: ownTTL, Src: src, Dst: dst})
}
