package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// latency compares how long small messages travel, one way, with plain
// forwarding: half of a round trip to the echo server.
func latency(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "latency"}
	sites, err := newSites(ctx, o.Program, "", "tcp")
	defer func() { err = errors.Join(err, sites.close()) }()
	if err != nil {
		return r, err
	}
	for _, percent := range []int{50, 99} {
		row, err := measure(Row{Name: fmt.Sprintf("tcp, one way, p%d", percent), Against: plain, Unit: "s", less: true}, o.Runs,
			sites["tcp"].oneWay(ctx, percent, o.Duration), sites[""].oneWay(ctx, percent, o.Duration))
		if err != nil {
			return r, err
		}
		added := Row{Name: fmt.Sprintf("added by tcp, one way, p%d", percent), Against: "50 µs", Unit: "s", less: true}
		at := 0
		added, err = measure(added, o.Runs, func() (float64, error) {
			run := row.Runs[at]
			at++
			return run[0] - run[1], nil
		}, func() (float64, error) { return latencyTarget.Seconds(), nil })
		if err != nil {
			return r, err
		}
		r.Rows = append(r.Rows, row, added)
	}
	return r, nil
}

// latencyTarget is what the proxy may add to the median in each direction.
const latencyTarget = 50 * time.Microsecond

// oneWay measures half of a percentile of round trips, in seconds.
func (s *site) oneWay(ctx context.Context, percent int, d time.Duration) func() (float64, error) {
	return func() (float64, error) {
		trips, err := s.lab.Client.RoundTrips(ctx, s.short.Addr, d, shortBytes)
		if err != nil {
			return 0, err
		}
		return trips[len(trips)*percent/100].Seconds() / 2, nil
	}
}
