package https

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
)

// ending is a connection below TLS that remembers whether it ended.
type ending struct {
	net.Conn
	ended atomic.Bool
	again []byte // was read already
}

func (c *ending) Read(b []byte) (int, error) {
	if len(c.again) > 0 {
		n := copy(b, c.again)
		c.again = c.again[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		c.ended.Store(true)
	}
	return n, err
}

// NetConn is the connection itself, for who ends it with a reset.
func (c *ending) NetConn() net.Conn { return c.Conn }

// secured is a TLS connection that tells a proper end from one that is cut:
// crypto/tls takes a FIN between two records for an end, and so what somebody
// on the way cut off would look complete (RFC 8446 §6.1).
type secured struct {
	*tls.Conn
	raw    *ending
	broken func(error) // told of what is no TLS; crypto/tls answers with an alert
}

func (c *secured) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case err == io.EOF && c.raw.ended.Load():
		return n, io.ErrUnexpectedEOF
	case err != nil && isBroken(err):
		c.broken(err)
	}
	return n, err
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
