package tcp

import (
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// offers are what a SYN offers and both sides have to offer before one uses it.
type offers uint8

const (
	offerSACK offers = 1 << iota
	offerStamps
	offerECN
)

// offersOf reads the offers of a SYN or SYN-ACK. ECN is offered with two bits and
// accepted with one of them (RFC 3168 §6.1.1).
func offersOf(h *packet.TCP) (o offers) {
	if h.Options.Has&packet.OptSACKPermitted != 0 {
		o |= offerSACK
	}
	if h.Options.Has&packet.OptTimestamps != 0 {
		o |= offerStamps
	}
	if h.Flags&packet.ECE != 0 {
		o |= offerECN
	}
	return o
}

// stamps are the timestamps of one side.
type stamps struct {
	latest, echo uint32 // the highest of its own, and what it echoed last
	recent       uint32 // what its peer compares with (RFC 7323 §4.3, TS.Recent)
	at           int64  // when that was, in nanoseconds since 1970
	seen         bool
}

// stampLife is how long a timestamp can be compared: half of its numbers pass in
// 24 days at the fastest clock (RFC 7323 §5.5).
const stampLife = int64(24 * 24 * time.Hour)

// pawsSlack is how much older than the last one a timestamp may be; Linux lets it
// be one tick (include/net/tcp.h, TCP_PAWS_WINDOW).
const pawsSlack = 1

// note takes over the timestamps of a segment that passes; next says that it
// begins at or before what its receiver waits for.
func (t *stamps) note(s *segment, next bool, now int64) {
	o := &s.header.Options
	if o.Has&packet.OptTimestamps == 0 {
		return
	}
	old := !t.seen || now-t.at > stampLife
	if old || int32(o.TSVal-t.latest) > 0 {
		t.latest = o.TSVal
	}
	if old || next && int32(o.TSVal-t.recent) >= 0 {
		t.recent, t.at = o.TSVal, now
	}
	t.echo, t.seen = o.TSEcr, true
}

// agree leaves out of a segment of flow d what the two sides have not agreed on,
// and gives a keep-alive its missing timestamp. Where the connection's start was
// not seen everything may be agreed.
func (h *History) agree(x *ppf.Exchange, s *segment) (ppf.Verdict, bool) {
	if !h.fromStart || s.ev == evSyn || s.ev == evSynAck {
		return ppf.Verdict{}, false
	}
	from, to := &h.side[x.Dir], &h.side[x.Dir.Other()]
	agreed := from.offers & to.offers
	o := &s.header.Options
	var extra packet.TCPOptionSet
	if agreed&offerSACK == 0 {
		extra |= o.Has & packet.OptSACK
	}
	if agreed&offerStamps == 0 {
		extra |= o.Has & packet.OptTimestamps
	}
	if extra != 0 {
		if v, stop := x.Finding(ReasonNotAgreed, uint64(extra)); stop {
			return v, true
		}
		o.Has &^= extra
	}
	if bits := s.header.Flags & (packet.ECE | packet.CWR); bits != 0 && agreed&offerECN == 0 {
		if v, stop := x.Finding(ReasonECN, uint64(bits)); stop {
			return v, true
		}
		s.header.Flags &^= bits
	}
	keepAlive := s.ev == evAck && s.length <= 1 && from.seen && s.seq.Before(from.end)
	if keepAlive && agreed&offerStamps != 0 && o.Has&(packet.OptTimestamps|packet.OptSACK) == 0 && from.stamps.seen {
		if v, stop := x.Finding(ReasonStampAdded, 0); stop {
			return v, true
		}
		o.Has |= packet.OptTimestamps
		o.TSVal, o.TSEcr = from.stamps.latest, from.stamps.echo
	}
	return ppf.Verdict{}, false
}

// checkOptions tells what is wrong with what the options of a segment of flow d
// say, and the value.
func (h *History) checkOptions(d ppf.Dir, s *segment, now int64) (ppf.Reason, uint32) {
	from, to := &h.side[d], &h.side[d.Other()]
	o := &s.header.Options
	if o.Has&packet.OptSACK != 0 {
		for _, b := range o.SACK[:o.NumSACK] {
			// One below the acknowledgment tells of what came twice (RFC 2883 §4).
			if !b.Left.Before(b.Right) || to.seen && b.Right.After(h.sentBy(to)) {
				return ReasonSACK, uint32(b.Right)
			}
		}
	}
	if o.Has&packet.OptTimestamps == 0 || s.ev != evAck && s.ev != evFin {
		return packet.ReasonNone, 0
	}
	if t := &from.stamps; t.seen && now-t.at <= stampLife && int32(o.TSVal-t.recent) < -pawsSlack {
		return ReasonPAWS, o.TSVal
	}
	if t := &to.stamps; h.fromStart && t.seen && o.TSEcr != 0 && int32(o.TSEcr-t.latest) > 0 {
		return ReasonEcho, o.TSEcr
	}
	return packet.ReasonNone, 0
}
