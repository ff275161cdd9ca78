package stream_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/ppf"
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

// TestServerThatStays: a server that does not end a connection though it is asked to
// gets a reset, which leaves no TIME-WAIT; one that does is waited for.
func TestServerThatStays(t *testing.T) {
	for _, stays := range []bool{true, false} {
		t.Run(fmt.Sprint(stays), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			end := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				r := bufio.NewReader(c)
				if req, err := http.ReadRequest(r); err != nil || !req.Close {
					t.Errorf("the server got %v, %v", req, err)
				}
				if !stays {
					cork(t, c.(*net.TCPConn)) // the FIN is in the segment of the response
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				if !stays {
					c.(*net.TCPConn).CloseWrite()
				}
				_, err = r.ReadByte()
				end <- err
			}()
			f := newFront(t, instance(l.Addr().String(), "repair"))
			c := f.dial()
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
				t.Errorf("the client got %q, %v", b, err)
			}
			want := io.EOF
			if stays {
				want = syscall.ECONNRESET
			}
			if err := <-end; !errors.Is(err, want) {
				t.Errorf("the server's connection ended with %v, want %v", err, want)
			}
		})
	}
}

// cork keeps what is written back until the FIN goes out.
func cork(t *testing.T, c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	if err := raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Error(err)
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

// TestShareNeedsOwnAddress: where the server sees the client's address, sharing a
// connection is refused.
func TestShareNeedsOwnAddress(t *testing.T) {
	const text = "version: 1\ninstances:\n  - {name: front, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [http], upstream_address: %s, modules: {http: {share: true}}}\n"
	for address, refused := range map[string]bool{"client": true, "proxy": false} {
		_, problems := config.Parse("test.yaml", fmt.Appendf(nil, text, address))
		if got := ppf.DecodeError(problems).Error(); strings.Contains(got, "add `upstream_address: proxy`") != refused {
			t.Errorf("upstream_address %s: got %q", address, got)
		}
	}
}
