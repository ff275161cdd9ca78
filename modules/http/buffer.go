package http

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of buffers. An idle connection holds none.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

func getBuffer(n int) []byte {
	if n <= smallBuffer {
		return smallBuffers.Get().(*[smallBuffer]byte)[:]
	}
	if n <= largeBuffer {
		return largeBuffers.Get().(*[largeBuffer]byte)[:]
	}
	return make([]byte, n)
}

func putBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// reader reads one side of a connection. What stands before base is lent to
// the message that is under way and does not move.
type reader struct {
	conn net.Conn
	buf  []byte
	base int
	r, w int // what was read and not used is buf[r:w]
	old  [][]byte
	got  int64 // octets that were read, for who counts them
	// Deadlines that are set, 0 where they are unknown.
	readAt, writeAt int64
}

// readBy sets the deadline for reads to d from now, or up to a quarter of d later:
// one that is set already and does for this is left as it is, since to set one costs
// more than all the rest of a read.
func (s *reader) readBy(now int64, d time.Duration) error {
	if !soon(&s.readAt, now, d) {
		return nil
	}
	return s.conn.SetReadDeadline(time.Unix(0, s.readAt))
}

// writeBy is readBy for writes to the connection.
func (s *reader) writeBy(now int64, d time.Duration) error {
	if !soon(&s.writeAt, now, d) {
		return nil
	}
	return s.conn.SetWriteDeadline(time.Unix(0, s.writeAt))
}

// soon moves a deadline where it is not between d and 1.25 d from now, and says
// whether it has.
func soon(at *int64, now int64, d time.Duration) bool {
	least := now + int64(d)
	if least <= *at && *at <= least+int64(d/4) {
		return false
	}
	*at = least + int64(d/8)
	return true
}

func (s *reader) unread() []byte { return s.buf[s.r:s.w] }

// keep lends everything up to r until release.
func (s *reader) keep() { s.base = s.r }

// release ends what was lent. An empty reader gives a large buffer back.
func (s *reader) release() {
	s.base = 0
	for _, b := range s.old {
		putBuffer(b)
	}
	s.old = s.old[:0]
	if s.r == s.w {
		s.r, s.w = 0, 0
		if cap(s.buf) > smallBuffer {
			putBuffer(s.buf)
			s.buf = nil
		}
	}
}

func (s *reader) free() {
	s.r, s.w = 0, 0
	s.release()
	if s.buf != nil {
		putBuffer(s.buf)
		s.buf = nil
	}
}

// fill reads more behind w. Room is made by moving what is unread to base, and
// by a larger buffer of at least room octets behind base.
func (s *reader) fill(room int) error {
	s.makeRoom(room)
	n, err := s.conn.Read(s.buf[s.w:])
	s.w += n
	s.got += int64(n)
	if n > 0 {
		return nil
	}
	return err
}

func (s *reader) makeRoom(room int) {
	if s.r == s.w {
		s.r, s.w = s.base, s.base
	}
	// Of a buffer that is nearly full at its end, a read would take little.
	if len(s.buf)-s.w < len(s.buf)/4 && s.r > s.base || s.w == len(s.buf) || len(s.buf)-s.base < room {
		s.grow(room)
	}
}

func (s *reader) grow(room int) {
	unread := s.unread()
	if len(s.buf)-s.base >= room && s.r > s.base {
		s.w = s.base + copy(s.buf[s.base:], unread)
		s.r = s.base
		return
	}
	// What is lent stays in the old buffer until release.
	size := smallBuffer
	for size < max(room, 2*len(unread)) {
		size *= 2
	}
	if size > smallBuffer && size < largeBuffer {
		size = largeBuffer
	}
	b := getBuffer(size)
	s.w = copy(b, unread)
	if s.buf != nil {
		if s.base > 0 {
			s.old = append(s.old, s.buf)
		} else {
			putBuffer(s.buf)
		}
	}
	s.buf, s.r, s.base = b, 0, 0
}

// budget is what all connections of an instance hold of bodies.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(int64(-n)) }

// pace watches that a peer sends at least a rate over a window. Only a deadline
// that fires is looked at: time is asked once in a window.
type pace struct {
	from   *reader
	window time.Duration
	least  int64 // octets in a window
	got    int64
	now    func() int64
}

func (p *pace) start(from *reader, now func() int64, window time.Duration, rate int) error {
	*p = pace{from: from, window: window, least: max(int64(float64(rate)*window.Seconds()), 1), now: now}
	return p.renew()
}

func (p *pace) renew() error {
	p.got = 0
	p.from.readAt = 0
	return p.from.conn.SetReadDeadline(time.Unix(0, p.now()).Add(p.window))
}

// expired says whether the deadline that fired is the end: too little came.
func (p *pace) expired() bool { return p.got < p.least || p.renew() != nil }
