package http

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// manyTimes is a client that sends the same request n times and reads nothing.
type manyTimes struct {
	tape
	request []byte
	n       int
}

func (c *manyTimes) Read(b []byte) (int, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	c.n--
	return copy(b, c.request), nil
}

func (*manyTimes) Write(b []byte) (int, error) { return len(b), nil }

// canned is a server that gives the same response to each write.
type canned struct {
	tape
	response []byte
	pending  bool
}

func (s *canned) Write(b []byte) (int, error) {
	s.pending = true
	return len(b), nil
}

func (s *canned) Read(b []byte) (int, error) {
	if !s.pending {
		return 0, io.EOF
	}
	s.pending = false
	return copy(b, s.response), nil
}

const (
	plainRequest = "GET /index.html?x=1 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef; theme=dark\r\n" +
		"If-Modified-Since: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n"
	postRequest   = "POST /api HTTP/1.1\r\nHost: www.example.org\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\":[1,2,3]}"
	chunkRequest  = "POST /api HTTP/1.1\r\nHost: www.example.org\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	plainResponse = "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: x\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Last-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\nETag: \"x\"\r\nContent-Length: 12\r\n\r\nhello world\n"
	chunkResponse = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)

// idler is a message function that does nothing.
type idler struct{}

func (idler) Request(*Exchange)  {}
func (idler) Response(*Exchange) {}

// exchanges runs n exchanges over one connection, through a message function.
func exchanges(tb testing.TB, request, response string, n int) {
	tb.Helper()
	p, err := newPolicy(DefaultConfig())
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{mode: ppf.Repair}
	server := &canned{response: []byte(response)}
	serve(link{
		conn: &manyTimes{request: []byte(request), n: n}, env: liveEnv{}, do: r.do, report: func(string, ...any) {}, functions: []Function{idler{}},
		note: func(f Defect, do ppf.Do, _ *Request) {
			if do == ppf.DoRefuse {
				tb.Errorf("refused: %v", f.Reason)
			}
		},
		dial: func(context.Context) (net.Conn, error) { return server, nil },
	}, p, &budget{limit: 1 << 20})
}

var plainCases = []struct{ name, request, response string }{
	{"get", plainRequest, plainResponse},
	{"post", postRequest, plainResponse},
	{"chunked", chunkRequest, chunkResponse},
}

// TestAllocs: an exchange allocates nothing; what a connection costs is spread.
func TestAllocs(t *testing.T) {
	const n = 1000
	for _, c := range plainCases {
		per := testing.AllocsPerRun(5, func() { exchanges(t, c.request, c.response, n) }) / n
		if per >= 1 {
			t.Errorf("%s: %.2f allocations per exchange, want less than 1", c.name, per)
		}
	}
}

// BenchmarkExchange is one request and its response without a network.
func BenchmarkExchange(b *testing.B) {
	for _, c := range plainCases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			exchanges(b, c.request, c.response, b.N)
		})
	}
}

// BenchmarkParse is a request's head alone.
func BenchmarkParse(b *testing.B) {
	var r Request
	p, err := newPolicy(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	head := []byte(plainRequest)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		r.reset()
		if !r.parse(head, &p.limits) {
			b.Fatal(r.defects)
		}
		p.requestRules(&r, p.route(&r), false)
	}
}
