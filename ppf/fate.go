package ppf

import "github.com/promethos/promethos/packet"

// Cause is one reason that played a part in what became of a packet.
type Cause struct {
	Reason  Reason
	Outcome Outcome
	// Value is what stood in the field that the reason names.
	Value uint64
}

// Fate is what became of one received packet: Frame says what is sent in its
// place. It is lent for one call of a follower, with everything reached through it.
type Fate struct {
	Frame *Frame
	// In is the received packet as far as it was understood.
	In *packet.Packet
	// Instance is the name of the proxy instance, "" where none matched or where
	// the packet belongs to a plugin other than PROXY.
	Instance string
	// Number is the PromethOS instance number, 0 where no rule matched.
	Number InstanceNumber
	Dir    Dir
	// Causes are repairs in the order in which they were found, and last the
	// reason of a drop; none for a packet in which nothing was wrong.
	Causes []Cause
	// Held says that the packet is a fragment that is kept until the others are
	// there. What becomes of it then is told again.
	Held bool
	// Again says that the packet was told before, as held, and of Frame only ID is
	// set: it has become part of another one, or is dropped for Causes.
	Again bool
	// Pieces is what is sent in place of Head and Body where Frame is Done.
	Pieces [][]byte
}

// Follow lets f see the fate of every packet from now on, in place of a follower
// before; nil ends it. It is called on the worker that decided, one packet at a
// time per worker, and must not block or call the engine. Where nobody follows it
// costs one load per batch.
func (e *Engine) Follow(f func(*Fate)) {
	if f == nil {
		e.follower.Store(nil)
	} else {
		e.follower.Store(&f)
	}
	e.synchronize()
}

// tell gives the last decided frame to the follower.
func (w *worker) tell(f *Frame, follower func(*Fate)) {
	x := w.x
	w.fate = Fate{Frame: f, In: x.In, Number: x.number, Dir: x.Dir, Causes: w.fate.Causes[:0], Held: x.held}
	if f.Done {
		w.fate.Pieces = w.pieces
	}
	fate := &w.fate
	if x.Instance != nil {
		fate.Instance = x.Instance.Name
	}
	for _, found := range x.found[:x.foundN] {
		fate.Causes = append(fate.Causes, Cause{found.reason, found.outcome(), found.value})
	}
	if x.dropped {
		fate.Causes = append(fate.Causes, x.cause)
	}
	follower(fate)
}

// tellAgain tells what became of the fragments of a packet that were held.
func (w *worker) tellAgain(d *datagram, r Reason) {
	follower := w.engine.follower.Load()
	if follower == nil {
		return
	}
	var in packet.Packet
	for _, e := range d.parts[:d.n] {
		fate := Fate{Frame: &Frame{ID: e.frame, Action: Drop}, In: &in, Instance: d.name, Number: d.number, Dir: d.dir, Again: true}
		if r != packet.ReasonNone {
			fate.Causes = []Cause{{r, OutcomeDrop, uint64(d.n)}}
		}
		(*follower)(&fate)
	}
}
