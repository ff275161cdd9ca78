package http

import (
	"errors"
	"io"
	"os"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// respond reads responses up to the final one and sends them to the client.
func (c *connection) respond(p *pump) (again bool, f Defect) {
	for informational := 0; ; informational++ {
		head, f := c.readAnswer(informational > 0)
		if f.Reason != packet.ReasonNone {
			if p != nil {
				// A body that was refused broke the connection.
				select {
				case <-p.done:
					if p.flaw.Reason != packet.ReasonNone {
						return false, p.flaw
					}
				default:
				}
			}
			return false, f
		}
		c.res.reset()
		good := c.res.parse(head, &c.p.limits, &c.req)
		if good {
			c.p.responseRules(&c.res, c.route, c.judge.mode == ppf.Strict, c.req.websocket)
			c.surplus()
		}
		if f := c.judge.verdict(&c.res.defects); f.Reason != packet.ReasonNone {
			return false, f
		}
		c.counted(c.res.defects.list, &c.judge)
		switch {
		case c.res.status == 101:
			return false, c.switchProtocols()
		case c.res.status >= 200:
			c.up.keep()
			return c.answer(p)
		case informational == c.p.limits.informational:
			return false, Defect{Reason: ReasonAnswerInfo}
		case c.res.status == 100 || c.req.minor == 0:
			continue // RFC 9110 §15.2: not for clients of HTTP/1.0; and 100 was ours to say
		}
		c.out.b = c.out.b[:0]
		c.out.response(&c.res, 1, BodyNone, 0, false, 0)
		if c.writeClient(c.out.b) != nil {
			return false, Defect{}
		}
		c.out.b = c.out.b[:0]
	}
}

// surplus looks for octets behind a response that is here as a whole already.
func (c *connection) surplus() {
	r := &c.res
	n := len(c.up.unread())
	if r.status < 200 || r.status == 101 {
		return
	}
	switch {
	case r.bare && n > 0:
		r.defects.found(ReasonAnswerBody, 0)
		r.framing.close = true
	case !r.bare && r.framing.body == BodyLength && int64(n) > r.framing.length && r.status != 205:
		r.defects.fail(ReasonAnswerTail, 0)
	}
}

// readAnswer waits for a whole head of the server's.
func (c *connection) readAnswer(some bool) (head []byte, f Defect) {
	from := 0
	for {
		b := c.up.unread()
		end, next := headEnd(b, from)
		switch {
		case end > 0 && end <= 2:
			return nil, Defect{Reason: ReasonAnswerLine}
		case end > 0:
			c.up.r += end
			return b[:end], f
		case len(b) > c.p.limits.head:
			return nil, Defect{Reason: ReasonAnswerLong, Offset: int64(c.p.limits.head)}
		case len(b) >= 7 && string(b[:7]) != "HTTP/1.":
			return nil, Defect{Reason: ReasonAnswerLine}
		}
		from = next
		if err := c.up.fill(1); err != nil {
			return nil, serverDefect(err, some || len(c.up.unread()) > 0)
		}
	}
}

// keepClient says whether the client's connection may go on after this exchange.
func (c *connection) keepClient() bool {
	return !c.req.framing.close
}

// answer sends the final response. Again says that both connections can carry
// another exchange.
func (c *connection) answer(p *pump) (again bool, f Defect) {
	if len(c.link.functions) > 0 {
		c.x.wantBody, c.x.needBody = 0, false
		if !c.runResponse() {
			return false, Defect{}
		}
	}
	r := &c.res
	c.own = c.own || c.link.pool != nil && (bindsConnection(&c.req.Header, fieldAuthorization) || bindsConnection(&r.Header, fieldWWWAuthenticate))
	c.resBody.reset(&c.up, &r.framing, -1, &r.defects, &responseChunks, &c.p.limits, 0)
	kind, length := r.framing.body, r.framing.length
	if !r.hasBody() {
		c.resBody.kind = BodyNone
	}
	held, whole, f := c.holdAnswer()
	if f.Reason != packet.ReasonNone {
		return false, f
	}
	if whole {
		kind, length = BodyLength, int64(len(held))
	}
	closing := c.req.framing.close
	if !closing && c.life.draining.Load() {
		closing, c.lingers = true, true
	}
	if p != nil && !c.sent(p) {
		closing = true // the server answers before the request is over
	}
	if c.req.minor == 0 && !whole && r.hasBody() && kind != BodyLength {
		kind, closing = BodyUntilClose, true
	} else if kind == BodyUntilClose {
		kind = BodyChunked
	}
	switch {
	case r.status == 204, r.status == 205 && kind != BodyLength, !r.hasBody() && kind == BodyChunked && c.req.minor == 0:
		kind = BodyNone
	case r.status == 205:
		length = 0
	}
	c.req.framing.close = closing
	c.out.b = c.out.b[:0]
	c.out.response(r, c.req.minor, kind, length, closing, ppf.Wall(c.link.env))
	if err := c.copyBody(kind, held, whole); err != nil {
		return false, c.broken(err)
	}
	again = !r.framing.close && len(c.up.unread()) == 0 && !doubtful(r.defects.list)
	if !r.framing.close && len(c.up.unread()) > 0 {
		c.note(Defect{Reason: ReasonAnswerTail}, ppf.DoRepair)
	}
	c.reused = true
	return again, Defect{}
}

// doubtful says whether what was repaired in a response leaves doubt where it
// ended: other octets of it may be what the next one seems to be.
func doubtful(list []Defect) bool {
	for _, f := range list {
		switch f.Reason {
		case ReasonAnswerLF, ReasonAnswerFold, ReasonAnswerBlank, ReasonAnswerBody, ReasonAnswerSize:
			return true
		}
	}
	return false
}

// broken handles a response that cannot be finished.
func (c *connection) broken(err error) Defect {
	var f Defect
	switch {
	case errors.Is(err, errClient):
		c.req.framing.close = true
		c.abort() // an end in order would make a body up to the close look whole
		return Defect{}
	case err == errBroken:
		f = c.judge.verdict(&c.res.defects)
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.Reason = ReasonServerSilent
	default:
		f.Reason = ReasonAnswerCut
	}
	return f
}

// errClient reports that the client does not take the response.
var errClient = errors.New("the client is gone")

// holdAnswer reads the whole body where a message function wants it, and lets
// the functions change it.
func (c *connection) holdAnswer() (held []byte, whole bool, f Defect) {
	limit := c.x.wantBody
	if len(c.link.functions) == 0 || limit == 0 || !c.res.hasBody() {
		return nil, false, f
	}
	if c.res.framing.length > int64(limit) {
		return nil, false, c.unseen(ReasonAnswerUnseen)
	}
	held = c.held[:0]
	for {
		data, err := c.nextOfAnswer()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, c.broken(err)
		}
		if n := len(held) + len(data) - c.taken; n > 0 {
			if !c.budget.take(n) {
				c.note(Defect{Reason: ReasonBufferTotal}, ppf.DoRepair)
				limit = 0
			} else {
				c.taken += n
			}
		}
		if held = append(held, data...); len(held) > limit {
			c.held = held
			return held, false, c.unseen(ReasonAnswerUnseen)
		}
	}
	for i := len(c.link.functions) - 1; i >= 0; i-- {
		if b, ok := c.link.functions[i].(BodyFunction); ok {
			c.run(i, func() { held = b.Body(&c.x, held) })
			if c.x.refused.Reason != packet.ReasonNone {
				return nil, false, c.x.refused
			}
		}
	}
	c.held = held
	return held, true, f
}

// nextOfAnswer gives the next octets of the response's body; a defect that is
// refused is errBroken.
func (c *connection) nextOfAnswer() ([]byte, error) {
	seen := len(c.res.defects.list)
	data, err := c.resBody.next()
	if list := c.res.defects.list[seen:]; len(list) > 0 {
		if f := c.judge.verdict(&defects{list: list}); f.Reason != packet.ReasonNone {
			return nil, errBroken
		}
		c.counted(list, &c.judge)
	}
	return data, err
}

// copyBody writes the head that stands in out, and the body behind it.
func (c *connection) copyBody(kind BodyKind, held []byte, whole bool) error {
	if whole {
		if !c.req.isMethod("HEAD") {
			c.out.b = append(c.out.b, held...)
		}
		return c.flush()
	}
	if len(held) > 0 {
		if err := c.writeSpan(kind, held); err != nil {
			return err
		}
	}
	for {
		data, err := c.nextOfAnswer()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := c.writeSpan(kind, data); err != nil {
			return err
		}
	}
	if kind == BodyChunked && c.res.hasBody() {
		c.keptTrailers(&c.resBody.chunks.Trailers)
		if c.res.framing.body != BodyChunked || !c.req.framing.trailers {
			c.resBody.chunks.Trailers.fields = c.resBody.chunks.Trailers.fields[:0]
		}
		c.out.last(&c.resBody.chunks.Trailers)
	}
	return c.flush()
}

// joined is up to how many octets of a body are written together with the head.
const joined = 16 << 10

// writeSpan writes octets of the body. They follow what stands in out; what is
// not much waits for what is here already, and is flushed before more is read.
func (c *connection) writeSpan(kind BodyKind, data []byte) error {
	if kind == BodyChunked {
		c.out.chunk(len(data))
	}
	if len(c.out.b)+len(data) <= joined {
		c.out.b = append(c.out.b, data...)
		if kind == BodyChunked {
			c.out.line()
		}
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.started = true
	if err := c.writeClient(data); err != nil {
		return errClient
	}
	if kind == BodyChunked {
		c.out.line()
	}
	return nil
}

func (c *connection) flush() error {
	if len(c.out.b) == 0 {
		return nil
	}
	c.started = true
	err := c.writeClient(c.out.b)
	c.out.b = c.out.b[:0]
	if err != nil {
		return errClient
	}
	return nil
}
