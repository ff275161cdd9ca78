package http

import (
	"encoding/binary"
	"io"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// frameDecoder reads websocket frames (RFC 6455 §5.2) of one direction and
// checks their order.
type frameDecoder struct {
	masked    bool // the client's are, the server's must not be
	extended  bool // extensions may use the reserved bits of data frames
	limit     int64
	inMessage bool
	closed    bool
}

// frame is a frame's head.
type frame struct {
	fin    bool
	rsv    byte
	opcode byte
	length int64
	mask   [4]byte
}

// The opcodes (RFC 6455 §5.2).
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
)

// maxFrameHead is the length of the longest head.
const maxFrameHead = 14

// head reads a frame's head from the start of b; with n 0 and no reason it
// needs more.
func (d *frameDecoder) head(b []byte) (f frame, n int, r packet.Reason) {
	if len(b) < 2 {
		return f, 0, packet.ReasonNone
	}
	f.fin, f.rsv, f.opcode = b[0]&0x80 != 0, b[0]>>4&7, b[0]&0xf
	control := f.opcode&8 != 0
	switch {
	case f.opcode > opPong || f.opcode > opBinary && f.opcode < opClose,
		f.rsv != 0 && (!d.extended || control),
		b[1]&0x80 != 0 != d.masked:
		return f, 0, ReasonFrame
	case d.closed, control && !f.fin, !control && d.inMessage != (f.opcode == opContinue):
		return f, 0, ReasonFrameOf
	}
	n = 2
	switch length := b[1] & 0x7f; {
	case control && length > 125:
		return f, 0, ReasonFrameOf
	case length < 126:
		f.length = int64(length)
	case length == 126:
		if len(b) < 4 {
			return f, 0, packet.ReasonNone
		}
		f.length, n = int64(binary.BigEndian.Uint16(b[2:])), 4
		if f.length < 126 {
			return f, 0, ReasonFrameSize
		}
	default:
		if len(b) < 10 {
			return f, 0, packet.ReasonNone
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long <= 0xffff || long > 1<<62 {
			return f, 0, ReasonFrameSize
		}
		f.length, n = int64(long), 10
	}
	if f.length > d.limit {
		return f, 0, ReasonFrameSize
	}
	if d.masked {
		if len(b) < n+4 {
			return f, 0, packet.ReasonNone
		}
		copy(f.mask[:], b[n:])
		n += 4
	}
	if !control {
		d.inMessage = !f.fin
	}
	d.closed = f.opcode == opClose
	return f, n, packet.ReasonNone
}

// appendFrame writes a head anew, in its shortest form; a frame to the server
// is masked.
func appendFrame(b []byte, f frame, masked bool) []byte {
	first := f.rsv<<4 | f.opcode
	if f.fin {
		first |= 0x80
	}
	second := byte(0)
	if masked {
		second = 0x80
	}
	switch {
	case f.length < 126:
		b = append(b, first, second|byte(f.length))
	case f.length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, first, second|126), uint16(f.length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, second|127), uint64(f.length))
	}
	if masked {
		b = append(b, f.mask[:]...)
	}
	return b
}

// applyMask masks or unmasks data that starts at offset at of its payload.
func applyMask(data []byte, mask [4]byte, at int64) {
	for i := range data {
		data[i] ^= mask[(at+int64(i))&3]
	}
}

// switchProtocols checks the server's 101 and carries frames until one side ends.
func (c *connection) switchProtocols() Defect {
	upgrade := c.res.framing.upgrade
	accept := c.res.find(fieldSecWebSocketAccept, "")
	if !c.req.websocket || !upgrade || accept == nil || len(accept.value.b) != 28 {
		return Defect{Reason: ReasonAnswerSwitch}
	}
	c.out.b = c.out.b[:0]
	c.out.response(&c.res, 1, BodyNone, 0, false, c.link.env.Now())
	c.started = true
	if c.writeClient(c.out.b) != nil {
		return Defect{}
	}
	toServer := make(chan packet.Reason, 1)
	go func() {
		f := c.guard(func() Defect {
			return Defect{Reason: c.frames(&c.in, &c.up, frameDecoder{masked: true, extended: c.route.WebSocketExtensions, limit: c.route.MaxBody})}
		})
		c.halfClose(&c.up, f.Reason)
		toServer <- f.Reason
	}()
	r := c.frames(&c.up, &c.in, frameDecoder{extended: c.route.WebSocketExtensions, limit: c.route.MaxBody})
	c.halfClose(&c.in, r)
	other := <-toServer
	for _, r := range []packet.Reason{r, other} {
		if r != packet.ReasonNone {
			return Defect{Reason: r}
		}
	}
	return Defect{}
}

// halfClose ends one direction; after a defect it ends both.
func (c *connection) halfClose(to *reader, r packet.Reason) {
	if r != packet.ReasonNone {
		ppf.Abort(c.up.conn)
		ppf.Abort(c.in.conn)
		return
	}
	if h, ok := to.conn.(interface{ CloseWrite() error }); !ok || h.CloseWrite() != nil {
		to.conn.Close()
	}
}

// frames carries frames from one side to the other. It returns at the end of the
// stream, or with a reason.
func (c *connection) frames(from, to *reader, d frameDecoder) packet.Reason {
	var p pace
	if p.start(from, c.link.env.Now, c.p.cfg.ResponseTimeout, 0) != nil {
		return packet.ReasonNone
	}
	read := func() bool {
		if from.r == from.w || from.w-from.r < maxFrameHead {
			if from.fill(smallBuffer) != nil {
				return false
			}
			return p.renew() == nil
		}
		return true
	}
	var out []byte
	for {
		f, n, r := d.head(from.unread())
		if r != packet.ReasonNone {
			return r
		}
		if n == 0 {
			if !read() {
				return packet.ReasonNone
			}
			continue
		}
		from.r += n
		received := f.mask
		if !d.masked {
			received = [4]byte{}
		} else {
			binary.BigEndian.PutUint32(f.mask[:], c.link.env.Uint32())
		}
		out = appendFrame(out[:0], f, d.masked)
		for at := int64(0); ; {
			data := from.unread()
			data = data[:min(int64(len(data)), f.length-at)]
			applyMask(data, received, at)
			if d.masked {
				applyMask(data, f.mask, at)
			}
			out = append(out, data...)
			from.r += len(data)
			at += int64(len(data))
			if to.conn.SetWriteDeadline(later(c.link.env, c.p.cfg.BodyWindow)) != nil {
				return packet.ReasonNone
			}
			if _, err := to.conn.Write(out); err != nil {
				return packet.ReasonNone
			}
			if out = out[:0]; at == f.length {
				break
			}
			if err := from.fill(smallBuffer); err != nil {
				if err == io.EOF {
					return ReasonFrame
				}
				return packet.ReasonNone
			}
		}
	}
}
