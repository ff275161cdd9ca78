package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
)

const simple = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

// client is a connection to the rig.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (r *rig) dial(t *testing.T) *client {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// response reads one whole response.
func (c *client) response(method string) (status int, body string) {
	c.t.Helper()
	res, err := nethttp.ReadResponse(c.r, &nethttp.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// ended wants nothing more to come.
func (c *client) ended() {
	c.t.Helper()
	if b, _ := io.ReadAll(c.r); len(b) > 0 {
		c.t.Errorf("more came: %q", b)
	}
}

// TestKeepAlive: requests over one connection, also pipelined, go over one
// connection to the server and are answered in order.
func TestKeepAlive(t *testing.T) {
	r := newRig(t, ppf.Repair, nil)
	r.answer = func(n int, _ string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
	}
	c := r.dial(t)
	for i := range 3 {
		c.write(simple)
		if status, body := c.response("GET"); status != 200 || body != fmt.Sprint(i) {
			t.Errorf("request %d: got %d %q", i, status, body)
		}
	}
	c.write(strings.Repeat(simple, 3) + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + simple)
	for i := 3; i < 8; i++ {
		if status, body := c.response("GET"); status != 200 || body != fmt.Sprint(i) {
			t.Errorf("pipelined %d: got %d %q", i, status, body)
		}
	}
	if r.opened != 1 {
		t.Errorf("%d connections to the server, want 1", r.opened)
	}
	other := r.dial(t)
	other.write(simple)
	if _, body := other.response("GET"); body != "0" || r.opened != 2 {
		t.Errorf("another client got %q over %d connections; a connection is shared", body, r.opened)
	}
}

// TestLateDefect: a body over the buffer is sent while it comes, and never
// completed when it turns out broken.
func TestLateDefect(t *testing.T) {
	chunk := "400\r\n" + strings.Repeat("x", 0x400) + "\r\n"
	for _, tt := range []struct{ name, raw, status, never string }{
		{"chunk size", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 8) + "zz\r\n", "400", "\r\n0\r\n"},
		{"chunk end", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 8) + "1\r\nabc", "400", "\r\n0\r\n"},
		{"extension on the last", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 8) + "0;a=b\r\n\r\n", "400", "\r\n0\r\n"},
		{"trailer", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 8) + "0\r\nX: \x01\r\n\r\n", "400", "\r\n0\r\n"},
		{"cut chunked", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 8), "400", "\r\n0\r\n"},
		{"cut length", "Content-Length: 9000\r\n\r\n" + strings.Repeat("y", 8999), "400", strings.Repeat("y", 9000)},
		{"over the limit", "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 80), "413", "\r\n0\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, func(c *Config) { c.Buffer, c.MaxBody = 2048, 20000 })
			closed := make(chan error, 1)
			r.script = func(conn net.Conn) {
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					r.mu.Lock()
					r.got.Write(buf[:n])
					r.mu.Unlock()
					if err != nil {
						closed <- err
						return
					}
				}
			}
			response := r.send("POST / HTTP/1.1\r\nHost: a\r\n"+tt.raw, 0)
			if !strings.HasPrefix(response, "HTTP/1.1 "+tt.status) && response != "" {
				t.Errorf("the client got %q, want status %s or nothing", response, tt.status)
			}
			<-closed
			if got := r.received(); strings.Contains(got, tt.never) {
				t.Errorf("the origin got a body that looks complete, of %d octets", len(got))
			}
		})
	}
}

// TestLargeBodies: what is not held arrives whole, in both directions.
func TestLargeBodies(t *testing.T) {
	const n = 3 << 20
	r := newRig(t, ppf.Repair, nil)
	r.script = func(conn net.Conn) {
		// The head has been read, with some of the body; the rest is counted.
		r.mu.Lock()
		_, body, _ := strings.Cut(r.got.String(), "\r\n\r\n")
		r.mu.Unlock()
		left := int64(n - len(body))
		if _, err := io.CopyN(io.Discard, conn, left); err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		io.WriteString(conn, strings.Repeat("z", n))
	}
	c := r.dial(t)
	go func() {
		fmt.Fprintf(c.conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", n)
		io.WriteString(c.conn, strings.Repeat("y", n))
	}()
	if status, body := c.response("POST"); status != 200 || len(body) != n || strings.Trim(body, "z") != "" {
		t.Errorf("got %d and %d octets", status, len(body))
	}
}

// TestEarlyAnswer: a server that answers before the body is over is heard.
func TestEarlyAnswer(t *testing.T) {
	r := newRig(t, ppf.Repair, func(c *Config) { c.Buffer = 0 })
	r.answers("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", 0)
	c := r.dial(t)
	c.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
	if status, body := c.response("POST"); status != 413 || body != "no" {
		t.Errorf("got %d %q", status, body)
	}
	c.ended()
}

// TestRetry: a connection that the server closed while it was idle costs nobody
// a request, and a request is never sent twice where that could matter.
func TestRetry(t *testing.T) {
	r := newRig(t, ppf.Repair, nil)
	r.answer = func(n int, head string) string {
		if n > 0 && !strings.Contains(head, "/die") {
			return "" // closed without an answer
		}
		if strings.Contains(head, "/die") {
			return ""
		}
		return okAnswer
	}
	c := r.dial(t)
	c.write(simple)
	c.response("GET")
	c.write(simple) // the second on this connection: the origin closes, and a new one answers
	if status, _ := c.response("GET"); status != 200 {
		t.Errorf("a GET after an idle close: got %d", status)
	}
	if r.opened != 2 {
		t.Errorf("%d connections, want 2", r.opened)
	}
	c.write("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	if status, _ := c.response("POST"); status != 502 {
		t.Errorf("a POST after an idle close: got %d, want 502", status)
	}
	if n := strings.Count(r.received(), "POST /x"); n != 1 {
		t.Errorf("the POST was sent %d times", n)
	}
	c = r.dial(t)
	c.write("GET /die HTTP/1.1\r\nHost: a\r\n\r\n")
	if status, _ := c.response("GET"); status != 502 {
		t.Errorf("a server that never answers: got %d, want 502", status)
	}
}

// TestUnaskedResponse: octets that a server sends while nobody asked end its
// connection; they never answer the next request.
func TestUnaskedResponse(t *testing.T) {
	r := newRig(t, ppf.Repair, nil)
	sent := make(chan bool)
	first := true
	r.script = func(conn net.Conn) {
		if !first {
			io.WriteString(conn, okAnswer)
			return
		}
		first = false
		io.WriteString(conn, okAnswer)
		<-sent // the client has its answer
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
		sent <- true
		io.Copy(io.Discard, conn)
	}
	c := r.dial(t)
	c.write(simple)
	c.response("GET")
	sent <- true
	<-sent
	c.write(simple)
	if status, body := c.response("GET"); status != 200 || body != "ok" {
		t.Errorf("the second request got %d %q", status, body)
	}
}

// TestSlow: clients and servers that are too slow are told so, or left.
func TestSlow(t *testing.T) {
	// Each has a short time for what is slow alone: on a busy machine the rest is, too.
	const short = 50 * time.Millisecond
	head := func(c *Config) { c.HeadTimeout, c.IdleTimeout = short, short }
	body := func(c *Config) { c.BodyWindow, c.BodyRate = 4*short, 1000 } // responses have it as well
	response := func(c *Config) { c.ResponseTimeout = short }
	for _, tt := range []struct {
		name, raw, answer string
		quick             func(*Config)
		status            int
		reason            string
	}{
		{"nothing", "", okAnswer, head, 0, ""},
		{"half a head", "GET / HTTP/1.1\r\nHost: ", okAnswer, head, 408, "http.slow.head"},
		{"an empty line alone", "\r\n", okAnswer, head, 408, "http.slow.head"},
		{"half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", okAnswer, body, 408, "http.slow.body"},
		{"silent server", simple, " ", response, 504, "http.server.silent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, tt.quick)
			r.answer = func(int, string) string { return tt.answer }
			c := r.dial(t)
			c.write(tt.raw)
			if tt.status != 0 {
				if status, _ := c.response("GET"); status != tt.status {
					t.Errorf("got %d, want %d", status, tt.status)
				}
				if r.count(tt.reason) != 1 {
					t.Errorf("got reasons %v, want %s", r.reasons, tt.reason)
				}
			}
			c.ended()
		})
	}
}

// TestMonitor: what strict would refuse goes on, rebuilt, and the event names the
// setting.
func TestMonitor(t *testing.T) {
	for _, tt := range []struct{ name, raw, want, report string }{
		{"length with chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "http.content-length.with-transfer-encoding"},
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "reasons: {http.head.bare-lf: repair}"},
		{"fold", "GET / HTTP/1.1\r\nHost: a\r\nAccept: a\r\n b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAccept: a   b\r\nConnection: close\r\n\r\n", "obs-fold"},
		{"method", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", "methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PURGE]"},
		{"encoded slash", "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", "encoded_slash: keep"},
		{"percent", "GET /?a=100% HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?a=100%25 HTTP/1.1\r\nHost: a\r\n\r\n", "http.target.percent"},
		{"blank before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http.field.blank-before-colon at octet 20"},
		{"control character", "GET / HTTP/1.1\r\nHost: a\r\nX-A: \x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http.field.octet of X-A"},
		{"two equal lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "content-length.duplicate"},
		{"chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "http.chunk.extension"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "", "refused http.content-length.duplicate"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", "", "refused http.host.missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Monitor, nil)
			r.send(tt.raw, 0)
			if got := r.received(); got != tt.want {
				t.Errorf("the origin got %q, want %q", got, tt.want)
			}
			if all := strings.Join(r.told(), "\n"); !strings.Contains(all, tt.report) || !strings.Contains(all, "127.0.0.1") {
				t.Errorf("the reports say %q, want %q and the client", all, tt.report)
			}
		})
	}
}

// TestOverride: one reason is relaxed, and the others are not.
func TestOverride(t *testing.T) {
	r := newRig(t, ppf.Repair, nil)
	r.change(func() { r.overrides = map[string]ppf.Do{"http.chunk.extension": ppf.DoRepair} })
	head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	if got := statusOf(r.send(head+"1;a=b\r\nx\r\n0\r\n\r\n", 0)); got != 200 {
		t.Errorf("an extension that is allowed: got %d", got)
	}
	if got := statusOf(r.send(head+"1\nx\r\n0\r\n\r\n", 0)); got != 400 {
		t.Errorf("a bare LF that is not: got %d", got)
	}
}

func scalar(s string) ppf.Value { return ppf.Value{Kind: ppf.ValueScalar, Scalar: s} }

func routeOf(pairs ...string) ppf.Value {
	v := ppf.Value{Kind: ppf.ValueMap}
	for i := 0; i < len(pairs); i += 2 {
		v.Map = append(v.Map, ppf.KeyValue{Key: pairs[i], Value: scalar(pairs[i+1])})
	}
	return v
}

// TestRoutes: each route has its own policy, and none is reached by another
// spelling of its path.
func TestRoutes(t *testing.T) {
	routes := func(c *Config) {
		c.Routes = Routes{[]ppf.Value{
			routeOf("path", "/admin", "methods", "HEAD"),
			routeOf("path", "/dav", "methods", "PROPFIND", "mode", "strict"),
			routeOf("path", "/raw", "encoded_slash", "keep", "dot_segments", "keep"),
			routeOf("host", "old.example", "unknown", "refuse"),
			routeOf("path", "/watch", "mode", "monitor"),
		}}
	}
	for _, tt := range []struct {
		name, line, field string
		want              int
		reason            string
	}{
		{"base", "GET /", "", 200, ""},
		{"own methods", "GET /admin", "", 405, "http.method.not-allowed"},
		{"below", "GET /admin/x", "", 405, "http.method.not-allowed"},
		{"beside", "GET /administrator", "", 200, ""},
		{"another spelling", "GET /%61dmin", "", 405, "http.method.not-allowed"},
		{"over dots", "GET /x/../admin", "", 405, "http.method.not-allowed"},
		{"through another route's dots", "GET /raw/../admin", "", 400, "http.target.route"},
		{"kept slash", "GET /raw/a%2fb", "", 200, ""},
		{"slash elsewhere", "GET /a%2fb", "", 400, "http.target.encoded-slash"},
		{"allowed there", "PROPFIND /dav", "", 200, ""},
		{"by host", "GET /", "Host: old.example\r\nX-A: 1", 400, "http.field.unknown"},
		{"monitor", "PURGE /watch", "", 200, "http.method.not-allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, routes)
			if tt.name == "through another route's dots" {
				r = newRig(t, ppf.Repair, func(c *Config) {
					c.Routes = Routes{[]ppf.Value{routeOf("path", "/raw", "encoded_slash", "keep"), routeOf("path", "/admin", "methods", "HEAD")}}
				})
			}
			field := tt.field
			if field == "" {
				field = "Host: a.example"
			}
			if got := statusOf(r.send(tt.line+" HTTP/1.1\r\n"+field+"\r\n\r\n", 0)); got != tt.want {
				t.Errorf("got %d, want %d; %v", got, tt.want, r.reasons)
			}
			if tt.reason != "" && r.count(tt.reason) != 1 {
				t.Errorf("got reasons %v, want %s", r.reasons, tt.reason)
			}
		})
	}
}

// TestBudget: bodies beyond what the instance may hold are passed on while they
// come, and what was held is given back.
func TestBudget(t *testing.T) {
	r := newRig(t, ppf.Repair, func(c *Config) { c.BufferTotal = 3 })
	for range 3 {
		if got := statusOf(r.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 0)); got != 200 {
			t.Errorf("over the budget: got %d", got)
		}
		if got := statusOf(r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 0)); got != 200 {
			t.Errorf("within the budget: got %d", got)
		}
	}
	if got := r.count("http.buffer.full"); got != 3 {
		t.Errorf("the budget was over %d times, want 3", got)
	}
}

// broken is a message function that panics.
type broken struct{ in string }

func (b broken) Request(*Exchange) {
	if b.in == "request" {
		panic("request")
	}
}

func (b broken) Response(*Exchange) {
	if b.in == "response" {
		panic("response")
	}
}

// TestFunctionPanics: a message function that panics costs its exchange.
func TestFunctionPanics(t *testing.T) {
	for _, in := range []string{"request", "response"} {
		r := newRig(t, ppf.Repair, nil, broken{in})
		if got := statusOf(r.send(simple, 0)); got != 500 || r.count("http.function.panic") != 1 {
			t.Errorf("a panic in %s: got %d, reasons %v", in, got, r.reasons)
		}
	}
}
