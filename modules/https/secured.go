package https

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
)

// ending is a connection below TLS that remembers whether it ended. It gives at most
// one record at a time, so that it knows whether crypto/tls holds part of one.
type ending struct {
	net.Conn
	ended atomic.Bool
	began bool   // octets came
	again []byte // was read already
	kept  []byte // what again is part of
	head  [recordHead]byte
	have  int // of the head of the record under way
	left  int // of its content
}

func (c *ending) Read(b []byte) (int, error) {
	if len(c.again) > 0 {
		c.began = true
		n := c.record(b[:copy(b, c.again)])
		c.again = c.again[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		c.ended.Store(true)
	}
	c.began = c.began || n > 0
	whole := c.record(b[:n])
	if whole < n {
		c.kept = append(c.kept[:0], b[whole:n]...)
		c.again = c.kept
	}
	return whole, err
}

// record tells how much of b belongs to the record under way.
func (c *ending) record(b []byte) (n int) {
	if c.have < recordHead {
		n = copy(c.head[c.have:], b)
		if c.have += n; c.have < recordHead {
			return n
		}
		c.left = int(binary.BigEndian.Uint16(c.head[3:]))
	}
	content := min(c.left, len(b)-n)
	if c.left -= content; c.left == 0 {
		c.have = 0
	}
	return n + content
}

// between says whether all that was read are whole records, and were given.
func (c *ending) between() bool { return c.have == 0 && len(c.again) == 0 }

// NetConn is the connection itself, for who ends it with a reset.
func (c *ending) NetConn() net.Conn { return c.Conn }

// secured is a TLS connection that tells a proper end from one that is cut:
// crypto/tls takes a FIN between two records for an end, and so what somebody
// on the way cut off would look complete (RFC 8446 §6.1).
type secured struct {
	*tls.Conn
	raw    *ending
	broken func(error) // told of what is no TLS; crypto/tls answers with an alert
	more   bool        // of a record that was read there may be more
}

func (c *secured) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.more = n == len(b)
	switch {
	case err == io.EOF && c.raw.ended.Load():
		return n, io.ErrUnexpectedEOF
	case err != nil && isBroken(err):
		c.broken(err)
	}
	return n, err
}

// awaiter is a connection that waits without a buffer, and calls rest before.
type awaiter interface{ Await(rest func()) error }

// Await waits until a record begins, or the connection ends. Where part of one was
// read already, or below is no connection that can wait, it returns at once.
func (c *secured) Await(rest func()) error {
	if w, ok := c.raw.Conn.(awaiter); ok && !c.more && c.raw.between() {
		return w.Await(rest)
	}
	return nil
}

// isBroken tells an error that crypto/tls found in what it read from one of the
// connection below, and from an alert of the peer's.
func isBroken(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op == "local error"
	}
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || strings.HasPrefix(err.Error(), "tls: ") && !errors.Is(err, net.ErrClosed)
}

// renegotiates says whether a client wants to negotiate anew. TLS 1.2 has no word of
// its own for it: it is a ClientHello where none may be.
func renegotiates(err error) bool {
	return strings.Contains(err.Error(), "unexpected handshake message of type *tls.clientHelloMsg")
}

// aside runs a handshake in a goroutine of its own: it needs a large stack, and the
// connection's may stay for long. A panic is the caller's.
func aside(handshake func() error) error {
	var fault any
	done := make(chan error)
	go func() {
		defer close(done)
		defer func() { fault = recover() }()
		done <- handshake()
	}()
	err, ok := <-done
	if !ok {
		panic(fault)
	}
	return err
}
