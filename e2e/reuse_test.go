package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

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
