package http

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// tunnel is a websocket on its way through a connection: frames in both directions,
// each carried by a goroutine of its own.
type tunnel struct {
	c       *connection
	moved   atomic.Int64 // when octets came last, from either end
	leaving atomic.Bool  // both ends are told that it is over
}

// errLeaving ends a wait for frames: the proxy, and not an end, is the one that goes.
var errLeaving = errors.New("the websocket shall end")

// switchProtocols checks the server's 101 and carries frames until one side ends.
func (c *connection) switchProtocols() Defect {
	if !c.req.websocket || !c.res.framing.upgrade || !c.accepted() {
		return Defect{Reason: ReasonAnswerSwitch}
	}
	c.out.b = c.out.b[:0]
	c.out.response(&c.res, 1, BodyNone, 0, false, c.link.env.Now())
	c.started, c.req.framing.close = true, true // nothing but frames follows
	if c.writeClient(c.out.b) != nil {
		return Defect{}
	}
	c.count()
	c.answering = false
	t := &tunnel{c: c}
	t.moved.Store(c.link.env.Now())
	c.life.switched()
	toServer := make(chan packet.Reason, 1)
	go func() {
		f := c.guard(func() Defect {
			return Defect{Reason: t.carry(&c.in, &c.up, frameDecoder{masked: true, extended: c.route.WebSocketExtensions, limit: c.route.MaxBody})}
		})
		t.halfClose(&c.up, f.Reason)
		toServer <- f.Reason
	}()
	r := t.carry(&c.up, &c.in, frameDecoder{extended: c.route.WebSocketExtensions, limit: c.route.MaxBody})
	t.halfClose(&c.in, r)
	other := <-toServer
	for _, r := range []packet.Reason{r, other} {
		if r != packet.ReasonNone {
			return Defect{Reason: r}
		}
	}
	return Defect{}
}

// accepted reports whether the server has taken the client's key for a websocket
// (RFC 6455 §4.2.2).
func (c *connection) accepted() bool {
	const appended = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	key, accept := c.req.find(fieldSecWebSocketKey, ""), c.res.find(fieldSecWebSocketAccept, "")
	if key == nil || accept == nil {
		return false
	}
	sum := sha1.Sum(append([]byte(key.value.String()), appended...))
	return accept.value.String() == base64.StdEncoding.EncodeToString(sum[:])
}

// halfClose ends one direction; after a defect it ends both.
func (t *tunnel) halfClose(to *reader, r packet.Reason) {
	c := t.c
	if r != packet.ReasonNone {
		ppf.Abort(c.up.conn)
		ppf.Abort(c.in.conn)
		return
	}
	if h, ok := to.conn.(interface{ CloseWrite() error }); !ok || h.CloseWrite() != nil {
		to.conn.Close()
	}
}

// fill reads more from one end, and waits as long as the other one is not silent too.
func (t *tunnel) fill(from *reader) error {
	env, idle := t.c.link.env, t.c.p.cfg.WebSocketIdle
	for {
		if err := from.readBy(env.Now(), idle); err != nil {
			return err
		}
		if t.over() { // behind the deadline, which who ends it moves
			return errLeaving
		}
		err := from.fill(smallBuffer)
		switch {
		case err == nil:
			t.moved.Store(env.Now())
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case env.Now()-t.moved.Load() >= int64(idle) && t.leaving.CompareAndSwap(false, true):
			t.c.life.wakeBoth()
		}
		from.readAt = 0
	}
}

// over reports whether the proxy wants the websocket to end.
func (t *tunnel) over() bool { return t.leaving.Load() || t.c.life.draining.Load() }

// carry carries frames from one side to the other. It returns at the end of the
// stream, or with a reason.
func (t *tunnel) carry(from, to *reader, d frameDecoder) packet.Reason {
	env := t.c.link.env
	var out []byte
	var words text
	for {
		f, n, r := d.head(from.unread())
		if r != packet.ReasonNone {
			return r
		}
		if n == 0 {
			switch err := t.fill(from); {
			case err == errLeaving:
				t.part(from, to, &d)
				return packet.ReasonNone
			case err != nil:
				return packet.ReasonNone
			}
			continue
		}
		from.r += n
		received := f.mask
		if !d.masked {
			received = [4]byte{}
		} else {
			binary.BigEndian.PutUint32(f.mask[:], env.Uint32())
		}
		out = appendFrame(out[:0], f, d.masked)
		var end []byte // of a close frame, which goes on as a whole
		for at := int64(0); ; {
			data := from.unread()
			data = data[:min(int64(len(data)), f.length-at)]
			applyMask(data, received, at)
			switch {
			case f.opcode == opClose:
				end = append(end, data...)
			case f.opcode <= opBinary && d.inText:
				if !words.add(data) {
					r = ReasonFrameText
				}
			}
			if d.masked {
				applyMask(data, f.mask, at)
			}
			out = append(out, data...)
			from.r += len(data)
			at += int64(len(data))
			if at == f.length {
				switch {
				case f.opcode == opClose:
					r = closeFault(end)
				case f.opcode <= opBinary && d.inText && f.fin && !words.whole():
					r = ReasonFrameText
				}
			}
			if r = t.judged(r); r != packet.ReasonNone {
				return r
			}
			if f.opcode != opClose || at == f.length {
				if t.write(to, out) != nil {
					return packet.ReasonNone
				}
				out = out[:0]
			}
			t.count(from, d.masked)
			if at == f.length {
				break
			}
			if more, r := t.rest(from); !more {
				return r
			}
		}
	}
}

// rest reads more of a frame that has begun, also where the websocket shall end:
// within the last call, since a half frame cannot be followed by a close frame.
func (t *tunnel) rest(from *reader) (more bool, r packet.Reason) {
	err := t.fill(from)
	if err == errLeaving {
		err = t.fillBy(from, t.c.link.env.Now()+int64(lastCall))
	}
	switch {
	case err == nil:
		return true, packet.ReasonNone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, packet.ReasonNone
	}
	return false, ReasonFrame
}

// count counts what was read of one end and sent on.
func (t *tunnel) count(from *reader, byClient bool) {
	d := ppf.ServerToClient
	if byClient {
		d = ppf.ClientToServer
	}
	if t.c.link.tally != nil {
		t.c.link.tally.Moved(d, from.got)
	}
	from.got = 0
}

func (t *tunnel) write(to *reader, b []byte) error {
	if err := to.conn.SetWriteDeadline(later(t.c.link.env, t.c.p.cfg.BodyWindow)); err != nil {
		return err
	}
	_, err := to.conn.Write(b)
	return err
}

// judged gives the reason again, unless the mode or an override lets it pass.
func (t *tunnel) judged(r packet.Reason) packet.Reason {
	if r == packet.ReasonNone || t.c.judge.decide(r) == ppf.DoRefuse {
		return r
	}
	t.c.counted([]Defect{{Reason: r}}, &t.c.judge)
	return packet.ReasonNone
}

// part tells the end that frames are carried to that it is over, and reads until the
// other one has said so too, for the last call at most.
func (t *tunnel) part(from, to *reader, d *frameDecoder) {
	if !d.closed {
		f := frame{fin: true, opcode: opClose, length: int64(len(closeGoingAway))}
		code := closeGoingAway
		if d.masked {
			binary.BigEndian.PutUint32(f.mask[:], t.c.link.env.Uint32())
			applyMask(code[:], f.mask, 0)
		}
		if t.write(to, append(appendFrame(nil, f, d.masked), code[:]...)) != nil {
			return
		}
	}
	for until := t.c.link.env.Now() + int64(lastCall); !d.closed; {
		f, n, r := d.head(from.unread())
		if r != packet.ReasonNone {
			return
		}
		if n == 0 {
			if t.fillBy(from, until) != nil {
				return
			}
			continue
		}
		from.r += n
		for left := f.length; ; {
			skipped := min(left, int64(len(from.unread())))
			from.r += int(skipped)
			if left -= skipped; left == 0 {
				break
			}
			if t.fillBy(from, until) != nil {
				return
			}
		}
	}
}

// fillBy is fill for what has to be there by a time, whoever ends waits meanwhile.
func (t *tunnel) fillBy(from *reader, until int64) error {
	for {
		if err := from.conn.SetReadDeadline(time.Unix(0, until)); err != nil {
			return err
		}
		err := from.fill(smallBuffer)
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.c.link.env.Now() >= until {
			return err
		}
	}
}
