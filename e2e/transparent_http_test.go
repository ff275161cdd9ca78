package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// walked is a web server for each kind of ordinary traffic. It tells of uploads that
// did not become whole.
func walked(t *testing.T, h *lab.Host, cut chan<- error) uint16 {
	t.Helper()
	return serving(t, h, "[::]:0", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				cut <- err
				return
			}
			_, _ = w.Write(body) // the client judges
		case "/no-content":
			w.WriteHeader(http.StatusNoContent)
		case "/not-modified":
			w.WriteHeader(http.StatusNotModified)
		case "/stream":
			for range 64 {
				_, _ = w.Write(bytes.Repeat([]byte("s"), 64<<10))
				_ = http.NewResponseController(w).Flush()
			}
		case "/half":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/frames":
			// The frame's four octets of masking key come before the text.
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			frame := make([]byte, 2+4+5)
			if _, err := io.ReadFull(rw, frame); err != nil {
				return
			}
			for i := range 5 {
				frame[6+i] ^= frame[2+i%4]
			}
			_, _ = c.Write(append([]byte{0x81, 5}, frame[6:]...))
		default:
			_, _ = io.WriteString(w, r.URL.Path)
		}
	})
}

// TestTransparentHTTP: ordinary traffic of clients that know of no proxy passes, also
// what is rare in it, on a host that drops what conntrack finds invalid.
func TestTransparentHTTP(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	check(t, lab.Firewall(l.Proxy, lab.CTInvalidDrop))
	cut := make(chan error, 8)
	p := walked(t, l.Server, cut)
	d := start(t, l, ended(l.Server, p, "http", "    modules: {http: {websocket: true}}\n"))
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			address := hostPort(l.Server, network, p)
			t.Run("requests over one connection", func(t *testing.T) { oneConnection(t, l, network, address) })
			raw := func(request string) *bufio.Reader {
				t.Helper()
				c := must(l.Client.Dial(t.Context(), network, address))(t)
				t.Cleanup(func() { c.Close() })
				check(t, c.SetDeadline(time.Now().Add(patience)))
				must(io.WriteString(c, request))(t)
				return bufio.NewReader(c)
			}
			answer := func(r *bufio.Reader) (*http.Response, string) {
				t.Helper()
				response := must(http.ReadResponse(r, nil))(t)
				return response, string(must(io.ReadAll(response.Body))(t))
			}
			const host = " HTTP/1.1\r\nHost: server.example\r\n"
			r := raw("GET /1" + host + "\r\nPOST /echo" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /3" + host + "\r\n")
			for _, want := range []string{"/1", "hi", "/3"} {
				if _, got := answer(r); got != want {
					t.Errorf("pipelined: got %q, want %q", got, want)
				}
			}
			r = raw("GET /old HTTP/1.0\r\n\r\n")
			if response, got := answer(r); got != "/old" || !response.Close {
				t.Errorf("HTTP/1.0: got %q, and that it closes is %v", got, response.Close)
			}
			r = raw("GET /stream HTTP/1.0\r\n\r\n")
			if response, got := answer(r); len(got) != 4<<20 || len(response.TransferEncoding) > 0 {
				t.Errorf("HTTP/1.0: got %d octets, %v", len(got), response.TransferEncoding)
			}
			r = raw("GET /frames" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + "\x81\x85\x00\x00\x00\x00hello")
			if response := must(http.ReadResponse(r, nil))(t); response.StatusCode != 101 {
				t.Errorf("websocket: got %v", response.Status)
			}
			frame := make([]byte, 7)
			if _, err := io.ReadFull(r, frame); err != nil || string(frame) != "\x81\x05hello" {
				t.Errorf("websocket: got %q, %v", frame, err)
			}
			r = raw("GET /half" + host + "\r\n")
			if response, err := http.ReadResponse(r, nil); err == nil {
				if got, err := io.ReadAll(response.Body); err == nil {
					t.Errorf("the server dies: got %q as whole", got)
				}
			}
			c := must(l.Client.Dial(t.Context(), network, address))(t)
			must(io.WriteString(c, "POST /echo"+host+"Content-Length: 9000000\r\n\r\n"+strings.Repeat("x", 200_000)))(t)
			check(t, c.(*net.TCPConn).SetLinger(0))
			c.Close()
			select {
			case <-cut:
			case <-time.After(patience):
				t.Error("the client dies: the server waits on")
			}
		})
	}
	four, six := "http://"+hostPort(l.Server, "tcp4", p), "http://"+hostPort(l.Server, "tcp6", p)
	if r := execute(t, l.Client, "curl", "-sS", "--fail", "-g", "-w", " %{num_connects} ", four+"/a", four+"/b", six+"/c"); r.out != "/a 1 /b 0 /c 1 " {
		t.Errorf("curl: %v", r)
	}
	for _, r := range d.reasons(t) {
		// A reset by a client that is gone may come off the number that is due, and once more.
		if r.Action == "drop" && strings.HasPrefix(r.Reason, "http.") && !strings.HasSuffix(r.Reason, "cut") {
			t.Errorf("refused of ordinary traffic: %+v", r)
		}
	}
}

// oneConnection sends requests that leave a connection open, one after another.
func oneConnection(t *testing.T, l *lab.Lab, network, address string) {
	t.Helper()
	var dials atomic.Int32
	client := &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1, ExpectContinueTimeout: patience, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			return l.Client.Dial(ctx, network, address)
		}}}
	defer client.CloseIdleConnections()
	large := strings.Repeat("0123456789abcdef", 1<<16)
	var waited sync.Map // paths for which the server said that it goes on
	for i, tt := range []struct {
		method, path string
		body         io.Reader
		expect       bool
		status       int
		want         string
	}{
		{"GET", "/page", nil, false, 200, "/page"},
		{"HEAD", "/page", nil, false, 200, ""},
		{"GET", "/no-content", nil, false, 204, ""},
		{"GET", "/not-modified", nil, false, 304, ""},
		{"POST", "/echo", strings.NewReader("short"), false, 200, "short"},
		{"PUT", "/echo", strings.NewReader(large), false, 200, large},
		{"POST", "/echo", io.MultiReader(strings.NewReader("in"), strings.NewReader(" chunks")), false, 200, "in chunks"},
		{"POST", "/echo", io.MultiReader(strings.NewReader(large), strings.NewReader("end")), false, 200, large + "end"},
		{"POST", "/echo", strings.NewReader("asked first"), true, 200, "asked first"},
		{"POST", "/echo", io.MultiReader(strings.NewReader(large)), true, 200, large},
		{"GET", "/stream", nil, false, 200, strings.Repeat("s", 4<<20)},
		{"OPTIONS", "/page", nil, false, 200, "/page"},
		{"DELETE", "/page", nil, false, 200, "/page"},
	} {
		ctx := httptrace.WithClientTrace(within(t, patience), &httptrace.ClientTrace{Got100Continue: func() { waited.Store(i, true) }})
		request := must(http.NewRequestWithContext(ctx, tt.method, "http://"+address+tt.path, tt.body))(t)
		if tt.expect {
			request.Header.Set("Expect", "100-continue")
		}
		response := must(client.Do(request))(t)
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != tt.status || string(got) != tt.want || err != nil {
			t.Errorf("%s %s: got %d and %d octets, %v; want %d and %d", tt.method, tt.path, response.StatusCode, len(got), err, tt.status, len(tt.want))
		}
		if _, ok := waited.Load(i); tt.expect != ok {
			t.Errorf("%s %s: told to go on is %v, want %v", tt.method, tt.path, ok, tt.expect)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("it took %d connections", n)
	}
}
