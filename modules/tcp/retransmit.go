package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// kept is what is known of one direction's stream, so that each byte of it has
// one value however often it is sent. All numbers are its sender's own.
type kept struct {
	ring  uint32     // of Store, 0: all that was sent is acknowledged
	floor packet.Seq // what the receiver waits for
	fin   packet.Seq // the number of the FIN
	last  byte       // the one before floor; 0 in the SYN's place
	flags keptFlags
}

type keptFlags uint8

const (
	floorKnown keptFlags = 1 << iota
	finKnown
	lastKnown
)

// retain lets each byte of a stream have one value: what the first segment with
// it said. What was not yet acknowledged is kept, and what comes again is
// compared with it; bytes that the receiver has acknowledged, and needs no more,
// are cut off where nobody knows them any more.
func (t *Tracker) retain(x *ppf.Exchange, h *History, s *segment, peer State) (ppf.Verdict, bool) {
	k := &h.kept[x.Dir]
	// Nothing of what is signed could be sent in another form, and its receiver knows
	// whether its sender has said it.
	if t.retransmit == RetransmitTrust || h.signed {
		t.forget(h) // the settings may have changed
		return ppf.Verdict{}, false
	}
	switch from := &h.side[x.Dir]; s.ev {
	case evSyn, evSynAck:
		if !from.seen || s.seq != from.iss && (s.ev == evSynAck || peer == Silent) {
			t.store.drop(&k.ring)
			*k = kept{floor: s.seq.Add(1), flags: floorKnown | lastKnown}
		}
		return t.retainSyn(x, h, k, s, peer)
	case evRst:
		return ppf.Verdict{}, false
	}
	if k.probe(x, s) {
		return ppf.Verdict{}, false
	}
	end := s.seq.Add(uint32(len(x.Out.Payload())))
	if t.contradicts(k, s, end) {
		return h.refuse(x, ReasonFin, uint64(end), s, peer), true
	}
	if end != s.seq {
		if v, stop := t.compare(x, h, k, s, peer); stop {
			return v, true
		}
	}
	if s.ev == evFin {
		k.fin, k.flags = end, k.flags|finKnown
	}
	return ppf.Verdict{}, false
}

// retainSyn handles the data of a SYN (RFC 7413), which stands behind it. When
// the SYN comes again after some of it was acknowledged none of it is needed.
func (t *Tracker) retainSyn(x *ppf.Exchange, h *History, k *kept, s *segment, peer State) (ppf.Verdict, bool) {
	first := s.seq.Add(1)
	switch {
	case s.length == 0:
		return ppf.Verdict{}, false
	case k.floor != first:
		s.length = 0
		x.Out.SetPayload(nil)
		return ppf.Verdict{}, false
	}
	syn := s.seq
	s.seq = first
	v, stop := t.compare(x, h, k, s, peer)
	s.seq = syn
	return v, stop
}

// contradicts says whether a segment lets the stream end at another place than
// before, or goes on behind its end.
func (t *Tracker) contradicts(k *kept, s *segment, end packet.Seq) bool {
	if k.flags&finKnown != 0 {
		return end != s.seq && end.After(k.fin) || s.ev == evFin && end != k.fin
	}
	if s.ev != evFin {
		return false
	}
	// An acknowledgment may come from behind a FIN that was lost: only data counts.
	if r := t.store.ring(k.ring); r != nil {
		return end.Before(r.hi)
	}
	if k.flags&lastKnown == 0 { // the last may have been this FIN
		end++
	}
	return k.flags&floorKnown != 0 && end.Before(k.floor)
}

// compare compares a segment's data with what is kept and keeps what is new.
func (t *Tracker) compare(x *ppf.Exchange, h *History, k *kept, s *segment, peer State) (ppf.Verdict, bool) {
	r := t.store.ring(k.ring)
	lo, hi := s.seq, s.seq // of what is kept after this
	switch {
	case r != nil:
		lo, hi = r.lo, r.hi
		if k.flags&floorKnown == 0 {
			lo = earlier(lo, s.seq)
		} else if k.floor.Before(lo) { // where the connection's start was not seen
			lo = earlier(lo, later(s.seq, k.floor))
		}
	case k.flags&floorKnown != 0:
		lo, hi = k.floor, k.floor
	}
	payload := x.Out.Payload()
	if s.seq.Before(lo) {
		if payload = s.skip(x, min(int(lo.Diff(s.seq)), len(payload))); len(payload) == 0 {
			return ppf.Verdict{}, false
		}
	}
	if r == nil {
		k.ring = t.store.newRing(lo, t.budget)
		r = t.store.ring(k.ring)
	} else if seq, b := r.clip(s.seq, payload); !r.same(seq, b) {
		if t.retransmit == RetransmitVerify {
			return h.refuse(x, ReasonRetransmit, uint64(s.seq), s, peer), true
		}
		if v, stop := x.Finding(ReasonRewritten, uint64(s.seq)); stop {
			return v, true
		}
		payload = x.Keep(payload)
		r.correct(r.clip(s.seq, payload))
		x.Out.SetPayload(payload)
	}
	next := later(hi, s.seq.Add(uint32(len(payload))))
	if !t.room(h, x.Dir, lo, next) {
		if r.lo == r.hi {
			t.store.drop(&k.ring)
		}
		return h.refuse(x, ReasonRetransmitMemory, uint64(len(payload)), s, peer), true
	}
	r.widen(lo, next)
	r.put(t.store, s.seq, payload)
	return ppf.Verdict{}, false
}

// room takes the memory for the ring of flow d to span from lo to hi. What lies
// between is paid for when something behind it comes, so that it always may come.
func (t *Tracker) room(h *History, d ppf.Dir, lo, hi packet.Seq) bool {
	had, own := 0, 0
	for flow := range h.kept {
		r := t.store.ring(h.kept[flow].ring)
		if r == nil {
			continue
		}
		n := spans(r.lo, r.hi)
		if r.budget != t.budget { // the settings have changed
			r.budget.give(n)
			t.budget.used.Add(int64(n))
			r.budget = t.budget
		}
		if own += n; ppf.Dir(flow) == d {
			had = n
		}
	}
	n := spans(lo, hi) - had
	return n <= 0 || t.budget.take(n, own)
}

// skip takes n bytes off the front of a segment's data and gives the rest. Where
// nothing is left the segment keeps its number: its receiver answers it as an old
// one.
func (s *segment) skip(x *ppf.Exchange, n int) []byte {
	rest := x.Out.Payload()[n:]
	x.Out.SetPayload(rest)
	if s.length -= uint32(n); s.length > 0 {
		s.seq = s.seq.Add(uint32(n))
	}
	return rest
}

// probe handles the byte that some hosts send to see whether the other side is
// still there: it stands before what the receiver waits for, and may be anything
// (RFC 1122 §4.2.3.6). It becomes the one that was there.
func (k *kept) probe(x *ppf.Exchange, s *segment) bool {
	b := x.Out.Payload()
	if len(b) != 1 || s.ev != evAck || k.flags&floorKnown == 0 || s.seq.Add(1) != k.floor {
		return false
	}
	switch {
	case k.flags&lastKnown == 0:
		s.skip(x, 1)
	case b[0] != k.last:
		x.Out.SetPayload(allBytes[k.last:][:1])
	}
	return true
}

// allBytes has each byte at its value.
var allBytes = func() (b [256]byte) {
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

// release forgets what the receiver of flow d has acknowledged.
func (t *Tracker) release(h *History, d ppf.Dir) {
	k, to := &h.kept[d], &h.side[d.Other()]
	if !to.acks || k.flags&floorKnown != 0 && !to.acked.After(k.floor) {
		return
	}
	k.floor, k.flags = to.acked, k.flags&^lastKnown|floorKnown
	r := t.store.ring(k.ring)
	if r == nil {
		return
	}
	if n := k.floor - 1; !n.Before(r.lo) && n.Before(r.hi) {
		if b, _ := r.known(n, 1); b != nil {
			k.last, k.flags = b[0], k.flags|lastKnown
		}
	}
	if k.floor.Before(r.hi) {
		r.cut(t.store, k.floor)
	} else {
		t.store.drop(&k.ring)
	}
}

// forget gives back what is kept of a connection.
func (t *Tracker) forget(h *History) {
	for d := range h.kept {
		t.store.drop(&h.kept[d].ring)
		h.kept[d] = kept{}
	}
}

func earlier(a, b packet.Seq) packet.Seq {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b packet.Seq) packet.Seq {
	if a.After(b) {
		return a
	}
	return b
}
