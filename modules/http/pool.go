package http

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/promethos/promethos/ppf"
)

// pool holds connections to the server that serve no client now. In it are only
// such as carried whole, undoubted responses, and nothing behind them.
type pool struct {
	most int
	keep time.Duration
	now  func() int64

	mu    sync.Mutex
	idle  []parked // the one that waits longest first
	timer *time.Timer
}

type parked struct {
	conn   net.Conn
	server netip.AddrPort
	since  int64
}

// bindsConnection says whether a field asks for authentication that holds for a
// connection and not for a request.
func bindsConnection(h *Header, id FieldID) bool {
	for i := range h.fields {
		if f := &h.fields[i]; f.id == id {
			scheme, _, _ := bytes.Cut(f.value.b, []byte(" "))
			if foldEqual(scheme, "negotiate") || foldEqual(scheme, "ntlm") {
				return true
			}
		}
	}
	return false
}

// take gives a connection to a server that is still good, the one that was used
// last; nil where none is.
func (p *pool) take(server netip.AddrPort) net.Conn {
	for {
		conn := p.last(server)
		var live liveness
		if conn == nil || live.idle(conn) {
			return conn
		}
		conn.Close()
	}
}

func (p *pool) last(server netip.AddrPort) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, parked := range slices.Backward(p.idle) {
		if parked.server == server {
			p.idle = slices.Delete(p.idle, i, i+1)
			return parked.conn
		}
	}
	return nil
}

// put parks a connection; of too many the one that waits longest is closed.
func (p *pool) put(conn net.Conn, server netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == p.most {
		p.idle[0].conn.Close()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.idle = append(p.idle, parked{conn, server, p.now()})
	if len(p.idle) == 1 {
		p.wait(p.keep)
	}
}

// wait looks for connections that waited for too long after a time; mu is held.
func (p *pool) wait(d time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.expire)
	} else {
		p.timer.Reset(d)
	}
}

func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.now() - int64(p.keep)
	n := 0
	for n < len(p.idle) && p.idle[n].since <= old {
		p.idle[n].conn.Close()
		n++
	}
	if p.idle = slices.Delete(p.idle, 0, n); len(p.idle) > 0 {
		p.wait(time.Duration(p.idle[0].since - old))
	}
}

// park leaves the connection to the server to other clients, where they share it.
// One that was authenticated as a whole belongs to who did that (RFC 4559 §6).
func (c *connection) park() {
	if c.link.pool == nil || !c.clean || c.own {
		return
	}
	conn := c.up.conn
	c.setServer(nil)
	c.reused, c.clean = false, false
	if conn.SetDeadline(time.Time{}) == nil {
		c.link.pool.put(conn, c.link.server)
	} else {
		conn.Close()
	}
}

// part waits for a server to end a connection that has carried its last exchange,
// as it was asked to, and resets one that does not: who ends a connection by a FIN
// first keeps its port in TIME-WAIT for a minute, and a server that never ends one
// would use up ours.
func part(conn net.Conn, now int64) {
	if conn.SetReadDeadline(time.Unix(0, now).Add(lingerTime)) == nil {
		if _, err := conn.Read(make([]byte, 1)); err == io.EOF {
			conn.Close()
			return
		}
	}
	ppf.Abort(conn)
}
