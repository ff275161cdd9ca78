package ppf

import (
	"bytes"

	"github.com/promethos/promethos/packet"
)

// MaxRun is how many packets a BatchProcessor is given at once at most. More would
// save little, and their Exchanges have to stay in a core's cache.
const MaxRun = 8

// BatchProcessor is a Processor that judges several packets in one call where that
// is cheaper than one call for each: a run, which are packets of one flow that came
// one behind the other in a batch, of one connection or of none.
type BatchProcessor interface {
	Processor
	// RunLength is how many packets it takes in a run; below 2 it is given none.
	RunLength(x *Exchange) int
	// ProcessRun is Process for each packet of a run, in order. One that makes a
	// connection for a packet gives it to those behind that have none.
	ProcessRun(run []*Exchange, verdicts []Verdict)
}

// runStep finds the function of a flow that is given runs: where all others judge
// apart, and it is the only one. -1: there is none.
func (f *flowRef) runStep(p *ProxyInstance) int {
	at := -1
	for i := range f.steps {
		s := &f.steps[i]
		_, batches := s.proc.(BatchProcessor)
		switch {
		case s.proc == nil:
			return -1
		case batches && at == -1:
			at = i
		case batches || !p.bound[s.name].Apart:
			return -1
		}
	}
	return at
}

// decideRun decides frames that one call of the flow's BatchProcessor may be about:
// the first of rest, whose Exchange is ready, and those of its flow behind it. The
// functions before that one see the packets of the run first, and those behind it
// after. It tells how many they were.
func (w *worker) decideRun(flow *flowRef, rest []Frame) int {
	first := w.x
	first.flow, first.Instance, first.Dir = flow, flow.proxy, flow.dir
	at, conn := flow.run, first.Conn
	batcher := flow.steps[at].proc.(BatchProcessor)
	run := w.run[:1]
	waiting := 0 // the first of run that wait for the batcher
	w.verdicts[0] = w.through(0, at)
	if first.goesOn(w.verdicts[0]) {
		waiting = 1
		// What comes behind a packet that opens or ends a connection, or that a
		// function further on may make one for, is judged when that is done.
		if first.steady() && first.Conn == conn && (conn != nil || at == len(flow.steps)-1) {
			limit := min(batcher.RunLength(first), len(rest), MaxRun)
			for waiting == len(run) && len(run) < limit && first.Conn == conn && w.joins(w.spare(len(run)), first, &rest[len(run)]) {
				run = w.run[:len(run)+1]
				last := len(run) - 1
				w.x = run[last]
				w.verdicts[last] = w.through(0, at)
				if w.x.Conn != conn { // the one of the others is freed
					for _, x := range run[:last] {
						x.Conn = nil
					}
				}
				if w.x.goesOn(w.verdicts[last]) {
					waiting++
				}
			}
		}
		w.judgeRun(batcher, run[:waiting], w.verdicts[:waiting])
	}
	for i, x := range run {
		w.x = x
		if x.decided {
			continue
		}
		before := x.Conn
		w.conclude(w.verdicts[i], at+1)
		if x.Conn != before {
			for _, behind := range run[i+1:] {
				if behind.Conn == before {
					behind.Conn = x.Conn
				}
			}
		}
	}
	return len(run)
}

// goesOn reports whether the functions behind the one that gave v see the packet.
func (x *Exchange) goesOn(v Verdict) bool { return v.Action == Accept && !x.decided }

// spare is the Exchange of a place in a run.
func (w *worker) spare(i int) *Exchange {
	if w.run[i] == nil {
		w.run[i] = w.newExchange()
	}
	return w.run[i]
}

// through runs functions of the packet's flow, from one place to before another. A
// panic decides the packet.
func (w *worker) through(from, to int) (v Verdict) {
	defer w.rescue()
	return w.x.walk(from, to)
}

// rescue ends what a panic in a user function ended, as a drop of its packet.
func (w *worker) rescue() {
	if fault := recover(); fault != nil {
		w.panicked(fault)
	}
}

// judgeRun gives a run to its function. A panic decides all of it.
func (w *worker) judgeRun(b BatchProcessor, run []*Exchange, verdicts []Verdict) {
	defer func() {
		if fault := recover(); fault != nil {
			for _, x := range run {
				w.x = x
				w.panicked(fault)
			}
		}
	}()
	for _, x := range run {
		x.running, x.passes = x.flow.run, x.flow.steps[x.flow.run].passes
	}
	b.ProcessRun(run, verdicts)
}

// conclude lets the functions from a place on judge a packet that goes on, and
// carries its verdict out.
func (w *worker) conclude(v Verdict, from int) {
	defer w.rescue()
	if v.Action == Accept {
		if v = w.x.walk(from, len(w.x.flow.steps)); v.Action == Accept {
			v = w.x.whole()
		}
	}
	w.finish(v)
}

// steady reports a packet of TCP or UDP that neither opens nor ends a connection,
// and came as it is.
func (x *Exchange) steady() bool {
	switch {
	case !x.hasKey || x.merged || x.Quote != nil:
		return false
	case x.In.Has(packet.HasTCP):
		tcp := x.In.TCP()
		return tcp.Flags()&(packet.SYN|packet.FIN|packet.RST) == 0
	}
	return x.In.Has(packet.HasUDP)
}

// joins makes x ready for a frame that is of the same flow as first, of its
// connection where it has one; it reports false for others.
func (w *worker) joins(x, first *Exchange, f *Frame) bool {
	of := first.frame
	if f.Hook != of.Hook || f.Link != of.Link || f.In != of.In || f.Out != of.Out || f.Wire != of.Wire || f.Time != of.Time ||
		f.WireLen > len(f.Data) || !sameTuple(f.Link, f.Data, of.Data) {
		return false
	}
	f.clear()
	x.reset(f)
	if x.In.Parse(f.Link, f.Data) != packet.ReasonNone || x.In.Has(packet.HasFragment) || x.In.Ext().HasFragment || !x.ports() {
		return false
	}
	x.hasKey = true
	if !x.steady() || x.key.SrcPort != first.In.SrcPort() || x.key.DstPort != first.In.DstPort() {
		return false
	}
	x.key, x.number, x.Conn = first.key, first.number, first.Conn
	x.flow, x.Instance, x.Dir = first.flow, first.Instance, first.Dir
	return true
}

// sameTuple compares, before anything is parsed, what says of which flow a packet
// is: link header, version, protocol and addresses.
func sameTuple(link packet.LinkType, a, b []byte) bool {
	at := 0
	if link == packet.LinkEthernet {
		at = packet.EthernetLen
	}
	if min(len(a), len(b)) < at+packet.IPv4MinLen || !bytes.Equal(a[:at+1], b[:at+1]) {
		return false
	}
	if a, b = a[at:], b[at:]; a[0]>>4 == 4 {
		return a[9] == b[9] && bytes.Equal(a[12:20], b[12:20])
	}
	return min(len(a), len(b)) >= packet.IPv6Len && a[6] == b[6] && bytes.Equal(a[8:40], b[8:40])
}
