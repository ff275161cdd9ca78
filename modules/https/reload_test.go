package https_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
