package http

import (
	"bytes"

	"github.com/promethos/promethos/ppf"
)

// grammar says which reason a defect of a head has: requests and responses
// share the parser, but not what may be mended.
type grammar struct {
	bareLF, bareCR, fold, blankLine, colon, empty, name, blank, octet, many, long ppf.Reason
}

var (
	requestGrammar = grammar{
		ReasonBareLF, ReasonBareCR, ReasonObsFold, ReasonBlankLine, ReasonFieldColon, ReasonFieldEmpty, ReasonFieldName,
		ReasonFieldBlank, ReasonFieldOctet, ReasonFieldMany, ReasonFieldLong,
	}
	responseGrammar = grammar{
		ReasonAnswerLF, ReasonAnswerOctet, ReasonAnswerFold, ReasonAnswerHead, ReasonAnswerHead, ReasonAnswerHead, ReasonAnswerHead,
		ReasonAnswerBlank, ReasonAnswerOctet, ReasonAnswerLong, ReasonAnswerLong,
	}
)

// headEnd finds the end of a head: the offset behind its empty line, or 0 while
// it is not complete. From is where the search goes on; next is where it will.
// A line may end with LF alone here: the parser says what that means.
func headEnd(b []byte, from int) (end, next int) {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0, from
		}
		line := b[from : from+i]
		from += i + 1
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return from, from
		}
	}
}

// cutLine takes the first line off b: its octets without the line end, and how
// many octets that has. Without any LF the line is all of b and the end 0.
func cutLine(b []byte) (line []byte, end int) {
	i := bytes.IndexByte(b, '\n')
	switch {
	case i < 0:
		return b, 0
	case i > 0 && b[i-1] == '\r':
		return b[:i-1], 2
	}
	return b[:i], 1
}

// limits of a head.
type limits struct{ fields, field, head, target, ranges, informational int }

// parseFields reads field lines up to the empty line at the end of head, which
// starts at offset at of the message. It writes into head where a line is
// folded. It returns false where no reading is left.
func parseFields(h *Header, d *defects, head []byte, at int, g *grammar, l *limits) bool {
	lfSeen := false
	for first := true; ; first = false {
		line, end := cutLine(head)
		if end == 1 && !lfSeen {
			lfSeen = true
			d.found(g.bareLF, at+len(line))
		}
		if end == 0 {
			return d.fail(ReasonCutHead, at+len(line))
		}
		if len(line) == 0 {
			return true
		}
		size := len(line) + end
		if isBlank(line[0]) {
			if first {
				d.found(g.blankLine, at)
				head, at = head[size:], at+size
				continue
			}
		} else if len(h.fields) == l.fields {
			return d.fail(g.many, at)
		}
		fold := false
		for next := head[size:]; len(next) > 0 && isBlank(next[0]); next = head[size:] {
			// RFC 9112 §5.2: a fold is read as blanks. Joining is done in place.
			more, moreEnd := cutLine(next)
			if moreEnd == 0 {
				return d.fail(ReasonCutHead, at+size+len(more))
			}
			if !fold {
				d.found(g.fold, at+size)
				fold = true
			}
			for i := len(line); i < size; i++ {
				head[i] = ' '
			}
			size += len(more) + moreEnd
			line = head[:size-moreEnd]
		}
		if len(line) > l.field {
			return d.fail(g.long, at)
		}
		if f, ok := parseField(d, line, at, g); ok {
			f.fold = fold
			h.fields = append(h.fields, f)
		}
		head, at = head[size:], at+size
	}
}

// parseField reads one line. Without a reading as a field it notes the defect
// and returns false: whoever goes on leaves the line out.
func parseField(d *defects, line []byte, at int, g *grammar) (f Field, ok bool) {
	f.at = int32(at)
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		d.found(g.colon, at)
		return f, false
	}
	name := line[:colon]
	if n := len(name); n > 0 && isBlank(name[n-1]) {
		name = trim(name)
		if firstNot(name, inToken) < 0 {
			d.found(g.blank, at+len(name))
		}
	}
	var bad int
	if f.name, bad = parseToken(name); bad >= 0 {
		if len(name) == 0 {
			d.found(g.empty, at)
		} else {
			d.found(g.name, at+bad)
		}
		return f, false
	}
	if f.id = fieldByName(name); f.id != unknownField {
		f.name = Token{}
	}
	if f.value, bad = parseText(line[colon+1:]); bad >= 0 {
		if line[colon+1+bad] == '\r' {
			d.foundIn(g.bareCR, &f)
		} else {
			d.foundIn(g.octet, &f)
		}
		d.list[len(d.list)-1].Offset = int64(at + colon + 1 + bad)
		if f.id != unknownField && fieldTable[f.id].flags&(ofUs|hopByHop) != 0 {
			d.fail(d.list[len(d.list)-1].Reason, at+colon+1+bad) // nothing that frames is guessed
		}
		return f, false
	}
	return f, true
}

// BodyKind says how the end of a body is known.
type BodyKind uint8

// The kinds of body.
const (
	BodyNone BodyKind = iota
	BodyLength
	BodyChunked
	BodyUntilClose // responses only
)

// framing is what the fields say of the body and the connection.
type framing struct {
	body       BodyKind
	length     int64
	close      bool
	keepAlive  bool
	upgrade    bool // Connection names Upgrade
	trailers   bool // TE: trailers
	lengthSeen *Field
	teSeen     *Field
}

type framingReasons struct{ length, lengthDup, lengthTE, te, teDup, teVersion ppf.Reason }

var (
	requestFraming  = framingReasons{ReasonLength, ReasonLengthDup, ReasonLengthTE, ReasonTE, ReasonTEDup, ReasonTEVersion}
	responseFraming = framingReasons{ReasonAnswerLength, ReasonAnswerLength, ReasonAnswerLength, ReasonAnswerTE, ReasonAnswerTE, ReasonAnswerTE}
)

// parseFraming decides how the message is framed (RFC 9112 §6). An ambiguity
// of a request has another reading only where all common servers share it.
func parseFraming(h *Header, d *defects, minor uint8, r *framingReasons) (fr framing, ok bool) {
	for i := range h.fields {
		f := &h.fields[i]
		switch f.id {
		case fieldContentLength:
			n, ok := digits(f.value.b)
			switch {
			case !ok || f.fold:
				if list := f.value.b; bytes.IndexByte(list, ',') >= 0 {
					return fr, d.fail(r.lengthDup, int(f.at))
				}
				return fr, d.fail(r.length, int(f.at))
			case fr.lengthSeen == nil:
				fr.lengthSeen, fr.length = f, n
			case n == fr.length && r == &requestFraming:
				d.foundIn(r.lengthDup, f)
			default:
				return fr, d.fail(r.lengthDup, int(f.at))
			}
		case fieldTransferEncoding:
			switch {
			case fr.teSeen != nil:
				return fr, d.fail(r.teDup, int(f.at))
			case minor == 0:
				return fr, d.fail(r.teVersion, int(f.at))
			case f.fold || !foldEqual(f.value.b, "chunked"):
				return fr, d.fail(r.te, int(f.at))
			}
			fr.teSeen = f
		case fieldConnection:
			for e := range elements(f.value.b) {
				switch {
				case foldEqual(e, "close"):
					fr.close = true
				case foldEqual(e, "keep-alive"):
					fr.keepAlive = true
				case foldEqual(e, "upgrade"):
					fr.upgrade = true
				}
			}
		case fieldTE:
			for e := range elements(f.value.b) {
				fr.trailers = fr.trailers || foldEqual(e, "trailers")
			}
		}
	}
	switch {
	case fr.teSeen != nil:
		if fr.lengthSeen != nil {
			if r != &requestFraming {
				return fr, d.fail(r.lengthTE, int(max(fr.teSeen.at, fr.lengthSeen.at)))
			}
			// RFC 9112 §6.3: Transfer-Encoding overrides, and the connection ends.
			d.found(r.lengthTE, int(max(fr.teSeen.at, fr.lengthSeen.at)))
			fr.close = true
		}
		fr.body = BodyChunked
	case fr.lengthSeen != nil:
		fr.body = BodyLength
	}
	fr.close = fr.close || minor == 0 && !fr.keepAlive
	return fr, true
}

// markNamed marks the fields that a Connection field names: they are hop by hop
// (RFC 9110 §7.6.1).
func (h *Header) markNamed() {
	for i := range h.fields {
		if h.fields[i].id != fieldConnection {
			continue
		}
		for e := range elements(h.fields[i].value.b) {
			if foldEqual(e, "keep-alive") || foldEqual(e, "close") {
				continue
			}
			for j := range h.fields {
				f := &h.fields[j]
				f.named = f.named || f.id != unknownField && foldEqual(e, fieldTable[f.id].name) || f.id == unknownField && foldEqual(e, f.name.b)
			}
		}
	}
}
