package http

import (
	"errors"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/promethos/promethos/packet"
)

// pump is the way of a request's body that is not held.
type pump struct {
	w    gatherer
	end  atomic.Bool // its end is being written
	done chan struct{}
	flaw Defect // of the body; read after done
	cut  bool   // the server did not take it; read after done
}

// sizeRoom is what a chunk's size below 4 GiB takes, with its line end.
const sizeRoom = 8 + 2

// gatherer puts together what is sent of a body in one write. What was read at once,
// of many small chunks and of one that a buffer's end has cut, becomes one chunk.
type gatherer struct {
	chunked bool
	b       []byte // the data, behind room for its size
}

func (g *gatherer) add(data []byte) {
	if len(g.b) == 0 {
		var room [sizeRoom]byte
		g.b = append(g.b, room[:]...)
	}
	g.b = append(g.b, data...)
}

// take gives what was added, as it is sent, until the next add.
func (g *gatherer) take() []byte {
	if len(g.b) == 0 {
		return nil
	}
	b, from := g.b, sizeRoom
	if g.chunked {
		var size [sizeRoom]byte
		head := append(strconv.AppendUint(size[:0], uint64(len(b)-sizeRoom), 16), '\r', '\n')
		from -= copy(b[sizeRoom-len(head):], head)
		b = append(b, '\r', '\n')
	}
	g.b = b[:0]
	return b[from:]
}

// errServer reports that the server does not take the body; its response, or the want
// of one, says why.
var errServer = errors.New("the server is gone")

// sent says whether the server has taken the whole body, or the body is refused.
// Whoever writes its end may not have come to say so when the server has answered it
// already.
func (c *connection) sent(p *pump) bool {
	select {
	case <-p.done:
		return !p.cut
	default:
	}
	if !p.end.Load() {
		return false
	}
	c.up.writeAt = 0
	if c.up.conn.SetWriteDeadline(later(c.link.env, lingerTime)) != nil {
		return false
	}
	<-p.done
	return !p.cut
}

// pumpBody sends the rest of the body as it comes. What is here is sent before more
// is waited for. No last chunk is written for a body that is not whole and good.
func (c *connection) pumpBody(p *pump) Defect {
	c.reqBody.before = func() error { return c.push(p, p.w.take(), false) }
	defer func() { c.reqBody.before = nil }()
	for seen := 0; ; {
		data, err := c.reqBody.next()
		if f := c.judge.verdict(&defects{list: c.bodyFlaw.list[seen:]}); f.Reason != packet.ReasonNone {
			return f
		}
		seen = len(c.bodyFlaw.list)
		switch {
		case err == errServer:
			return Defect{}
		case err != nil && err != io.EOF:
			return clientDefect(err, &c.bodyFlaw)
		case err == nil:
			p.w.add(data)
		}
		if err == nil && (p.w.chunked || !c.reqBody.done()) {
			continue
		}
		end := writer{p.w.take()}
		if p.w.chunked {
			c.keptTrailers(&c.reqBody.chunks.Trailers)
			end.last(&c.reqBody.chunks.Trailers)
		}
		_ = c.push(p, end.b, true)
		return Defect{}
	}
}

// push sends octets of the body, with last its end.
func (c *connection) push(p *pump, b []byte, last bool) error {
	if len(b) == 0 {
		return nil
	}
	p.cut = true
	if c.up.writeBy(c.link.env.Now(), c.p.cfg.ResponseTimeout) != nil {
		return errServer
	}
	p.end.Store(last) // behind the deadline, which sent changes
	// An error of the server's shows where its response is read.
	if _, err := c.up.conn.Write(b); err != nil {
		return errServer
	}
	p.cut = false
	return nil
}
