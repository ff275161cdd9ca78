package bench

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// plain is the baseline's name.
const plain = "plain forwarding"

// site is a lab with servers, and with or without a proxy in the middle.
type site struct {
	lab   *lab.Lab
	bulk  *lab.StreamServer
	short *lab.StreamServer
	proxy *lab.Proxy
}

// newSite builds a lab; chain is what the proxy runs, "" for none.
func newSite(ctx context.Context, program, chain string) (s *site, err error) {
	s = &site{}
	if s.lab, err = lab.Up(ctx, lab.Options{Anonymous: true}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	anyPort := net.JoinHostPort(s.lab.Server.IPv4.String(), "0")
	if s.bulk, err = s.lab.Server.StartBulk(ctx, anyPort); err != nil {
		return s, err
	}
	if s.short, err = s.lab.Server.StartEcho(ctx, anyPort); err != nil {
		return s, err
	}
	if chain != "" {
		s.proxy, err = s.lab.Proxy.StartProxy(ctx, program, fmt.Sprintf(`version: 1
instances:
  - name: bench
    match: {protocol: tcp, server: %s}
    chain: [%s]
`, s.lab.Server.IPv4, chain))
	}
	return s, err
}

func (s *site) close() error {
	var errs []error
	if s.proxy != nil {
		errs = append(errs, s.proxy.Stop())
	}
	for _, server := range []*lab.StreamServer{s.bulk, s.short} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(append(errs, s.lab.Down())...)
}

// throughput measures a bulk transfer in bit/s.
func (s *site) throughput(ctx context.Context, o lab.BulkOptions) func() (float64, error) {
	return func() (float64, error) {
		r, err := s.lab.Client.Bulk(ctx, s.bulk.Addr, o)
		return r.BitsPerSecond(), err
	}
}

// connections measures short connections per second.
func (s *site) connections(ctx context.Context, n int) func() (float64, error) {
	return func() (float64, error) {
		r, err := s.lab.Client.ShortConnections(ctx, s.short.Addr, n, shortConcurrency, shortBytes)
		return float64(n) / r.Duration.Seconds(), err
	}
}

const (
	shortConnections = 2000
	shortConcurrency = 16
	shortBytes       = 100
)

// nfqueue compares packet chains over NFQUEUE with plain forwarding.
func nfqueue(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "nfqueue", Timing: map[string]ppf.TimingSummary{}}
	sites := map[string]*site{}
	defer func() {
		for _, s := range sites {
			err = errors.Join(err, s.close())
		}
	}()
	for _, chain := range []string{"", "tcp", "pass"} {
		if sites[chain], err = newSite(ctx, o.Program, chain); err != nil {
			delete(sites, chain)
			return r, err
		}
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
