package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/promethos/promethos/ppf"
)

// Listeners holds the listeners of the instances with source: listen, and the
// connections they accepted. It is safe for concurrent use.
type Listeners struct {
	engine *ppf.Engine
	mu     sync.Mutex
	byName map[string]*listener
	closed bool
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
	running  sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
	ended    chan struct{} // told of the end of a connection
}

// Set makes the listeners be those of the given instances. One whose addresses
// stay goes on with its connections; a new chain holds for connections from now
// on. On error the others are as they shall be.
func (s *Listeners) Set(instances []ppf.InstanceSpec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]*ppf.InstanceSpec{}
	for i := range instances {
		if in := &instances[i]; in.Source == ppf.SourceListen {
			wanted[in.Name] = in
		}
	}
	for name, l := range s.byName {
		if in := wanted[name]; in == nil || in.Listen != l.address || in.Upstream != l.upstream {
			delete(s.byName, name)
			l.close()
		}
	}
	var errs []error
	for name, in := range wanted {
		if s.byName[name] != nil || s.closed {
			continue
		}
		l := &listener{engine: s.engine, name: name, address: in.Listen, upstream: in.Upstream, open: map[net.Conn]bool{}, ended: make(chan struct{}, 1)}
		var err error
		var config net.ListenConfig
		config.SetMultipathTCP(false) // it costs more, and what is offered is TCP
		if l.net, err = config.Listen(context.Background(), "tcp", in.Listen.String()); err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %w", name, err))
			continue
		}
		s.byName[name] = l
		l.running.Go(l.accept)
	}
	return errors.Join(errs...)
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

// Close ends all listeners and their connections, and waits for them.
func (s *Listeners) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for name, l := range s.byName {
		delete(s.byName, name)
		l.close()
	}
}

func (l *listener) close() {
	l.net.Close()
	l.mu.Lock()
	for c := range l.open {
		ppf.Abort(c) // what is under way must not look complete
	}
	l.open = nil
	l.mu.Unlock()
	l.running.Wait()
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
		if l.keep(conn) {
			l.running.Go(func() { l.serve(conn) })
		}
	}
}

// keep notes a connection that close has to end; too late, it is closed.
func (l *listener) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		conn.Close()
		return false
	}
	l.open[conn] = true
	return true
}

func (l *listener) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) > 0
}

func (l *listener) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		l.mu.Lock()
		delete(l.open, conn)
		l.mu.Unlock()
		select {
		case l.ended <- struct{}{}:
		default:
		}
	}()
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if err := l.engine.ServeStream(l.name, conn, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), l.upstream, l.dial); err != nil {
		l.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Instance: l.name, Text: err.Error()})
	}
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", l.upstream.String())
}
