package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// caller is a client that asks without a pause, over a connection for as long as the
// other side lets it, or once over each.
type caller struct {
	name     string
	fresh    bool
	dial     func() (net.Conn, error)
	answered atomic.Int64
}

// call asks until stop is closed; the first request that fails ends it.
func (c *caller) call(stop <-chan struct{}) error {
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close() // nothing is said on it any more
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if conn == nil {
			var err error
			if conn, err = c.dial(); err != nil {
				return fmt.Errorf("request %d: %w", n+1, err)
			}
			in = bufio.NewReader(conn)
		}
		body := strings.Repeat("x", n%3*10_000)
		more := ""
		if c.fresh {
			more = "Connection: close\r\n"
		}
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: www.example\r\n%sContent-Length: %d\r\n\r\n%s", more, len(body), body); err != nil {
			return fmt.Errorf("request %d: %w", n+1, err)
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("answer %d: %w", n+1, err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || string(b) != body {
			return fmt.Errorf("answer %d: %s, %d octets of %d, %w", n+1, r.Status, len(b), len(body), err)
		}
		if c.answered.Add(1); r.Close {
			if _, err := io.Copy(io.Discard, in); err != nil {
				return fmt.Errorf("after answer %d: %w", n+1, err)
			}
			_ = conn.Close() // likewise
			conn = nil
		}
	}
}

// TestLive: while the configuration changes under it, in limits, modes, certificates,
// servers and names of instances, each request of clients that go on asking is
// answered, with TLS and without, on listeners and in front of the servers' own
// addresses.
func TestLive(t *testing.T) {
	l := up(t, lab.Options{})
	dir := t.TempDir()
	certify := func() { t.Helper(); check(t, lab.WriteCertificate(dir, "web", "www.example")) }
	certify()
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			_, _ = w.Write(b) // the client judges
		}
	}
	chains := []string{"http", "https, http"}
	var servers, others [2]uint16 // of each chain, and of listeners in their place
	for i := range chains {
		servers[i], others[i] = serving(t, l.Server, "[::]:0", echo), serving(t, l.Server, "[::]:0", echo)
	}
	// configuration has an instance for each chain that listens, and one in front of
	// the server.
	configuration := func(name, mode, settings string, upstream [2]uint16) string {
		text := "version: 1\ninstances:\n"
		for i, chain := range chains {
			modules := fmt.Sprintf("{http: {%s}}", settings)
			if i > 0 {
				modules = fmt.Sprintf("{http: {%s}, https: {certificate: %s/web.crt, key: %[2]s/web.key}}", settings, dir)
			}
			more := fmt.Sprintf("    chain: [%s]\n    mode: %s\n    modules: %s\n", chain, mode, modules)
			text += fmt.Sprintf("  - name: between-%d\n    match: {protocol: tcp, server: [%s, %q], port: %d}\n%s", i, l.Server.IPv4, l.Server.IPv6, servers[i], more)
			for _, f := range families {
				text += fmt.Sprintf("  - name: %s-%s-%d\n    source: listen\n    listen: '%s'\n    upstream: '%s'\n%s", name, f.name, i,
					hostPort(l.Proxy, f.network, uint16(8080+i)), hostPort(l.Server, f.network, upstream[i]), more)
			}
		}
		return text
	}
	d := start(t, l, configuration("front", "repair", "", servers))
	var callers []*caller
	for _, f := range families {
		for i, chain := range chains {
			for place, target := range map[string]string{"listener": hostPort(l.Proxy, f.network, uint16(8080+i)), "between": hostPort(l.Server, f.network, servers[i])} {
				dial := func() (net.Conn, error) {
					c, err := l.Client.Dial(t.Context(), f.network, target)
					if err != nil {
						return nil, err
					}
					if i > 0 {
						c = tls.Client(c, &tls.Config{ServerName: "www.example", InsecureSkipVerify: true}) // certificates change under it
					}
					return c, c.SetDeadline(time.Now().Add(patience))
				}
				name := fmt.Sprintf("%s, [%s], %s", f.name, chain, place)
				callers = append(callers, &caller{name: name, dial: dial})
				if place == "listener" {
					callers = append(callers, &caller{name: name + ", anew", fresh: true, dial: dial})
				}
			}
		}
	}
	var phase atomic.Pointer[string]
	phase.Store(new(string))
	stop := make(chan struct{})
	var calling sync.WaitGroup
	defer func() { close(stop); calling.Wait() }()
	for _, c := range callers {
		calling.Go(func() {
			if err := c.call(stop); err != nil {
				t.Errorf("%s: %s: %v", *phase.Load(), c.name, err)
			}
		})
	}
	for _, step := range []struct {
		phase, name, mode, settings string
		upstream                    [2]uint16
		certify                     bool
	}{
		{"limits", "front", "repair", "max_body: 100000", servers, false},
		{"mode", "front", "strict", "max_body: 100000", servers, false},
		{"certificate", "front", "strict", "max_body: 100000", servers, true},
		{"servers", "front", "strict", "max_body: 100000", others, false},
		{"names", "gate", "strict", "max_body: 100000", others, false},
		{"everything", "front", "monitor", "idle_timeout: 20s", servers, true},
	} {
		phase.Store(&step.phase)
		if step.certify {
			certify()
		}
		d.configure(t, configuration(step.name, step.mode, step.settings, step.upstream))
		d.do(t, "reload")
		for _, c := range callers {
			before := c.answered.Load()
			eventually(t, step.phase+": "+c.name+" is answered", func() (bool, string) { return c.answered.Load() > before+5 || t.Failed(), "" })
		}
	}
	for _, r := range d.reasons(t) {
		if !strings.HasPrefix(r.Reason, "tcp.") { // a packet that is dropped is sent again
			t.Errorf("reason: %+v", r)
		}
	}
}
