package http

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/promethos/promethos/ppf"
)

// Request is a parsed request. It is lent to message functions for one
// exchange: its octets belong to the connection's buffers.
type Request struct {
	Header
	method  Token
	minor   uint8    // of the version 1.x
	last    bool     // of its connection to the server
	allowed []string // methods, of its route
	target  target
	host    host
	framing framing
	expect  bool // 100-continue
	// websocket says that the request asks for one and the route allows it.
	websocket bool
	ranges    ranges
	targetAt  int    // where the target stands in the head
	scratch   []byte // canonical octets that stand nowhere in the buffer
	defects   defects
}

// Method gives the method, such as GET.
func (r *Request) Method() string { return r.method.String() }

// AppendMethod appends the method to b.
func (r *Request) AppendMethod(b []byte) []byte { return append(b, r.method.b...) }

// SetMethod asks for another method. It returns false, and changes nothing, where
// name is no method that is sent, and for HEAD in place of another and another in
// its place: the answer would be framed otherwise.
func (r *Request) SetMethod(name string) bool {
	m, bad := parseToken([]byte(name))
	if bad >= 0 || name == "" || name == "CONNECT" || name == "TRACE" || len(r.target.path) == 1 && r.target.path[0] == '*' ||
		(name == "HEAD") != r.isMethod("HEAD") {
		return false
	}
	r.method = m
	return true
}

// Minor gives x of the version HTTP/1.x that the client spoke.
func (r *Request) Minor() int { return int(r.minor) }

func (r *Request) isMethod(name string) bool { return string(r.method.b) == name }

// idempotent methods may be sent again (RFC 9110 §9.2.2).
func (r *Request) idempotent() bool {
	switch string(r.method.b) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

func (r *Request) reset() {
	*r = Request{Header: Header{r.fields[:0]}, scratch: r.scratch[:0], defects: defects{list: r.defects.list[:0]}}
}

// parse reads a whole head, from the request line to the empty line. It returns
// false where nothing but a refusal is left; the defects say why, and what was
// understood before is kept.
func (r *Request) parse(head []byte, l *limits) bool {
	d := &r.defects
	at := 0
	for range 2 {
		if line, end := cutLine(head[at:]); len(line) == 0 && end > 0 {
			if at > 0 {
				return d.fail(ReasonEmptyLine, at)
			}
			if end == 1 {
				return d.fail(ReasonEmptyLine, at)
			}
			at += end // RFC 9112 §2.2: one empty line is skipped
		}
	}
	line, end := cutLine(head[at:])
	switch {
	case end == 0:
		return d.fail(ReasonCutHead, len(head))
	case end == 1:
		d.found(ReasonBareLF, at+len(line))
	}
	if !r.parseLine(line, at, l) {
		return false
	}
	at += len(line) + end
	if len(head) > l.head {
		return d.fail(ReasonHeadLong, l.head)
	}
	if !parseFields(&r.Header, d, head[at:], at, &requestGrammar, l) {
		return false
	}
	var ok bool
	if r.framing, ok = parseFraming(&r.Header, d, r.minor, &requestFraming); !ok {
		return false
	}
	return r.parseHost() && r.parseTyped(l)
}

// parseLine reads method SP target SP HTTP/1.x.
func (r *Request) parseLine(line []byte, at int, l *limits) bool {
	d := &r.defects
	if i := bytes.IndexByte(line, '\r'); i >= 0 {
		return d.fail(ReasonBareCR, at+i)
	}
	sp := bytes.IndexByte(line, ' ')
	var bad int
	if r.method, bad = parseToken(line[:max(sp, 0)]); bad >= 0 || sp < 0 {
		return d.fail(ReasonLine, at+max(bad, 0))
	}
	rest := line[sp+1:]
	at += sp + 1
	last := bytes.IndexByte(rest, ' ')
	if last < 0 {
		if len(rest) > l.target {
			return d.fail(ReasonTargetLong, at+l.target)
		}
		return d.fail(ReasonVersion09, at+len(rest))
	}
	raw, version := rest[:last], rest[last+1:]
	if len(raw) == 0 {
		return d.fail(ReasonLine, at)
	}
	if !r.parseVersion(version, at+last+1) {
		return false
	}
	if len(raw) > l.target {
		return d.fail(ReasonTargetLong, at+l.target)
	}
	if r.isMethod("CONNECT") || r.isMethod("TRACE") {
		return d.fail(ReasonMethodNever, at-sp-1)
	}
	r.targetAt = at
	return r.parseTarget(raw, at)
}

func (r *Request) parseVersion(v []byte, at int) bool {
	switch string(v) {
	case "HTTP/1.1":
		r.minor = 1
	case "HTTP/1.0":
	default:
		if bytes.IndexByte(v, ' ') >= 0 || !bytes.HasPrefix(v, []byte("HTTP/")) || len(v) != len("HTTP/1.1") {
			return r.defects.fail(ReasonLine, at)
		}
		return r.defects.fail(ReasonVersion, at)
	}
	return true
}

// host is an authority: a name in lowercase or an address, and a port.
type host struct {
	name Text // with brackets around an IPv6 address
	port uint16
	set  bool
}

// Host gives the host that the request asks for, in lowercase and without port;
// "" where an HTTP/1.0 client names none.
func (r *Request) Host() string { return r.host.name.String() }

// AppendHost appends what Host gives to b.
func (r *Request) AppendHost(b []byte) []byte { return append(b, r.host.name.b...) }

// Port gives the port of the Host field, 0 where it names none.
func (r *Request) Port() uint16 { return r.host.port }

// SetHost sends another host, with a port unless that is 0. It returns false,
// and changes nothing, where name is no host.
func (r *Request) SetHost(name string, port uint16) bool {
	h, ok := r.parseAuthority([]byte(name))
	if !ok || h.port != 0 {
		return false
	}
	h.port = port
	r.host = h
	return true
}

// parseAuthority reads a name or address with an optional port: no userinfo, no
// percent-encoding, no empty port.
func (r *Request) parseAuthority(b []byte) (h host, ok bool) {
	name, port := b, []byte(nil)
	if len(b) > 0 && b[0] == '[' {
		i := bytes.IndexByte(b, ']')
		if i < 0 {
			return h, false
		}
		if a, err := netip.ParseAddr(string(b[1:i])); err != nil || !a.Is6() || a.Zone() != "" {
			return h, false
		}
		name, port = b[:i+1], b[i+1:]
	} else {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			name, port = b[:i], b[i:]
		}
		if len(name) == 0 || len(name) > 255 || firstNot(name, inHost) >= 0 {
			return h, false
		}
	}
	if len(port) > 0 {
		n, ok := digits(port[1:])
		if !ok || port[0] != ':' || n < 1 || n > 65535 {
			return h, false
		}
		h.port = uint16(n)
	}
	h.name, h.set = Text{r.lowercase(name)}, true
	return h, true
}

// lowercase gives b itself where it has no capital.
func (r *Request) lowercase(b []byte) []byte {
	for _, c := range b {
		if c != lower(c) {
			start := len(r.scratch)
			for _, c := range b {
				r.scratch = append(r.scratch, lower(c))
			}
			return r.scratch[start:]
		}
	}
	return b
}

// parseHost reads the one Host field and compares an absolute target with it.
func (r *Request) parseHost() bool {
	d := &r.defects
	var field *Field
	for i := range r.fields {
		if f := &r.fields[i]; f.id == fieldHost {
			if field != nil {
				return d.fail(ReasonHostDup, int(f.at))
			}
			field = f
		}
	}
	absolute := r.host // of the target
	if field == nil {
		if r.minor > 0 {
			return d.fail(ReasonHostMissing, r.targetAt)
		}
		return true
	}
	h, ok := r.parseAuthority(field.value.b)
	if !ok || field.fold {
		return d.fail(ReasonHost, int(field.at))
	}
	r.host = h
	if absolute.set && (!bytes.Equal(absolute.name.b, h.name.b) || r.effectivePort(absolute) != r.effectivePort(h)) {
		d.foundIn(ReasonHostDiffers, field)
		r.host = absolute // RFC 9112 §3.2.2: a proxy goes by the target
	}
	return true
}

func (r *Request) effectivePort(h host) uint16 {
	switch {
	case h.port != 0:
		return h.port
	case r.target.tls:
		return 443
	}
	return 80
}

// parseTyped reads the fields that have a type of their own.
func (r *Request) parseTyped(l *limits) bool {
	d := &r.defects
	cookies := 0
	for i := range r.fields {
		f := &r.fields[i]
		switch f.id {
		case fieldExpect:
			if foldEqual(f.value.b, "100-continue") {
				r.expect = r.minor > 0 // RFC 9110 §10.1.1: ignored in HTTP/1.0
			} else {
				d.foundIn(ReasonExpect, f)
			}
		case fieldCookie:
			if cookies++; cookies == 2 {
				d.foundIn(ReasonCookieMany, f)
			}
		case fieldRange:
			r.parseRange(f, l)
		case fieldContentType, fieldContentEncoding:
			if once(&r.Header, f) != f {
				d.foundIn(ReasonFieldDup, f)
			}
		}
	}
	r.expect = r.expect && r.framing.body != BodyNone && !(r.framing.body == BodyLength && r.framing.length == 0)
	return true
}

// once gives the first field of f's kind.
func once(h *Header, f *Field) *Field { return h.find(f.id, "") }

// ranges is a Range field: RFC 9110 §14.1.2.
type ranges struct {
	list [16]byteRange
	n    int
}

// byteRange is FIRST-LAST; -1 stands for what is left out.
type byteRange struct{ first, last int64 }

// parseRange reads bytes=FIRST-LAST,…; what is none is ignored, as a server
// would (§14.2).
func (r *Request) parseRange(f *Field, l *limits) {
	d := &r.defects
	spec, isBytes := f.value.b, false
	if i := bytes.IndexByte(spec, '='); i >= 0 && foldEqual(spec[:i], "bytes") {
		spec, isBytes = spec[i+1:], true
	}
	r.ranges.n = 0
	bad := !isBytes || once(&r.Header, f) != f
	count := 0
	for e := range elements(spec) {
		dash := bytes.IndexByte(e, '-')
		if dash < 0 {
			bad = true
			break
		}
		br := byteRange{-1, -1}
		ok1, ok2 := true, true
		if dash > 0 {
			br.first, ok1 = digits(e[:dash])
		}
		if dash+1 < len(e) {
			br.last, ok2 = digits(e[dash+1:])
		}
		if !ok1 || !ok2 || len(e) == 1 || br.first >= 0 && br.last >= 0 && br.last < br.first {
			bad = true
			break
		}
		if count++; count <= min(l.ranges, len(r.ranges.list)) {
			r.ranges.list[count-1] = br
		}
	}
	switch {
	case bad || count == 0:
		d.foundIn(ReasonRange, f)
	case count > min(l.ranges, len(r.ranges.list)):
		d.foundIn(ReasonRangeMany, f)
	default:
		r.ranges.n = count
	}
}

// doubtful says whether other octets than those of the request may be what a
// server takes for it.
func (r *Request) doubtful() bool {
	return slices.ContainsFunc(r.defects.list, func(f Defect) bool { return suspicious(f.Reason) })
}

// suspicious says whether a defect is one that ends the connection after the
// message, even where it is let through.
func suspicious(r ppf.Reason) bool {
	return r == ReasonLengthTE || r == ReasonLengthDup || r == ReasonBareLF || r == ReasonBareCR || r == ReasonObsFold
}
