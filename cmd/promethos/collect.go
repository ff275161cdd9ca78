package main

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent lets the heap grow to three times what is in use before the collector
	// runs: in a burst of handshakes it would have to run many times a second.
	gcPercent = 200
	// collectEvery is how often the daemon looks for garbage, and muchGarbage how many
	// octets of it are worth a run, which takes some milliseconds of one core.
	collectEvery = 10 * time.Second
	muchGarbage  = 2 << 20
)

// garbage is what was allocated since the collector's last run.
type garbage struct {
	sample [2]metrics.Sample
	cycles uint64
	since  uint64 // octets that were allocated when cycles was new
}

func newGarbage() *garbage {
	g := &garbage{}
	g.sample[0].Name, g.sample[1].Name = "/gc/cycles/total:gc-cycles", "/gc/heap/allocs:bytes"
	g.look()
	return g
}

// look tells how many octets were allocated since the look that saw the last run.
func (g *garbage) look() uint64 {
	metrics.Read(g.sample[:])
	cycles, allocated := g.sample[0].Value.Uint64(), g.sample[1].Value.Uint64()
	if cycles != g.cycles {
		g.cycles, g.since = cycles, allocated
	}
	return allocated - g.since
}

// collect runs the collector where it has not run by itself for a while: little
// traffic makes little garbage, of which the heap would still become as large as it
// may, and stay so for minutes after the traffic.
func collect(ctx context.Context) {
	g := newGarbage()
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if g.look() > muchGarbage {
				runtime.GC()
			}
		}
	}
}
