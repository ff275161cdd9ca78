package stream_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// relayed is a configuration with relay in place of http.
func relayed(text, settings string) string {
	return strings.Replace(text, "    chain: [http]\n", "    chain: [relay]\n    modules: {relay: {"+settings+"}}\n", 1)
}

// serves reports whether one more connection is served, and leaves it open.
func (f *front) serves() bool {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr())
	if err != nil { // a reset that was faster
		return false
	}
	f.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 1))
	return err == nil
}

// TestLimitsReload: a limit holds for all connections that are open, whatever the
// configuration was when they began.
func TestLimitsReload(t *testing.T) {
	text := instance(origin(t), "repair")
	f := newFront(t, relayed(text, "connections: 1"))
	for _, step := range []struct {
		settings string
		more     int // connections that are served, before one is not
		reason   string
	}{
		{"connections: 1", 1, "stream.limit-instance"},
		{"connections: 3", 2, "stream.limit-instance"},
		{"connections: 2", 0, "stream.limit-instance"},
		{"client_connections: 3", 0, "stream.limit-client"},
		{"client_connections: 4", 1, "stream.limit-client"},
	} {
		f.apply(relayed(text, step.settings))
		before := f.count(step.reason)
		for i := range step.more {
			if !f.serves() {
				t.Fatalf("%s: one more connection, the %d., is not served", step.settings, i+1)
			}
		}
		if f.serves() || f.count(step.reason) != before+1 {
			t.Errorf("%s: one connection more than that is served; %s is counted %d times", step.settings, step.reason, f.count(step.reason)-before)
		}
	}
}

// TestSocketStays: while an instance gets another server time after time, each client
// that connects is served: nobody is refused, and what waits to be accepted is not lost.
func TestSocketStays(t *testing.T) {
	texts := []string{instance(origin(t), "repair"), instance(origin(t), "repair")}
	f := newFront(t, texts[0])
	addr := f.addr()
	var served atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	defer func() { close(stop); clients.Wait() }()
	for range 4 {
		clients.Go(func() {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := c.Get("http://" + addr + "/")
				if err != nil {
					t.Errorf("request %d: %v", served.Load()+1, err)
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				if err = errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("request %d: %s, %v", served.Load()+1, res.Status, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 40 {
		for before := served.Load(); served.Load() < before+2 && !t.Failed(); {
			runtime.Gosched()
		}
		f.apply(texts[(i+1)%2])
		if now := f.addr(); now != addr {
			t.Fatalf("it listens on %s, and before on %s", now, addr)
		}
	}
}
