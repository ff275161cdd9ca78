package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// redial connects from a host with few ports, as soon as one of them is free: a
// port is when the server has acknowledged the end of the connection before.
func redial(t *testing.T, h *lab.Host, network, addr string) (c net.Conn) {
	t.Helper()
	eventually(t, "a free port", func() (bool, string) {
		var err error
		c, err = h.Dial(within(t, patience), network, addr)
		if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Fatal(err)
		}
		return err == nil, fmt.Sprint(err)
	})
	return c
}

// TestPortReuse opens connection after connection from the same four ports. The
// server closes first and keeps TIME-WAIT, so that the client's ports are free at
// once (RFC 9293 §3.6.1): a new SYN may follow where the proxy still knows the
// connection before.
func TestPortReuse(t *testing.T) {
	const connections = 40
	l := up(t, lab.Options{})
	check(t, l.Client.Sysctl("net/ipv4/ip_local_port_range", "40000 40003"))
	listener := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test closed it
			}
			_, _ = io.WriteString(c, "hello") // the client finds out
			c.Close()
		}
	}()
	t.Cleanup(func() {
		check(t, listener.Close())
		<-served
	})
	p := port(t, listener.Addr().String())
	d := withServer(t, l, "forward", p, notAdopting)
	for _, f := range families {
		for i := range connections {
			c := redial(t, l.Client, f.network, hostPort(l.Server, f.network, p))
			text, err := io.ReadAll(c)
			if err != nil || string(text) != "hello" {
				t.Fatalf("%s: connection %d: %q, %v", f.name, i+1, text, err)
			}
			check(t, c.Close())
		}
	}
	undisturbed(t, d)
	if n := d.accounted(t).Connections; n > 2*4 {
		t.Errorf("%d connections in the table, want one for each of 4 ports and 2 families", n)
	}
}

// TestForgottenConnection: a client loses a connection without a word, as when its
// power fails, and opens a new one from the same port through a proxy that has
// never seen the old one. The server says that it still has that, the client resets
// it, and the new one opens (RFC 9293 §3.5.1).
func TestForgottenConnection(t *testing.T) {
	l := up(t, lab.Options{})
	// The server's kernel accepts connections, and nobody reads from them.
	listener := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	t.Cleanup(func() { check(t, listener.Close()) })
	p := port(t, listener.Addr().String())
	old := map[string]net.Addr{}
	for _, f := range families {
		c := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p)))(t)
		old[f.name] = c.LocalAddr()
		// A socket under repair is closed without a segment (tcp.c, tcp_close).
		raw := must(c.(*net.TCPConn).SyscallConn())(t)
		check(t, raw.Control(func(fd uintptr) { check(t, unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, 1)) }))
		check(t, c.Close())
	}
	d := withServer(t, l, "forward", p, notAdopting)
	for _, f := range families {
		c := must(l.Client.DialFrom(within(t, patience), f.network, old[f.name].String(), hostPort(l.Server, f.network, p)))(t)
		check(t, c.Close())
	}
	undisturbed(t, d)
}
