package http

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var (
	reasonWord   = packet.NewReason("functiontest", ppf.ReasonInfo{Name: "functiontest.word", Field: "http.body", Doc: "a word that is refused"})
	reasonMended = packet.NewReason("functiontest", ppf.ReasonInfo{Name: "functiontest.mended", Class: packet.Repaired, Field: "http.head", Doc: "a word that is mended"})
)

// judging looks at bodies of both directions.
type judging struct {
	limit  int
	need   bool
	method string // to ask for
}

func (f judging) want(x *Exchange) {
	if f.need {
		x.NeedBody(f.limit)
	} else {
		x.WantBody(f.limit)
	}
}

func (f judging) Request(x *Exchange) {
	f.want(x)
	n, _ := (*x.State).(int)
	*x.State = n + 1
	x.Request.Set("Exchanges", strconv.Itoa(n+1))
	if f.method != "" && !x.Request.SetMethod(f.method) {
		x.Request.Set("Method", "kept")
	}
	if x.Request.Get("Word") == "mend" && !x.Finding(reasonMended, 422) {
		x.Request.Del("Word")
	}
}

func (f judging) Response(x *Exchange) { f.want(x) }

func (judging) RequestBody(x *Exchange, body []byte) []byte {
	if bytes.Contains(body, []byte("bad")) {
		x.Refuse(reasonWord, 422)
	}
	return bytes.ReplaceAll(body, []byte("one"), []byte("three"))
}

func (judging) Body(x *Exchange, body []byte) []byte {
	if bytes.Contains(body, []byte("bad")) {
		x.Refuse(reasonWord, 0)
	}
	return body
}

// TestRequestBody: a function sees the whole body of a request, however it is
// framed and cut, and what it makes of it is what arrives.
func TestRequestBody(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: h\r\n"
	for _, tt := range []struct {
		name, request string
		f             judging
		status        int
		arrives       string
		reason        string
	}{
		{"changed", post + "Content-Length: 7\r\n\r\none two", judging{limit: 100}, 200, "Content-Length: 9\r\n\r\nthree two", ""},
		{"changed, in chunks", post + "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n two\r\n0\r\n\r\n", judging{limit: 100}, 200, "Content-Length: 9\r\n\r\nthree two", ""},
		{"refused", post + "Content-Length: 7\r\n\r\nbad two", judging{limit: 100}, 422, "", "functiontest.word"},
		{"none", post + "Content-Length: 0\r\n\r\n", judging{limit: 100, need: true}, 200, "Content-Length: 0\r\n\r\n", ""},
		{"longer than wanted", post + "Content-Length: 20000\r\n\r\n" + strings.Repeat("bad ", 5000), judging{limit: 100}, 200, "Content-Length: 20000\r\n\r\n", ""},
		{"longer than needed", post + "Content-Length: 20000\r\n\r\n" + strings.Repeat("bad ", 5000), judging{limit: 100, need: true}, 413, "", "http.body.not-judged"},
		{"longer than needed, in chunks", post + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + strings.Repeat("bad ", 5000) + "\r\n0\r\n\r\n",
			judging{limit: 100, need: true}, 413, "", "http.body.not-judged"},
		{"longer than the route holds", post + "Content-Length: 20003\r\n\r\none" + strings.Repeat("two ", 5000), judging{limit: 30000, need: true}, 200, "Content-Length: 20005\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, func(c *Config) { c.Buffer = 1000 }, tt.f)
			got := r.send(tt.request, 0)
			if statusOf(got) != tt.status || !strings.Contains(r.received(), tt.arrives) || (tt.arrives == "") != (r.received() == "") {
				t.Errorf("%d, the origin got %.200q: %v", statusOf(got), r.received(), r.reasons)
			}
			if tt.reason != "" && r.count(tt.reason) != 1 {
				t.Errorf("counted %v, want %s", r.reasons, tt.reason)
			}
		})
	}
	r := newRig(t, ppf.Monitor, func(c *Config) { c.Buffer = 1000 }, judging{limit: 100, need: true})
	if got := r.send(post+"Content-Length: 2000\r\n\r\n"+strings.Repeat("good", 500), 0); statusOf(got) != 200 || r.count("http.body.not-judged") != 1 {
		t.Errorf("monitor: %d, counted %v", statusOf(got), r.reasons)
	}
}

// TestResponseNeeded: a response that a function has to judge and cannot does not
// reach the client.
func TestResponseNeeded(t *testing.T) {
	for _, tt := range []struct {
		name, body, head string
		need             bool
		want             string
	}{
		{"good", "good", "Content-Length: 4\r\n", true, "200 good"},
		{"bad", "bad!", "Content-Length: 4\r\n", true, "403"},
		{"long", strings.Repeat("bad ", 100), "Content-Length: 400\r\n", true, "502"},
		{"long, in chunks", "190\r\n" + strings.Repeat("bad ", 100) + "\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n", true, "502"},
		{"long and only wanted", strings.Repeat("bad ", 100), "Content-Length: 400\r\n", false, "200 bad "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, nil, judging{limit: 100, need: tt.need})
			r.answers("HTTP/1.1 200 OK\r\n"+tt.head+"\r\n"+tt.body, 0)
			got := r.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0)
			status, body, _ := strings.Cut(tt.want, " ")
			if strconv.Itoa(statusOf(got)) != status || !strings.Contains(got, body) || status != "200" && strings.Contains(got, "bad") {
				t.Errorf("%q, want %s: %v", got, tt.want, r.reasons)
			}
			if n := r.count("http.response.not-judged"); (n == 1) != (status == "502") {
				t.Errorf("counted %v", r.reasons)
			}
		})
	}
}

// TestFunctionState: what a function keeps belongs to the client's connection.
func TestFunctionState(t *testing.T) {
	r := newRig(t, ppf.Repair, nil, judging{}, judging{})
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for range 2 {
		r.send(get+get, 0)
	}
	if got := r.received(); strings.Count(got, "Exchanges: 1\r\n") != 2 || strings.Count(got, "Exchanges: 2\r\n") != 2 {
		t.Errorf("the origin got %q", got)
	}
}

// TestSetMethod: a function may ask by another method, but not by one that frames
// the answer otherwise.
func TestSetMethod(t *testing.T) {
	for _, tt := range []struct{ line, method, want string }{
		{"GET /a", "DELETE", "DELETE /a HTTP/1.1\r\nHost: h\r\n"},
		{"GET /a", "HEAD", "GET /a HTTP/1.1\r\nHost: h\r\n"},
		{"HEAD /a", "GET", "HEAD /a HTTP/1.1\r\nHost: h\r\n"},
		{"GET /a", "TRACE", "GET /a HTTP/1.1\r\nHost: h\r\n"},
		{"GET /a", "CONNECT", "GET /a HTTP/1.1\r\nHost: h\r\n"},
		{"GET /a", "PUT /b HTTP/1.1\r\n", "GET /a HTTP/1.1\r\nHost: h\r\n"},
		{"OPTIONS *", "GET", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"},
	} {
		r := newRig(t, ppf.Repair, func(c *Config) { c.Methods = append(c.Methods, "OPTIONS") }, judging{method: tt.method})
		r.send(tt.line+" HTTP/1.1\r\nHost: h\r\n\r\n", 0)
		if got := r.received(); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "Method: kept") != (strings.Fields(tt.line)[0] == strings.Fields(tt.want)[0]) {
			t.Errorf("%s, asked to be %q: the origin got %q", tt.line, tt.method, got)
		}
	}
}

// TestFinding: what has one safe meaning is mended, or refused where that is
// wanted.
func TestFinding(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\nWord: mend\r\n\r\n"
	r := newRig(t, ppf.Repair, func(c *Config) { c.Fields = append(c.Fields, "Word") }, judging{})
	if got := r.send(get, 0); statusOf(got) != 200 || strings.Contains(r.received(), "Word") || r.count("functiontest.mended") != 1 {
		t.Errorf("%q, the origin got %q: %v", got, r.received(), r.reasons)
	}
	r = newRig(t, ppf.Repair, func(c *Config) { c.Fields = append(c.Fields, "Word") }, judging{})
	r.change(func() { r.overrides = map[string]ppf.Do{"functiontest.mended": ppf.DoRefuse} })
	if got := r.send(get, 0); statusOf(got) != 422 || r.received() != "" {
		t.Errorf("refused: %q, the origin got %q", got, r.received())
	}
}

// TestBodyAfterHints: an informational response before a body that is held for a
// function is sent once, also where that arrives in pieces.
func TestBodyAfterHints(t *testing.T) {
	r := newRig(t, ppf.Repair, nil, judging{limit: 100})
	r.answers("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ntwo four", 1)
	got := r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0)
	if n := strings.Count(got, "HTTP/1.1 "); n != 2 || !strings.HasSuffix(got, "\r\n\r\ntwo four") {
		t.Errorf("the client got %q", got)
	}
}
