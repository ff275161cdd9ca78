package https_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/lab"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/stream"
)

// clock is an Env whose time the test may move on, or set what is on the wall alone.
type clock struct {
	ppf.Env
	ahead, set atomic.Int64 // nanoseconds
}

func (c *clock) Now() int64                 { return time.Now().UnixNano() + c.ahead.Load() }
func (c *clock) Wall() int64                { return c.Now() + c.set.Load() }
func (c *clock) Moment(now int64) time.Time { return time.Unix(0, now-c.ahead.Load()) }
func (*clock) Uint32() uint32               { return 7 }

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

// shown is the serial number of the certificate that a client of the first name gets.
func (r *rig) shown() string {
	r.t.Helper()
	c := r.mustDial(&tls.Config{ServerName: "www.example.com", InsecureSkipVerify: true})
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
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

// told waits for an event with a text.
func (r *rig) told(text string) {
	r.t.Helper()
	for {
		list, changed := r.engine.Events().Since(0)
		for _, e := range list {
			if strings.Contains(e.Text, text) {
				return
			}
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			r.t.Fatalf("no event tells %q: %v", text, list)
		}
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
