package bench

import (
	"context"
	"errors"
	"fmt"
)

// instances tells whether a packet's way gets longer with the number of proxy
// instances, for packets of known connections and for new connections.
func instances(_ context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "instances"}
	const open, opened = 10_000, 2_000 // connections before, and in each run
	base, err := newCrowd(1, open)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, base.close()) }()
	baseline, err := base.traffic()
	if err != nil {
		return r, err
	}
	for _, n := range []int{10, 100, 1000} {
		c, err := newCrowd(n, open)
		if err != nil {
			return r, err
		}
		ours, err := c.traffic()
		if err != nil {
			return r, errors.Join(err, c.close())
		}
		known, err := measure(Row{Name: fmt.Sprintf("packets, %d instances", n), Against: "1 instance", Unit: "1/s"}, o.Runs, ours, baseline)
		if err != nil {
			return r, errors.Join(err, c.close())
		}
		fresh, err := measure(Row{Name: fmt.Sprintf("new connections, %d instances", n), Against: "1 instance", Unit: "1/s"}, o.Runs,
			func() (float64, error) { return c.open(opened) }, func() (float64, error) { return base.open(opened) })
		r.Rows = append(r.Rows, known, fresh)
		if err := errors.Join(err, c.close()); err != nil {
			return r, err
		}
	}
	return r, nil
}
