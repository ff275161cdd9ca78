package http

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/promethos/promethos/packet"
)

// frameDecoder reads websocket frames (RFC 6455 §5.2) of one direction and
// checks their order.
type frameDecoder struct {
	masked    bool // the client's are, the server's must not be
	extended  bool // extensions may use the reserved bits of data frames
	limit     int64
	inMessage bool
	inText    bool // the message is text, as it stands
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
		if f.opcode != opContinue {
			d.inText = f.opcode == opText && f.rsv == 0
		}
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

// closeGoingAway is what both ends are told when the proxy leaves: 1001, going away
// (RFC 6455 §7.4.1).
var closeGoingAway = [2]byte{0x03, 0xe9}

// closeFault looks at the payload of a close frame (RFC 6455 §5.5.1, §7.4): none, or
// a code that may be sent and a text.
func closeFault(b []byte) packet.Reason {
	if len(b) == 0 {
		return packet.ReasonNone
	}
	if len(b) == 1 {
		return ReasonFrameClose
	}
	switch code := binary.BigEndian.Uint16(b); {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return ReasonFrameClose
	}
	if !utf8.Valid(b[2:]) {
		return ReasonFrameClose
	}
	return packet.ReasonNone
}

// text checks that what comes in pieces is UTF-8 (RFC 6455 §8.1).
type text struct {
	rest [utf8.UTFMax]byte // the beginning of a character that is cut
	n    int
}

// add reports whether b goes on well.
func (t *text) add(b []byte) bool {
	for t.n > 0 && len(b) > 0 {
		t.rest[t.n] = b[0]
		t.n, b = t.n+1, b[1:]
		if utf8.FullRune(t.rest[:t.n]) {
			if !utf8.Valid(t.rest[:t.n]) {
				return false
			}
			t.n = 0
		}
	}
	whole := len(b)
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				whole = i
			}
			break
		}
	}
	if whole < len(b) {
		t.n = copy(t.rest[:], b[whole:])
	}
	return utf8.Valid(b[:whole])
}

// whole reports whether no character is cut at the end, and begins anew.
func (t *text) whole() bool {
	n := t.n
	t.n = 0
	return n == 0
}
