package urlrewrite

import (
	"bytes"
	"context"
	"strings"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// ReasonTarget is a mapped path that is none.
var ReasonTarget = packet.NewReason("urlrewrite", ppf.ReasonInfo{Name: "urlrewrite.target", Field: "http.target", RFC: "3986 §3.3",
	Doc: "the mapped path or host cannot be sent", Trips: "none known"})

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "urlrewrite", Version: "1.0.0", Doc: "maps host and path of requests and undoes it in responses",
		Functions: []string{"urlrewrite"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "urlrewrite", Doc: "maps host and path of requests and undoes it in responses",
		Level: ppf.LevelMessage, Layer: 7,
		Settings:    func() any { return &Config{MaxBody: 1 << 20} },
		BindMessage: func(b ppf.Binding) (any, error) { return &function{*b.Settings.(*Config)}, nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// function is urlrewrite for one proxy instance. It keeps nothing between a
// request and its response: what the client asked for tells the rule again.
type function struct{ Config }

var _ http.BodyFunction = (*function)(nil)

// under says whether path is prefix or below it, and gives what is behind.
func under(path, prefix string) (rest string, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok = strings.CutPrefix(path, prefix)
	if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
		return "", false
	}
	return rest, true
}

// Request maps what the client asked for.
func (f *function) Request(x *http.Exchange) {
	host, path := x.Request.Host(), x.Request.Path()
	for i := range f.Rules {
		r := &f.Rules[i]
		rest, ok := under(path, r.Path)
		if !ok || r.Host != "" && r.Host != host {
			continue
		}
		if r.ToHost != "" && !x.Request.SetHost(r.ToHost, x.Request.Port()) {
			x.Refuse(ReasonTarget, 400)
			return
		}
		if r.ToPath != "" {
			mapped := strings.TrimSuffix(r.ToPath, "/") + rest
			if mapped == "" {
				mapped = "/"
			}
			if x.Request.SetTarget(mapped, x.Request.Query()) != nil {
				x.Refuse(ReasonTarget, 400)
				return
			}
		}
		break
	}
	if f.Bodies {
		// Only what is not compressed can be rewritten.
		x.Request.Del("Accept-Encoding")
	}
}

// undo maps a URL of the server's to what clients see: absolute, without scheme,
// or a path. Others stay as they are.
func (f *function) undo(x *http.Exchange, url string) string {
	scheme, rest := "", url
	if i := strings.Index(url, "://"); i > 0 && strings.Trim(url[:i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		scheme, rest = url[:i+1], url[i+1:]
	}
	if strings.HasPrefix(rest, "//") {
		end := strings.IndexAny(rest[2:], "/?#")
		if end < 0 {
			end = len(rest) - 2
		}
		authority, path := rest[2:2+end], rest[2+end:]
		name, port, _ := strings.Cut(authority, ":")
		for i := range f.Rules {
			r := &f.Rules[i]
			if r.ToHost == "" || !strings.EqualFold(name, r.ToHost) {
				continue
			}
			if p, ok := f.back(r, path); ok {
				if port != "" {
					port = ":" + port
				}
				return scheme + "//" + r.Host + port + p
			}
		}
		if asked, _ := x.AskedHost(); !strings.EqualFold(name, asked) {
			return url
		}
		return scheme + "//" + authority + f.undoPath(x, path)
	}
	if strings.HasPrefix(rest, "/") && scheme == "" {
		return f.undoPath(x, rest)
	}
	return url
}

// undoPath maps a path of the server that the client talks to.
func (f *function) undoPath(x *http.Exchange, path string) string {
	asked, _ := x.AskedHost()
	for i := range f.Rules {
		r := &f.Rules[i]
		if r.Host != "" && r.Host != asked {
			continue
		}
		if p, ok := f.back(r, path); ok {
			return p
		}
	}
	return path
}

// back maps a path from the server's prefix to the one that clients see.
func (f *function) back(r *Rule, path string) (string, bool) {
	if r.ToPath == "" {
		_, ok := under(path, r.Path)
		return path, ok || path == ""
	}
	rest, ok := under(path, r.ToPath)
	if !ok {
		return "", false
	}
	if seen := strings.TrimSuffix(r.Path, "/") + rest; seen != "" && seen[0] == '/' || path == "" {
		return seen, true
	}
	return "/" + strings.TrimPrefix(rest, "/"), true
}

// urlFields are the fields of a response that name a URL, host or path, and how the
// mapping is undone in each.
var urlFields = []struct {
	name string
	undo func(f *function, x *http.Exchange, value string) string
}{
	{"Location", (*function).undo},
	{"Content-Location", (*function).undo},
	{"Link", (*function).links},
	{"Refresh", (*function).refresh},
	{"Set-Cookie", (*function).cookie},
}

// Response undoes the mapping in the fields where it shows.
func (f *function) Response(x *http.Exchange) {
	h := &x.Response.Header
	for i := range urlFields {
		e := &urlFields[i]
		if h.Edit(e.name, func(v string) (string, bool) { return e.undo(f, x, v), true }) != nil {
			h.Del(e.name) // a URL that cannot be written is not sent as it was
		}
	}
	if f.Bodies && rewritable(x.Response) {
		x.WantBody(f.MaxBody)
	}
}

// links rewrites what stands in angle brackets (RFC 8288 §3).
func (f *function) links(x *http.Exchange, v string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(v, "<")
		url, after, closed := strings.Cut(rest, ">")
		if !ok || !closed {
			out.WriteString(v)
			return out.String()
		}
		out.WriteString(before + "<" + f.undo(x, url) + ">")
		v = after
	}
}

// refresh rewrites "5; url=…".
func (f *function) refresh(x *http.Exchange, v string) string {
	i := strings.Index(strings.ToLower(v), "url=")
	if i < 0 {
		return v
	}
	url, quote := v[i+4:], ""
	if len(url) >= 2 && (url[0] == '"' || url[0] == '\'') && url[len(url)-1] == url[0] {
		quote, url = url[:1], url[1:len(url)-1]
	}
	return v[:i+4] + quote + f.undo(x, url) + quote
}

// cookie rewrites the attributes Domain and Path (RFC 6265 §4.1). A domain that
// the client cannot be in would lose the cookie.
func (f *function) cookie(x *http.Exchange, v string) string {
	parts := strings.Split(v, ";")
	for i, p := range parts[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(name) {
		case "domain":
			domain := strings.ToLower(strings.TrimPrefix(value, "."))
			for _, r := range f.Rules {
				if r.ToHost != "" && (domain == r.ToHost || strings.HasSuffix(r.ToHost, "."+domain) && !strings.HasSuffix(r.Host, "."+domain)) {
					parts[i+1] = " Domain=" + r.Host
					break
				}
			}
		case "path":
			parts[i+1] = " Path=" + f.undoPath(x, value)
		}
	}
	return strings.Join(parts, ";")
}

// rewritable says whether a response's body is of a type whose URLs are
// rewritten, and not compressed.
func rewritable(r *http.Response) bool {
	kind, _, _ := strings.Cut(strings.ToLower(r.Get("Content-Type")), ";")
	switch strings.TrimSpace(kind) {
	case "text/html", "text/css", "application/json":
		return r.Get("Content-Encoding") == "" && r.Status() != 206
	}
	return false
}

// Body rewrites URLs of the server's hosts wherever they stand, also with the
// slashes of JSON. What a digest or validator was made of has changed.
func (f *function) Body(x *http.Exchange, body []byte) []byte {
	if !rewritable(x.Response) {
		return body
	}
	changed := body
	for _, r := range f.Rules {
		if r.ToHost == "" {
			continue
		}
		for _, slashes := range []string{"//", `\/\/`} {
			changed = replaceHost(changed, slashes+r.ToHost, slashes+r.Host)
		}
	}
	if !bytes.Equal(changed, body) {
		for _, name := range []string{"ETag", "Content-MD5", "Digest", "Repr-Digest", "Content-Digest"} {
			x.Response.Del(name)
		}
	}
	return changed
}

// replaceHost replaces a host behind slashes where the name ends there too.
func replaceHost(body []byte, from, to string) []byte {
	var out []byte
	for rest := body; ; {
		i := bytes.Index(rest, []byte(from))
		if i < 0 {
			if out == nil {
				return body
			}
			return append(out, rest...)
		}
		out = append(out, rest[:i]...)
		rest = rest[i+len(from):]
		if len(rest) > 0 && (rest[0] == '.' || rest[0] == '-' || rest[0] == '_' ||
			'a' <= rest[0]|0x20 && rest[0]|0x20 <= 'z' || '0' <= rest[0] && rest[0] <= '9') {
			out = append(out, from...)
		} else {
			out = append(out, to...)
		}
	}
}
