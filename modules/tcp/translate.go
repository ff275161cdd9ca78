package tcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// offset is what is added to the numbers of one side: sequence numbers, and the
// timestamps of its clock. What its peer says of them in acknowledgments, SACK
// blocks and echoes has it subtracted. History, and whatever else is kept of a
// connection, has the numbers that their owner uses.
type offset struct {
	seq   packet.Seq
	stamp uint32
}

// maxGap is how far behind a connection's last number the next one on the same
// ports may begin.
const maxGap = 1 << 30

// translate gives the sides of a new connection, begun by x with a SYN, numbers
// that nobody can guess (RFC 6528 §3). before is the connection on the same ports
// that ended, zero where there was none: where its receiver may remember it, the
// next number and clock lie behind the last ones (RFC 6191 §2).
func (h *History) translate(x *ppf.Exchange, s *segment, before *History) {
	if isSigned(&s.header.Options) || !x.MayTranslate() {
		return // a signature covers the numbers
	}
	x.Conn.Translated = true
	env := x.Env()
	for d := range h.offset {
		h.offset[d] = offset{seq: packet.Seq(env.Uint32()), stamp: env.Uint32()}
	}
	if old := &before.side[x.Dir]; old.seen {
		shown := old.end + before.offset[x.Dir].seq
		h.offset[x.Dir].seq = shown.Add(1+env.Uint32()%maxGap) - s.seq
		if old.stamps.seen {
			h.offset[x.Dir].stamp = before.offset[x.Dir].stamp
		}
	}
}

// read turns the numbers of a received segment of flow d into those of their
// owners. Behind the hook where its flow is translated its own are the receiver's
// already, and what it says of the peer's is right.
func (h *History) read(d ppf.Dir, behind bool, s *segment) {
	own, peer := h.offset[d], h.offset[d.Other()]
	if own == (offset{}) && peer == (offset{}) {
		return
	}
	o := &s.header.Options
	if behind {
		s.seq -= own.seq
		o.TSVal -= own.stamp
		return
	}
	if !s.hasAck {
		return
	}
	s.ack -= peer.seq
	s.header.Ack = s.ack
	for i := range o.SACK[:o.NumSACK] {
		o.SACK[i].Left -= peer.seq
		o.SACK[i].Right -= peer.seq
	}
	if o.TSEcr != 0 { // that echoes nothing
		o.TSEcr -= peer.stamp
	}
}

// write turns the numbers of a segment of flow d that goes on into those that its
// receiver knows.
func (h *History) write(d ppf.Dir, s *segment) {
	s.header.Seq = s.seq + h.offset[d].seq
	s.header.Options.TSVal += h.offset[d].stamp
}

// TranslatesNumbers says that connections which may be translated are.
func (t *Tracker) TranslatesNumbers() bool { return t.sequence == SequenceTranslate }

// Translation tells what is added to the sequence numbers of each side.
func (t *Tracker) Translation(c *ppf.Conn) (add [2]packet.Seq) {
	h := t.store.histories.Of(c)
	for d := range add {
		add[d] = h.offset[d].seq
	}
	return add
}
