package stream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBurst: after many clients have come and gone, no goroutine and no descriptor
// of them is left.
func TestBurst(t *testing.T) {
	server := origin(t)
	f := newFront(t, instance(server, "repair"))
	burst := func() {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				for range 3 {
					res, err := (&http.Client{Transport: transport}).Post("http://"+f.addr(), "text/plain", strings.NewReader("x"))
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
		all.Wait()
	}
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	goroutines, open := runtime.NumGoroutine(), descriptors()
	burst()
	for late := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines || descriptors() > open; {
		if time.Now().After(late) {
			t.Fatalf("%d goroutines and %d descriptors, %d and %d before", runtime.NumGoroutine(), descriptors(), goroutines, open)
		}
		runtime.Gosched()
	}
}

// TestUnreachable: a server that does not answer a SYN is a 504 after
// connect_timeout.
func TestUnreachable(t *testing.T) {
	// A listener that nobody accepts from, with its queue full, drops SYNs.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for full := false; !full; {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		cancel()
		if full = err != nil; !full {
			defer c.Close()
		}
	}
	f := newFront(t, strings.Replace(instance(addr, "repair"), "    chain: [http]\n", "    chain: [http]\n    modules: {http: {connect_timeout: 100ms}}\n", 1))
	res, err := http.Get("http://" + f.addr())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if n := f.count("http.server.silent"); res.StatusCode != 504 || n != 1 {
		t.Errorf("got status %d, and http.server.silent %d times; want 504, once", res.StatusCode, n)
	}
}

// TestPortReuse: a client whose next connection comes from the same port at once is
// served.
func TestPortReuse(t *testing.T) {
	f := newFront(t, instance(origin(t), "repair"))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	for i := range 5 {
		c, err := d.Dial("tcp", f.addr())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		d.LocalAddr = c.LocalAddr()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
			t.Fatalf("connection %d: got %q, %v", i, b, err)
		}
		c.Close()
	}
}
