package http

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// lingerTime is how long a refused client may take to read the answer.
const lingerTime = time.Second

// link is what a connection needs of the session it serves.
type link struct {
	conn      net.Conn
	client    netip.AddrPort
	server    netip.AddrPort
	tls       bool
	env       ppf.Env
	instance  *ppf.ProxyInstance
	functions []Function
	dial      func(context.Context) (net.Conn, error)
	mode      ppf.Mode
	do        func(ppf.Reason, ppf.Mode) ppf.Do
	pool      *pool // of connections that clients share; nil: each has its own
	onEnd     func(drain, abort func())
	note      func(Defect, ppf.Do, *Request) // counts what was found and what became of it
	report    func(format string, args ...any)
	tally     tally
	behind    func(n int) // is told how much was read behind a request that is held as a whole; nil: nobody asks
}

// connection is a client's connection and its own connection to the server.
type connection struct {
	link   link
	p      *policy
	budget *budget

	in, up reader
	out    writer // to the client
	ahead  writer // to the server
	peer   peer

	req      Request
	res      Response
	reqBody  body
	resBody  body
	bodyFlaw defects // of the request's body, which may be read by another goroutine
	held     []byte
	taken    int // of the budget
	x        Exchange
	states   []any // of message functions
	judge    judge
	route    *route

	reused    bool // the connection to the server has carried an exchange
	own       bool // it shall serve no other client
	unsent    bool // nothing of the request was sent, since it was not idle
	clean     bool // it carries nothing, and its last response left no doubt
	answering bool // the request was good, what fails now is the response
	started   bool // part of the response was sent
	refused   bool // the request, or the answer to it, was refused
	lingers   bool // the end is our wish: the client may have sent more already
	spare     *spare
	resting   func()                  // is rest
	noting    func(Defect, ppf.Do)    // is note
	deciding  func(ppf.Reason) ppf.Do // is judge.decide
	awaited   error                   // how the wait for a request has ended
	asks      asker                   // the connection to the server, where it is one that is used again
	live      liveness
	life      life
}

var connections = sync.Pool{New: func() any { return new(connection) }}

// serve handles one client's connection until it ends. It closes the server's,
// unless that is one that the server was asked to end itself: then it is given
// back. The client's is the caller's to close.
func serve(l link, p *policy, b *budget) (parting net.Conn) {
	c := connections.Get().(*connection)
	c.link, c.p, c.budget = l, p, b
	c.peer = peer{client: l.client.Addr().Unmap().String(), server: l.server.String(), tls: l.tls, options: &p.cfg}
	c.in.conn = l.conn
	c.states = slices.Grow(c.states, len(l.functions))[:len(l.functions)]
	c.reqBody.start, c.resBody.start, c.resBody.before, c.resting = c.startRequestPace, c.startResponsePace, c.flush, c.rest
	c.noting, c.deciding = c.note, c.judge.decide
	c.rise()
	c.life.client, c.life.now = l.conn, l.env.Now
	if l.onEnd != nil {
		l.onEnd(c.life.drain, c.life.abort)
	}
	defer c.end()
	for again := true; again; {
		c.await()
		if again = c.exchange(); again {
			c.between()
		}
		c.count()
	}
	if c.lingers {
		c.linger()
	}
	if _, ok := c.up.conn.(asker); ok && c.clean && c.req.last {
		parting = c.up.conn
		c.setServer(nil)
		c.clean = false
	}
	return parting
}

// between makes the connection as small as it can be while it is idle.
func (c *connection) between() {
	c.in.release()
	c.up.release()
	c.giveBack()
	c.park()
}

func (c *connection) giveBack() {
	c.budget.give(c.taken)
	c.taken = 0
}

func (c *connection) end() {
	if c.link.onEnd != nil {
		c.link.onEnd(nil, nil)
	}
	c.park()
	c.dropServer()
	c.in.free()
	c.up.free()
	c.giveBack()
	c.rest()
	clear(c.states)
	*c = connection{states: c.states[:0], in: reader{old: c.in.old}, up: reader{old: c.up.old}}
	connections.Put(c)
}

func (c *connection) dropServer() {
	if c.up.conn != nil {
		c.up.conn.Close()
		c.setServer(nil)
	}
	c.up.r, c.up.w, c.up.base = 0, 0, 0
	c.reused, c.own, c.clean = false, false, false
}

func (c *connection) setServer(conn net.Conn) {
	c.up.conn, c.up.readAt, c.up.writeAt = conn, 0, 0
	c.life.setServer(conn)
}

// exchange handles one request and its response, and says whether another may
// follow.
func (c *connection) exchange() bool {
	c.answering, c.started = false, false
	c.req.reset()
	c.judge = judge{c.link.do, c.link.mode}
	head, f := c.readHead()
	if head == nil {
		if f.Reason != packet.ReasonNone {
			c.refuse(f, 0)
		}
		return false
	}
	good := c.req.parse(head, &c.p.limits)
	c.route = &c.p.base
	if good {
		c.route = c.p.route(&c.req)
		if c.route.Mode != ModeOfInstance {
			c.judge.mode = c.route.Mode.mode()
		}
		if c.req.defects.fatal.Reason == packet.ReasonNone {
			c.p.requestRules(&c.req, c.route, c.judge.mode == ppf.Strict)
		}
	}
	if f := c.judge.verdict(&c.req.defects); f.Reason != packet.ReasonNone {
		c.refuse(f, 0)
		return false
	}
	c.counted(c.req.defects.list, &c.judge)
	c.settle()
	c.in.keep()
	if !c.runRequest() {
		return false
	}
	c.bodyFlaw.reset()
	c.reqBody.reset(&c.in, &c.req.framing, c.route.MaxBody, &c.bodyFlaw, &requestChunks, &c.p.limits, len(head))
	whole, ok := c.hold()
	if !ok {
		return false
	}
	if whole && c.link.behind != nil {
		c.link.behind(len(c.in.unread()))
	}
	again := c.forward(whole)
	return again && !c.req.framing.close
}

func (c *connection) startRequestPace() error {
	return c.reqBody.pace.start(&c.in, c.link.env.Now, c.p.cfg.BodyWindow, c.p.cfg.BodyRate)
}

func (c *connection) startResponsePace() error {
	return c.resBody.pace.start(&c.up, c.link.env.Now, c.p.cfg.ResponseTimeout, 0)
}

// settle gives what was let through the reading that it has.
func (c *connection) settle() {
	for _, f := range c.req.defects.list {
		switch {
		case suspicious(f.Reason):
			c.req.framing.close = true
		case f.Reason == ReasonExpect:
			c.req.expect = false
		}
	}
}

// readHead waits for a whole head. Without one, the reason is none where the
// connection is closed silently.
func (c *connection) readHead() (head []byte, f Defect) {
	cfg := &c.p.cfg
	from, lineSeen, limited := 0, false, false
	for {
		b := c.in.unread()
		if len(b) > 0 {
			if from == 0 && b[0] == '\r' {
				if len(b) >= 2 && b[1] == '\n' {
					from = 2
				}
			}
			if from > 0 || b[0] != '\r' {
				end, next := headEnd(b, from)
				if end > 0 {
					c.in.r += end
					return b[:end], f
				}
				if f = c.early(b, &lineSeen); f.Reason != packet.ReasonNone {
					return nil, f
				}
				from = next
			}
			if !limited {
				limited = true
				if c.in.readBy(c.link.env.Now(), cfg.HeadTimeout) != nil {
					return nil, f
				}
			}
		} else if c.awaited == nil && !c.life.rest(&c.in, c.link.env.Now(), cfg.IdleTimeout) {
			return nil, f
		}
		err := c.awaited
		if c.awaited = nil; err == nil {
			err = c.in.fill(1)
		}
		if len(b) == 0 {
			c.life.wake(&c.in)
		}
		if err != nil {
			switch {
			case len(c.in.unread()) == 0 && c.life.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded) && waiting(c.in.conn):
				continue // it came while we were asked to end
			case len(c.in.unread()) == 0:
				return nil, Defect{}
			case errors.Is(err, os.ErrDeadlineExceeded):
				return nil, Defect{Reason: ReasonSlowHead, Offset: int64(len(c.in.unread()))}
			case err == io.EOF:
				return nil, Defect{Reason: ReasonCutHead, Offset: int64(len(c.in.unread()))}
			}
			return nil, Defect{}
		}
	}
}

// early refuses what cannot become a good head any more before it is complete:
// a first line that is none, and whatever is over the limits.
func (c *connection) early(b []byte, lineSeen *bool) Defect {
	l := &c.p.limits
	if !*lineSeen {
		line, end := cutLine(b)
		if len(line) == 0 && end == 2 {
			line, end = cutLine(b[2:])
		}
		switch {
		case end > 0:
			*lineSeen = true
			c.req.reset()
			if !c.req.parse(b, l) && c.req.defects.fatal.Reason != ReasonCutHead {
				return c.req.defects.fatal
			}
			c.req.reset()
		case len(line) > 0 && octets[line[0]]&inToken == 0 && string(line) != "\r": // which may become an empty line
			return Defect{Reason: ReasonLine, Offset: int64(len(b) - len(line))}
		case len(line) > l.target+64:
			return Defect{Reason: ReasonTargetLong, Offset: int64(l.target)}
		}
	}
	if len(b) > l.head {
		return Defect{Reason: ReasonHeadLong, Offset: int64(l.head)}
	}
	return Defect{}
}

// runRequest lets the message functions see the request.
func (c *connection) runRequest() bool {
	if len(c.link.functions) == 0 {
		return true
	}
	c.x = Exchange{
		Request: &c.req, Instance: c.link.instance, Client: c.link.client, Server: c.link.server, TLS: c.link.tls, asked: c.req.host,
		note: c.noting, do: c.deciding, report: c.link.report,
	}
	for i, f := range c.link.functions {
		c.run(i, func() { f.Request(&c.x) })
		if c.x.refused.Reason != packet.ReasonNone {
			c.refuse(c.x.refused, c.x.code)
			return false
		}
	}
	return true
}

// runResponse lets them see the response, in the opposite order.
func (c *connection) runResponse() bool {
	c.x.Response = &c.res
	for i, f := range slices.Backward(c.link.functions) {
		c.run(i, func() { f.Response(&c.x) })
		if c.x.refused.Reason != packet.ReasonNone {
			c.refuse(c.x.refused, c.x.code)
			return false
		}
	}
	return true
}

// run calls message function i, whose panic it contains.
func (c *connection) run(i int, f func()) {
	c.x.State = &c.states[i]
	defer func() {
		if p := recover(); p != nil {
			c.link.report("http: a message function panicked: %v", p)
			c.x.refused, c.x.code = Defect{Reason: ReasonFunctionFailed}, 500
		}
	}()
	f()
}

// guard contains a panic in a goroutine of the connection's other than its first,
// which the session guards.
func (c *connection) guard(f func() Defect) (d Defect) {
	defer func() {
		if p := recover(); p != nil {
			c.link.report("http: a goroutine panicked: %v", p)
			d = Defect{Reason: ReasonFunctionFailed}
		}
	}()
	return f()
}

// hold reads the request's body until it is whole or over the route's buffer.
func (c *connection) hold() (whole, ok bool) {
	c.held = c.held[:0]
	if c.reqBody.done() {
		return true, true
	}
	limit := max(c.route.Buffer, c.x.wantBody)
	if c.req.framing.body == BodyLength && c.req.framing.length > int64(limit) {
		return false, c.maySkip() && c.goOn()
	}
	if !c.goOn() {
		return false, false
	}
	for seen := 0; ; {
		data, err := c.reqBody.next()
		if f := c.judge.verdict(&defects{list: c.bodyFlaw.list[seen:]}); f.Reason != packet.ReasonNone {
			c.refuse(f, 0)
			return false, false
		}
		seen = len(c.bodyFlaw.list)
		if err == io.EOF {
			c.counted(c.bodyFlaw.list, &c.judge)
			return true, c.runRequestBody()
		}
		if err != nil {
			c.refuse(clientDefect(err, &c.bodyFlaw), 0)
			return false, false
		}
		if n := len(c.held) + len(data) - c.taken; n > 0 {
			if !c.budget.take(n) {
				c.note(Defect{Reason: ReasonBufferTotal}, ppf.DoRepair)
				c.held = append(c.held, data...)
				return false, c.maySkip()
			}
			c.taken += n
		}
		if c.held = append(c.held, data...); len(c.held) > limit {
			return false, c.maySkip()
		}
	}
}

// maySkip says whether the request may go on though its body is not held for the
// message functions.
func (c *connection) maySkip() bool {
	f := c.unseen(ReasonBodyUnseen)
	if f.Reason != packet.ReasonNone {
		c.refuse(f, 0)
	}
	return f.Reason == packet.ReasonNone
}

// unseen is the refusal of a body that a message function needs and cannot have,
// none where it may pass.
func (c *connection) unseen(r ppf.Reason) Defect {
	if !c.x.needBody {
		return Defect{}
	}
	list := []Defect{{Reason: r}}
	f := c.judge.verdict(&defects{list: list})
	if f.Reason == packet.ReasonNone {
		c.counted(list, &c.judge)
	}
	return f
}

// runRequestBody lets the message functions see the request's body, which is held.
func (c *connection) runRequestBody() bool {
	if c.x.wantBody == 0 {
		return true
	}
	for i, f := range c.link.functions {
		b, ok := f.(RequestBodyFunction)
		if !ok {
			continue
		}
		c.run(i, func() { c.held = b.RequestBody(&c.x, c.held) })
		if c.x.refused.Reason != packet.ReasonNone {
			c.refuse(c.x.refused, c.x.code)
			return false
		}
	}
	if c.req.framing.body == BodyLength {
		c.req.framing.length = int64(len(c.held))
	}
	return true
}

// goOn tells a client that waits for it to send the body (RFC 9110 §10.1.1). A
// body that is here already needs no word.
func (c *connection) goOn() bool {
	if !c.req.expect || len(c.in.unread()) > 0 {
		return true
	}
	return c.writeClient([]byte("HTTP/1.1 100 Continue\r\n\r\n")) == nil
}

// writeClient writes to the client, which must take it within the window of
// bodies.
func (c *connection) writeClient(b []byte) error {
	if err := c.in.writeBy(c.link.env.Now(), c.p.cfg.BodyWindow); err != nil {
		return err
	}
	_, err := c.in.conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.note(Defect{Reason: ReasonSlowRead}, ppf.DoRefuse)
	}
	return err
}
