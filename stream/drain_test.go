package stream_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// patience is the limit of drains that are not to be over by it.
const patience = "1h"

// dial opens a connection to the instance.
func (f *front) dial() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a request and gives the response, with its body read.
func ask(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return readResponse(t, c)
}

func readResponse(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res
}

func (f *front) count(reason string) (n uint64) {
	for _, r := range f.engine.ReasonCounts() {
		if r.Reason == reason && r.Instance == "front" {
			n += r.Count
		}
	}
	return n
}

func draining(text, limit string) string {
	return strings.Replace(text, "    source: listen\n", "    source: listen\n    drain: "+limit+"\n", 1)
}

// held is an origin whose answers wait until they are released.
type held struct {
	addr    string
	asked   chan struct{} // told of each request
	release chan struct{} // closed: answer
	gone    chan struct{} // told of each request whose client has gone
}

func holdOrigin(t *testing.T) *held {
	h := &held{asked: make(chan struct{}, 1), release: make(chan struct{}), gone: make(chan struct{}, 1)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked <- struct{}{}
		select {
		case <-h.release:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
			h.gone <- struct{}{}
		}
	}))
	t.Cleanup(s.Close)
	h.addr = strings.TrimPrefix(s.URL, "http://")
	return h
}

// TestDrainIdle: a reload that changes or removes the instance ends connections
// that carry nothing; one that leaves it alone does not.
func TestDrainIdle(t *testing.T) {
	server := origin(t)
	for _, tt := range []struct {
		name, next string
		stays      bool
	}{
		{"the same", draining(instance(server, "repair"), patience), true},
		{"another mode", draining(instance(server, "strict"), patience), false},
		{"gone", "version: 1\ninstances: []\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFront(t, draining(instance(server, "repair"), patience))
			c := f.dial()
			if res := ask(t, c); res.StatusCode != 200 || res.Close {
				t.Fatalf("got %v", res)
			}
			f.apply(tt.next)
			if tt.stays {
				if res := ask(t, c); res.StatusCode != 200 || res.Close {
					t.Errorf("got %v", res)
				}
				c.Close() // or it would be waited for
				return
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("Read: got %d, %v, want the end", n, err)
			}
		})
	}
}

// TestDrainExchange: what is under way when the instance goes is answered, and is
// the connection's last.
func TestDrainExchange(t *testing.T) {
	h := holdOrigin(t)
	f := newFront(t, draining(instance(h.addr, "repair"), patience))
	c := f.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-h.asked
	before := f.addr()
	f.apply("version: 1\ninstances: []\n")
	if conn, err := net.Dial("tcp", before); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial while it drains: got %v, %v", conn, err)
	}
	close(h.release)
	if res := readResponse(t, c); res.StatusCode != 200 || !res.Close {
		t.Errorf("got %v, want a 200 with Connection: close", res)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read: got %d, %v, want the end", n, err)
	}
	f.listeners.Close()
	if n := f.count("stream.drain"); n != 0 {
		t.Errorf("stream.drain is counted %d times, want 0", n)
	}
}

// TestDrainLate: a response that began before the drain could not say that it is the
// last one, so a request that is there by its end is answered too.
func TestDrainLate(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "do")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-release
		fmt.Fprint(w, "ne")
	}))
	defer s.Close()
	f := newFront(t, draining(instance(strings.TrimPrefix(s.URL, "http://"), "repair"), patience))
	c := f.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.Close {
		t.Fatalf("got %v, %v", res, err)
	}
	<-begun
	f.apply("version: 1\ninstances: []\n")
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	close(release)
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "done" {
		t.Fatalf("got %q, %v", b, err)
	}
	res, err = http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "done" {
		t.Fatalf("got %q, %v", b, err)
	}
	if res.StatusCode != 200 || !res.Close {
		t.Errorf("got %v, want a 200 with Connection: close", res)
	}
}

// TestDrainLimit: what takes longer is reset at both ends, and counted.
func TestDrainLimit(t *testing.T) {
	h := holdOrigin(t)
	f := newFront(t, draining(instance(h.addr, "repair"), "1ms"))
	c := f.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-h.asked
	f.listeners.Close()
	<-h.gone
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read: got %d, %v, want a reset", n, err)
	}
	if n := f.count("stream.drain"); n != 1 {
		t.Errorf("stream.drain is counted %d times, want 1", n)
	}
}

// TestClientLimit: a client's connections are limited where the settings say so.
func TestClientLimit(t *testing.T) {
	f := newFront(t, strings.Replace(instance(origin(t), "repair"), "    chain: [http]\n", "    chain: [http]\n    modules: {http: {client_connections: 1}}\n", 1))
	c := f.dial()
	if res := ask(t, c); res.StatusCode != 200 {
		t.Fatalf("got %v", res)
	}
	second, err := net.Dial("tcp", f.addr())
	if err == nil { // the reset was slower
		defer second.Close()
		_, err = second.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("over the second connection: got %v, want a reset", err)
	}
	if n := f.count("stream.limit-client"); n != 1 {
		t.Errorf("stream.limit-client is counted %d times, want 1", n)
	}
	if res := ask(t, c); res.StatusCode != 200 {
		t.Errorf("over the first one: got %v", res)
	}
}
