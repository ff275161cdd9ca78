package tcp

import (
	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// icmpError builds an ICMP error about a connection anew. One that the peer
// itself sent comes from the address under which the receiver knows the peer.
func (t *Tracker) icmpError(x *ppf.Exchange) ppf.Verdict {
	src := x.In.Src()
	if t.translator != nil && x.Quote != nil && src == x.Quote.Dst() {
		quoted := x.QuotedKey()
		src = quoted.DstAddr()
	}
	if x.Conn == nil || x.Quote == nil || x.Quote.Proto != packet.ProtoTCP {
		return ip.Error(x, packet.ProtoTCP, src)
	}
	q, from, h := *x.Quote, x.Dir.Other(), t.store.histories.Of(x.Conn)
	q.Seq -= h.offset[from].seq // the sender knows what it sent
	if !ip.OwnError(x) && !x.Instance.Half() && !h.onItsWay(from, q.Seq) {
		return x.Refuse(ReasonQuoted, uint64(q.Seq))
	}
	return ip.ErrorQuoting(x, q, src)
}

// onItsWay says whether a segment of flow d that begins with a number may be on
// its way: an error about any other comes from one who does not see the connection
// (RFC 5927 §4.1). Bare acknowledgments begin behind all data, and keep-alives with
// a byte that is acknowledged.
func (h *History) onItsWay(d ppf.Dir, seq packet.Seq) bool {
	from, to := &h.side[d], &h.side[d.Other()]
	switch {
	case !from.seen:
		return !h.fromStart
	case seq.After(h.sentBy(from)):
		return false
	case to.acks:
		return !seq.Before(to.acked - 1)
	}
	return !h.fromStart || !seq.Before(from.iss)
}
