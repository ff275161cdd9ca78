package https

import (
	"crypto/tls"
	"io"
	"net"
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
	raw *ending
}

func (c *secured) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF && c.raw.ended.Load() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
