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

// halving starts a web server on a host that breaks off its answer to /half.
func halving(t *testing.T, h *lab.Host) uint16 {
	t.Helper()
	return serving(t, h, "[::]:0", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/half" {
			_, _ = io.WriteString(w, "hello") // the client judges
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nhalf")
			_ = c.Close()
		}
	})
}

// TestHTTPSHard: on a host that drops what conntrack finds invalid, on a listener and
// in front of the server's own address, clients that never finish a handshake hinder
// nobody; a response that breaks off is no whole one; certificates change under load;
// a client's port may be used again at once; with the daemon killed nobody answers.
func TestHTTPSHard(t *testing.T) {
	const slow, reused = 100, 12
	l := up(t, lab.Options{})
	check(t, lab.Firewall(l.Proxy, lab.CTInvalidDrop))
	ports := func(list string) { check(t, l.Client.Sysctl("net/ipv4/ip_local_port_range", list)) }
	for _, place := range []string{"listen", "transparent"} {
		t.Run(place, func(t *testing.T) {
			ports("20000 60999")
			dir, p := t.TempDir(), halving(t, l.Server)
			certify := func() {
				t.Helper()
				check(t, lab.WriteCertificate(dir, "web", "www.example"))
			}
			certify()
			settings := fmt.Sprintf("    modules: {https: {certificate: %[1]s/web.crt, key: %[1]s/web.key, handshake_timeout: 5s}}\n", dir)
			configuration := ended(l.Server, p, "https, http", settings)
			target := func(f family) string { return hostPort(l.Server, f.network, p) }
			if place == "listen" {
				configuration = "version: 1\ninstances:\n"
				for _, f := range families {
					configuration += fmt.Sprintf("  - name: %s\n    source: listen\n    listen: '%s'\n    upstream: '%s'\n    chain: [https, http]\n%s",
						f.name, hostPort(l.Proxy, f.network, 8443), target(f), settings)
				}
				target = func(f family) string { return hostPort(l.Proxy, f.network, 8443) }
			}
			d := start(t, l, configuration)
			secured := func(plain net.Conn) *tls.Conn {
				t.Helper()
				check(t, plain.SetDeadline(time.Now().Add(patience)))
				return tls.Client(plain, &tls.Config{ServerName: "www.example", InsecureSkipVerify: true}) // which one comes is looked at
			}
			ask := func(c *tls.Conn, path string) (string, error) {
				if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: www.example\r\n\r\n", path); err != nil {
					return "", err
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					return "", err
				}
				b, err := io.ReadAll(r.Body)
				return string(b), err
			}
			var waiting []net.Conn
			for i := range slow {
				f := families[i%len(families)]
				c := must(l.Client.Dial(within(t, patience), f.network, target(f)))(t)
				defer c.Close()
				must(io.WriteString(c, "\x16\x03\x01\x02\x00\x01"))(t)
				waiting = append(waiting, c)
			}
			for _, f := range families {
				c := secured(must(l.Client.Dial(within(t, patience), f.network, target(f)))(t))
				if got, err := ask(c, "/"); got != "hello" || err != nil {
					t.Errorf("%s: among clients that wait: %q, %v", f.name, got, err)
				}
				about := fmt.Sprintf("%s %s www.example", tls.VersionName(c.ConnectionState().Version), tls.CipherSuiteName(c.ConnectionState().CipherSuite))
				if list := d.do(t, "connections"); !strings.Contains(list, about) {
					t.Errorf("%s: connections: %q does not stand in\n%s", f.name, about, list)
				}
				if got, err := ask(c, "/half"); err == nil {
					t.Errorf("%s: half a response is a whole one: %q", f.name, got)
				}
				if _, err := io.ReadAll(c); err == nil {
					t.Errorf("%s: a response that broke off ends in good order", f.name)
				}
				check(t, c.NetConn().Close())
			}
			renewUnderLoad(t, dir, certify, func(f family) (*tls.Conn, error) {
				plain, err := l.Client.Dial(within(t, patience), f.network, target(f))
				if err != nil {
					return nil, err
				}
				return secured(plain), nil
			}, ask)
			for _, c := range waiting { // each is ended
				check(t, c.SetDeadline(time.Now().Add(patience)))
				_, _ = io.Copy(io.Discard, c)
			}
			eventually(t, "all of them are counted", func() (bool, string) {
				n := d.counted(t, "https.handshake.timeout")
				return n == slow, fmt.Sprint(n)
			})
			ports("40000 40003")
			for _, f := range families {
				for i := range reused {
					c := secured(redial(t, l.Client, f.network, target(f)))
					if got, err := ask(c, "/"); got != "hello" || err != nil {
						t.Errorf("%s: connection %d from few ports: %q, %v", f.name, i+1, got, err)
					}
					check(t, c.Close())
				}
			}
			d.kill(t)
			for _, f := range families {
				if c, err := l.Client.Dial(within(t, refusedWithin), f.network, target(f)); err == nil {
					c.Close()
					t.Errorf("%s: the daemon is dead, and somebody answers", f.name)
				}
			}
			if place == "transparent" {
				if r := run(t, l.Proxy, "unblock"); r.status != 0 {
					t.Errorf("%v", r)
				}
			}
		})
	}
}

// renewUnderLoad changes the certificate while clients ask over connections that stay
// and over new ones, until each of the latter has seen the new one.
func renewUnderLoad(t *testing.T, dir string, certify func(), dial func(family) (*tls.Conn, error), ask func(*tls.Conn, string) (string, error)) {
	t.Helper()
	var shown [2]atomic.Pointer[string] // by family
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 2 * len(families) {
		family, fresh := i%len(families), i < len(families)
		load.Go(func() {
			var c *tls.Conn
			for {
				select {
				case <-stop:
					if c != nil {
						_ = c.Close() // nothing is said on it any more
					}
					return
				default:
				}
				var err error
				if c == nil {
					if c, err = dial(families[family]); err != nil {
						t.Error(err)
						return
					}
				}
				if got, err := ask(c, "/"); got != "hello" || err != nil {
					t.Errorf("%s: while certificates change: %q, %v", families[family].name, got, err)
					return
				}
				if fresh {
					text := c.ConnectionState().PeerCertificates[0].SerialNumber.String()
					shown[family].Store(&text)
					_ = c.Close() // likewise
					c = nil
				}
			}
		})
	}
	for range 2 {
		certify()
		want := must(tls.LoadX509KeyPair(dir+"/web.crt", dir+"/web.key"))(t).Leaf.SerialNumber.String()
		for i := range shown {
			eventually(t, "the new certificate is shown", func() (bool, string) {
				got := shown[i].Load()
				return got != nil && *got == want || t.Failed(), families[i].name
			})
		}
	}
	close(stop)
	load.Wait()
}

// TestHTTPSPass: where the server has a certificate of its own, the names of a list
// reach it as they are, from the client's own address; other names are refused.
func TestHTTPSPass(t *testing.T) {
	l := up(t, lab.Options{})
	check(t, lab.Firewall(l.Proxy, lab.CTInvalidDrop))
	dir := t.TempDir()
	check(t, lab.WriteCertificate(dir, "own", "plc.example"))
	pair := must(tls.LoadX509KeyPair(dir+"/own.crt", dir+"/own.key"))(t)
	listener := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}), c.RemoteAddr().String()+"\n") // the client judges
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		check(t, listener.Close())
		<-served
	})
	p := port(t, listener.Addr().String())
	d := start(t, l, ended(l.Server, p, "https, relay", "    modules: {https: {pass_names: [plc.example]}}\n"))
	for _, f := range families {
		dial := func(name string) (*tls.Conn, error) {
			plain := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p)))(t)
			t.Cleanup(func() { _ = plain.Close() }) // it is over
			check(t, plain.SetDeadline(time.Now().Add(patience)))
			c := tls.Client(plain, &tls.Config{ServerName: name, InsecureSkipVerify: true}) // which one comes is looked at
			return c, c.Handshake()
		}
		c, err := dial("plc.example")
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		if got := c.ConnectionState().PeerCertificates[0]; !got.Equal(pair.Leaf) {
			t.Errorf("%s: the certificate is that of %v", f.name, got.Subject)
		}
		if seen, err := bufio.NewReader(c).ReadString('\n'); err != nil || seen != c.LocalAddr().String()+"\n" {
			t.Errorf("%s: the server sees %q, %v, and the client is %v", f.name, seen, err, c.LocalAddr())
		}
		if _, err := dial("else.example"); err == nil {
			t.Errorf("%s: a name that is in no list was served", f.name)
		}
	}
	eventually(t, "each refusal is counted", func() (bool, string) {
		n := d.counted(t, "https.name.unknown")
		return n == uint64(len(families)), fmt.Sprint(n)
	})
}
