package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// impatient is a chain of messages that waits for neither side for long.
const impatient = `version: 1
instances:
  - name: front
    source: listen
    listen: '%s'
    upstream: '%s'
    chain: [http]
    modules: {http: {head_timeout: 3s, body_window: 3s, response_timeout: %s}}
`

// TestHTTPServerFails: of a response that ends too early the client never sees a
// whole one; a server that refuses, is silent or closes has the status for it.
func TestHTTPServerFails(t *testing.T) {
	l := up(t, lab.Options{})
	origin := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	answers := map[string]string{
		"/length":  head + "Content-Length: 1000\r\n\r\nhalf",
		"/chunked": head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"/chunk":   head + "Transfer-Encoding: chunked\r\n\r\n40\r\nhalf",
		"/head":    "HTTP/1.1 200 OK\r\nContent-",
		"/nothing": "",
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := origin.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return // of a connection that carries none
				}
				if answer, ok := answers[r.URL.Path]; ok {
					_, _ = io.WriteString(c, answer) // the client's side judges
					return
				}
				_, _ = c.Read(make([]byte, 1)) // silent, until the proxy gives up
			})
		}
	})
	t.Cleanup(serving.Wait)
	closeOrigin := sync.OnceFunc(func() { check(t, origin.Close()) })
	t.Cleanup(closeOrigin)

	listen := hostPort(l.Proxy, "tcp4", 8080)
	start(t, l, fmt.Sprintf(impatient, listen, hostPort(l.Server, "tcp4", port(t, origin.Addr().String())), "2s"))
	get := func(path string) (status int, body string, err error) {
		c := must(l.Client.Dial(t.Context(), "tcp", listen))(t)
		defer c.Close()
		check(t, c.SetDeadline(time.Now().Add(patience)))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: www.example\r\n\r\n", path)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, "", err
		}
		b, err := io.ReadAll(r.Body)
		return r.StatusCode, string(b), err
	}
	for _, path := range []string{"/length", "/chunked", "/chunk"} {
		// 502 where no octet of it had been passed on.
		if status, body, err := get(path); err == nil && status != 502 {
			t.Errorf("%s: a whole response of a half one: %d, %q", path, status, body)
		}
	}
	for path, want := range map[string]int{"/head": 502, "/nothing": 502, "/silent": 504} {
		if status, _, err := get(path); err != nil || status != want {
			t.Errorf("%s: status %d, %v; want %d", path, status, err, want)
		}
	}
	closeOrigin()
	if status, _, err := get("/"); err != nil || status != 502 {
		t.Errorf("server that refuses: status %d, %v; want 502", status, err)
	}
}

// TestHTTPSlowClients: a thousand clients send heads and bodies octet by octet or
// do not read, and some do to a chain that they do not know of. Others are answered
// meanwhile, and each slow one is ended, with its reason.
func TestHTTPSlowClients(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	t.Run("listen", func(t *testing.T) {
		listen := hostPort(l.Proxy, "tcp4", 8080)
		slowClients(t, l, fmt.Sprintf(impatient, listen, hostPort(l.Server, "tcp4", p), "30s"), listen, 450, 450, 100)
	})
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run("transparent "+network, func(t *testing.T) {
			configuration := ended(l.Server, p, "http", "    modules: {http: {head_timeout: 3s, body_window: 3s}}\n")
			slowClients(t, l, configuration, hostPort(l.Server, network, p), 45, 45, 10)
		})
	}
}

func slowClients(t *testing.T, l *lab.Lab, configuration, listen string, heads, bodies, readers int) {
	t.Helper()
	d := start(t, l, configuration)
	var slow sync.WaitGroup
	dial := func(request string) net.Conn {
		c := must(l.Client.Dial(t.Context(), "tcp", listen))(t)
		check(t, c.SetDeadline(time.Now().Add(patience)))
		if _, err := io.WriteString(c, request); err != nil {
			t.Error(err)
		}
		return c
	}
	trickle := func(request string) {
		c := dial(request)
		slow.Go(func() {
			defer c.Close()
			answer := make(chan string, 1)
			go func() {
				b, _ := io.ReadAll(c) // what was read is judged
				answer <- string(b)
			}()
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case got := <-answer:
					if !strings.HasPrefix(got, "HTTP/1.1 408 Request Timeout\r\n") {
						t.Errorf("slow client: got %q", got)
					}
					return
				case <-tick.C:
					_, _ = io.WriteString(c, "x") // the answer tells
				}
			}
		})
	}
	for range heads {
		trickle("GET / HTTP/1.1\r\nHost: www.example\r\nX-")
	}
	for range bodies {
		trickle("POST /upload HTTP/1.1\r\nHost: www.example\r\nContent-Length: 60000\r\n\r\n")
	}
	const unread = 64 << 20 // more than the buffers on the way hold
	stalled := make([]net.Conn, readers)
	for i := range stalled {
		stalled[i] = dial(fmt.Sprintf("GET /data?bytes=%d&seed=1 HTTP/1.1\r\nHost: www.example\r\n\r\n", unread))
		defer stalled[i].Close()
	}
	ended := make(chan struct{})
	go func() { slow.Wait(); close(ended) }()
	answered := 0
	for waiting := true; waiting; answered++ {
		if got, err := l.Client.Download(within(t, patience), at(listen).DataURL(1000, 2)); err != nil || got.Bytes != 1000 {
			t.Fatalf("request among slow clients: %+v, %v", got, err)
		}
		select {
		case <-ended:
			waiting = false
		default:
		}
	}
	t.Logf("%d requests answered meanwhile", answered)
	for reason, want := range map[string]int{"http.slow.head": heads, "http.slow.body": bodies, "http.slow.read": readers} {
		eventually(t, "all slow clients are ended", func() (bool, string) {
			got := d.counted(t, reason)
			return got == uint64(want), fmt.Sprintf("%s: counted %d, want %d", reason, got, want)
		})
	}
	for _, c := range stalled {
		if n, err := io.Copy(io.Discard, c); n >= unread || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client that does not read: %d octets and %v, want a reset before the end", n, err)
		}
	}
}
