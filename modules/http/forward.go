package http

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// forward sends the request, whose body is held where whole says so, and the
// response to it. It says whether the connections can carry another exchange.
func (c *connection) forward(whole bool) bool {
	c.printRequest(whole)
	for attempt := 0; ; attempt++ {
		if f := c.connect(whole, attempt > 0); f.Reason != packet.ReasonNone {
			c.refuse(f, 0)
			return false
		}
		again, f := c.send(whole)
		// A connection that the server closed while it was idle is no failure,
		// but of what was sent only what may be done twice is tried again, and only
		// where not an octet of a response came (RFC 9112 §9.3.1).
		if f.Reason == ReasonServerClosed && c.reused && attempt == 0 && whole && (c.unsent || c.req.idempotent()) && !c.started {
			c.dropServer()
			continue
		}
		if f.Reason != packet.ReasonNone {
			c.dropServer()
			c.refuse(f, 0)
			return false
		}
		c.clean = again
		if !again {
			c.dropServer()
		}
		return again || c.lastAnswer()
	}
}

// lastAnswer says whether the client's connection goes on though the server's
// ended with a whole response.
func (c *connection) lastAnswer() bool { return c.keepClient() && c.reqBody.done() }

// printRequest makes the head that is sent, with the body behind it where that is
// held and small.
func (c *connection) printRequest(whole bool) {
	kind, length := c.req.framing.body, c.req.framing.length
	trailers := c.req.framing.body == BodyChunked && whole && c.keptTrailers(&c.reqBody.chunks.Trailers)
	if whole && kind == BodyChunked && !trailers {
		kind, length = BodyLength, int64(len(c.held))
	}
	if kind == BodyNone && (c.req.isMethod("POST") || c.req.isMethod("PUT") || c.req.isMethod("PATCH")) {
		kind = BodyLength // RFC 9110 §8.6: methods that mean a body say that there is none
	}
	c.req.last = c.req.framing.close && (c.link.pool == nil || c.req.doubtful())
	c.ahead.b = c.ahead.b[:0]
	c.ahead.request(&c.req, &c.peer, kind, length)
	switch {
	case trailers:
		if len(c.held) > 0 {
			c.ahead.chunk(len(c.held))
			c.ahead.b = append(c.ahead.b, c.held...)
			c.ahead.line()
		}
		c.ahead.last(&c.reqBody.chunks.Trailers)
	case kind == BodyChunked:
		if len(c.held) > 0 {
			c.ahead.chunk(len(c.held))
			c.ahead.b = append(c.ahead.b, c.held...)
			c.ahead.line()
		}
	default:
		c.ahead.b = append(c.ahead.b, c.held...)
	}
}

// keptTrailers leaves the allowed fields in a trailer section, and says whether
// there are any.
func (c *connection) keptTrailers(h *Header) bool {
	kept := h.fields[:0]
	for i := range h.fields {
		f := &h.fields[i]
		flags := fieldTable[f.id].flags
		if c.route.trailers.has(f) && flags&(hopByHop|ofUs|ofNobody) == 0 && validTyped(f, flags) {
			kept = append(kept, *f)
		} else {
			c.note(Defect{Reason: ReasonTrailer}, ppf.DoRepair)
		}
	}
	h.fields = kept
	return len(kept) > 0
}

// connect makes sure that there is a connection to the server, with fresh a new
// one, which has to take the request and to answer in time from now on.
func (c *connection) connect(whole, fresh bool) Defect {
	c.clean, c.asks, c.unsent = false, nil, false
	if c.up.conn == nil && c.link.pool != nil && !fresh {
		if conn := c.link.pool.take(c.link.server); conn != nil {
			c.setServer(conn)
			c.reused = true
		}
	}
	if c.up.conn != nil {
		if whole {
			c.asks, _ = c.up.conn.(asker)
		}
		if c.serverBy() == nil && len(c.up.unread()) == 0 && (c.asks != nil || c.live.idle(c.up.conn)) {
			return Defect{}
		}
		c.asks = nil
		c.dropServer()
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.p.cfg.ConnectTimeout)
	defer cancel()
	conn, err := c.link.dial(ctx)
	if err != nil {
		var timeout net.Error
		if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
			return Defect{Reason: ReasonServerSilent}
		}
		return Defect{Reason: ReasonServerDown}
	}
	c.setServer(conn)
	if err := c.serverBy(); err != nil {
		return serverDefect(err, false)
	}
	return Defect{}
}

// serverBy bounds what the server may take for the request, and for the answer.
func (c *connection) serverBy() error {
	now := c.link.env.Now()
	return errors.Join(c.up.writeBy(now, c.p.cfg.ResponseTimeout), c.up.readBy(now, c.p.cfg.ResponseTimeout))
}

// asker is a connection that finds out whether it is idle, writes a request and
// reads the beginning of the answer in one.
type asker interface {
	Ask(request, answer []byte) (idle bool, sent, n int, err error)
}

// writeServer writes what stands in ahead, and may have read of the answer then. An
// idle connection that turns out not to be has closed, and nothing was sent.
func (c *connection) writeServer() error {
	if c.asks == nil {
		_, err := c.up.conn.Write(c.ahead.b)
		return err
	}
	c.up.makeRoom(1)
	idle, sent, n, err := c.asks.Ask(c.ahead.b, c.up.buf[c.up.w:])
	c.up.w += n
	c.up.got += int64(n)
	switch {
	case !idle:
		c.unsent = true
		return io.EOF
	case err == nil && sent < len(c.ahead.b):
		_, err = c.up.conn.Write(c.ahead.b[sent:])
	}
	return err
}

// send writes the request to the server and reads the response to it, which goes
// to the client. The defect is one for which the client has had no answer.
func (c *connection) send(whole bool) (again bool, f Defect) {
	if err := c.writeServer(); err != nil && whole {
		return false, serverDefect(err, false)
	}
	if whole {
		c.answering = true
		return c.respond(nil)
	}
	// The body is too large to be held: another goroutine sends it, since the
	// server may answer before it has read all.
	p, server := pump{done: make(chan struct{}), w: gatherer{chunked: c.req.framing.body == BodyChunked}}, c.up.conn
	go func() {
		flaw := c.guard(func() Defect { return c.pumpBody(&p) })
		p.flaw = flaw
		close(p.done) // first, so that who sees the reset knows why
		if flaw.Reason != packet.ReasonNone {
			ppf.Abort(server) // what was sent must not look complete
		}
	}()
	c.answering = true
	again, f = c.respond(&p)
	if !c.sent(&p) {
		// The response is over and the body is not.
		again = false
		c.in.conn.SetReadDeadline(later(c.link.env, 0))
		if f.Reason != packet.ReasonNone && !c.started {
			c.up.conn.Close()
		} else {
			ppf.Abort(c.up.conn)
		}
		<-p.done
		p.flaw = Defect{}
	}
	if p.flaw.Reason != packet.ReasonNone {
		c.answering = false
		return false, p.flaw
	}
	if again {
		c.counted(c.bodyFlaw.list, &c.judge)
	}
	return again, f
}
