package ppf

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/promethos/promethos/packet"
)

// Measurement is all counters of an engine at one moment, as far as several
// workers have one.
type Measurement struct {
	Instances []InstanceMeasure
	// Unmatched are the packets that no instance matched, and what was dropped
	// before one was found.
	Unmatched       FlowMeasure
	Connections     int
	ConnectionLimit int
	// Time is how long packets took from the source's hand-over to the verdict.
	Time TimeHistogram
}

// InstanceMeasure is what one proxy instance counted.
type InstanceMeasure struct {
	Name        string
	Mode        Mode
	Connections int
	Flow        [2]FlowMeasure
	Messages    *[2]MessageCounters // nil where the chain has no stream function
	Cookies     *CookieInfo         // nil: its handshakes are those of the ends
}

// FlowMeasure is what one flow counted.
type FlowMeasure struct {
	FlowCounters
	Reasons []ReasonMeasure
	// Ended counts, by user function, packets that it ended with a drop.
	Ended []FunctionMeasure
}

// ReasonMeasure is how often a reason led to an outcome.
type ReasonMeasure struct {
	Reason  string
	Outcome Outcome
	Count   uint64
}

// FunctionMeasure is how often a user function dropped a packet.
type FunctionMeasure struct {
	Function string
	Count    uint64
}

// Measure reads all counters.
func (e *Engine) Measure() Measurement {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.sumOwn()
	m := Measurement{Unmatched: own.measure(ClientToServer), Connections: e.table.Len(), ConnectionLimit: e.table.Limit()}
	for _, p := range *e.proxy.byID.Load() {
		if p == nil {
			continue
		}
		sum := e.sumCounters(p)
		i := InstanceMeasure{Name: p.Name, Mode: p.Mode, Connections: e.table.Count(p) + e.sessions.count(p), Messages: p.messages(), Cookies: p.cookies()}
		for d := range i.Flow {
			i.Flow[d] = sum.measure(Dir(d))
		}
		m.Instances = append(m.Instances, i)
	}
	slices.SortFunc(m.Instances, func(a, b InstanceMeasure) int { return cmp.Compare(a.Name, b.Name) })
	for _, w := range e.workers {
		w.mu.Lock()
		m.Time.add(&w.spent)
		w.mu.Unlock()
	}
	return m
}

func (c *counters) measure(d Dir) FlowMeasure {
	m := FlowMeasure{FlowCounters: c.flow[d]}
	for _, r := range packet.Reasons() {
		if r.Index() >= len(c.reasons[d]) {
			continue
		}
		for o, n := range c.reasons[d][r.Index()].n {
			if n > 0 {
				m.Reasons = append(m.Reasons, ReasonMeasure{r.String(), Outcome(o), n})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.ended[d])) {
		m.Ended = append(m.Ended, FunctionMeasure{name, c.ended[d][name]})
	}
	return m
}

const (
	// timeFirst is the upper bound of the first bucket in nanoseconds; each
	// further bucket reaches twice as far.
	timeFirst = 256
	// timeBuckets reach up to 8.4 ms; what takes longer is in none but the sum.
	timeBuckets = 16
)

// TimeHistogram counts packets by how long they took. Time is measured per batch,
// with two looks at the clock, and each packet of a batch counts with the mean.
type TimeHistogram struct {
	Buckets [timeBuckets]uint64 // not cumulative
	Count   uint64
	Sum     uint64 // nanoseconds
}

// TimeBound is the upper bound of a bucket in nanoseconds.
func TimeBound(bucket int) uint64 { return timeFirst << bucket }

// observe counts n packets that took ns together. A clock that was set back
// counts as no time at all.
func (h *TimeHistogram) observe(n int, ns int64) {
	if n == 0 {
		return
	}
	ns = max(ns, 0)
	mean := uint64(ns) / uint64(n)
	h.Count += uint64(n)
	h.Sum += uint64(ns)
	if bucket := bits.Len64((mean - min(mean, 1)) / timeFirst); bucket < timeBuckets {
		h.Buckets[bucket] += uint64(n)
	}
}

func (h *TimeHistogram) add(o *TimeHistogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Count += o.Count
	h.Sum += o.Sum
}
