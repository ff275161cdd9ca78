package ppf

import (
	"math"
	"slices"
	"time"
)

// timingSamples is how many single times are kept for the percentiles.
const timingSamples = 1 << 17

// Timing collects processing times of packets, as the thesis' evaluation lists
// them. It is written by one worker under its lock.
type Timing struct {
	n        uint64
	sum, sq  float64
	min, max int64
	samples  []int64 // the first timingSamples, then every 2nd, 4th, … of the rest
	stride   uint64
}

func (t *Timing) add(ns int64) {
	if t.n == 0 || ns < t.min {
		t.min = ns
	}
	t.max = max(t.max, ns)
	t.sum += float64(ns)
	t.sq += float64(ns) * float64(ns)
	if t.n%t.stride == 0 {
		if len(t.samples) == cap(t.samples) {
			kept := t.samples[:0]
			for i := 0; i < len(t.samples); i += 2 {
				kept = append(kept, t.samples[i])
			}
			t.samples = kept
			t.stride *= 2
		}
		t.samples = append(t.samples, ns)
	}
	t.n++
}

// TimingSummary is the thesis' table of processing times; JSON has nanoseconds.
type TimingSummary struct {
	Packets uint64        `json:"packets"`
	Mean    time.Duration `json:"mean"`
	StdDev  time.Duration `json:"std_dev"`
	Min     time.Duration `json:"min"`
	Max     time.Duration `json:"max"`
	P50     time.Duration `json:"p50"`
	P90     time.Duration `json:"p90"`
	P99     time.Duration `json:"p99"`
}

// MeasureTiming starts (or restarts) measuring how long each packet takes from
// the source's hand-over to the verdict.
func (e *Engine) MeasureTiming() {
	for _, w := range e.workers {
		w.mu.Lock()
		w.timing = &Timing{samples: make([]int64, 0, timingSamples), stride: 1}
		w.mu.Unlock()
	}
}

// StopTiming ends measuring and gives the result over all workers.
func (e *Engine) StopTiming() TimingSummary {
	var s TimingSummary
	var sum, sq float64
	var samples []int64
	first := true
	for _, w := range e.workers {
		w.mu.Lock()
		t := w.timing
		w.timing = nil
		w.mu.Unlock()
		if t == nil || t.n == 0 {
			continue
		}
		if first || time.Duration(t.min) < s.Min {
			s.Min = time.Duration(t.min)
		}
		first = false
		s.Max = max(s.Max, time.Duration(t.max))
		s.Packets += t.n
		sum += t.sum
		sq += t.sq
		samples = append(samples, t.samples...)
	}
	if s.Packets == 0 {
		return s
	}
	mean := sum / float64(s.Packets)
	s.Mean = time.Duration(mean)
	s.StdDev = time.Duration(math.Sqrt(max(0, sq/float64(s.Packets)-mean*mean)))
	slices.Sort(samples)
	at := func(p float64) time.Duration { return time.Duration(samples[int(p*float64(len(samples)-1))]) }
	s.P50, s.P90, s.P99 = at(0.5), at(0.9), at(0.99)
	return s
}
