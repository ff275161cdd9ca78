package stream

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// ErrNoTransparent reports that sockets cannot have the addresses of others.
var ErrNoTransparent = errors.New("sockets with the addresses of others are not permitted (run as root or with CAP_NET_ADMIN)")

// Marks are the packet marks of sockets; see package rules.
type Marks struct{ Zoned, Plain uint32 }

// Transparent holds the listeners of transparent stream chains: the kernel's rules
// give them connections that clients open to servers. It is safe for concurrent
// use.
type Transparent struct {
	engine    *ppf.Engine
	accepting func(client, server netip.AddrPort) *ppf.Ends // Engine.Accepting
	marks     Marks
	listeners []acceptor
	zoned     [2]uint16 // by IP version
	plain     [2]uint16
	running   sync.WaitGroup
	mu        sync.Mutex
	open      map[*ppf.Session]*ppf.Ends
	tuples    map[tuple]int // of the open sessions
	closed    bool
	handshakes
	life  context.Context // of asking servers
	end   context.CancelFunc
	ended chan struct{} // told of the end of a connection
}

// acceptor is a listener, and whether its connections are in a conntrack zone of
// their own.
type acceptor struct {
	net.Listener
	zoned bool
}

// OpenTransparent listens, with the given number of listeners for each kind of
// connection; Run begins to accept. The error wraps ErrNoTransparent.
func OpenTransparent(e *ppf.Engine, marks Marks, workers int) (_ *Transparent, err error) {
	t := &Transparent{engine: e, accepting: e.Accepting, marks: marks, open: map[*ppf.Session]*ppf.Ends{}, tuples: map[tuple]int{}, ended: make(chan struct{}, 1)}
	t.handshakes = handshakes{asking: map[tuple]bool{}, waiting: map[tuple]*waiting{}, oldest: map[netip.AddrPort]*list.List{}, byServer: map[netip.AddrPort]int{}, byClient: map[party]int{}}
	t.life, t.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	for _, kind := range []struct {
		mark  uint32
		ports *[2]uint16
	}{{marks.Zoned, &t.zoned}, {marks.Plain, &t.plain}} {
		for version, address := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
			for range workers {
				l, err := listenTransparent(netip.AddrPortFrom(address, kind.ports[version]), kind.mark)
				if address.Is6() && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
					break // a host without IPv6 gets no such connections
				}
				if err != nil {
					return nil, err
				}
				t.listeners = append(t.listeners, acceptor{l, kind.mark == marks.Zoned})
				kind.ports[version] = l.Addr().(*net.TCPAddr).AddrPort().Port()
			}
		}
	}
	return t, nil
}

func listenTransparent(address netip.AddrPort, mark uint32) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			return errors.Join(transparent(fd, address.Addr().Is4(), mark), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	config.SetMultipathTCP(false) // TPROXY finds sockets of TCP only
	l, err := config.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return l, nil
}

// transparent lets a socket have the addresses of others, and marks what it sends.
func transparent(fd int, v4 bool, mark uint32) error {
	level, option := unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	if v4 {
		level, option = unix.SOL_IP, unix.IP_TRANSPARENT
	}
	err := unix.SetsockoptInt(fd, level, option, 1)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	}
	if errors.Is(err, unix.EPERM) {
		return ErrNoTransparent
	}
	return err
}

// control runs f on a socket.
func control(c syscall.RawConn, f func(fd int) error) error {
	var failure error
	if err := c.Control(func(fd uintptr) { failure = f(int(fd)) }); err != nil {
		return err
	}
	return failure
}

// Ports tells the listeners' ports for IPv4 and IPv6, 0 where the host does not
// have one: of those whose connections are in a conntrack zone of their own, and
// of the others.
func (t *Transparent) Ports() (zoned, plain [2]uint16) { return t.zoned, t.plain }

// Run begins to accept.
func (t *Transparent) Run() {
	for _, l := range t.listeners {
		t.running.Go(func() { t.accept(l) })
	}
}

// Close ends the listeners, lets connections drain, and waits for them. The
// kernel's rules have to stay until then.
func (t *Transparent) Close() {
	for _, l := range t.listeners {
		l.Close()
	}
	var late []*time.Timer
	t.end()
	t.mu.Lock()
	t.closed = true
	for key, w := range t.waiting {
		t.unwait(key)
		ppf.Abort(w.conn)
	}
	for s, ends := range t.open {
		s.Drain()
		late = append(late, time.AfterFunc(ends.Drain, func() { s.Abort(ppf.ReasonDrain) }))
	}
	t.mu.Unlock()
	t.running.Wait()
	for _, timer := range late {
		timer.Stop()
	}
}

// Keep resets the connections of instances that do not end connections here any
// more: no rule brings their packets.
func (t *Transparent) Keep(instance func(name string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, ends := range t.open {
		if !instance(ends.Instance) {
			s.Abort(ppf.ReasonDrain)
		}
	}
}

func (t *Transparent) accept(l acceptor) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Text: "accept: " + err.Error()})
			// Most likely descriptors are out: the end of a connection gives one.
			if t.busy() {
				<-t.ended
			}
			continue
		}
		key := tuple{endpoint(conn.RemoteAddr()), endpoint(conn.LocalAddr())}
		if conn, err = wrap(t.engine.Env(), conn); err != nil {
			continue // it has ended
		}
		t.running.Go(func() { t.serve(conn, key, l.zoned) })
	}
}

func endpoint(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// keep notes a session that Close has to end; it may be too late.
func (t *Transparent) keep(s *ppf.Session, key tuple, ends *ppf.Ends) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.open[s] = ends
		t.tuples[key]++
	}
	return !t.closed
}

// serves reports whether a session of a connection is there; mu is held.
func (t *Transparent) serves(key tuple) bool { return t.tuples[key] > 0 }

// forget is told of the end of a session.
func (t *Transparent) forget(s *ppf.Session, key tuple) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, s)
	less(t.tuples, key)
	select {
	case t.ended <- struct{}{}:
	default:
	}
}

func (t *Transparent) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) > 0
}

// serve runs the session of an accepted connection.
func (t *Transparent) serve(conn net.Conn, key tuple, zoned bool) {
	up := &upstream{t: t, key: key, ends: t.accepting(key.client, key.server), zoned: zoned, waiting: t.claim(key)}
	defer up.close()
	if up.ends == nil {
		ppf.Abort(conn) // its instance has gone meanwhile
		return
	}
	session, err := t.engine.NewSession(up.ends.Instance, conn, key.client, key.server, up.dial)
	if err != nil {
		t.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Instance: up.ends.Instance, Text: err.Error()})
		ppf.Abort(conn)
		return
	}
	if !t.keep(session, key, up.ends) {
		ppf.Abort(conn)
		return
	}
	defer t.forget(session, key)
	defer conn.Close()
	session.Serve()
}

// dial opens a connection to the server, from the client's own address and port
// where the server shall see them. While an earlier connection of them is not over
// yet, and where conntrack has the client's leg in the same zone, another port of
// the client's address has to do.
func (t *Transparent) dial(ctx context.Context, key tuple, ends *ppf.Ends, zoned bool) (net.Conn, error) {
	if !ends.KeepsClient() {
		return t.dialFrom(ctx, netip.AddrPort{}, key.server)
	}
	if zoned {
		conn, err := t.dialFrom(ctx, key.client, key.server)
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return conn, err
		}
	}
	return t.dialFrom(ctx, netip.AddrPortFrom(key.client.Addr(), 0), key.server)
}

// dialFrom opens a connection; from is the zero value for an address of this host.
func (t *Transparent) dialFrom(ctx context.Context, from, server netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			err := transparent(fd, server.Addr().Is4(), t.marks.Plain)
			if from.IsValid() && from.Port() != 0 {
				return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			}
			return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
		})
	}}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	c, err := d.DialContext(ctx, "tcp", server.String())
	return dialed(t.engine.Env(), c, err)
}
