package http

import (
	"bytes"

	"github.com/promethos/promethos/ppf"
)

// chunkState is where a decoder of chunks stands.
type chunkState uint8

const (
	atSize chunkState = iota
	inData
	atDataEnd
	atTrailers
	chunksDone
)

// chunkGrammar says which reason a defect of a chunked body has.
type chunkGrammar struct {
	size, blank, bareLF, extension, end, long ppf.Reason
	fields                                    *grammar
}

var (
	requestChunks  = chunkGrammar{ReasonChunkSize, ReasonChunkSize, ReasonChunkLF, ReasonChunkExt, ReasonChunkEnd, ReasonChunkLine, &requestGrammar}
	responseChunks = chunkGrammar{ReasonAnswerChunk, ReasonAnswerSize, ReasonAnswerLF, ReasonAnswerExt, ReasonAnswerChunk, ReasonAnswerChunk, &responseGrammar}
)

// maxChunkLine is how long a size line with an extension may be.
const maxChunkLine = 4096

// chunks decodes a chunked body (RFC 9112 §7.1).
type chunks struct {
	state    chunkState
	g        *chunkGrammar
	l        *limits
	left     int64 // of the chunk's data
	at       int   // offset in the message of what comes next
	search   int   // of the trailers' end
	Trailers Header
}

func (c *chunks) reset(g *chunkGrammar, l *limits, at int) {
	*c = chunks{g: g, l: l, at: at, Trailers: Header{c.Trailers.fields[:0]}}
}

// step decodes what it can of b and says how much that was; data is part of it
// and of the body. With used 0 it needs more than b. It returns false where the
// body is broken; defects that have another reading are noted in d.
func (c *chunks) step(b []byte, d *defects) (used int, data []byte, ok bool) {
	switch c.state {
	case atSize:
		used, ok = c.size(b, d)
	case inData:
		used, ok = int(min(c.left, int64(len(b)))), true
		data = b[:used]
		if c.left -= int64(used); c.left == 0 {
			c.state = atDataEnd
		}
	case atDataEnd:
		used, ok = c.dataEnd(b, d)
	case atTrailers:
		used, ok = c.trailers(b, d)
	default:
		return 0, nil, true
	}
	c.at += used
	return used, data, ok
}

func (c *chunks) size(b []byte, d *defects) (used int, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		// What cannot become a size is refused before its line is complete.
		if n := len(b); n > maxChunkLine {
			return 0, d.fail(c.g.long, c.at+maxChunkLine)
		}
		if len(b) > 0 && hexValue(b[0]) < 0 && !isBlank(b[0]) {
			return 0, d.fail(c.g.size, c.at)
		}
		return 0, true
	}
	line := b[:i]
	if i > 0 && b[i-1] == '\r' {
		line = b[:i-1]
	} else {
		d.found(c.g.bareLF, c.at+i)
	}
	size := line
	if semicolon := bytes.IndexByte(line, ';'); semicolon >= 0 {
		size = line[:semicolon]
		if bad := firstNot(line, inText); bad >= 0 || semicolon > maxChunkLine {
			return 0, d.fail(c.g.size, c.at+max(bad, 0))
		}
		d.found(c.g.extension, c.at+semicolon)
		size = bytes.TrimRight(size, " \t") // RFC 9112 §7.1.1: BWS
	}
	if trimmed := trim(size); len(trimmed) != len(size) {
		if c.g.blank == c.g.size {
			return 0, d.fail(c.g.size, c.at)
		}
		d.found(c.g.blank, c.at)
		size = trimmed
	}
	if len(size) == 0 || len(size) > 16 {
		return 0, d.fail(c.g.size, c.at)
	}
	n := uint64(0)
	for j, h := range size {
		v := hexValue(h)
		if v < 0 {
			return 0, d.fail(c.g.size, c.at+j)
		}
		n = n<<4 | uint64(v)
	}
	if n > 1<<62 {
		return 0, d.fail(c.g.size, c.at)
	}
	c.left, c.state = int64(n), inData
	if n == 0 {
		c.state = atTrailers
	}
	return i + 1, true
}

func (c *chunks) dataEnd(b []byte, d *defects) (used int, ok bool) {
	switch {
	case len(b) == 0, len(b) == 1 && b[0] == '\r':
		return 0, true
	case b[0] == '\n':
		d.found(c.g.bareLF, c.at)
		c.state = atSize
		return 1, true
	case b[0] == '\r' && b[1] == '\n':
		c.state = atSize
		return 2, true
	}
	return 0, d.fail(c.g.end, c.at)
}

func (c *chunks) trailers(b []byte, d *defects) (used int, ok bool) {
	end, next := headEnd(b, c.search)
	if end == 0 {
		if c.search = next; len(b) > c.l.head {
			return 0, d.fail(c.g.long, c.at+c.l.head)
		}
		return 0, true
	}
	if end > c.l.head {
		return 0, d.fail(c.g.long, c.at+c.l.head)
	}
	if !parseFields(&c.Trailers, d, b[:end], c.at, c.g.fields, c.l) {
		return 0, false
	}
	c.state = chunksDone
	return end, true
}
