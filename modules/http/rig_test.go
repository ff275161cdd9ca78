package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// liveEnv is an Env with a clock; what http asks of one.
type liveEnv struct{ ppf.Env }

func (liveEnv) Now() int64     { return time.Now().UnixNano() }
func (liveEnv) Uint32() uint32 { return 0x05060708 }

// rig is http on a listener, in front of an origin that records what it gets.
type rig struct {
	t         testing.TB
	addr      string
	mode      ppf.Mode
	overrides map[string]ppf.Do
	functions []Function
	policy    *policy
	budget    budget
	pool      *pool

	origin net.Listener
	answer func(n int, head string) string // of the origin, to each request head
	script func(net.Conn)                  // in place of answer

	mu      sync.Mutex
	got     bytes.Buffer // what the origin received, all connections
	reasons map[string]int
	reports []string
	opened  int
	drains  []func() // of connections, in the order in which they came
	ends    []func()
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nok"

func newRig(t testing.TB, mode ppf.Mode, change func(*Config), functions ...Function) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Via, cfg.Forwarded = false, false
	if change != nil {
		change(cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := newPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, mode: mode, policy: p, functions: functions, budget: budget{limit: cfg.BufferTotal}, reasons: map[string]int{}}
	if cfg.Share {
		r.pool = &pool{most: cfg.SharedIdle, keep: time.Hour, now: liveEnv{}.Now}
	}
	r.answer = func(int, string) string { return okAnswer }
	r.origin = r.listen(r.serveOrigin)
	l := r.listen(func(conn net.Conn) {
		r.mu.Lock()
		link, p := r.link(conn), r.policy
		r.mu.Unlock()
		serve(link, p, &r.budget)
	})
	r.addr = l.Addr().String()
	return r
}

// change changes the rig for the connections that come afterwards.
func (r *rig) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// told gives the reports so far.
func (r *rig) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports)
}

// listen serves each connection with f until the test is over.
func (r *rig) listen(f func(net.Conn)) net.Listener {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			all.Go(func() {
				f(conn)
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	end := sync.OnceFunc(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	r.ends = append(r.ends, end)
	r.t.Cleanup(end)
	return l
}

// close ends all connections and waits for who serves them.
func (r *rig) close() {
	for _, end := range r.ends {
		end()
	}
}

func (r *rig) link(conn net.Conn) link {
	return link{
		conn: conn, client: conn.RemoteAddr().(*net.TCPAddr).AddrPort(), server: r.origin.Addr().(*net.TCPAddr).AddrPort(),
		env: liveEnv{}, functions: r.functions, pool: r.pool, mode: r.mode, do: r.do,
		dial: func(ctx context.Context) (net.Conn, error) {
			r.mu.Lock()
			r.opened++
			r.mu.Unlock()
			var d net.Dialer
			return d.DialContext(ctx, "tcp", r.origin.Addr().String())
		},
		note: func(f Defect, _ ppf.Do, _ *Request) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reasons[f.Reason.String()]++
		},
		onEnd: func(drain, _ func()) {
			if drain != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.drains = append(r.drains, drain)
			}
		},
		report: func(format string, args ...any) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reports = append(r.reports, fmt.Sprintf(format, args...))
		},
	}
}

// do decides as an instance of that mode with these overrides.
func (r *rig) do(reason ppf.Reason, mode ppf.Mode) ppf.Do {
	if do, ok := r.overrides[reason.String()]; ok {
		return do
	}
	switch {
	case mode == ppf.Monitor:
		return ppf.DoMonitor
	case mode == ppf.Strict || reason.Info().Class == packet.Refused:
		return ppf.DoRefuse
	}
	return ppf.DoRepair
}

// answers lets the origin send these octets to the first head it gets, in pieces
// of size (0: at once), and close.
func (r *rig) answers(raw string, size int) {
	r.script = func(conn net.Conn) {
		conn.(*net.TCPConn).SetNoDelay(true)
		if size == 0 {
			size = max(len(raw), 1)
		}
		for rest := raw; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := io.WriteString(conn, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}
}

// serveOrigin records everything, and answers each head that is complete. It
// knows nothing of bodies.
func (r *rig) serveOrigin(conn net.Conn) {
	var unread []byte
	buf := make([]byte, 4096)
	for n := 0; ; {
		for {
			end := bytes.Index(unread, []byte("\r\n\r\n"))
			if end < 0 || !startsRequest(unread) {
				break
			}
			r.mu.Lock()
			answer := r.answer(n, string(unread[:end+4]))
			r.mu.Unlock()
			unread = unread[end+4:]
			n++
			if r.script != nil {
				r.script(conn)
				return
			}
			if answer == "" {
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
			if answer[len(answer)-1] == 0 {
				return
			}
		}
		m, err := conn.Read(buf)
		r.mu.Lock()
		r.got.Write(buf[:m])
		r.mu.Unlock()
		if err != nil {
			return
		}
		unread = append(unread, buf[:m]...)
		if !startsRequest(unread) {
			unread = nil
		}
	}
}

// startsRequest tells a head from a rest of a body.
func startsRequest(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	return bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !bytes.Contains(b, []byte("\r\n"))
}

func (r *rig) received() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func (r *rig) count(reason string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasons[reason]
}

// send sends octets in pieces of at most size (0: at once), ends its direction
// and gives all that comes back.
func (r *rig) send(raw string, size int) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetNoDelay(true)
	if size == 0 {
		size = max(len(raw), 1)
	}
	for len(raw) > 0 {
		n := min(size, len(raw))
		if _, err := io.WriteString(conn, raw[:n]); err != nil {
			break // refused already
		}
		raw = raw[n:]
	}
	conn.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(conn) // a reset is an end too
	return string(b)
}

// drain asks the connections to end.
func (r *rig) drain() {
	r.mu.Lock()
	list := r.drains
	r.mu.Unlock()
	for _, drain := range list {
		drain()
	}
}

func statusOf(response string) int {
	var minor, code int
	if _, err := fmt.Sscanf(response, "HTTP/1.%d %d", &minor, &code); err != nil {
		return 0
	}
	return code
}

func TestPlain(t *testing.T) {
	r := newRig(t, ppf.Repair, nil)
	got := r.send("GET /a?b=c HTTP/1.1\r\nHost: example.org\r\naccept: */*\r\n\r\n", 0)
	if want := "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"; r.received() != want {
		t.Errorf("the origin got %q, want %q", r.received(), want)
	}
	if want := "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\n\r\nok"; got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
}
