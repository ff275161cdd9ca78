package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// memoryTarget is what a million idle connections may cost, in bytes.
const memoryTarget = 400e6

// connections tells what a tracked connection costs: whether a packet's way gets
// longer with the number of connections, and memory.
func connections(_ context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "connections"}
	const few, many = 1_000, 1_000_000
	base, err := newCrowd(1, few)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, base.close()) }()
	baseline, err := base.traffic()
	if err != nil {
		return r, err
	}
	for n := few; n <= many; n *= 10 {
		if err := r.connections(o, n, few, baseline); err != nil {
			return r, err
		}
	}
	row, err := measure(Row{Name: fmt.Sprintf("memory of %d connections", many), Against: "400 MB", Unit: "B", less: true}, 1,
		func() (float64, error) { return memory(many) }, func() (float64, error) { return memoryTarget, nil })
	r.Rows = append(r.Rows, row)
	return r, err
}

// connections adds the row for n connections.
func (r *Result) connections(o Options, n, few int, baseline func() (float64, error)) (err error) {
	c, err := newCrowd(1, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	ours, err := c.traffic()
	if err != nil {
		return err
	}
	row, err := measure(Row{Name: fmt.Sprintf("packets of %d connections", n), Against: fmt.Sprintf("%d connections", few), Unit: "1/s"}, o.Runs, ours, baseline)
	r.Rows = append(r.Rows, row)
	return err
}

// memory gives the bytes that an engine with n open connections holds.
func memory(n int) (_ float64, err error) {
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	c, err := newCrowd(1, n)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.acks = nil // ours, not the engine's
	after := held()
	runtime.KeepAlive(c)
	return float64(after - before), nil
}
