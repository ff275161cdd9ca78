package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/promethos/promethos/lab"
)

// plain is the baseline's name.
const plain = "plain forwarding"

// site is a lab with servers, and with or without a proxy in the middle.
type site struct {
	lab   *lab.Lab
	bulk  *lab.StreamServer
	short *lab.StreamServer
	clock *lab.StreamServer
	proxy *lab.Proxy
}

// newSite builds a routed lab; chain is what the proxy runs, "" for none.
func newSite(ctx context.Context, program, chain string) (*site, error) {
	return newSiteWith(ctx, program, chain, "")
}

// newSiteWith is newSite with more lines of the instance, indented by four spaces.
func newSiteWith(ctx context.Context, program, chain, more string) (*site, error) {
	return openSite(ctx, lab.Options{Anonymous: true}, func(s *site) (err error) {
		if chain != "" {
			s.proxy, err = s.lab.Proxy.StartProxy(ctx, program, fmt.Sprintf(`version: 1
instances:
  - name: bench
    match: {server: %s}
    chain: [%s]
%s`, s.lab.Server.IPv4, chain, more))
		}
		return err
	})
}

// openSite builds a lab; middle starts what is between client and server.
func openSite(ctx context.Context, o lab.Options, middle func(*site) error) (s *site, err error) {
	s = &site{}
	if s.lab, err = lab.Up(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.lab.Client.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
		return s, err // short connections of all runs are in TIME-WAIT at once
	}
	anyPort := net.JoinHostPort(s.lab.Server.IPv4.String(), "0")
	if s.bulk, err = s.lab.Server.StartBulk(ctx, anyPort); err != nil {
		return s, err
	}
	if s.short, err = s.lab.Server.StartEcho(ctx, anyPort); err != nil {
		return s, err
	}
	if s.clock, err = s.lab.Server.StartClock(ctx, anyPort); err != nil {
		return s, err
	}
	return s, middle(s)
}

// sites are labs by what the proxy in them runs.
type sites map[string]*site

// newSites builds a lab for each chain. The caller closes them, after an error
// too.
func newSites(ctx context.Context, program string, chains ...string) (sites, error) {
	all := sites{}
	for _, chain := range chains {
		s, err := newSite(ctx, program, chain)
		if err != nil {
			return all, err
		}
		all[chain] = s
	}
	return all, nil
}

func (all sites) close() error {
	var errs []error
	for _, s := range all {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

func (s *site) close() error {
	if s == nil {
		return nil
	}
	var errs []error
	if s.proxy != nil {
		errs = append(errs, s.proxy.Stop())
	}
	for _, server := range []*lab.StreamServer{s.bulk, s.short, s.clock} {
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

// smallBytes is the payload of a small packet: with its headers it fills the
// shortest Ethernet frame.
const smallBytes = 18

// packets measures how many small packets a second reach the server while more
// are sent than anybody can forward.
func (s *site) packets(ctx context.Context, d time.Duration) func() (float64, error) {
	return func() (float64, error) {
		frames, err := s.lab.Datagrams(9, floodPorts, smallBytes)
		if err != nil {
			return 0, err
		}
		return s.flooded(ctx, frames, d, func() (float64, error) {
			before, err := s.lab.Server.Received("")
			if err != nil {
				return 0, err
			}
			start := time.Now()
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
			after, err := s.lab.Server.Received("")
			return float64(after-before) / time.Since(start).Seconds(), err
		})
	}
}

// floodPorts is how many flows a flood of small packets has.
const floodPorts = 256

// flooded runs f while frames are sent as fast as the client can, for at most
// twice d and until f returns.
func (s *site) flooded(ctx context.Context, frames [][]byte, d time.Duration, f func() (float64, error)) (float64, error) {
	sender, err := s.lab.Client.RawSender("")
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := sender.Flood(ctx, frames, 2*d)
		ended <- err
	}()
	got, err := f()
	stop()
	return got, errors.Join(err, <-ended, sender.Close())
}
