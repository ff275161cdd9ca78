package kit

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// wire is a connection in memory: two flows of bytes, whose times are the kit's.
type wire struct {
	world *world
	mu    sync.Mutex
	moved *sync.Cond
	flows [2]flow // by the side that reads
	reset bool
}

type flow struct {
	b        []byte
	ended    bool // no more bytes come
	waiting  bool // somebody wants to read and there is nothing
	deadline time.Time
}

// The sides of a wire.
const (
	nearSide = 0 // of the kit
	farSide  = 1 // of the engine
)

func newWire(w *world) *wire {
	c := &wire{world: w}
	c.moved = sync.NewCond(&c.mu)
	return c
}

func (c *wire) side(i int, local, remote netip.AddrPort) *side {
	return &side{wire: c, i: i, local: net.TCPAddrFromAddrPort(local), remote: net.TCPAddrFromAddrPort(remote)}
}

// settled reports whether everything that was written to the engine has been read,
// and it waits for more. A reset settles nothing: the session ends behind it.
func (c *wire) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flows[farSide]
	return !c.reset && len(f.b) == 0 && (f.waiting || f.ended)
}

// hasEnded reports whether nothing more comes for the side.
func (s *side) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset || s.flows[s.i].ended
}

// wake lets readers look at the clock.
func (c *wire) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.flows {
		c.flows[i].look(c.world)
	}
	c.moved.Broadcast()
}

// look ends the waiting of a reader whose deadline has passed: it is not settled.
func (f *flow) look(w *world) {
	if f.expired(w) {
		f.waiting = false
	}
}

func (f *flow) expired(w *world) bool {
	return !f.deadline.IsZero() && f.deadline.UnixNano() <= w.Now()
}

// take gives what has come for a side so far.
func (c *wire) take(i int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.flows[i].b
	c.flows[i].b = nil
	return b
}

func (c *wire) isReset() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reset
}

// side is one side of a wire.
type side struct {
	*wire
	i             int
	linger        bool // a close is a reset
	local, remote net.Addr
}

var _ net.Conn = (*side)(nil)

// Read waits for bytes.
func (s *side) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.flows[s.i]
	defer func() { f.waiting = false }()
	for {
		switch {
		case s.reset:
			return 0, syscall.ECONNRESET
		case len(f.b) > 0:
			n := copy(b, f.b)
			f.b = f.b[n:]
			return n, nil
		case f.ended:
			return 0, io.EOF
		case f.expired(s.world):
			return 0, os.ErrDeadlineExceeded
		}
		f.waiting = true
		s.moved.Broadcast()
		s.world.moved()
		s.moved.Wait()
	}
}

// Write takes all bytes.
func (s *side) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.flows[1-s.i]
	if s.reset || f.ended {
		return 0, syscall.EPIPE
	}
	f.b = append(f.b, b...)
	f.waiting = false
	s.moved.Broadcast()
	return len(b), nil
}

// CloseWrite ends the flow to the other side.
func (s *side) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows[1-s.i].ended = true
	s.moved.Broadcast()
	s.world.moved()
	return nil
}

// Close ends both flows, or resets the connection.
func (s *side) Close() error {
	s.mu.Lock()
	s.reset = s.reset || s.linger
	for i := range s.flows {
		s.flows[i].ended = true
	}
	s.moved.Broadcast()
	s.mu.Unlock()
	s.world.moved()
	return nil
}

// SetLinger makes a close a reset, as a socket's with 0 does.
func (s *side) SetLinger(sec int) error {
	s.linger = sec == 0
	return nil
}

// SetReadDeadline bounds reading by the kit's clock.
func (s *side) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.flows[s.i]
	f.deadline = t
	f.look(s.world)
	s.moved.Broadcast()
	return nil
}

// SetDeadline is SetReadDeadline: writing never waits.
func (s *side) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (s *side) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr and RemoteAddr are the scenario's.
func (s *side) LocalAddr() net.Addr  { return s.local }
func (s *side) RemoteAddr() net.Addr { return s.remote }
