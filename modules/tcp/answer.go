package tcp

import (
	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// answer sends h back to the sender of a segment that is refused for r, within
// the rate limit. Where the segment passes all the same, as in monitor, its
// receiver answers.
func answer(x *ppf.Exchange, r ppf.Reason, h packet.TCP) {
	if !x.Drops(r) || !x.MayAnswer() {
		return
	}
	if err := reply(x, h); err != nil {
		x.Report("tcp: answer %v: %v", h.Flags, err)
	}
}

// reply sends h back to the sender of a segment.
func reply(x *ppf.Exchange, h packet.TCP) error {
	in := x.In.TCP()
	h.SrcPort, h.DstPort = in.DstPort(), in.SrcPort()
	var out packet.Out
	ip.SetHeader(&out, x.In.Dst(), x.In.Src())
	out.SetTCP(h)
	return x.Emit(&out)
}

// challenge answers a SYN or a RST in the middle of a connection as its peer
// would (RFC 5961 §3.2, §4.2): a sender that lost the connection answers with a
// RST that has the right number, and its next SYN opens a new one.
func challenge(x *ppf.Exchange, r ppf.Reason, h *History) {
	from, to := &h.side[x.Dir], &h.side[x.Dir.Other()]
	if !to.acks {
		return
	}
	seq := to.end
	if from.acks {
		seq = from.acked
	}
	seq += h.offset[x.Dir.Other()].seq
	answer(x, r, packet.TCP{Seq: seq, Ack: to.acked, Flags: packet.ACK, Window: x.Conn.Half[x.Dir.Other()].L4.Window})
}

// refuseSyn answers a SYN as a closed port would (RFC 9293 §3.10.7.1).
func refuseSyn(x *ppf.Exchange, r ppf.Reason) {
	answer(x, r, packet.TCP{Ack: x.In.TCP().Seq().Add(1), Flags: packet.RST | packet.ACK})
}

// refuseMidstream tells the sender of a segment that its connection is not
// known, so that it opens a new one at once instead of waiting (RFC 9293
// §3.10.7.1). A RST is never answered.
func refuseMidstream(x *ppf.Exchange, r ppf.Reason, ev event) {
	if ev != evRst {
		answer(x, r, packet.TCP{Seq: x.In.TCP().Ack(), Flags: packet.RST})
	}
}
