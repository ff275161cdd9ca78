package http

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// reference is a second parser of requests: RFC 9112's grammar as regular
// expressions, written without a look at the first. It takes one request without
// pipelining and is strict.
type reference struct {
	method, target, version string
	fields                  []refField
	body                    string
	rest                    string
}

type refField struct{ name, value string }

var (
	refRequestLine = regexp.MustCompile(`\A([!#$%&'*+\-.^_\x60|~0-9A-Za-z]+) ([!-"$-~]+) (HTTP/1\.[01])\r\n`)
	refFieldLine   = regexp.MustCompile(`\A([!#$%&'*+\-.^_\x60|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n`)
	refChunkLine   = regexp.MustCompile(`\A([0-9A-Fa-f]{1,16})\r\n`)
)

var errReference = errors.New("not a request")

// latin1 makes a character of each octet, so that expressions see octets.
func latin1(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

func parseReference(raw []byte) (*reference, error) {
	s := strings.TrimPrefix(latin1(raw), "\r\n")
	m := refRequestLine.FindStringSubmatch(s)
	if m == nil {
		return nil, errReference
	}
	r := &reference{method: m[1], target: m[2], version: m[3]}
	s = s[len(m[0]):]
	fields, s, err := refFields(s)
	if err != nil {
		return nil, err
	}
	r.fields = fields
	var lengths, encodings, hosts []string
	for _, f := range r.fields {
		switch strings.ToLower(f.name) {
		case "content-length":
			lengths = append(lengths, f.value)
		case "transfer-encoding":
			encodings = append(encodings, f.value)
		case "host":
			hosts = append(hosts, f.value)
		}
	}
	switch {
	case len(lengths)+len(encodings) > 1, len(hosts) > 1, len(hosts) == 0 && r.version == "HTTP/1.1":
		return nil, errReference
	case len(encodings) == 1:
		if r.version == "HTTP/1.0" || !strings.EqualFold(encodings[0], "chunked") {
			return nil, errReference
		}
		r.body, r.rest, err = refChunked(s)
		return r, err
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || n > uint64(len(s)) && n > uint64(len([]rune(s))) {
			return nil, errReference
		}
		runes := []rune(s)
		r.body, r.rest = string(runes[:n]), string(runes[n:])
	default:
		r.rest = s
	}
	return r, nil
}

func refFields(s string) (list []refField, rest string, err error) {
	for !strings.HasPrefix(s, "\r\n") {
		m := refFieldLine.FindStringSubmatch(s)
		if m == nil {
			return nil, "", errReference
		}
		list = append(list, refField{m[1], strings.Trim(m[2], " \t")})
		s = s[len(m[0]):]
	}
	return list, s[2:], nil
}

func refChunked(s string) (body, rest string, err error) {
	for {
		m := refChunkLine.FindStringSubmatch(s)
		if m == nil {
			return "", "", errReference
		}
		n, err := strconv.ParseUint(m[1], 16, 62)
		if err != nil {
			return "", "", errReference
		}
		s = s[len(m[0]):]
		if n == 0 {
			_, rest, err := refFields(s)
			return body, rest, err
		}
		runes := []rune(s)
		if n > uint64(len(runes)) {
			return "", "", errReference
		}
		body += string(runes[:n])
		s = string(runes[n:])
		if !strings.HasPrefix(s, "\r\n") {
			return "", "", errReference
		}
		s = s[2:]
	}
}

// field gives the values of a field.
func (r *reference) field(name string) (list []string) {
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			list = append(list, f.value)
		}
	}
	return list
}

// octetsOf is the inverse of latin1.
func octetsOf(s string) []byte {
	var b bytes.Buffer
	for _, c := range s {
		b.WriteByte(byte(c))
	}
	return b.Bytes()
}
