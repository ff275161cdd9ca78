package http

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
)

// opens tells how many connections to the server there were, after clients have
// sent requests one after another, each over a connection of its own, and their
// responses were read.
func (r *rig) opens(requests ...string) int {
	r.t.Helper()
	for _, request := range requests {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			r.t.Fatal(err)
		}
		if b, err := io.ReadAll(bufio.NewReader(conn)); err != nil || !strings.Contains(string(b), "HTTP/1.1 200") {
			r.t.Fatalf("%q: got %q, %v", request, b, err)
		}
		conn.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

const lastRequest = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// TestShare: a connection to the server serves several clients only where that is
// set, and never after a doubtful response or an authentication of its own.
func TestShare(t *testing.T) {
	for _, tt := range []struct {
		name, request, answer string
		share                 bool
		want                  int
	}{
		{"not set", lastRequest, okAnswer, false, 3},
		{"set", lastRequest, okAnswer, true, 1},
		{"authenticated as a whole", strings.Replace(lastRequest, "Connection", "Authorization: NTLM YWJj\r\nConnection", 1), okAnswer, true, 3},
		{"asked to authenticate", lastRequest, strings.Replace(okAnswer, "Content-Length", "WWW-Authenticate: Negotiate\r\nContent-Length", 1), true, 3},
		{"basic authentication", strings.Replace(lastRequest, "Connection", "Authorization: Basic YWJj\r\nConnection", 1), okAnswer, true, 1},
		{"bare LF", lastRequest, strings.Replace(okAnswer, "OK\r\n", "OK\n", 1), true, 3},
		{"no reason phrase", lastRequest, strings.Replace(okAnswer, "200 OK", "200", 1), true, 1},
		{"the server ends it", lastRequest, strings.Replace(okAnswer, "Content-Length", "Connection: close\r\nContent-Length", 1), true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, func(c *Config) { c.Share = tt.share })
			r.answer = func(int, string) string { return tt.answer }
			if got := r.opens(tt.request, tt.request, tt.request); got != tt.want {
				t.Errorf("%d connections to the server, want %d", got, tt.want)
			}
		})
	}
}

// TestReuseDoubtful: also for one client a doubtful response is its connection's
// last.
func TestReuseDoubtful(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		want         int
	}{
		{"good", okAnswer, 1},
		{"bare LF", strings.Replace(okAnswer, "OK\r\n", "OK\n", 1), 2},
		{"blank before the colon", strings.Replace(okAnswer, "Length:", "Length :", 1), 2},
		{"blanks around a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, ppf.Repair, nil)
			r.answer = func(int, string) string { return tt.answer }
			if got := r.opens("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + lastRequest); got != tt.want {
				t.Errorf("%d connections to the server, want %d", got, tt.want)
			}
		})
	}
}

// TestShareClosed: a parked connection that the server closed is not used, and
// neither is one that waited for too long.
func TestShareClosed(t *testing.T) {
	var now atomic.Int64
	p := &pool{most: 1, keep: time.Hour, now: now.Load}
	server, other := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.1:81")
	pair := func() (near, far net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if far, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { near.Close(); far.Close() })
		return near, far
	}
	ended := func(far net.Conn) bool {
		_, err := far.Read(make([]byte, 1))
		return err == io.EOF
	}
	near, far := pair()
	p.put(near, server)
	if got := p.take(other); got != nil {
		t.Fatalf("take for another server: got %v", got)
	}
	if got := p.take(server); got != near {
		t.Fatalf("take: got %v, want the one that was put", got)
	}
	p.put(near, server)
	io.WriteString(far, "x")
	waitReadable(t, near)
	if p.take(server) != nil {
		t.Error("a connection with octets that nobody asked for was used")
	}
	one, farOne := pair()
	two, farTwo := pair()
	p.put(one, server)
	p.put(two, server)
	if !ended(farOne) {
		t.Error("the one too many was not closed")
	}
	now.Add(int64(2 * time.Hour))
	p.expire()
	if !ended(farTwo) || p.take(server) != nil {
		t.Error("what waited for too long is still there")
	}
}

// waitReadable waits until octets have arrived, and leaves them.
func waitReadable(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(uintptr) bool { return waiting(c) }); err != nil {
		t.Fatal(err)
	}
}
