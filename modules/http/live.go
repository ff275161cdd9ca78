package http

import (
	"net"
	"syscall"
)

// liveness tells whether a connection that is used again is idle: open, and
// nothing to read. Octets that nobody asked for are as bad as an end.
type liveness struct {
	conn  net.Conn
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	clean bool
}

// idle reports whether c can carry another request. For a connection that cannot
// be asked it says yes.
func (l *liveness) idle(c net.Conn) bool {
	if l.conn != c {
		s, ok := c.(syscall.Conn)
		if !ok {
			return true
		}
		raw, err := s.SyscallConn()
		if err != nil {
			return false
		}
		l.conn, l.raw = c, raw
		l.look = func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			l.clean = err == syscall.EAGAIN
			return true
		}
	}
	l.clean = false
	return l.raw.Read(l.look) == nil && l.clean
}
