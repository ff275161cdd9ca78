package lab

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// sourceSeen dials the server and gives the address that it sees.
func sourceSeen(t *testing.T, l *Lab, network string) netip.Addr {
	t.Helper()
	listener, err := l.Server.Listen(t.Context(), network, net.JoinHostPort(l.Server.Addr(network).String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if c, err := listener.Accept(); err == nil {
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			c.Close()
		}
	}()
	c, err := l.Client.Dial(t.Context(), network, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := netip.ParseAddrPort(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return seen.Addr()
}

func TestFirewalls(t *testing.T) {
	l := up(t, Options{NoOffloads: true})
	env, err := l.AttackEnv(80)
	if err != nil {
		t.Fatal(err)
	}
	invalid, err := AttackByName("syn-fin") // no connection starts with it
	if err != nil {
		t.Fatal(err)
	}
	sender, err := l.Client.RawSender("")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for _, tt := range []struct {
		kind   FirewallKind
		source map[string]netip.Addr
		passes Outcome
	}{
		{CTInvalidDrop, map[string]netip.Addr{"tcp4": l.Client.IPv4, "tcp6": l.Client.IPv6}, Stopped},
		{Masquerade, map[string]netip.Addr{"tcp4": netip.MustParseAddr("10.77.2.1"), "tcp6": netip.MustParseAddr("fd77:2::1")}, Arrived},
		{Plain, map[string]netip.Addr{"tcp4": l.Client.IPv4, "tcp6": l.Client.IPv6}, Arrived},
		{Plain, map[string]netip.Addr{"tcp4": l.Client.IPv4}, Arrived}, // none to remove
	} {
		if err := Firewall(l.Proxy, tt.kind); err != nil {
			t.Fatal(err)
		}
		for network, want := range tt.source {
			if got := sourceSeen(t, l, network); got != want {
				t.Errorf("%v: the server sees %v, want %v", tt.kind, got, want)
			}
		}
		capture, err := l.Server.Capture(CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.SendAll(append(invalid.Frames(env), marked(env, 1))); err != nil {
			t.Fatal(err)
		}
		if _, err := capture.Wait(t.Context(), func(f Frame) bool { return isMarked(f.Data) }); err != nil {
			t.Fatal(err)
		}
		if _, err := capture.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := invalid.Outcome(env, capture.Frames()); got != tt.passes {
			t.Errorf("%v: SYN and FIN: got %v, want %v", tt.kind, got, tt.passes)
		}
	}
}
