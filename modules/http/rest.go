package http

import "sync"

// awaiter is a connection that can wait for octets without a buffer for them, and
// calls rest before it waits.
type awaiter interface{ Await(rest func()) error }

// spare is what a connection needs for an exchange and not while it is idle, besides
// the buffers of what is read. Connections that rest leave it to others.
type spare struct {
	out, ahead, held []byte
	req, res         room
}

// room is what a message is parsed into.
type room struct {
	fields  []Field
	octets  []byte
	defects []Defect
}

var spares = sync.Pool{New: func() any { return new(spare) }}

// await waits for a request without what it takes, where the connection can. It is
// called from where the stack is small. An error is one of reading the request.
func (c *connection) await() {
	w, ok := c.in.conn.(awaiter)
	if !ok || len(c.in.unread()) > 0 {
		return
	}
	if c.life.rest(&c.in, c.link.env.Now(), c.p.cfg.IdleTimeout) {
		c.awaited = w.Await(c.resting)
	}
	c.life.wake(&c.in)
	c.rise()
}

// rise takes what an exchange needs.
func (c *connection) rise() {
	if c.spare != nil {
		return
	}
	s := spares.Get().(*spare)
	c.spare = s
	c.out.b, c.ahead.b, c.held = s.out, s.ahead, s.held
	c.req.fields, c.req.scratch, c.req.defects.list = s.req.fields, s.req.octets, s.req.defects
	c.res.fields, c.res.scratch, c.res.defects.list = s.res.fields, s.res.octets, s.res.defects
}

// rest gives it back; nothing of a message may be under way.
func (c *connection) rest() {
	for _, r := range []*reader{&c.in, &c.up} {
		if r.r == r.w {
			r.free()
		}
	}
	s := c.spare
	if s == nil {
		return
	}
	c.spare = nil
	s.out, s.ahead, s.held = small(c.out.b), small(c.ahead.b), small(c.held)
	s.req = room{c.req.fields[:0], c.req.scratch[:0], c.req.defects.list[:0]}
	s.res = room{c.res.fields[:0], c.res.scratch[:0], c.res.defects.list[:0]}
	c.out.b, c.ahead.b, c.held = nil, nil, nil
	c.req.fields, c.req.scratch, c.req.defects.list = nil, nil, nil
	c.res.fields, c.res.scratch, c.res.defects.list = nil, nil, nil
	spares.Put(s)
}

// small empties a buffer, and lets one go that has become large.
func small(b []byte) []byte {
	if cap(b) > largeBuffer {
		return nil
	}
	return b[:0]
}
