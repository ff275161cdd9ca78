package stream

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/promethos/promethos/ppf"
)

// conn is a TCP connection with less between it and the kernel than net's: its
// system calls never block, and so they are made without telling the scheduler,
// which would take the processor away for those that take 20 µs. One goroutine at
// a time may read, and one write.
type conn struct {
	*net.TCPConn
	raw       syscall.RawConn
	in, out   transfer
	ask       transfer // of Ask, while out is the request
	tryRead   func(fd uintptr) bool
	tryWrite  func(fd uintptr) bool
	tryAsking func(fd uintptr) bool
	asked     bool // the request was sent as far as the kernel took it
	tryAwait  func(fd uintptr) bool
	rest      func() // of Await; nil once it was called
	first     [1]byte
	env       ppf.Env
}

// transfer is one system call's buffer, and what came of it.
type transfer struct {
	b     []byte
	n     int
	errno syscall.Errno
}

// dialed wraps what a dialer gives.
func dialed(env ppf.Env, c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return wrap(env, c)
}

// wrap makes a conn of a TCP connection. Its deadlines are times of env.
func wrap(env ppf.Env, plain net.Conn) (net.Conn, error) {
	tcp := plain.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		plain.Close()
		return nil, err
	}
	c := &conn{TCPConn: tcp, raw: raw, env: env}
	c.tryRead = func(fd uintptr) bool { return c.in.recv(fd, 0) }
	c.tryWrite = func(fd uintptr) bool { return c.out.send(fd) }
	c.tryAsking = c.askOnce
	c.tryAwait = c.awaitOnce
	return c, nil
}

// SetDeadline, SetReadDeadline and SetWriteDeadline take times of env.Now, which goes
// on evenly where net's goes by a clock that may be set.
func (c *conn) SetDeadline(t time.Time) error      { return c.TCPConn.SetDeadline(c.moment(t)) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.TCPConn.SetReadDeadline(c.moment(t)) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.TCPConn.SetWriteDeadline(c.moment(t)) }

func (c *conn) moment(t time.Time) time.Time {
	if t.IsZero() {
		return t // never
	}
	return ppf.Moment(c.env, t.UnixNano())
}

// NetConn is the connection itself, for who ends it with a reset.
func (c *conn) NetConn() net.Conn { return c.TCPConn }

// TCP is the connection itself, for who moves its bytes within the kernel.
func (c *conn) TCP() *net.TCPConn { return c.TCPConn }

// call makes a system call, and says whether it is done: it is not where it would
// block.
func (t *transfer) call(trap, fd, flags uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.b))), uintptr(len(t.b)), flags, 0, 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			t.n, t.errno = 0, errno
			return false
		}
		if t.n, t.errno = int(n), errno; errno != 0 {
			t.n = 0
		}
		return true
	}
}

func (t *transfer) recv(fd uintptr, flags int) bool {
	return t.call(syscall.SYS_RECVFROM, fd, uintptr(flags|syscall.MSG_DONTWAIT))
}

func (t *transfer) send(fd uintptr) bool {
	return t.call(syscall.SYS_SENDTO, fd, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// received tells what a read came to.
func (t *transfer) received(wanted int, err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, os.NewSyscallError("recvfrom", t.errno)
	case t.n == 0 && wanted > 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Read reads what is there, or waits for it.
func (c *conn) Read(b []byte) (int, error) {
	c.in.b = b
	err := c.raw.Read(c.tryRead)
	c.in.b = nil
	return c.in.received(len(b), err)
}

// Write writes all of b.
func (c *conn) Write(b []byte) (int, error) {
	for n := 0; ; {
		c.out.b = b[n:]
		err := c.raw.Write(c.tryWrite)
		c.out.b = nil
		switch {
		case err != nil:
			return n, err
		case c.out.errno != 0:
			return n, os.NewSyscallError("sendto", c.out.errno)
		}
		if n += c.out.n; n == len(b) {
			return n, nil
		}
	}
}

// Ask writes a request and reads the beginning of the answer to it, where the
// connection is idle: nothing is there to be read, neither octets nor an end.
// Otherwise idle is false and nothing was written. It does in one wait, and with
// the look at what is there in place of a vain read, what Write and Read do in two.
// sent is how much of the request was taken; the error is that of the first call
// that failed.
func (c *conn) Ask(request, answer []byte) (idle bool, sent, n int, err error) {
	c.out.b, c.ask.b, c.asked = request, answer, false
	err = c.raw.Read(c.tryAsking)
	c.out.b, c.ask.b = nil, nil
	switch {
	case !c.asked:
		return false, 0, 0, err
	case err == nil && c.out.errno != 0 && c.out.errno != syscall.EAGAIN:
		return true, 0, 0, os.NewSyscallError("sendto", c.out.errno)
	case err == nil && c.out.n < len(request):
		return true, c.out.n, 0, nil
	}
	n, err = c.ask.received(len(answer), err)
	return true, c.out.n, n, err
}

// askOnce is the first look and the request, and after each wait another read. What
// arrives between the look and the wait ends the wait.
func (c *conn) askOnce(fd uintptr) bool {
	if c.asked {
		return c.ask.recv(fd, 0)
	}
	if c.ask.recv(fd, syscall.MSG_PEEK) {
		return true
	}
	c.asked = true
	return !c.out.send(fd) || c.out.errno != 0 || c.out.n < len(c.out.b)
}

// Await waits until something is there to be read, octets or an end, and calls rest
// before it does so: who may wait for long needs to hold nothing for what will come.
// Where something is there already it does not call it. The look takes the place of
// the vain read with which a wait begins.
func (c *conn) Await(rest func()) error {
	c.in.b, c.rest = c.first[:], rest
	err := c.raw.Read(c.tryAwait)
	c.in.b = nil
	if err == nil && c.rest != nil && c.in.errno != 0 {
		err = os.NewSyscallError("recvfrom", c.in.errno) // the kernel tells of it once
	}
	c.rest = nil
	return err
}

func (c *conn) awaitOnce(fd uintptr) bool {
	if c.rest == nil || c.in.recv(fd, syscall.MSG_PEEK) {
		return true
	}
	c.rest()
	c.rest = nil
	return false
}
