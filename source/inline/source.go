package inline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// ErrNoPort reports an extra packet that belongs to no frame: on a wire nothing
// says which way it should go.
var ErrNoPort = errors.New("inline: an IP packet without a frame has no port to leave by")

// Config says what to open.
type Config struct {
	// Pair names the two interfaces; they must differ.
	Pair ppf.InlinePair
	// Number tells the pair from others, from 1 on.
	Number uint8
	// PerPort is how many workers share what comes in at one port; 0: 1.
	PerPort int
	// Mark is set on what is sent.
	Mark uint32
	// BufferBytes is the receive buffer of one worker; 0: 32 MiB.
	BufferBytes int
	// Prepare makes the host's own stack deaf and dumb at an interface. It is
	// called before the interface is used, and again when it has come back; from
	// any goroutine, one call at a time per interface.
	Prepare func(port string) error
	// Say is told when an interface loses its link or gets it back.
	Say func(format string, args ...any)
	// Now is the clock in nanoseconds since 1970.
	Now func() int64
}

// Source is one inline pair. It works in the network namespace of the process.
type Source struct {
	pair    ppf.InlinePair
	number  uint8
	ports   [2]*port // the client's, the server's
	workers []*worker
	emitted [2]atomic.Uint64 // by the port that they left by
}

var (
	_ ppf.Source = (*Source)(nil)
	_ ppf.Wire   = wire{}
)

// Open takes both interfaces, or none. They are up afterwards, and what the host
// itself would say there is for Config.Prepare to end.
func Open(c Config) (_ *Source, err error) {
	if c.PerPort == 0 {
		c.PerPort = 1
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = 32 << 20
	}
	s := &Source{pair: c.Pair, number: c.Number}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for i, name := range []string{c.Pair.Client, c.Pair.Server} {
		if s.ports[i], err = newPort(name, ppf.InlineClient+ppf.Hook(i), &c); err != nil {
			return nil, err
		}
	}
	for _, p := range s.ports {
		if err := p.open(); err != nil {
			return nil, err
		}
	}
	for i := range s.ports {
		for range c.PerPort {
			w, err := newWorker(s, s.ports[i], s.ports[1-i], c.Now)
			if err != nil {
				return nil, err
			}
			s.workers = append(s.workers, w)
		}
	}
	return s, nil
}

// Ready makes both interfaces ready again, after something else has put them back.
func (s *Source) Ready() error {
	var errs []error
	for _, p := range s.ports {
		p.mu.Lock()
		if index, flags, err := p.look(); err == nil {
			errs = append(errs, p.ready(index, flags))
		}
		p.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Pair names the interfaces.
func (s *Source) Pair() ppf.InlinePair { return s.pair }

// Workers is how many handlers Run needs.
func (s *Source) Workers() int { return len(s.workers) }

// Run carries frames until ctx is done; see ppf.Source. What is then still in the
// sockets is lost, as on a wire that is cut.
func (s *Source) Run(ctx context.Context, handlers []ppf.Handler) error {
	if len(handlers) != len(s.workers) {
		return fmt.Errorf("inline: run: %d handlers for %d workers", len(handlers), len(s.workers))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done atomic.Bool
	var running sync.WaitGroup
	errs := make([]error, len(s.workers))
	for i, w := range s.workers {
		running.Go(func() {
			defer cancel() // a worker that fails ends the others: closed, not half open
			errs[i] = w.run(handlers[i], &done)
		})
	}
	<-ctx.Done()
	done.Store(true)
	for _, w := range s.workers {
		if _, err := unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			errs = append(errs, fmt.Errorf("inline: wake: %w", err))
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// Emit refuses: an extra packet of a wire is a frame and has a port; see ppf.Wire.
func (s *Source) Emit([]byte) error { return ErrNoPort }

// wire is the source as frames know it.
type wire struct{ *Source }

// Number tells the pair from others.
func (w wire) Number() uint8 { return w.number }

// Emit sends an extra frame.
func (w wire) Emit(frame []byte, port ppf.Hook) error {
	for _, sender := range w.workers {
		if sender.out.hook == port {
			if err := sender.emit(frame); err != nil {
				return fmt.Errorf("inline: port %s: emit a frame of %d bytes: %w", sender.out.name, len(frame), err)
			}
			w.emitted[port-ppf.InlineClient].Add(1)
			return nil
		}
	}
	return ErrNoPort
}

// Close gives the interfaces back. Nothing passes between them from then on.
func (s *Source) Close() error {
	var errs []error
	for _, w := range s.workers {
		w.close()
	}
	for _, p := range s.ports {
		if p != nil && p.ctl >= 0 {
			errs = append(errs, p.restore())
			unix.Close(p.ctl)
			p.ctl = -1
		}
	}
	return errors.Join(errs...)
}

// Stats counts what came in at each port, and what left by the other for it.
func (s *Source) Stats() ([]ppf.SourceStats, error) {
	var list []ppf.SourceStats
	for i, p := range s.ports {
		st := ppf.SourceStats{Name: "inline " + p.name, Emitted: s.emitted[i].Load()}
		for _, w := range s.workers {
			if w.in == p {
				w.addStats(&st)
			}
		}
		list = append(list, st)
	}
	return list, nil
}
