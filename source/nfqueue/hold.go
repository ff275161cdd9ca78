package nfqueue

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// Held is a packet that waits in a queue for a verdict which may come later, and
// after those of others.
type Held struct {
	// Data is the packet from its IP header on; it is lent for the call.
	Data []byte
	// Mark is the packet's.
	Mark uint32
	id   uint32
	q    *queue
}

// Hold hands over the packets of a source with one queue, until ctx is done. Each
// has to get Accept or Drop once, now or later, from any goroutine; what has none
// when the queue is closed is dropped.
func (s *Source) Hold(ctx context.Context, take func(Held)) error {
	if len(s.queues) != 1 {
		return fmt.Errorf("nfqueue: hold: %d queues, want one", len(s.queues))
	}
	q := s.queues[0]
	var done atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		done.Store(true)
		// The eventfd is full only where it wakes already.
		_, _ = unix.Write(q.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer stop()
	for !done.Load() {
		n, err := q.receive()
		if err != nil {
			return fmt.Errorf("nfqueue %d: receive: %w", q.number, err)
		}
		for i := range q.collect(n, q.now()) {
			f := &q.frames[i]
			q.received.Add(1)
			take(Held{f.Data, f.Mark, f.ID, q})
		}
		if n > 0 {
			continue
		}
		if err := q.wait(); err != nil {
			return fmt.Errorf("nfqueue %d: wait: %w", q.number, err)
		}
	}
	return nil
}

// Accept lets the packet go on; its mark gets value in the bits of mask.
func (h *Held) Accept(value, mask uint32) {
	var b [verdictRoom]byte
	f := ppf.Frame{ID: h.id, Action: ppf.Accept, Mark: h.Mark, Judged: mask != 0}
	h.q.sent.Add(1)
	if err := h.q.verdict(putVerdict(b[:], h.q.number, &f, mask, value)); err != nil {
		h.q.sent.Add(^uint64(0))
		h.Drop()
	}
}

// Drop ends the packet.
func (h *Held) Drop() {
	if h.q.drop(h.id) != nil {
		h.q.verdictErrors.Add(1) // the packet stays until the queue is closed
	}
}
