package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var (
	_ ppf.ConnSaver   = (*Tracker)(nil)
	_ ppf.ConnAdopter = (*Tracker)(nil)
	_ ppf.ConnEnder   = (*Tracker)(nil)
)

// saved is History as a file has it. Limits count what is taken up anew.
type saved struct {
	FromStart, Signed bool
	Opening           savedOpening
	Side              [2]savedSide
}

// savedOpening is awaiting.
type savedOpening struct {
	On                bool
	MSS, Scale, Tries uint8
}

type savedSide struct {
	ISS, End, Acked, Edge packet.Seq
	MaxWin                uint32
	Scale                 uint8
	Scales, Seen, Acks    bool
	Offers                offers
	Latest, Echo, Recent  uint32
	At                    int64
	Stamped               bool
	Seq                   packet.Seq // offsets
	Stamp                 uint32
}

// savedKept is kept. Where data is on its way its ring follows: runs of bytes from
// Lo to Hi, each with its length doubled, and 1 added where the bytes are known
// and follow.
type savedKept struct {
	Floor, Fin packet.Seq
	Last       uint8
	Flags      keptFlags
	Ring       bool
	Lo, Hi     packet.Seq
}

// errSaved reports a connection that no tracker wrote.
var errSaved = errors.New("tcp: not the state of a connection")

// SavedForm names the form of saved and savedKept.
func (t *Tracker) SavedForm() string {
	return fmt.Sprintf("tcp 4, %d bytes", binary.Size(saved{})+2*binary.Size(savedKept{}))
}

// SaveConn writes the history of a TCP connection.
func (t *Tracker) SaveConn(c *ppf.Conn, b []byte) ([]byte, bool) {
	h := t.store.histories.Of(c)
	if t.StateName(c) == "" || t.translator != nil {
		return b, false
	}
	s := saved{FromStart: h.fromStart, Signed: h.signed, Opening: savedOpening{h.opening.on, h.opening.mss, h.opening.scale, h.opening.tries}}
	for d := range s.Side {
		p, o := &h.side[d], h.offset[d]
		s.Side[d] = savedSide{
			p.iss, p.end, p.acked, p.edge, p.maxWin, p.scale, p.scales, p.seen, p.acks, p.offers,
			p.stamps.latest, p.stamps.echo, p.stamps.recent, p.stamps.at, p.stamps.seen, o.seq, o.stamp,
		}
	}
	b, err := binary.Append(b, binary.LittleEndian, s)
	for d := 0; d < len(h.kept) && err == nil; d++ {
		b, err = t.store.saveKept(&h.kept[d], b)
	}
	return b, err == nil
}

// saveKept appends what is kept of a stream.
func (s *Store) saveKept(k *kept, b []byte) ([]byte, error) {
	to, r := savedKept{Floor: k.floor, Fin: k.fin, Last: k.last, Flags: k.flags}, s.ring(k.ring)
	if r != nil {
		to.Ring, to.Lo, to.Hi = true, r.lo, r.hi
	}
	b, err := binary.Append(b, binary.LittleEndian, to)
	if r == nil {
		return b, err
	}
	for seq := r.lo; seq != r.hi; {
		known, n := r.known(seq, int(r.hi.Diff(seq)))
		if known != nil {
			n = len(known)
			b = append(binary.LittleEndian.AppendUint32(b, uint32(n)<<1|1), known...)
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(n)<<1)
		}
		seq = seq.Add(uint32(n))
	}
	return b, err
}

// restoreKept is the inverse, and gives what follows. What there is no memory for
// under the settings of now is an error: bytes that nobody knows could come again
// as others.
func (t *Tracker) restoreKept(h *History, d ppf.Dir, b []byte) (rest []byte, err error) {
	var from savedKept
	n, err := binary.Decode(b, binary.LittleEndian, &from)
	if err != nil {
		return nil, errSaved
	}
	b = b[n:]
	k := &h.kept[d]
	*k = kept{floor: from.Floor, fin: from.Fin, last: from.Last, flags: from.Flags}
	if !from.Ring {
		return b, nil
	}
	k.ring = t.store.newRing(from.Lo, t.budget)
	r, other := t.store.ring(k.ring), t.store.ring(h.kept[d.Other()].ring)
	own := 0
	if other != nil {
		own = spans(other.lo, other.hi)
	}
	if !from.Lo.Before(from.Hi) || !t.budget.resume(spans(from.Lo, from.Hi), own) {
		return nil, errSaved
	}
	r.widen(from.Lo, from.Hi)
	for seq := from.Lo; seq != from.Hi; {
		if len(b) < 4 {
			return nil, errSaved
		}
		run := binary.LittleEndian.Uint32(b)
		b = b[4:]
		n := run >> 1
		if n == 0 || n > uint32(from.Hi.Diff(seq)) || run&1 != 0 && uint64(n) > uint64(len(b)) {
			return nil, errSaved
		}
		if run&1 != 0 {
			r.put(t.store, seq, b[:n])
			b = b[n:]
		}
		seq = seq.Add(n)
	}
	return b, nil
}

// RestoreConn is the inverse.
func (t *Tracker) RestoreConn(c *ppf.Conn, b []byte, later int64) error {
	var s saved
	n, err := binary.Decode(b, binary.LittleEndian, &s)
	if err != nil || t.StateName(c) == "" || t.translator != nil {
		return errSaved
	}
	for d := range c.Half {
		if r, sent := State(c.Half[d].Received), State(c.Half[d].Sent); r == Invalid || r >= numStates || sent >= numStates {
			return errSaved
		}
	}
	h, o := t.store.histories.Of(c), s.Opening
	if int(o.MSS) >= len(cookieMSSes) || o.Scale > noScale {
		return errSaved
	}
	h.fromStart, h.signed, h.opening = s.FromStart, s.Signed, awaiting{o.On, o.MSS, o.Scale, o.Tries}
	for d, p := range s.Side {
		if p.Scale > maxScale {
			return errSaved
		}
		h.side[d] = side{
			iss: p.ISS, end: p.End, acked: p.Acked, edge: p.Edge, maxWin: p.MaxWin, scale: p.Scale, scales: p.Scales, seen: p.Seen, acks: p.Acks,
			offers: p.Offers, stamps: stamps{latest: p.Latest, echo: p.Echo, recent: p.Recent, at: p.At + later, seen: p.Stamped},
		}
		h.offset[d] = offset{p.Seq, p.Stamp}
	}
	if err := t.restoreBytes(h, b[n:]); err != nil {
		t.forget(h)
		return err
	}
	t.count(h, c)
	return nil
}

// restoreBytes takes up what is kept of both streams.
func (t *Tracker) restoreBytes(h *History, b []byte) (err error) {
	for d := range h.kept {
		if b, err = t.restoreKept(h, ppf.Dir(d), b); err != nil {
			return err
		}
	}
	if len(b) != 0 {
		return errSaved
	}
	if t.retransmit == RetransmitTrust {
		t.forget(h)
	}
	return nil
}

// count lets the limits know of a connection that is taken up.
func (t *Tracker) count(h *History, c *ppf.Conn) {
	if t.limits != nil {
		t.limits.moved(&h.counts, c, t.phase(c))
	}
}

// ConnNote has the offsets: nothing in a packet tells them. Of a server that has not
// answered the SYN of a cookie there is none yet.
func (t *Tracker) ConnNote(c *ppf.Conn) (_ ppf.Note, ok bool) {
	h := t.store.histories.Of(c)
	return h.note(), !h.opening.on
}

func (h *History) note() (n ppf.Note) {
	for d, o := range h.offset {
		binary.LittleEndian.PutUint32(n[8*d:], uint32(o.seq))
		binary.LittleEndian.PutUint32(n[8*d+4:], o.stamp)
	}
	return n
}

// AdoptConn takes up a connection in full swing of which only the offsets are
// known.
func (t *Tracker) AdoptConn(c *ppf.Conn, n ppf.Note) (silent, giveWay time.Duration) {
	h := t.store.histories.Of(c)
	for d := range h.offset {
		h.offset[d] = offset{packet.Seq(binary.LittleEndian.Uint32(n[8*d:])), binary.LittleEndian.Uint32(n[8*d+4:])}
		c.Half[d].Received, c.Half[d].Sent = uint8(Established), uint8(Established)
	}
	t.count(h, c)
	return time.Duration(t.timeout[phaseEstablished]), time.Duration(t.evictIdle[phaseEstablished])
}

// EndConn tells both sides that a connection is over, with RSTs that have the
// number they wait for: the highest that they acknowledged, or the one behind all
// that was sent. A client whose connection a cookie opened waits for that of the
// cookie.
func (t *Tracker) EndConn(c *ppf.Conn, emit func(*packet.Out)) {
	if t.phase(c).over() {
		return
	}
	h := t.store.histories.Of(c)
	if h.opening.on {
		emit(h.farewell(c, h.offset[ppf.ServerToClient]))
	}
	for d := range h.side {
		to, from := ppf.Dir(d), ppf.Dir(d).Other()
		list := []packet.Seq{h.side[to].acked, h.side[from].end}
		if !h.side[to].acks || !h.side[from].seen || list[0] == list[1] {
			list = list[1:]
		}
		if !h.side[from].seen {
			continue
		}
		for _, seq := range list {
			key := c.Key(from)
			var out packet.Out
			ip.SetHeader(&out, key.SrcAddr(), key.DstAddr())
			out.SetTCP(packet.TCP{SrcPort: key.SrcPort, DstPort: key.DstPort, Seq: seq + h.offset[from].seq, Flags: packet.RST})
			emit(&out)
		}
	}
}
