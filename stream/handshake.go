package stream

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// Answer is what becomes of a client's SYN that waited for the server.
type Answer uint8

// The answers. The zero value is silence: the SYN is dropped.
const (
	Silence   Answer = iota
	Admit            // the listener answers it
	Reset            // as a server that refuses
	NoHost           // as a router that cannot reach the server
	NoNetwork        // as one that has no route
)

// ErrPending reports that too many connections to the server are coming about.
var ErrPending = errors.New("too many connections to the server are coming about")

const (
	// holdTime is how long a SYN waits for the server. A client that goes on sends
	// it again.
	holdTime = 10 * time.Second
	// claimTime is how long the server's connection waits for the client's, which
	// sends its last segment of three within a round trip.
	claimTime = 10 * time.Second
)

// tuple is a connection as its client sees it.
type tuple struct{ client, server netip.AddrPort }

// handshakes are connections that are coming about; Transparent.mu guards them.
type handshakes struct {
	asking   map[tuple]bool // the server is being asked
	waiting  map[tuple]*waiting
	oldest   map[netip.AddrPort]*list.List // of waiting, the one that waits longest first
	byServer map[netip.AddrPort]int        // pending ones
	byClient map[party]int                 // those of SYNs
}

// party is a client, or its network, and a server.
type party struct {
	client netip.Prefix
	server netip.AddrPort
}

// waiting is a server's connection whose client has not completed its own.
type waiting struct {
	key   tuple
	ends  *ppf.Ends
	conn  net.Conn
	late  *time.Timer
	leave func()
	place *list.Element
}

// Ask decides a client's SYN, at once or when its server has answered: reply is
// called once, by any goroutine. zoned says that its connection is in a conntrack
// zone of its own.
func (t *Transparent) Ask(client, server netip.AddrPort, zoned bool, reply func(Answer)) {
	ends := t.accepting(client, server)
	if ends == nil {
		reply(Silence)
		return
	}
	key := tuple{client, server}
	t.mu.Lock()
	known := t.asking[key]
	switch {
	case t.closed || known:
		t.mu.Unlock()
		reply(Silence) // another of the same waits already
		return
	case t.waiting[key] != nil || t.serves(key):
		t.mu.Unlock()
		reply(Admit) // sent again, or for the socket to judge
		return
	}
	from := party{ppf.ClientNetwork(client.Addr()), server}
	reason := ppf.Reason(0)
	switch {
	case t.byServer[server] >= ends.Pending && t.oldest[server] != nil:
		// The server accepts, and what waits may be of clients that are none: one that
		// completes its handshake is.
		t.mu.Unlock()
		t.count(ends, key, ppf.ReasonPendingUnasked, ppf.DoRepair)
		reply(Admit)
		return
	case t.byServer[server] >= ends.Pending:
		reason = ppf.ReasonPending
	case t.byClient[from] >= max(1, ends.Pending/2):
		reason = ppf.ReasonClientPending
	}
	if reason != 0 {
		t.mu.Unlock()
		t.count(ends, key, reason, ppf.DoRefuse)
		reply(Silence)
		return
	}
	t.asking[key] = true
	t.byServer[server]++
	t.byClient[from]++
	leave := func() { // with mu held
		less(t.byServer, server)
		less(t.byClient, from)
	}
	t.running.Go(func() { reply(t.ask(key, ends, zoned, leave)) })
	t.mu.Unlock()
}

// ask connects to the server; with success its connection waits for the client's.
func (t *Transparent) ask(key tuple, ends *ppf.Ends, zoned bool, leave func()) Answer {
	ctx, cancel := context.WithTimeout(t.life, holdTime)
	defer cancel()
	conn, err := t.dial(ctx, key, ends, zoned)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.asking, key)
	if err != nil || t.closed {
		leave()
		if err == nil {
			ppf.Abort(conn)
			return Silence
		}
		t.count(ends, key, ppf.ReasonUnreachable, ppf.DoRefuse)
		return answerTo(err)
	}
	w := &waiting{key: key, ends: ends, conn: conn, leave: leave}
	w.late = time.AfterFunc(claimTime, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.waiting[key] == w {
			t.giveUp(w)
		}
	})
	t.waiting[key] = w
	line := t.oldest[key.server]
	if line == nil {
		line = list.New()
		t.oldest[key.server] = line
	}
	w.place = line.PushBack(w)
	return Admit
}

// giveUp resets a server's connection whose client has not come; mu is held.
func (t *Transparent) giveUp(w *waiting) {
	t.unwait(w.key)
	ppf.Abort(w.conn)
	t.count(w.ends, w.key, ppf.ReasonUnclaimed, ppf.DoRefuse)
}

// answerTo tells a client what its server, or a router before it, has told us.
func answerTo(err error) Answer {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return Reset
	case errors.Is(err, unix.ENETUNREACH):
		return NoNetwork
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOPROTOOPT):
		return NoHost
	}
	return Silence
}

// claim takes the server's connection that waits for a client's; nil where there
// is none.
func (t *Transparent) claim(key tuple) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.waiting[key]
	if w == nil {
		return nil
	}
	t.unwait(key)
	return w.conn
}

// unwait takes a connection out of those that wait; mu is held.
func (t *Transparent) unwait(key tuple) {
	w := t.waiting[key]
	w.late.Stop()
	w.leave()
	delete(t.waiting, key)
	line := t.oldest[key.server]
	if line.Remove(w.place); line.Len() == 0 {
		delete(t.oldest, key.server)
	}
}

// enter counts a connection in that a function opens to the server, as long as it
// is coming about. Its client is there: of those whose clients have not come, the one
// that waits longest gives way.
func (t *Transparent) enter(key tuple, ends *ppf.Ends) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line := t.oldest[key.server]; line != nil && t.byServer[key.server] >= ends.Pending {
		t.giveUp(line.Front().Value.(*waiting))
	}
	if t.byServer[key.server] >= ends.Pending {
		return ErrPending
	}
	t.byServer[key.server]++
	return nil
}

func (t *Transparent) leave(key tuple) {
	t.mu.Lock()
	defer t.mu.Unlock()
	less(t.byServer, key.server)
}

func less[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// count counts a reason for a connection that has no session, and what it led to.
func (t *Transparent) count(ends *ppf.Ends, key tuple, r ppf.Reason, do ppf.Do) {
	if s, err := t.engine.NewSession(ends.Instance, nil, key.client, key.server, nil); err == nil {
		s.Count(r, do)
	}
}

// upstream gives a session its connections to the server: first the one that has
// waited for it, unless the server has closed it meanwhile, then new ones.
type upstream struct {
	t       *Transparent
	key     tuple
	ends    *ppf.Ends
	zoned   bool
	mu      sync.Mutex
	waiting net.Conn // nil once it is given
}

// take gives the connection that waits, once; nil where there is none.
func (u *upstream) take() net.Conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.waiting
	u.waiting = nil
	return c
}

func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	if c := u.take(); c != nil {
		if open(c) {
			return c, nil
		}
		c.Close()
	}
	if err := u.t.enter(u.key, u.ends); err != nil {
		u.t.count(u.ends, u.key, ppf.ReasonPending, ppf.DoRefuse)
		return nil, err
	}
	defer u.t.leave(u.key)
	return u.t.dial(ctx, u.key, u.ends, u.zoned)
}

// close ends a connection that nobody asked for.
func (u *upstream) close() {
	if c := u.take(); c != nil {
		c.Close()
	}
}

// open looks whether the peer has not ended a connection.
func open(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	err = control(raw, func(fd int) error {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if n == 0 && err == nil {
			return io.EOF
		}
		return err
	})
	return err == nil || errors.Is(err, unix.EAGAIN)
}
