package http

import (
	"bytes"
)

// Response is a parsed response. It is lent to message functions for one
// exchange: its octets belong to the connection's buffers.
type Response struct {
	Header
	status  int
	phrase  Text
	minor   uint8
	framing framing
	// bare says that there is no body, whatever the fields say: the answer to
	// HEAD, 204 and 304 (RFC 9110 §6.4.1).
	bare    bool
	scratch []byte
	defects defects
}

// Status gives the status code, from 200 on.
func (r *Response) Status() int { return r.status }

// SetStatus changes the status code; it must have a meaning between the same
// kinds of body. It returns false, and changes nothing, for 1xx, 204, 205 and
// 304 in place of another and for another in their place.
func (r *Response) SetStatus(code int) bool {
	if code < 200 || code > 599 || noBody(code) != noBody(r.status) {
		return false
	}
	r.status, r.phrase = code, Text{}
	return true
}

func noBody(code int) bool { return code < 200 || code == 204 || code == 205 || code == 304 }

func (r *Response) reset() {
	*r = Response{Header: Header{r.fields[:0]}, scratch: r.scratch[:0], defects: defects{list: r.defects.list[:0]}}
}

// parse reads a whole head: the answer to req. It returns false where the
// response has no reading.
func (r *Response) parse(head []byte, l *limits, req *Request) bool {
	d := &r.defects
	line, end := cutLine(head)
	switch {
	case end == 0:
		return d.fail(ReasonAnswerCut, len(head))
	case end == 1:
		d.found(ReasonAnswerLF, len(line))
	}
	if !r.parseStatus(line) {
		return false
	}
	if len(head) > l.head {
		return d.fail(ReasonAnswerLong, l.head)
	}
	at := len(line) + end
	if !parseFields(&r.Header, d, head[at:], at, &responseGrammar, l) {
		return false
	}
	// What makes a field line unreadable has no other reading in a response.
	for _, f := range d.list {
		if f.Reason == ReasonAnswerOctet || f.Reason == ReasonAnswerHead {
			return d.fail(f.Reason, int(f.Offset))
		}
	}
	var ok bool
	if r.framing, ok = parseFraming(&r.Header, d, r.minor, &responseFraming); !ok {
		return false
	}
	r.bare = noBody(r.status) && r.status != 205 || req.isMethod("HEAD")
	switch {
	case r.status < 200:
		r.framing.body = BodyNone
	case r.framing.body == BodyNone && !r.bare:
		r.framing.body, r.framing.close = BodyUntilClose, true
	case r.framing.body != BodyNone && (r.status == 204 || r.status == 205):
		if r.framing.body != BodyLength || r.framing.length != 0 {
			d.found(ReasonAnswerBody, at)
			r.framing.close = true // what follows may be that body
		}
	}
	return true
}

// parseStatus reads HTTP/1.x SP three digits SP phrase (RFC 9112 §4).
func (r *Response) parseStatus(line []byte) bool {
	d := &r.defects
	const prefix = "HTTP/1."
	if len(line) < len(prefix)+5 || string(line[:len(prefix)]) != prefix || line[8] != ' ' || line[7] != '0' && line[7] != '1' {
		return d.fail(ReasonAnswerLine, 0)
	}
	r.minor = line[7] - '0'
	code, ok := digits(line[9:12])
	if !ok || code < 100 || code > 599 {
		return d.fail(ReasonAnswerLine, 9)
	}
	r.status = int(code)
	phrase := line[12:]
	switch {
	case len(phrase) == 0:
		d.found(ReasonAnswerPhrase, 12)
		return true
	case phrase[0] != ' ':
		return d.fail(ReasonAnswerLine, 12)
	}
	if i := bytes.IndexByte(phrase, '\r'); i >= 0 {
		return d.fail(ReasonAnswerOctet, 12+i)
	}
	var bad int
	if r.phrase, bad = parseText(phrase); bad >= 0 {
		return d.fail(ReasonAnswerOctet, 12+bad)
	}
	return true
}

// hasBody says whether octets of a body follow the head.
func (r *Response) hasBody() bool {
	return !r.bare && r.framing.body != BodyNone && r.status != 205
}
