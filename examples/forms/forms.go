// Package forms lets only those requests reach the web interface of a device whose
// page, method and form fields are on a list, and builds every query and form anew.
package forms

import (
	"strings"
	"unicode/utf8"

	"github.com/promethos/promethos/pfm"
)

// Module is what guest exports.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "forms", BindMessage: bind}}}

// maxForm is the longest form that is read, in bytes.
const maxForm = 64 << 10

// page is one entry of the list.
type page struct {
	path    string
	below   bool // everything that begins so
	methods []string
	fields  map[string]field
}

// field is what a page takes under a name.
type field struct {
	kind string
	max  int // in bytes
}

type guard struct {
	pages  []page
	others bool // pages that are not on the list pass
}

func bind(b *pfm.Binding) (*pfm.MessageProcessor, error) {
	g := &guard{}
	others, _ := b.Setting("others")
	g.others = others == "pass"
	for i := range b.Len("pages") {
		at := func(name string) string { return pfm.Item("pages", i, name) }
		p := page{fields: map[string]field{}}
		path, _ := b.Setting(at("path"))
		p.path, p.below = strings.CutSuffix(path, "*")
		for k := range b.Len(at("methods")) {
			method, _ := b.Setting(pfm.Item(at("methods"), k, ""))
			p.methods = append(p.methods, method)
		}
		for k := range b.Len(at("fields")) {
			entry := func(name string) string { return pfm.Item(at("fields"), k, name) }
			name, _ := b.Setting(entry("name"))
			kind, _ := b.Setting(entry("kind"))
			p.fields[name] = field{kind, int(b.Int(entry("max")))}
		}
		g.pages = append(g.pages, p)
	}
	return &pfm.MessageProcessor{Request: g.request, RequestBody: g.form}, nil
}

// page finds the entry for a path: the first that fits.
func (g *guard) page(path string) *page {
	for i := range g.pages {
		if p := &g.pages[i]; p.path == path || p.below && strings.HasPrefix(path, p.path) {
			return p
		}
	}
	return nil
}

// request judges page, method and query, and asks for the form.
func (g *guard) request(m *pfm.Message) pfm.Verdict {
	path := m.Path()
	p := g.page(path)
	if p == nil {
		if g.others {
			return pfm.Accept
		}
		return m.Refuse(reasonPage, 403)
	}
	if !p.allows(m.Method()) {
		return m.Refuse(reasonMethod, 405)
	}
	if query := m.Query(); query != "" {
		built, r := p.rebuild(query)
		if r != 0 {
			return m.Refuse(r, 400)
		}
		if !m.SetTarget(path, built) {
			return m.Refuse(reasonEncoding, 400)
		}
	}
	m.NeedBody(maxForm)
	return pfm.Accept
}

// form judges the body of a request and builds it anew.
func (g *guard) form(m *pfm.Message) pfm.Verdict {
	p := g.page(m.Path())
	if p == nil || m.BodyLen() == 0 {
		return pfm.Accept
	}
	kind, _ := m.Field("Content-Type")
	kind, _, _ = strings.Cut(kind, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return m.Refuse(reasonType, 415)
	}
	built, r := p.rebuild(string(m.Body()))
	if r != 0 {
		return m.Refuse(r, 400)
	}
	m.SetBody([]byte(built))
	return pfm.Accept
}

func (p *page) allows(method string) bool {
	for _, m := range p.methods {
		if m == method {
			return true
		}
	}
	return false
}

// rebuild reads name=value pairs (URL Standard §5.1), judges each, and writes them
// with one spelling.
func (p *page) rebuild(text string) (built string, r pfm.Reason) {
	var out []byte
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(text, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, ok := decode(rawName)
		value, ok2 := decode(rawValue)
		if !ok || !ok2 {
			return "", reasonEncoding
		}
		f, known := p.fields[name]
		switch {
		case !known:
			return "", reasonField
		case seen[name]:
			return "", reasonTwice
		case len(value) > f.max || !fits(value, f.kind):
			return "", reasonValue
		}
		seen[name] = true
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(encode(out, name), '=')
		out = encode(out, value)
	}
	return string(out), 0
}

// more marks the characters that a shell, a database or a browser takes for more
// than text.
var more = func() (marks [128]bool) {
	for _, c := range "\"'`;|&$<>\\(){}*?#%\x7f" {
		marks[c] = true
	}
	return marks
}()

// fits tells whether a value is of a kind.
func fits(value, kind string) bool {
	for i, c := range value {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		ok := digit
		switch kind {
		case "number":
			ok = digit || c == '-' && i == 0
		case "word":
			ok = letter || digit || c == '_'
		case "name": // of a host, an address, a file without a folder
			ok = letter || digit || i > 0 && (c == '.' || c == ':' || c == '-' || c == '_')
		case "text":
			ok = c >= ' ' && c != utf8.RuneError && (c >= 128 || !more[c])
		}
		if !ok {
			return false
		}
	}
	return true
}

const hexDigits = "0123456789ABCDEF"

// decode reads percent-encoding and + for a blank.
func decode(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] != '%':
			out = append(out, s[i])
		case i+2 >= len(s):
			return "", false
		default:
			high, low := hex(s[i+1]), hex(s[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			out = append(out, byte(high<<4|low))
			i += 2
		}
	}
	return string(out), true
}

func hex(c byte) int {
	if 'a' <= c && c <= 'f' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte(hexDigits, c)
}

// encode writes percent-encoding: unreserved characters as they are (RFC 3986
// §2.3), a blank as +.
func encode(out []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			out = append(out, c)
		case c == ' ':
			out = append(out, '+')
		default:
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return out
}
