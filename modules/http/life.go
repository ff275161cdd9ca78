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
	client   net.Conn // set before anybody else knows, and so is now
	now      func() int64
	draining atomic.Bool

	mu      sync.Mutex
	idle    bool // it waits for a request, and nothing of one is there
	frames  bool // it carries a websocket's frames
	aborted bool
	server  net.Conn
}

// lastCall is how long an idle connection that shall end still waits for a request,
// whose response can say so: one that is on its way would be lost otherwise.
const lastCall = time.Second

// drain ends the connection after its exchange, and soon if it is idle.
func (l *life) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining.Store(true)
	if l.frames {
		l.wakeFrames()
	}
	if l.idle {
		// It fails only for a connection that is closed already.
		_ = l.client.SetReadDeadline(time.Unix(0, l.now()).Add(lastCall))
	}
}

// switched begins a websocket: who carries frames looks whether it is to end when its
// wait ends.
func (l *life) switched() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = true
}

// wakeBoth ends the waits for frames.
func (l *life) wakeBoth() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeFrames()
}

// wakeFrames is wakeBoth with mu held. It fails only for connections that are closed.
func (l *life) wakeFrames() {
	now := time.Unix(0, l.now())
	_ = l.client.SetReadDeadline(now)
	if l.server != nil {
		_ = l.server.SetReadDeadline(now)
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

// rest begins to wait for a request, for d or a last call. It says false where the
// connection has ended.
func (l *life) rest(in *reader, now int64, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining.Load() {
		in.readAt, d = 0, min(d, lastCall) // drain may have changed it
	}
	l.idle = true
	return in.readBy(now, d) == nil
}

// wake ends rest; the deadline is no longer ours to change.
func (l *life) wake(in *reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = false
	if l.draining.Load() {
		in.readAt = 0
	}
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
