package stream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestServerClosedIdle: a server that closes a connection after a response costs
// no request, not even one that must not be sent twice.
func TestServerClosedIdle(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{}, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			defer c.Close()
			endAndWait(t, c.(*net.TCPConn))
			ended <- struct{}{}
		}
	}()
	f := newFront(t, instance(l.Addr().String(), "repair"))
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	for range 3 {
		res, err := c.Post("http://"+f.addr(), "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("got status %d, want 200", res.StatusCode)
		}
		<-ended
	}
}

// endAndWait sends a FIN and returns when the other side has it.
func endAndWait(t *testing.T, c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	c.CloseWrite()
	for acknowledged := false; !acknowledged; runtime.Gosched() {
		if err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			acknowledged = err != nil || info.State != unix.BPF_TCP_ESTABLISHED && info.State != unix.BPF_TCP_FIN_WAIT1
		}); err != nil {
			t.Error(err)
			return
		}
	}
}
