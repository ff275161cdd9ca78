package http

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"time"
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
	conn  net.Conn
	since int64
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

// take gives a connection that is still good, the one that was used last; nil
// where none is.
func (p *pool) take() net.Conn {
	for {
		p.mu.Lock()
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return nil
		}
		conn := p.idle[n].conn
		p.idle = p.idle[:n]
		p.mu.Unlock()
		var live liveness
		if live.idle(conn) {
			return conn
		}
		conn.Close()
	}
}

// put parks a connection; of too many the one that waits longest is closed.
func (p *pool) put(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == p.most {
		p.idle[0].conn.Close()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.idle = append(p.idle, parked{conn, p.now()})
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
