package bench

import (
	"context"
	"errors"
	"os/exec"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

const (
	shortConnections = 2000
	shortConcurrency = 16
	shortBytes       = 100
)

// nfqueue compares packet chains over NFQUEUE with plain forwarding.
func nfqueue(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "nfqueue", Timing: map[string]ppf.TimingSummary{}}
	sites, err := newSites(ctx, o.Program, "", "tcp", "pass", "udp")
	defer func() { err = errors.Join(err, sites.close()) }()
	if err != nil {
		return r, err
	}
	for _, row := range []struct {
		name, chain string
		bulk        lab.BulkOptions
	}{
		{"tcp, 1 stream up", "tcp", lab.BulkOptions{Duration: o.Duration}},
		{"tcp, 1 stream down", "tcp", lab.BulkOptions{Duration: o.Duration, Reverse: true}},
		{"tcp, 4 streams up", "tcp", lab.BulkOptions{Duration: o.Duration, Streams: 4}},
		{"tcp, 4 streams down", "tcp", lab.BulkOptions{Duration: o.Duration, Streams: 4, Reverse: true}},
		{"pass, 1 stream up", "pass", lab.BulkOptions{Duration: o.Duration}},
	} {
		done, err := measure(Row{Name: row.name, Against: plain, Unit: "bit/s"}, o.Runs, sites[row.chain].throughput(ctx, row.bulk), sites[""].throughput(ctx, row.bulk))
		if err != nil {
			return r, err
		}
		r.Rows = append(r.Rows, done)
	}
	if _, err := exec.LookPath("iperf3"); err != nil {
		r.Skipped = append(r.Skipped, err.Error())
	} else {
		for reverse, name := range []string{"tcp, 1 stream of iperf3 up", "tcp, 1 stream of iperf3 down"} {
			done, err := measure(Row{Name: name, Against: plain, Unit: "bit/s"}, o.Runs, sites["tcp"].iperf3(ctx, o.Duration, reverse == 1), sites[""].iperf3(ctx, o.Duration, reverse == 1))
			if err != nil {
				return r, err
			}
			r.Rows = append(r.Rows, done)
		}
	}
	small, err := measure(Row{Name: "udp, small packets", Against: plain, Unit: "1/s"}, o.Runs, sites["udp"].packets(ctx, o.Duration), sites[""].packets(ctx, o.Duration))
	if err != nil {
		return r, err
	}
	r.Rows = append(r.Rows, small)
	done, err := measure(Row{Name: "tcp, short connections", Against: plain, Unit: "1/s"}, o.Runs, sites["tcp"].connections(ctx, shortConnections), sites[""].connections(ctx, shortConnections))
	if err != nil {
		return r, err
	}
	r.Rows = append(r.Rows, done)
	for name, f := range map[string]func() (float64, error){
		"tcp, bulk":              sites["tcp"].throughput(ctx, lab.BulkOptions{Duration: o.Duration}),
		"tcp, short connections": sites["tcp"].connections(ctx, shortConnections),
	} {
		if r.Timing[name], err = timing(ctx, control.NewClient(sites["tcp"].proxy.Control), f); err != nil {
			return r, err
		}
	}
	return r, nil
}

// timing measures the processing time per packet under some traffic.
func timing(ctx context.Context, c *control.Client, traffic func() (float64, error)) (ppf.TimingSummary, error) {
	if err := c.StartTiming(ctx); err != nil {
		return ppf.TimingSummary{}, err
	}
	if _, err := traffic(); err != nil {
		return ppf.TimingSummary{}, err
	}
	return c.StopTiming(ctx)
}
