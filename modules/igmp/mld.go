package igmp

import (
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Types of multicast listener discovery (IANA "ICMPv6 type Numbers").
const (
	mldQuery    = 130
	mldReport   = 131
	mldDone     = 132
	mldReportV2 = 143
)

// groupLen is the length of the group behind the fixed part of all but the reports
// of the second version.
const groupLen = 16

// The groups that messages go to which are not about a group (RFC 3810 §5.1.15,
// §5.2.14; RFC 2710 §5).
var (
	allNodes6   = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 1})
	allRouters6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 2})
	reports6    = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 0x16})
)

// listener6 is the processor of `mld`.
type listener6 struct{}

// Process handles multicast listener discovery; other packets it hands on.
func (listener6) Process(x *ppf.Exchange) ppf.Verdict {
	b := x.In.L4()
	if !x.In.Has(packet.HasIPv6) || x.In.Proto() != packet.ProtoICMPv6 || len(b) == 0 || !isMLD(b[0]) || x.In.Ext().Fragment.Offset != 0 {
		return ppf.Verdict{Action: ppf.Accept}
	}
	h := x.In.IPv6()
	if !x.In.Has(packet.HasICMPv6) || h.HopLimit() != linkTTL || !onlyHopByHop(x.In.Ext()) {
		return x.Refuse(v6.origin, uint64(h.HopLimit()))
	}
	if v, stop := ip.Verify(x); stop {
		return v
	}
	src := x.In.Src()
	if !src.IsLinkLocalUnicast() && (!src.IsUnspecified() || b[0] == mldQuery) {
		return x.Refuse(v6.source, low(src))
	}
	in := x.In.ICMPv6()
	out := packet.ICMPv6{Type: in.Type(), ID: binary.BigEndian.Uint16(b[4:])}
	used, to, r := judge6(b[packet.ICMPLen:], &out, int(binary.BigEndian.Uint16(b[6:])))
	if in.Code() != 0 {
		r = v6.typ
	}
	if r != packet.ReasonNone {
		return x.Refuse(r, uint64(in.Type()))
	}
	dst := x.In.Dst()
	if dst != to || !toGroup(x, dst) {
		return x.Refuse(v6.destination, low(dst))
	}
	body := b[packet.ICMPLen:]
	if used < len(body) {
		if v, stop := x.Finding(v6.trailing, uint64(len(body)-used)); stop {
			return v
		}
	}
	x.Out.SetIPv6(packet.IPv6{
		TrafficClass: h.TrafficClass(), FlowLabel: h.FlowLabel(), HopLimit: linkTTL, Headers: packet.ListenerAlert, Src: src, Dst: dst,
	})
	x.Out.SetICMPv6(out)
	x.Out.SetPayload(body[:used])
	return ppf.Verdict{Action: ppf.Accept}
}

func isMLD(typ byte) bool { return typ >= mldQuery && typ <= mldDone || typ == mldReportV2 }

// onlyHopByHop reports whether there is no extension header but the one that bears
// the router alert, which is written anew.
func onlyHopByHop(e *packet.IPv6Extensions) bool {
	return e.Len() == 0 || e.Len() == 1 && e.At(0).Protocol == packet.ProtoHopByHop
}

// judge6 checks a message by its type; body is what follows the fixed part, and
// number the second half of that. It gives how much of body belongs to the message,
// and the group that it has to go to.
func judge6(body []byte, out *packet.ICMPv6, number int) (used int, to netip.Addr, r ppf.Reason) {
	if out.Type == mldReportV2 {
		out.ID, out.Seq = 0, uint16(number) // the first half is reserved
		n, ok := family6.records(body, number)
		if !ok {
			return 0, to, v6.records
		}
		return n, reports6, packet.ReasonNone
	}
	if len(body) < groupLen {
		return 0, to, v6.version
	}
	group := family6.addr(body[:groupLen])
	switch {
	case out.Type == mldQuery && group.IsUnspecified():
		to = allNodes6
	case !group.IsMulticast():
		return 0, to, v6.group
	case out.Type == mldDone:
		to = allRouters6
	default:
		to = group
	}
	if out.Type != mldQuery {
		out.ID = 0 // the delay means something in a query only
		return groupLen, to, packet.ReasonNone
	}
	if len(body) == groupLen {
		return groupLen, to, packet.ReasonNone
	}
	if len(body) < groupLen+queryLen {
		return 0, to, v6.version
	}
	n, ok := family6.query(body[groupLen:])
	if !ok || group.IsUnspecified() && n > queryLen {
		return 0, to, v6.records
	}
	return groupLen + n, to, packet.ReasonNone
}

// low gives the lower half of an address as a value to show.
func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}
