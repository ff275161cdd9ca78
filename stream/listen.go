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
	socket   *socket
	drain    time.Duration
	running  sync.WaitGroup // connections
	mu       sync.Mutex
	open     map[*ppf.Session]bool
	draining bool
	ended    chan struct{} // told of the end of a connection
}

// socket listens for a listener, and goes on for the next one with its address: the
// kernel resets what waits to be accepted by one that is closed.
type socket struct {
	net.Listener
	owner atomic.Pointer[listener]
}

// Set makes the listeners be those of the given instances. One whose addresses
// stay goes on; a new chain holds for connections from now on, and those that are
// there end at their next boundary. One that goes stops listening at once, unless
// another has its address, and what is under way may go on for the instance's drain. An address that is not to be had is
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
	heirs   []*listener         // that have the socket of one that goes
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
		case p.inherit(in):
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

// inherit makes a listener of the socket of one that goes, where the address is the
// same.
func (p *Prepared) inherit(in *ppf.InstanceSpec) bool {
	i := slices.IndexFunc(p.going, func(name string) bool {
		return p.s.byName[name].address == in.Listen && (name == in.Name || in.Listen.Port() != 0)
	})
	if i >= 0 {
		l := p.listener(in)
		l.socket = p.s.byName[p.going[i]].socket
		p.heirs = append(p.heirs, l)
	}
	return i >= 0
}

// Cancel closes what was opened.
func (p *Prepared) Cancel() {
	for _, l := range p.opened {
		l.socket.Close()
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
	for _, l := range p.heirs {
		l.socket.owner.Store(l)
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
	for _, l := range p.heirs {
		p.s.byName[l.name] = l
	}
	for _, l := range p.opened {
		p.s.byName[l.name] = l
		p.s.ending.Go(l.socket.accept)
	}
	return errors.Join(errs...)
}

func (p *Prepared) listener(in *ppf.InstanceSpec) *listener {
	return &listener{engine: p.s.engine, name: in.Name, address: in.Listen, upstream: in.Upstream, drain: in.Drain, open: map[*ppf.Session]bool{}, ended: make(chan struct{}, 1)}
}

// open listens for an instance.
func (p *Prepared) open(in *ppf.InstanceSpec) error {
	l := p.listener(in)
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it costs more, and what is offered is TCP
	bound, err := config.Listen(context.Background(), "tcp", in.Listen.String())
	if err != nil {
		return fmt.Errorf("instance %s: %w", in.Name, err)
	}
	l.socket = &socket{Listener: bound}
	l.socket.owner.Store(l)
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
	return l.socket.Addr().(*net.TCPAddr).AddrPort(), true
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

// end stops listening for an instance, unless another has its socket; its connections
// drain meanwhile.
func (s *Listeners) end(name string) {
	l := s.byName[name]
	delete(s.byName, name)
	what := "another has its listener"
	if l.socket.owner.Load() == l {
		l.socket.Close()
		what = "its listener is closed"
	}
	l.mu.Lock()
	l.draining = true
	under := len(l.open)
	for session := range l.open {
		session.Drain()
	}
	l.mu.Unlock()
	s.ending.Go(func() { l.wait(what, under) })
}

// wait waits until all connections have ended, and resets those that do not.
func (l *listener) wait(what string, under int) {
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
			Text: fmt.Sprintf("stream: %s; %d connections were open, %d of them reset after %v", what, under, reset.Load(), l.drain)})
	}
}

func (l *listener) setDrain(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain = d
}

func (s *socket) accept() {
	for {
		conn, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l := s.owner.Load()
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
		for !l.take(conn) {
			next := s.owner.Load()
			if next == l {
				conn.Close()
				break
			}
			l = next
		}
	}
}

// take begins to serve a connection; it may be too late. One that nobody can serve is
// closed.
func (l *listener) take(conn net.Conn) bool {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	session, err := l.engine.NewSession(l.name, conn, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), l.upstream, l.dial)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.draining:
		return false
	case err != nil:
		l.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Instance: l.name, Text: err.Error()})
		conn.Close()
		return true
	}
	l.open[session] = true // it has to end with the listener
	l.running.Go(func() { l.serve(session, conn) })
	return true
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
