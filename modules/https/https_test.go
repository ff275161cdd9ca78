package https_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/lab"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/stream"
)

// clock is an Env whose time the test may move on.
type clock struct {
	ppf.Env
	ahead atomic.Int64 // nanoseconds
}

func (c *clock) Now() int64   { return time.Now().UnixNano() + c.ahead.Load() }
func (*clock) Uint32() uint32 { return 7 }

// rig is a chain with https on a listener in front of a server.
type rig struct {
	t      *testing.T
	clock  *clock
	engine *ppf.Engine
	dir    string // with web.crt and web.key for www.example.com, other.* for other.example.com
	addr   string
	server net.Listener
}

func newRig(t *testing.T, chain, settings string) *rig {
	t.Helper()
	return newRigWith(t, chain, settings, func(string) error { return nil })
}

// newRigWith is newRig with more files in its folder.
func newRigWith(t *testing.T, chain, settings string, more func(dir string) error) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{Env: ppf.DryEnv()}, dir: t.TempDir()}
	for name, host := range map[string]string{"web": "www.example.com", "other": "other.example.com"} {
		if err := lab.WriteCertificate(r.dir, name, host, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := more(r.dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.server, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if r.engine, err = ppf.New(ppf.Options{Env: r.clock, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	listeners := stream.NewListeners(r.engine)
	t.Cleanup(func() {
		r.server.Close()
		listeners.Close()
		r.engine.Close(t.Context())
	})
	spec, problems := r.parse(chain, settings)
	for _, p := range problems {
		t.Fatal(p)
	}
	if _, err := r.engine.Apply(spec); err != nil {
		t.Fatal(err)
	}
	if err := listeners.Set(spec.Instances); err != nil {
		t.Fatal(err)
	}
	a, _ := listeners.Addr("front")
	r.addr = a.String()
	return r
}

// parse reads a configuration; DIR in the settings is where the files are.
func (r *rig) parse(chain, settings string) (*ppf.Spec, []ppf.Problem) {
	const pair = "certificate: DIR/web.crt, key: DIR/web.key"
	if !strings.Contains(settings, " key:") {
		settings = strings.TrimSuffix(pair+", "+settings, ", ")
	}
	return config.Parse("test.yaml", fmt.Appendf(nil, "version: 1\ninstances:\n  - {name: front, source: listen, listen: '127.0.0.1:0', upstream: '%v', chain: %s, modules: {https: {%s}}}\n",
		r.server.Addr(), chain, strings.ReplaceAll(settings, "DIR", r.dir)))
}

// renew writes another certificate in place of the first.
func (r *rig) renew() {
	r.t.Helper()
	if err := lab.WriteCertificate(r.dir, "web", "www.example.com"); err != nil {
		r.t.Fatal(err)
	}
	r.clock.ahead.Add(int64(2 * time.Second))
}

// trust is a client's configuration that believes a certificate of the rig.
func (r *rig) trust(file, name string) *tls.Config {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, file+".crt"))
	if err != nil {
		r.t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: p, ServerName: name}
}

func (r *rig) dial(cfg *tls.Config) (*tls.Conn, error) {
	return tls.Dial("tcp", r.addr, cfg)
}

func (r *rig) mustDial(cfg *tls.Config) *tls.Conn {
	r.t.Helper()
	c, err := r.dial(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) accept() *net.TCPConn {
	r.t.Helper()
	c, err := r.server.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// wantReason waits until the one reason is counted that there shall be: a client
// may know of a refusal before it is.
func (r *rig) wantReason(want string) {
	r.t.Helper()
	for {
		_, changed := r.engine.Events().Since(^uint64(0))
		list := r.engine.ReasonCounts()
		if len(list) > 0 {
			if len(list) != 1 || list[0].Reason != want || list[0].Count != 1 {
				r.t.Fatalf("reasons: got %+v, want one %s", list, want)
			}
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			r.t.Fatalf("reasons: got none, want %s", want)
		}
	}
}

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

// damaging is a connection on whose way an octet changes.
type damaging struct {
	net.Conn
	damages atomic.Bool
}

func (c *damaging) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.damages.Load() {
		b[n-1] ^= 1
	}
	return n, err
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

// TestEnds: close_notify is a FIN and the other way round; what is cut is cut on
// the other side.
func TestEnds(t *testing.T) {
	pair := func(t *testing.T) (*tls.Conn, *net.TCPConn) {
		r := newRig(t, "[https, relay]", "")
		client := r.mustDial(r.trust("web", "www.example.com"))
		server := r.accept()
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	t.Run("close_notify of the client", func(t *testing.T) {
		client, server := pair(t)
		client.CloseWrite()
		if n, err := io.Copy(io.Discard, server); n != 0 || err != nil {
			t.Errorf("the server got %d bytes, %v, want a FIN", n, err)
		}
		server.Write([]byte("rest"))
		server.Close()
		if got, err := io.ReadAll(client); string(got) != "rest" || err != nil {
			t.Errorf("the client got %q, %v, want the rest and close_notify", got, err)
		}
	})
	t.Run("FIN of the client without close_notify", func(t *testing.T) {
		client, server := pair(t)
		client.NetConn().(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
	})
	t.Run("alert of the client", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "")
		below := &damaging{Conn: must(net.Dial("tcp", r.addr))(t)}
		client := tls.Client(below, r.trust("web", "www.example.com"))
		defer client.Close()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		server := r.accept()
		server.Write([]byte("x"))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		below.damages.Store(true)
		server.Write([]byte("x"))
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("a damaged record was read")
		}
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
		if list := r.engine.ReasonCounts(); len(list) > 0 {
			t.Errorf("reasons: %+v", list)
		}
	})
	t.Run("reset of the client", func(t *testing.T) {
		client, server := pair(t)
		client.NetConn().(*net.TCPConn).SetLinger(0)
		client.NetConn().Close()
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
	})
	t.Run("reset of the server", func(t *testing.T) {
		client, server := pair(t)
		server.SetLinger(0)
		server.Close()
		if _, err := io.ReadAll(client); err == nil {
			t.Error("the client got close_notify for what was cut off")
		}
	})
	t.Run("a response that is cut", func(t *testing.T) {
		r := newRig(t, "[https, http]", "")
		client := r.mustDial(r.trust("web", "www.example.com"))
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
		server := r.accept()
		fmt.Fprint(server, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		server.Close()
		if got, err := io.ReadAll(client); err == nil {
			t.Errorf("the client got %q and close_notify", got)
		}
	})
}

// TestServerWaits: no connection to the server before the handshake is complete.
func TestServerWaits(t *testing.T) {
	r := newRig(t, "[https, relay]", "handshake_timeout: 100ms")
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{22, 3, 1})
	io.Copy(io.Discard, c)
	r.wantReason("https.handshake.timeout")
	r.server.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
	if conn, err := r.server.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server got a connection: %v, %v", conn, err)
	}
}

// TestRefused: each handshake that cannot be has its reason.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, settings, reason string
		change                 func(*tls.Config)
	}{
		{"version", "min_version: 1.3", "https.handshake.version", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"old version", "", "https.handshake.version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
		{"cipher", "ciphers: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", "https.handshake.cipher", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		}},
		{"weak cipher", "", "https.handshake.cipher", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}},
		{"protocol", "", "https.handshake.alpn", func(c *tls.Config) { c.NextProtos = []string{"ftp"} }},
		{"name", "", "https.name.unknown", func(c *tls.Config) { c.ServerName = "nobody.example.com" }},
		{"not trusted", "", "https.handshake.alert", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }},
		{"HTTP/2 alone", "", "https.handshake.alpn", func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		{"no certificate of the client", "client_ca: DIR/other.crt", "https.client-certificate.missing", func(*tls.Config) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", tt.settings)
			cfg := r.trust("web", "www.example.com")
			tt.change(cfg)
			c, err := r.dial(cfg)
			if err == nil { // in TLS 1.3 a client is ready before the server is content
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err == nil {
				t.Error("the handshake was made")
			}
			r.wantReason(tt.reason)
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "")
		if _, err := http.Get("http://" + r.addr); err == nil {
			t.Error("it was answered")
		}
		r.wantReason("https.handshake.malformed")
	})
	t.Run("another authority's client certificate", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "client_ca: DIR/other.crt")
		cfg := r.trust("web", "www.example.com")
		pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "web.crt"), filepath.Join(r.dir, "web.key"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		if c, err := r.dial(cfg); err == nil {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("it was let in")
			}
			c.Close()
		}
		r.wantReason("https.client-certificate")
	})
}

// TestClientCertificate lets in who shows the right one.
func TestClientCertificate(t *testing.T) {
	r := newRig(t, "[https, relay]", "client_ca: DIR/other.crt")
	cfg := r.trust("web", "www.example.com")
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	client := r.mustDial(cfg)
	client.Write([]byte("x"))
	if _, err := io.ReadFull(r.accept(), make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestNames: the client's name chooses; who names nobody known gets the first
// where that is set.
func TestNames(t *testing.T) {
	r := newRig(t, "[https, relay]", "unknown_name: first, certificates: [{certificate: DIR/other.crt, key: DIR/other.key}], certificate: DIR/web.crt, key: DIR/web.key")
	for _, tt := range []struct{ name, want string }{
		{"www.example.com", "web"}, {"other.example.com", "other"}, {"nobody.example.com", "web"}, {"127.0.0.1", "web"},
	} {
		cfg := r.trust(tt.want, tt.name)
		cfg.InsecureSkipVerify = true // which one comes is the question
		c := r.mustDial(cfg)
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
			t.Errorf("%s: got the certificate of %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestReload: a new certificate holds for the next client, the old connection
// stays, and a file that is no good changes nothing. Sessions are resumed.
func TestReload(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	old := r.mustDial(r.trust("web", "www.example.com"))
	server := r.accept()
	before := r.trust("web", "www.example.com")
	r.renew()
	if c, err := r.dial(before); err == nil {
		c.Close()
		t.Error("the old certificate is still shown")
	}
	cfg := r.trust("web", "www.example.com")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		c := r.mustDial(cfg)
		if got := c.ConnectionState().DidResume; got != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, got)
		}
		s := r.accept()
		s.Write([]byte("x")) // with it the ticket comes
		io.ReadFull(c, make([]byte, 1))
	}
	if err := os.WriteFile(filepath.Join(r.dir, "web.crt"), []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.clock.ahead.Add(int64(2 * time.Second))
	r.mustDial(cfg)
	old.Write([]byte("x"))
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Errorf("the old connection: %v", err)
	}
}

// TestReloadUnderLoad: while certificates change, no request of many clients fails,
// over connections that stay or new ones, and each certificate is shown.
func TestReloadUnderLoad(t *testing.T) {
	r := newRig(t, "[https, http]", "")
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	origin.Listener.Close()
	origin.Listener = r.server
	origin.Start()
	defer origin.Close()
	var serial atomic.Pointer[string] // of the certificate that was seen last
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 6 {
		load.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := (&http.Client{Transport: transport}).Get("https://" + r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" {
					t.Errorf("got %q, %v", b, err)
				}
				res.Body.Close()
				if i%2 == 0 {
					text := res.TLS.PeerCertificates[0].SerialNumber.String()
					serial.Store(&text)
				}
			}
		})
	}
	for range 5 {
		r.renew()
		want := must(tls.LoadX509KeyPair(filepath.Join(r.dir, "web.crt"), filepath.Join(r.dir, "web.key")))(t).Leaf.SerialNumber.String()
		for got := serial.Load(); got == nil || *got != want; got = serial.Load() {
			runtime.Gosched()
			if t.Failed() {
				break
			}
		}
	}
	close(stop)
	load.Wait()
	if list := r.engine.ReasonCounts(); len(list) > 0 {
		t.Errorf("reasons: %+v", list)
	}
}

// must gives v, or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestUpstream: TLS to a server is verified.
func TestUpstream(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		good           bool
	}{
		{"its own certificate", "upstream: tls, upstream_tls: {ca: DIR/other.crt}", true},
		{"a name", "upstream: tls, upstream_tls: {ca: DIR/other.crt, name: other.example.com}", true},
		{"another name", "upstream: tls, upstream_tls: {ca: DIR/other.crt, name: www.example.com}", false},
		{"not trusted", "upstream: tls, upstream_tls: {ca: DIR/web.crt}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", tt.settings)
			pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key"))
			if err != nil {
				t.Fatal(err)
			}
			client := r.mustDial(r.trust("web", "www.example.com"))
			server := tls.Server(r.accept(), &tls.Config{Certificates: []tls.Certificate{pair}})
			if err := server.Handshake(); tt.good != (err == nil) {
				t.Fatalf("handshake with the server: %v", err)
			}
			if !tt.good {
				if _, err := io.ReadAll(client); err == nil {
					t.Error("the client got close_notify")
				}
				return
			}
			client.Write([]byte("hello"))
			client.CloseWrite()
			if got, err := io.ReadAll(server); string(got) != "hello" || err != nil {
				t.Errorf("the server got %q, %v, want hello and close_notify", got, err)
			}
		})
	}
}

// TestSettings: what is wrong is told when the file is checked.
func TestSettings(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	if err := os.Chmod(filepath.Join(r.dir, "other.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ settings, want string }{
		{"certificate: DIR/other.crt, key: DIR/other.key", "chmod 600"},
		{"certificate: DIR/web.crt, key: DIR/nosuch.key", "no such file"},
		{"certificate: DIR/other.crt, key: DIR/web.key", "does not match"},
		{"certificate: DIR/web.crt, key: ''", "both are needed"},
		{"min_version: 1.1", "not offered to clients"},
		{"ciphers: [TLS_RSA_WITH_RC4_128_SHA]", "no good suite"},
		{"unknown_name: any", "(refuse, first)"},
		{"handshake_timeout: 1h", "out of range"},
		{"handshakes: 0", "out of range"},
		{"connections: -1", "negative"},
		{"upstream: open", "(plain, tls)"},
		{"upstream_tls: {min_version: 0.9}", "1.0, 1.1"},
		{"client_ca: DIR/web.key", "no certificate is in it"},
		{"upstream: tls, upstream_tls: {ca: DIR/nosuch}", "upstream_tls.ca"},
		{"ocsp: DIR/nosuch", "ocsp"},
	} {
		_, problems := r.parse("[https, relay]", tt.settings)
		if text := ppf.DecodeError(problems).Error(); !strings.Contains(text, tt.want) {
			t.Errorf("%s: got %q, want something with %q", tt.settings, text, tt.want)
		}
	}
}
