package https_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestHTTP serves a client of net/http through https and http, plain to the
// server, for both versions.
func TestHTTP(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, "[https, http]", "")
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				b, _ := io.ReadAll(req.Body) // what is missing, the client misses
				w.Write(b)
			})}
			go s.Serve(r.server)
			defer s.Close()
			cfg := r.trust("web", "www.example.com")
			cfg.MaxVersion, cfg.NextProtos = version, []string{"http/1.1"}
			c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
			defer c.CloseIdleConnections()
			want := strings.Repeat("hello ", 100_000)
			res, err := c.Post("https://"+r.addr+"/", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			about := fmt.Sprintf("%s %s www.example.com", tls.VersionName(version), tls.CipherSuiteName(res.TLS.CipherSuite))
			if list := r.engine.Connections("front", 0); len(list) != 1 || list[0].About != about {
				t.Errorf("connections: got %+v, want one about %q", list, about)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(got) != want {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
			}
			if res.TLS.Version != version || res.TLS.NegotiatedProtocol != "http/1.1" {
				t.Errorf("got %s with %q", tls.VersionName(res.TLS.Version), res.TLS.NegotiatedProtocol)
			}
		})
	}
}

// together is a connection that sends what is written to it when it is told to.
type together struct {
	net.Conn
	held []byte
	hold bool
}

func (c *together) Write(b []byte) (int, error) {
	if c.hold {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestRecords: requests are answered however they are cut into records, and records
// into segments: several in one segment, with the beginning of another one, or octet by octet.
func TestRecords(t *testing.T) {
	r := newRig(t, "[https, http]", "")
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, req.URL.Path) }))
	origin.Listener.Close()
	origin.Listener = r.server
	origin.Start()
	defer origin.Close()
	plain, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	below := &together{Conn: plain}
	c := tls.Client(below, r.trust("web", "www.example.com"))
	defer c.Close()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	const whole = 1 << 20
	asked := 0
	ask := func() string {
		asked++
		return fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: www.example.com\r\n\r\n", asked)
	}
	for _, tt := range []struct {
		name    string
		records func() []string
		segment int
	}{
		{"one", func() []string { return []string{ask()} }, whole},
		{"three in one segment", func() []string { return []string{ask(), ask(), ask()} }, whole},
		{"two requests in a record", func() []string { return []string{ask() + ask()} }, whole},
		{"a request that fills a buffer, and another", func() []string {
			one := ask()
			pad := "Accept: " + strings.Repeat("x", 4096-len(one)-len("Accept: \r\n")) + "\r\n\r\n"
			return []string{strings.TrimSuffix(one, "\r\n") + pad + ask()}
		}, whole},
		{"a request in records", func() []string { one := ask(); return []string{one[:9], one[9:30], one[30:]} }, whole},
		{"cut anywhere", func() []string { one := ask(); return []string{ask() + one[:9], one[9:], ask()} }, 7},
		{"octet by octet", func() []string { return []string{ask(), ask()} }, 1},
	} {
		first := asked + 1
		below.hold, below.held = true, nil
		for _, record := range tt.records() {
			io.WriteString(c, record)
		}
		below.hold = false
		for part := range slices.Chunk(below.held, tt.segment) {
			plain.Write(part)
		}
		got := map[string]bool{}
		for range asked + 1 - first {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			got[string(b)] = true
		}
		for n := first; n <= asked; n++ {
			if !got[fmt.Sprintf("/%d", n)] {
				t.Errorf("%s: no answer to request %d: %v", tt.name, n, got)
			}
		}
	}
}

// TestAllocs: a request over connections that stay costs ten allocations at most, those of
// the client's TLS counted too. They are two, a reader of crypto/tls at each end; under
// the race detector pools lose what they hold.
func TestAllocs(t *testing.T) {
	r := newRig(t, "[https, http]", "")
	const request, answer = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 5\r\n\r\nhello"
	client := r.mustDial(r.trust("web", "www.example.com"))
	go func() {
		c, err := r.server.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in, out := make([]byte, 4096), []byte(answer)
		for {
			if _, err := c.Read(in); err != nil {
				return
			}
			c.Write(out)
		}
	}()
	out, in := []byte(request), make([]byte, len(answer))
	got := testing.AllocsPerRun(500, func() {
		if _, err := client.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, in); err != nil {
			t.Fatal(err)
		}
	})
	if string(in) != answer || got > 10 {
		t.Errorf("%v allocations for a request, answered with %q", got, in)
	}
}
