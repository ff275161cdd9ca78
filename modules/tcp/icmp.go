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
	q := *x.Quote
	q.Seq -= t.store.histories.Of(x.Conn).offset[x.Dir.Other()].seq // the sender knows what it sent
	return ip.ErrorQuoting(x, q, src)
}
