package http

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/promethos/promethos/ppf"
)

// life is what others than the connection's goroutine may do to it: ask it to end
// when it is idle, and make it end.
type life struct {
	client   net.Conn // set before anybody else knows
	draining atomic.Bool

	mu      sync.Mutex
	idle    bool // it waits for a request, and nothing of one is there
	aborted bool
	server  net.Conn
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// drain ends the connection if it is idle, else after its exchange.
func (l *life) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining.Store(true)
	if l.idle {
		// It fails only for a connection that is closed already.
		_ = l.client.SetReadDeadline(past)
	}
}

// abort ends the connection to the server too.
func (l *life) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted = true
	if l.server != nil {
		ppf.Abort(l.server)
	}
}

// rest begins to wait for a request, for d. It says false where none shall come.
func (l *life) rest(in *reader, now int64, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining.Load() {
		in.readAt = 0 // drain may have changed it
		if !waiting(l.client) {
			return false
		}
	}
	l.idle = true
	return in.readBy(now, d) == nil
}

// wake ends rest; the deadline is no longer ours to change.
func (l *life) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = false
}

func (l *life) setServer(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = c
	if l.aborted && c != nil {
		ppf.Abort(c)
	}
}

// waiting reports whether octets, and not an end, are there to be read. Of a
// connection that cannot be asked, such as one of TLS, it says no.
func waiting(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
