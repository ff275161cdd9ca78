package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Listeners holds the listeners of the instances with source: listen, and the
// connections they accepted. It is safe for concurrent use.
type Listeners struct {
	engine *ppf.Engine
	mu     sync.Mutex
	byName map[string]*listener
	closed bool
	ending sync.WaitGroup // listeners that drain
}

// NewListeners makes a set without any.
func NewListeners(e *ppf.Engine) *Listeners {
	return &Listeners{engine: e, byName: map[string]*listener{}}
}

// listener serves one instance.
type listener struct {
	engine   *ppf.Engine
	name     string
	address  netip.AddrPort
	upstream netip.AddrPort
	net      net.Listener
	drain    time.Duration
	running  sync.WaitGroup
	mu       sync.Mutex
	open     map[*ppf.Session]bool
	draining bool
	ended    chan struct{} // told of the end of a connection
}

// Set makes the listeners be those of the given instances. One whose addresses
// stay goes on; a new chain holds for connections from now on, and those that are
// there end at their next boundary. One that goes stops listening at once, and what
// is under way may go on for the instance's drain. An address that is not to be had is
// an error that changes nothing, unless a listener which goes has the port.
func (s *Listeners) Set(instances []ppf.InstanceSpec) error {
	p, err := s.Prepare(instances)
	if err != nil {
		return err
	}
	return p.Use()
}

// Prepared are listeners that Use puts in place, or Cancel closes.
type Prepared struct {
	s       *Listeners
	wanted  map[string]*ppf.InstanceSpec
	going   []string
	opened  []*listener
	waiting []*ppf.InstanceSpec // for the port of one that goes
}

// Prepare is the part of Set that changes nothing yet. Nobody else may set
// listeners meanwhile.
func (s *Listeners) Prepare(instances []ppf.InstanceSpec) (*Prepared, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &Prepared{s: s, wanted: map[string]*ppf.InstanceSpec{}}
	if s.closed {
		return p, nil
	}
	for i := range instances {
		if in := &instances[i]; in.Source == ppf.SourceListen {
			p.wanted[in.Name] = in
		}
	}
	for name, l := range s.byName {
		if in := p.wanted[name]; in == nil || in.Listen != l.address || in.Upstream != l.upstream {
			p.going = append(p.going, name)
		}
	}
	for name, in := range p.wanted {
		switch {
		case s.byName[name] != nil && !slices.Contains(p.going, name):
		case slices.ContainsFunc(p.going, func(name string) bool { return s.byName[name].address.Port() == in.Listen.Port() }):
			p.waiting = append(p.waiting, in)
		default:
			if err := p.open(in); err != nil {
				p.Cancel()
				return nil, err
			}
		}
	}
	return p, nil
}

// Cancel closes what was opened.
func (p *Prepared) Cancel() {
	for _, l := range p.opened {
		l.net.Close()
	}
}

// Use ends what goes and accepts connections for what came.
func (p *Prepared) Use() error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.s.closed {
		p.Cancel()
		return nil
	}
	for _, name := range p.going {
		p.s.end(name)
	}
	for name, l := range p.s.byName {
		l.setDrain(p.wanted[name].Drain)
	}
	var errs []error
	for _, in := range p.waiting {
		errs = append(errs, p.open(in))
	}
	for _, l := range p.opened {
		p.s.byName[l.name] = l
		l.running.Go(l.accept)
	}
	return errors.Join(errs...)
}

// open listens for an instance.
func (p *Prepared) open(in *ppf.InstanceSpec) (err error) {
	l := &listener{engine: p.s.engine, name: in.Name, address: in.Listen, upstream: in.Upstream, drain: in.Drain, open: map[*ppf.Session]bool{}, ended: make(chan struct{}, 1)}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it costs more, and what is offered is TCP
	if l.net, err = config.Listen(context.Background(), "tcp", in.Listen.String()); err != nil {
		return fmt.Errorf("instance %s: %w", in.Name, err)
	}
	p.opened = append(p.opened, l)
	return nil
}

// Addr gives the address that an instance listens on, with the port that the
// system chose where the configuration says 0.
func (s *Listeners) Addr(name string) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byName[name]
	if l == nil {
		return netip.AddrPort{}, false
	}
	return l.net.Addr().(*net.TCPAddr).AddrPort(), true
}

// Close ends all listeners, lets their connections drain, and waits for them.
func (s *Listeners) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for name := range s.byName {
		s.end(name)
	}
	s.ending.Wait()
}

// end stops listening for an instance; its connections drain meanwhile.
func (s *Listeners) end(name string) {
	l := s.byName[name]
	delete(s.byName, name)
	l.net.Close()
	l.mu.Lock()
	l.draining = true
	under := len(l.open)
	for session := range l.open {
		session.Drain()
	}
	l.mu.Unlock()
	s.ending.Go(func() { l.wait(under) })
}

// wait waits until all connections have ended, and resets those that do not.
func (l *listener) wait(under int) {
	var reset atomic.Int64
	late := time.AfterFunc(l.drain, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		reset.Store(int64(len(l.open)))
		for session := range l.open {
			session.Abort(ppf.ReasonDrain)
		}
	})
	l.running.Wait()
	late.Stop()
	if under > 0 {
		l.engine.Events().Add(ppf.Event{Kind: ppf.EventInstance, Instance: l.name,
			Text: fmt.Sprintf("stream: its listener is closed; %d connections were open, %d of them reset after %v", under, reset.Load(), l.drain)})
	}
}

func (l *listener) setDrain(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain = d
}

func (l *listener) accept() {
	for {
		conn, err := l.net.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Instance: l.name, Text: "accept: " + err.Error()})
			// Most likely descriptors are out: the end of a connection gives one.
			if l.busy() {
				<-l.ended
			}
			continue
		}
		if conn, err = wrap(l.engine.Env(), conn); err != nil {
			continue // it has ended
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		session, err := l.engine.NewSession(l.name, conn, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), l.upstream, l.dial)
		if err != nil {
			l.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Instance: l.name, Text: err.Error()})
			conn.Close()
			continue
		}
		if l.keep(session) {
			l.running.Go(func() { l.serve(session, conn) })
		} else {
			conn.Close()
		}
	}
}

// keep notes a session that has to end with the listener; it may be too late.
func (l *listener) keep(s *ppf.Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.draining {
		l.open[s] = true
	}
	return !l.draining
}

func (l *listener) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) > 0
}

func (l *listener) serve(s *ppf.Session, conn net.Conn) {
	defer func() {
		conn.Close()
		l.mu.Lock()
		delete(l.open, s)
		l.mu.Unlock()
		select {
		case l.ended <- struct{}{}:
		default:
		}
	}()
	s.Serve()
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.upstream.String())
	return dialed(l.engine.Env(), c, err)
}
