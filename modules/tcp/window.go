package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// side is what a peer has said so far, by the segments that passed. The bounds
// follow from where we stand: nobody can send into a window of which we have not
// seen the announcement, and nobody can have got what we have not sent on (RFC
// 9293 §3.4, RFC 5961 §5).
type side struct {
	iss    packet.Seq // of its SYN
	end    packet.Seq // the number behind the highest that it sent
	acked  packet.Seq // the highest number that it acknowledged
	edge   packet.Seq // the highest end of a window that it announced
	maxWin uint32     // the largest window that it announced, in bytes
	scale  uint8      // that it offered
	scales bool       // it offered one
	seen   bool       // iss or end is known
	acks   bool       // acked and edge are known
	offers offers
	stamps stamps
}

// maxScale is the largest shift of a window (RFC 7323 §2.3), maxWindow the
// largest window there is.
const (
	maxScale  = 14
	maxWindow = 1 << 30
)

// slack is what a sender may go beyond a full window: a byte that probes it, or
// its FIN.
const slack = 1

// segment is what the checks see of a segment. What is removed of it does not
// count: data on a SYN.
type segment struct {
	ev       event
	seq, ack packet.Seq
	hasAck   bool
	length   uint32 // of its sequence space without the SYN
	header   *packet.TCP
}

// end is the number behind the segment.
func (s *segment) end() packet.Seq {
	if s.ev == evSyn || s.ev == evSynAck {
		return s.seq.Add(s.length + 1)
	}
	return s.seq.Add(s.length)
}

// check tells what is wrong with the numbers of a segment of flow d whose sender
// and receiver were in the given states before it, and the number itself.
func (h *History) check(d ppf.Dir, s *segment, own, peer State) (ppf.Reason, packet.Seq) {
	switch s.ev {
	case evSyn: // in an open connection the states refuse it
		if from := &h.side[d]; from.seen && s.seq != from.iss && peer != Silent {
			return ReasonSequence, s.seq // another one than was answered
		}
		return packet.ReasonNone, 0
	case evRst:
		return h.checkReset(d, s, own, peer)
	case evSynAck:
		return h.checkSynAck(d, s, peer)
	}
	from, to := &h.side[d], &h.side[d.Other()]
	if h.fromStart && !from.seen {
		return ReasonSequence, s.seq // it refused the connection with a RST
	}
	edge, known := to.edge, to.acks
	if !known && h.fromStart && from.seen && to.seen {
		edge, known = from.iss.Add(1+to.maxWin), true // what its SYN announced
	}
	if known {
		if s.end().After(edge.Add(slack)) {
			return ReasonSequence, s.seq
		}
		// A sender goes on at most one window beyond what is acknowledged, so what
		// it has to send again lies above this.
		if from.seen && s.end().Before(from.end-packet.Seq(to.maxWin)-slack-1) {
			return ReasonSequence, s.seq
		}
	}
	if to.seen {
		if s.ack.After(h.sentBy(to)) {
			return ReasonAck, s.ack
		}
		windowKnown := h.fromStart || from.acks
		if windowKnown && s.ack.Before(to.end-packet.Seq(from.maxWin)-slack-1) {
			return ReasonAck, s.ack
		}
	}
	return packet.ReasonNone, 0
}

// sentBy is the number behind the last that a peer can have sent: where the
// connection's start was not seen, it may have sent a window before.
func (h *History) sentBy(p *side) packet.Seq {
	if !h.fromStart {
		return p.end.Add(maxWindow)
	}
	return p.end
}

// checkSynAck wants the peer's SYN acknowledged, and its own number to stay once
// it is acknowledged. Until then a server with SYN cookies may choose another.
func (h *History) checkSynAck(d ppf.Dir, s *segment, peer State) (ppf.Reason, packet.Seq) {
	from, to := &h.side[d], &h.side[d.Other()]
	switch {
	case !h.fromStart:
	case to.seen && (s.ack.Before(to.iss.Add(1)) || s.ack.After(to.end)):
		return ReasonAck, s.ack
	case from.seen && peer != SynSent && peer != SynReceived && s.seq != from.iss:
		return ReasonSequence, s.seq
	}
	return packet.ReasonNone, 0
}

// checkReset lets a RST pass that certainly comes from one who sees the
// connection: its number is the one that the receiver waits for, or the one
// behind all that was sent (RFC 5961 §3.2). One that answers a SYN acknowledges
// it (RFC 9293 §3.10.7.3). When both sides have ended, one that answers an
// acknowledgment which was overtaken ends nothing any more.
func (h *History) checkReset(d ppf.Dir, s *segment, own, peer State) (ppf.Reason, packet.Seq) {
	from, to := &h.side[d], &h.side[d.Other()]
	switch {
	case own == Silent:
		if to.seen && (!s.hasAck || s.ack != to.end) {
			return ReasonReset, s.ack
		}
	case !from.seen && !to.acks: // nothing to compare with
	case from.seen && s.seq == from.end, to.acks && s.seq == to.acked:
	case !h.fromStart && !to.acks: // its sender may have sent more than we saw
	case own == FinSent && peer == FinSent && !s.seq.After(from.end) && !s.seq.Before(from.end-packet.Seq(to.maxWin)-slack-1):
	default:
		return ReasonReset, s.seq
	}
	return packet.ReasonNone, 0
}

// challenged says whether a refused RST lies in the receiver's window: then its
// sender is asked again.
func (h *History) challenged(d ppf.Dir, seq packet.Seq) bool {
	to := &h.side[d.Other()]
	return to.acks && seq.InWindow(to.acked, max(uint32(to.edge.Diff(to.acked)), 1))
}

// commit takes over what a segment of flow d says that passes; peer is the state
// of its receiver.
func (h *History) commit(d ppf.Dir, s *segment, peer State, now int64) {
	from, to := &h.side[d], &h.side[d.Other()]
	window := uint32(s.header.Window)
	switch s.ev {
	case evRst:
		return
	case evSyn:
		// Sent again, or by a client that has given the first one up.
		if !from.seen || peer == Silent {
			from.start(s)
		}
		from.stamps.note(s, true, now)
		return
	case evSynAck:
		if !from.seen || s.seq != from.iss {
			from.start(s)
		}
	default:
		window <<= h.shift(from, to)
		if !from.seen || s.end().After(from.end) {
			from.end, from.seen = s.end(), true
		}
	}
	from.stamps.note(s, !to.acks || !s.seq.After(to.acked), now)
	edge := s.ack.Add(window)
	if !from.acks {
		from.acked, from.edge, from.acks = s.ack, edge, true
	}
	if s.ack.After(from.acked) {
		from.acked = s.ack
	}
	if edge.After(from.edge) {
		from.edge = edge
	}
	from.maxWin = max(from.maxWin, window)
	if to.seen && s.ack.After(to.end) {
		to.end = s.ack // only where the start was not seen, or the segment passes all the same
	}
}

// start begins anew with a SYN. What is sent again may offer less than before,
// and the first may have arrived all the same: all that was offered counts.
func (p *side) start(s *segment) {
	before := *p
	*p = side{iss: s.seq, end: s.end(), maxWin: uint32(s.header.Window), seen: true, offers: offersOf(s.header)}
	if before.seen && before.iss == s.seq {
		p.offers |= before.offers
		p.scale, p.scales = before.scale, before.scales
	}
	if s.header.Options.Has&packet.OptWScale != 0 {
		p.scale, p.scales = min(s.header.Options.WScale, maxScale), true
	}
}

// shift is by how much a window of from counts: both have to offer scaling (RFC
// 7323 §2.2), and where nobody knows it may be anything.
func (h *History) shift(from, to *side) uint8 {
	switch {
	case !h.fromStart:
		return maxScale
	case from.scales && to.scales:
		return from.scale
	}
	return 0
}
