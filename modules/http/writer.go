package http

import (
	"strconv"
)

// writer prints messages. Received octets reach it only as Token, Text and the
// canonical target, all of which are validated where they are made.
type writer struct{ b []byte }

func (w *writer) str(s string)   { w.b = append(w.b, s...) }
func (w *writer) token(t Token)  { w.b = append(w.b, t.b...) }
func (w *writer) text(t Text)    { w.b = append(w.b, t.b...) }
func (w *writer) number(n int64) { w.b = strconv.AppendInt(w.b, n, 10) }
func (w *writer) line()          { w.b = append(w.b, '\r', '\n') }

func (w *writer) fieldName(f *Field) {
	if f.id != unknownField {
		w.str(fieldTable[f.id].name)
	} else {
		w.token(f.name)
	}
	w.str(": ")
}

func (w *writer) field(f *Field) {
	w.fieldName(f)
	if f.id != unknownField && fieldTable[f.id].flags&isNumber != 0 {
		n, _ := digits(f.value.b)
		w.number(n)
	} else {
		w.text(f.value)
	}
	w.line()
}

func (w *writer) host(h host) {
	w.text(h.name)
	if h.port != 0 {
		w.b = append(w.b, ':')
		w.number(int64(h.port))
	}
}

// peer is what is written about a connection.
type peer struct {
	client  string // the client's address
	server  string // the server's address and port: Host for those who name none
	tls     bool
	options *Config
}

// request prints a request's head; chunked and length say how its body goes on.
func (w *writer) request(r *Request, p *peer, body BodyKind, length int64) {
	w.token(r.method)
	w.b = append(w.b, ' ')
	w.b = append(w.b, r.target.path...)
	if r.target.hasQuery {
		w.b = append(w.b, '?')
		w.b = append(w.b, r.target.query...)
	}
	w.str(" HTTP/1.1\r\nHost: ")
	if r.host.set {
		w.host(r.host)
	} else {
		w.str(p.server)
	}
	w.line()
	cookie := false
	for i := range r.fields {
		switch f := &r.fields[i]; f.id {
		case fieldCookie:
			if !cookie {
				cookie = true
				w.cookies(&r.Header)
			}
		case fieldRange:
			if r.ranges.n > 0 && once(&r.Header, f) == f {
				w.ranges(&r.ranges)
			}
		default:
			if f.at >= 0 && (f.id == fieldContentType || f.id == fieldContentEncoding) && once(&r.Header, f) != f {
				continue
			}
			w.field(f)
		}
	}
	switch {
	case r.websocket:
		w.str("Connection: Upgrade\r\nUpgrade: websocket\r\n")
	case r.last:
		w.str("Connection: close\r\n") // it ends with the client's; the server may close first
	}
	w.forwarded(r, p)
	w.framing(body, length)
	w.line()
}

func (w *writer) framing(body BodyKind, length int64) {
	switch body {
	case BodyLength:
		w.str("Content-Length: ")
		w.number(length)
		w.line()
	case BodyChunked:
		w.str("Transfer-Encoding: chunked\r\n")
	}
}

// forwarded writes what tells the server of the client and of us.
func (w *writer) forwarded(r *Request, p *peer) {
	if p.options.Via {
		w.str("Via: 1.")
		w.number(int64(r.minor))
		w.str(" promethos\r\n")
	}
	if !p.options.Forwarded {
		return
	}
	proto := "http"
	if p.tls {
		proto = "https"
	}
	w.str("X-Forwarded-For: ")
	w.str(p.client)
	w.str("\r\nX-Forwarded-Proto: ")
	w.str(proto)
	w.str("\r\nForwarded: for=")
	// RFC 7239 §6: an address with colons is quoted and in brackets.
	if v6 := containsColon(p.client); v6 {
		w.str(`"[`)
		w.str(p.client)
		w.str(`]"`)
	} else {
		w.str(p.client)
	}
	w.str(";proto=")
	w.str(proto)
	w.line()
}

func containsColon(s string) bool {
	for i := range len(s) {
		if s[i] == ':' {
			return true
		}
	}
	return false
}

// cookies writes one field of all pairs: RFC 6265 §5.4.
func (w *writer) cookies(h *Header) {
	w.str("Cookie: ")
	first := true
	for i := range h.fields {
		if h.fields[i].id != fieldCookie {
			continue
		}
		v := h.fields[i].value.b
		for len(v) > 0 {
			end := 0
			for end < len(v) && v[end] != ';' {
				end++
			}
			if pair := trim(v[:end]); len(pair) > 0 {
				if !first {
					w.str("; ")
				}
				first = false
				w.text(Text{pair})
			}
			v = v[min(end+1, len(v)):]
		}
	}
	w.line()
}

func (w *writer) ranges(r *ranges) {
	w.str("Range: bytes=")
	for i, br := range r.list[:r.n] {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		if br.first >= 0 {
			w.number(br.first)
		}
		w.b = append(w.b, '-')
		if br.last >= 0 {
			w.number(br.last)
		}
	}
	w.line()
}

// response prints a response's head. Date is now where the server wrote none.
func (w *writer) response(r *Response, minor uint8, body BodyKind, length int64, close bool, now int64) {
	w.status(minor, r.status)
	if len(r.phrase.b) > 0 {
		w.text(r.phrase)
	} else {
		w.str(phrases[r.status])
	}
	w.line()
	date := false
	for i := range r.fields {
		f := &r.fields[i]
		date = date || f.id == fieldDate
		w.field(f)
	}
	if !date && r.status >= 200 {
		w.date(now)
	}
	if r.status == 101 {
		w.str("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		return
	}
	w.framing(body, length)
	if r.status >= 200 {
		w.connection(minor, close)
	}
	w.line()
}

// status writes a status line up to the blank before the phrase. It is of our
// version to clients of 1.1, and of 1.0 to those of 1.0.
func (w *writer) status(minor uint8, code int) {
	w.str("HTTP/1.")
	w.b = append(w.b, '0'+minor, ' ')
	w.number(int64(code))
	w.b = append(w.b, ' ')
}

func (w *writer) connection(minor uint8, close bool) {
	switch {
	case close:
		w.str("Connection: close\r\n")
	case minor == 0:
		w.str("Connection: keep-alive\r\n")
	}
}

func (w *writer) date(now int64) {
	w.str("Date: ")
	w.b = append(w.b, dateOf(now)...)
	w.line()
}

// chunk writes a chunk's size; its data and a line end follow.
func (w *writer) chunk(n int) {
	w.b = strconv.AppendUint(w.b, uint64(n), 16)
	w.line()
}

// last writes the last chunk and the trailers that a route lets pass.
func (w *writer) last(trailers *Header) {
	w.str("0\r\n")
	for i := range trailers.fields {
		w.field(&trailers.fields[i])
	}
	w.line()
}

// phrases are for responses of ours and for those whose phrase is missing.
var phrases = [600]string{
	100: "Continue", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content",
	301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
	413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Gateway Timeout",
}

// page writes a refusal: small, fixed, and the end of the connection. It is
// HTTP/1.1 whatever the client speaks (RFC 9110 §2.5), which may not be known yet.
// Allow is for 405 (RFC 9110 §15.5.6).
func (w *writer) page(code int, head bool, now int64, allow []string) {
	w.status(1, code)
	w.str(phrases[code])
	w.line()
	w.date(now)
	if code == 405 {
		w.str("Allow: ")
		for i, m := range allow {
			if i > 0 {
				w.str(", ")
			}
			w.str(m)
		}
		w.line()
	}
	const start, middle, end = "<!doctype html><title>", "</title><h1>", "</h1>\n"
	n := len(start) + len(middle) + len(end) + 2*(4+len(phrases[code]))
	w.str("Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: ")
	w.number(int64(n))
	w.str("\r\nConnection: close\r\n\r\n")
	if head {
		return
	}
	w.str(start)
	w.number(int64(code))
	w.str(" " + phrases[code] + middle)
	w.number(int64(code))
	w.str(" " + phrases[code] + end)
}
