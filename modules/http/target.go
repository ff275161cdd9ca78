package http

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/promethos/promethos/ppf"
)

// target is what the request asks for, in canonical octets: unreserved ones are
// never percent-encoded, others are with capital digits (RFC 3986 §6.2.2).
type target struct {
	path     []byte // validated; "*" for OPTIONS *
	query    []byte // validated; without "?"
	hasQuery bool
	absolute bool
	tls      bool // of an absolute target: https
	traits   traits
}

// traits are things in a path that servers read differently.
type traits uint8

const (
	hasSlash   traits = 1 << iota // %2F
	hasBack                       // backslash or %5C
	hasPercent                    // %25
	hasDouble                     // //
	hasDots                       // . or .. as a segment
	numTraits  = iota
)

var traitReasons = [numTraits]struct {
	trait  traits
	reason *ppf.Reason
}{
	{hasSlash, &ReasonTargetSlash}, {hasBack, &ReasonTargetBack}, {hasPercent, &ReasonTargetPer},
	{hasDouble, &ReasonTargetDouble}, {hasDots, &ReasonTargetDots},
}

// Choice is what becomes of one of these things.
type Choice uint8

// The choices. The zero value is refuse.
const (
	ChoiceRefuse Choice = iota
	ChoiceDecode
	ChoiceKeep
)

var choiceNames = []string{"refuse", "decode", "keep"}

// String gives the word that configuration uses.
func (c Choice) String() string { return choiceNames[c] }

// UnmarshalText is the inverse of String.
func (c *Choice) UnmarshalText(b []byte) error { return ppf.ParseWord(c, b, choiceNames) }

// Path gives the canonical path, "*" for OPTIONS *.
func (r *Request) Path() string { return string(r.target.path) }

// Query gives what follows the first "?", "" also where there is none.
func (r *Request) Query() string { return string(r.target.query) }

// AppendPath appends what Path gives to b.
func (r *Request) AppendPath(b []byte) []byte { return append(b, r.target.path...) }

// AppendQuery appends what Query gives to b.
func (r *Request) AppendQuery(b []byte) []byte { return append(b, r.target.query...) }

// ErrTarget reports a path or query that cannot be sent.
var ErrTarget = errors.New("not a path or query")

// SetTarget asks for another path, and for a query unless that is "". What
// needs percent-encoding must be encoded; dot segments are refused.
func (r *Request) SetTarget(path, query string) error {
	old, n := r.target, len(r.defects.list)
	fatal := r.defects.fatal
	raw := path
	if query != "" {
		raw += "?" + query
	}
	ok := len(path) > 0 && path[0] == '/' && bytes.IndexByte([]byte(path), '?') < 0 &&
		r.parseOrigin([]byte(raw), 0) && len(r.defects.list) == n && r.target.traits&(hasDots|hasSlash|hasBack) == 0
	r.defects.list, r.defects.fatal = r.defects.list[:n], fatal
	if !ok {
		r.target = old
		return fmt.Errorf("target %q: %w", raw, ErrTarget)
	}
	return nil
}

// parseTarget reads one of the forms of RFC 9112 §3.2 but the authority form.
func (r *Request) parseTarget(raw []byte, at int) bool {
	d := &r.defects
	if i := firstNot(raw, inVisible); i >= 0 {
		return d.fail(ReasonTargetOctet, at+i)
	}
	if i := bytes.IndexByte(raw, '#'); i >= 0 {
		return d.fail(ReasonTargetOctet, at+i)
	}
	if raw[0] == '/' {
		return r.parseOrigin(raw, at)
	}
	if len(raw) == 1 && raw[0] == '*' {
		if !r.isMethod("OPTIONS") {
			return d.fail(ReasonTarget, at)
		}
		r.target.path = raw
		return true
	}
	skip := len("http://")
	switch {
	case len(raw) > skip && foldEqual(raw[:skip], "http://"):
	case len(raw) > skip+1 && foldEqual(raw[:skip+1], "https://"):
		skip++
		r.target.tls = true
	default:
		return d.fail(ReasonTarget, at)
	}
	r.target.absolute = true
	authority := raw[skip:]
	if i := bytes.IndexAny(authority, "/?"); i >= 0 {
		authority = authority[:i]
	}
	var ok bool
	if r.host, ok = r.parseAuthority(authority); !ok {
		return d.fail(ReasonTarget, at+skip)
	}
	origin := raw[skip+len(authority):]
	at += skip + len(authority)
	if len(origin) == 0 || origin[0] == '?' {
		start := len(r.scratch)
		r.scratch = append(append(r.scratch, '/'), origin...)
		origin = r.scratch[start:]
		at--
	}
	return r.parseOrigin(origin, at)
}

// parseOrigin reads path?query and makes both canonical. Slashes, percent signs
// and dots are only noted: choose does what the route says.
func (r *Request) parseOrigin(raw []byte, at int) bool {
	t := &r.target
	t.path, t.query, t.hasQuery, t.traits = raw, nil, false, 0
	if i := bytes.IndexByte(raw, '?'); i >= 0 {
		t.path, t.query, t.hasQuery = raw[:i], raw[i+1:], true
	}
	if !r.canonicalQuery(at + len(t.path) + 1) {
		return false
	}
	if !r.canonicalPath(at) {
		return false
	}
	t.traits |= segments(t.path)
	if leavesRoot(t.path) {
		return r.defects.fail(ReasonTargetRoot, at)
	}
	return true
}

// canonicalQuery checks the query and notes bad escapes. Its octets stay as
// they are, since some applications sign them.
func (r *Request) canonicalQuery(at int) bool {
	q := r.target.query
	bad := -1
	for i := 0; i < len(q); i++ {
		if q[i] != '%' {
			continue
		}
		v, ok := escape(q[i:])
		switch {
		case !ok && bad < 0:
			bad = i
		case ok && v == 0:
			return r.defects.fail(ReasonTargetNul, at+i)
		}
	}
	if bad < 0 {
		return true
	}
	r.defects.found(ReasonTargetEscape, at+bad)
	start := len(r.scratch)
	for i, c := range q {
		r.scratch = append(r.scratch, c)
		if _, ok := escape(q[i:]); c == '%' && !ok {
			r.scratch = append(r.scratch, "25"...)
		}
	}
	r.target.query = r.scratch[start:]
	return true
}

// escape reads the percent-encoding that b starts with.
func escape(b []byte) (v byte, ok bool) {
	if len(b) < 3 || b[0] != '%' {
		return 0, false
	}
	hi, lo := hexValue(b[1]), hexValue(b[2])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

const capitalHex = "0123456789ABCDEF"

func appendEscape(b []byte, c byte) []byte {
	return append(b, '%', capitalHex[c>>4], capitalHex[c&15])
}

// canonicalPath writes the path anew where it is not canonical already.
func (r *Request) canonicalPath(at int) bool {
	t, d := &r.target, &r.defects
	raw := t.path
	if i := firstNot(raw, inPath); i < 0 {
		return true
	}
	start := len(r.scratch)
	encoded := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '%' {
			switch {
			case c == '\\':
				t.traits |= hasBack
				r.scratch = appendEscape(r.scratch, c)
			case octets[c]&inPath == 0:
				if !encoded {
					encoded = true
					d.found(ReasonTargetEncode, at+i)
				}
				r.scratch = appendEscape(r.scratch, c)
			default:
				r.scratch = append(r.scratch, c)
			}
			continue
		}
		v, ok := escape(raw[i:])
		if !ok {
			d.found(ReasonTargetEscape, at+i)
			r.scratch = appendEscape(r.scratch, '%')
			continue
		}
		switch {
		case v == 0:
			return d.fail(ReasonTargetNul, at+i)
		case octets[v]&plain != 0:
			r.scratch = append(r.scratch, v)
		default:
			switch v {
			case '/':
				t.traits |= hasSlash
			case '\\':
				t.traits |= hasBack
			case '%':
				t.traits |= hasPercent
			}
			r.scratch = appendEscape(r.scratch, v)
		}
		i += 2
	}
	t.path = r.scratch[start:]
	return true
}

// segments notes empty and dot segments.
func segments(path []byte) (t traits) {
	for i := 0; i < len(path); {
		j := i + 1
		for j < len(path) && path[j] != '/' {
			j++
		}
		switch s := string(path[i+1 : j]); {
		case s == "" && j < len(path):
			t |= hasDouble
		case s == "." || s == "..":
			t |= hasDots
		}
		i = j
	}
	return t
}

// leavesRoot says whether the path's dot segments lead out of the root for a
// server that takes slashes and backslashes, also encoded ones, for separators,
// and several for one.
func leavesRoot(path []byte) bool {
	depth, start := 0, 0
	segment := func(s []byte) bool {
		switch string(s) {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		return depth < 0
	}
	for i := 0; i < len(path); {
		width := separator(path[i:])
		if width == 0 {
			i++
			continue
		}
		if segment(path[start:i]) {
			return true
		}
		i += width
		start = i
	}
	return segment(path[start:])
}

// separator gives the width of what some server takes for a slash at the start
// of b, 0 where there is none.
func separator(b []byte) int {
	if b[0] == '/' {
		return 1
	}
	if v, ok := escape(b); ok && (v == '/' || v == '\\') {
		return 3
	}
	return 0
}

// choose does to the path what a route's settings say. It runs once, after the
// route is known.
func (r *Request) choose(choices *[numTraits]Choice) {
	t := &r.target
	if t.traits == 0 {
		return
	}
	if t.traits&hasPercent != 0 && !r.choosePercent(choices) {
		return
	}
	if decode := r.chosen(choices, hasSlash|hasBack); decode != 0 {
		t.path = r.decodePath(decode)
		t.traits |= segments(t.path)
	}
	decode := r.chosen(choices, hasDouble|hasDots)
	if decode&hasDouble != 0 {
		t.path = r.squeeze()
	}
	if decode&hasDots != 0 {
		t.path = r.resolve()
	}
}

// chosen gives those of the path's traits that are decoded, and notes those that
// are refused.
func (r *Request) chosen(choices *[numTraits]Choice, of traits) (decode traits) {
	for i, tr := range traitReasons {
		switch {
		case r.target.traits&of&tr.trait == 0:
		case choices[i] == ChoiceRefuse:
			r.defects.found(*tr.reason, r.targetAt)
		case choices[i] == ChoiceDecode:
			decode |= tr.trait
		}
	}
	return decode
}

// choosePercent goes first: what a decoded percent sign uncovers is judged like
// the rest.
func (r *Request) choosePercent(choices *[numTraits]Choice) bool {
	switch choices[2] {
	case ChoiceRefuse:
		r.defects.found(ReasonTargetPer, r.targetAt)
	case ChoiceDecode:
		r.target.path = r.decodePath(hasPercent)
		if !r.canonicalPath(r.targetAt) {
			return false
		}
		r.target.traits |= segments(r.target.path)
		if leavesRoot(r.target.path) {
			return r.defects.fail(ReasonTargetRoot, r.targetAt)
		}
	}
	return true
}

// decodePath decodes separators, or percent signs where two digits follow them.
// One that would stand alone stays encoded.
func (r *Request) decodePath(decode traits) []byte {
	path, start := r.target.path, len(r.scratch)
	for i := 0; i < len(path); i++ {
		v, ok := escape(path[i:])
		switch {
		case ok && v == '/' && decode&hasSlash != 0, ok && v == '\\' && decode&hasBack != 0:
			r.scratch = append(r.scratch, '/')
			i += 2
		case ok && v == '%' && decode&hasPercent != 0 && i+5 <= len(path) && hexValue(path[i+3]) >= 0 && hexValue(path[i+4]) >= 0:
			r.scratch = append(r.scratch, '%', path[i+3], path[i+4])
			i += 4
		default:
			r.scratch = append(r.scratch, path[i])
		}
	}
	return r.scratch[start:]
}

// squeeze makes one slash of several.
func (r *Request) squeeze() []byte {
	start := len(r.scratch)
	for i, c := range r.target.path {
		if c != '/' || i == 0 || r.target.path[i-1] != '/' {
			r.scratch = append(r.scratch, c)
		}
	}
	return r.scratch[start:]
}

// resolve removes dot segments (RFC 3986 §5.2.4).
func (r *Request) resolve() []byte {
	path, start := r.target.path, len(r.scratch)
	for i := 0; i < len(path); {
		j := i + 1
		for j < len(path) && path[j] != '/' {
			j++
		}
		last := j == len(path)
		switch string(path[i+1 : j]) {
		case ".":
			if last {
				r.scratch = append(r.scratch, '/')
			}
		case "..":
			out := r.scratch[start:]
			r.scratch = r.scratch[:start+max(bytes.LastIndexByte(out, '/'), 0)]
			if last {
				r.scratch = append(r.scratch, '/')
			}
		default:
			r.scratch = append(r.scratch, path[i:j]...)
		}
		i = j
	}
	if len(r.scratch) == start {
		r.scratch = append(r.scratch, '/')
	}
	return r.scratch[start:]
}
