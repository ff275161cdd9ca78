package lab

import (
	"net"
	"testing"
)

// TestRelay wants data to pass a relay, from connections of its own.
func TestRelay(t *testing.T) {
	Require(t)
	l, err := Up(t.Context(), Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	server, err := l.Server.StartEcho(t.Context(), "[::]:7007")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	capture, err := l.Server.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	relay, err := l.Proxy.StartRelay(t.Context(), 7007)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	for _, network := range []string{"tcp4", "tcp6"} {
		addr := net.JoinHostPort(l.Server.Addr(network).String(), "7007")
		if r, err := l.Client.ShortConnections(t.Context(), addr, 5, 2, 10_000); err != nil || r.Connections != 5 {
			t.Errorf("%s: %+v, %v", network, r, err)
		}
	}
	if _, err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, f := range capture.Frames() {
		if src, ok := source(f.Data); ok && !f.Outgoing && (src == l.Client.IPv4 || src == l.Client.IPv6) {
			t.Errorf("the client's own packet arrived: %x", f.Data)
		}
	}
}
