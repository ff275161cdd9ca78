package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/promethos/promethos/lab"
)

// latency compares how long small messages travel in each direction, over netfilter's
// hooks with plain forwarding, and over a wire with a bridge of the kernel.
func latency(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "latency"}
	sites, err := newSites(ctx, o.Program, "", "tcp")
	defer func() { err = errors.Join(err, sites.close()) }()
	if err != nil {
		return r, err
	}
	if err := r.ways(ctx, o, "tcp", plain, sites["tcp"], sites[""]); err != nil {
		return r, err
	}
	wire, bridge, err := wireAndBridge(ctx, o.Program)
	defer func() { err = errors.Join(err, wire.close(), bridge.close()) }()
	if err != nil {
		return r, err
	}
	return r, r.ways(ctx, o, "tcp on a wire", kernelBridge, wire, bridge)
}

// latencyTarget is what the proxy may add to the median in each direction.
const latencyTarget = 50 * time.Microsecond

// percents are the percentiles that are told.
var percents = [...]int{50, 99}

// ways adds rows of one kind of proxy, for each direction and percentile.
func (r *Result) ways(ctx context.Context, o Options, name, against string, ours, baseline *site) error {
	var runs [][2]lab.Ways
	for range o.Runs {
		var run [2]lab.Ways
		for i, s := range []*site{ours, baseline} {
			var err error
			if run[i], err = s.lab.Client.OneWays(ctx, s.clock.Addr, o.Duration); err != nil {
				return fmt.Errorf("bench %s: %w", name, err)
			}
		}
		runs = append(runs, run)
	}
	for _, direction := range []struct {
		name string
		of   func(lab.Ways) []time.Duration
	}{{"client to server", func(w lab.Ways) []time.Duration { return w.Up }}, {"server to client", func(w lab.Ways) []time.Duration { return w.Down }}} {
		for _, percent := range percents {
			// again gives what was measured, run by run.
			again := func(value func([2]lab.Ways) float64) func() (float64, error) {
				at := 0
				return func() (float64, error) {
					at++
					return value(runs[at-1]), nil
				}
			}
			of := func(run [2]lab.Ways, i int) float64 {
				list := direction.of(run[i])
				return list[len(list)*percent/100].Seconds()
			}
			label := fmt.Sprintf("%s, %s, p%d", name, direction.name, percent)
			row, err := measure(Row{Name: label, Against: against, Unit: "s", less: true}, o.Runs,
				again(func(run [2]lab.Ways) float64 { return of(run, 0) }), again(func(run [2]lab.Ways) float64 { return of(run, 1) }))
			if err != nil {
				return err
			}
			added, err := measure(Row{Name: "added by " + label, Against: "50 µs", Unit: "s", less: true}, o.Runs,
				again(func(run [2]lab.Ways) float64 { return of(run, 0) - of(run, 1) }), func() (float64, error) { return latencyTarget.Seconds(), nil })
			if err != nil {
				return err
			}
			r.Rows = append(r.Rows, row, added)
		}
	}
	return nil
}
