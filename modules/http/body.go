package http

import (
	"errors"
	"io"
	"os"
)

// errBroken reports a body that is refused; the message's defects say why.
var errBroken = errors.New("the body is refused")

// body reads the body of one message, span by span.
type body struct {
	from   *reader
	kind   BodyKind
	left   int64 // of BodyLength
	limit  int64 // of octets in all
	total  int64
	chunks chunks
	d      *defects
	pace   pace
	paced  bool
	start  func() error // starts the pace at the first read that waits
	before func() error // is called before each read; nil: nothing
}

func (b *body) reset(from *reader, fr *framing, limit int64, d *defects, g *chunkGrammar, l *limits, at int) {
	b.from, b.kind, b.left, b.limit, b.total, b.d, b.paced = from, fr.body, fr.length, limit, 0, d, false
	if b.kind == BodyChunked {
		b.chunks.reset(g, l, at)
	}
}

// done says whether the body is whole.
func (b *body) done() bool {
	switch b.kind {
	case BodyLength:
		return b.left == 0
	case BodyChunked:
		return b.chunks.state == chunksDone
	}
	return b.kind == BodyNone
}

// next gives the next octets of the body, lent until the next call; with
// io.EOF there are none behind them. errBroken is a defect, anything else an
// error of the connection.
func (b *body) next() ([]byte, error) {
	for {
		if b.done() {
			return nil, io.EOF
		}
		s := b.from
		if s.r < s.w || b.kind == BodyChunked {
			data, used, err := b.decode(s.unread())
			s.r += used
			if err != nil || len(data) > 0 {
				return data, err
			}
			if used > 0 {
				continue
			}
		}
		if err := b.read(); err != nil {
			return nil, err
		}
	}
}

func (b *body) decode(unread []byte) (data []byte, used int, err error) {
	switch b.kind {
	case BodyLength:
		used = int(min(b.left, int64(len(unread))))
		data, b.left = unread[:used], b.left-int64(used)
	case BodyUntilClose:
		data, used = unread, len(unread)
	case BodyChunked:
		var ok bool
		if used, data, ok = b.chunks.step(unread, b.d); !ok {
			return nil, 0, errBroken
		}
		if b.chunks.state == inData && b.limit >= 0 && b.chunks.left > b.limit-b.total-int64(len(data)) {
			b.d.fail(ReasonLengthBig, b.chunks.at)
			return nil, 0, errBroken
		}
	}
	b.total += int64(len(data))
	return data, used, nil
}

// read waits for more, and ends an until-close body at the end of the stream.
func (b *body) read() error {
	if b.before != nil {
		if err := b.before(); err != nil {
			return err
		}
	}
	if !b.paced {
		b.paced = true
		if err := b.start(); err != nil {
			return err
		}
	}
	room := largeBuffer
	if b.kind == BodyLength && b.left < smallBuffer/2 {
		room = int(b.left)
	}
	for {
		before := b.from.w - b.from.r
		err := b.from.fill(room)
		switch {
		case err == nil:
			b.pace.got += int64(b.from.w - b.from.r - before)
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && !b.pace.expired():
			continue
		case err == io.EOF && b.kind == BodyUntilClose:
			b.kind = BodyNone
			return io.EOF
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		}
		return err
	}
}
