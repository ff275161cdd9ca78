package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// cookieInfo is what `show instance` tells of an instance's cookies.
type cookieInfo struct {
	Active                bool
	Sent, Opened, Refused uint64
}

func (d *daemon) cookies(t *testing.T) cookieInfo {
	t.Helper()
	return table[struct{ Cookies cookieInfo }](t, d, "show", "instance", "web").Cookies
}

// withCookies lets an instance answer SYNs itself.
func withCookies(from int) string {
	return fmt.Sprintf("    handshake: cookie\n    modules: {tcp: {cookie_from: %d, adopt: 0s}}\n", from)
}

// TestCookies lets every connection of real kernels be opened by a cookie, at each
// hook that may, on each kind of host: transfers with large windows, SACK and
// timestamps are the same byte for byte, and no packet is refused.
func TestCookies(t *testing.T) {
	l := up(t, lab.Options{})
	for _, firewall := range firewalls {
		for _, p := range places {
			if p.hook != "forward" && p.hook != "input" {
				continue
			}
			t.Run(fmt.Sprint(firewall, " ", p.hook), func(t *testing.T) {
				check(t, lab.Firewall(l.Proxy, firewall))
				server := p.server(l)
				w := web(t, server)
				echo := must(server.StartEcho(t.Context(), "[::]:0"))(t)
				t.Cleanup(func() { check(t, echo.Close()) })
				d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: web
    hook: %s
    match: {protocol: tcp, server: [%s, "%s"], port: [%d, %d]}
    chain: [tcp]
%s`, p.hook, server.IPv4, server.IPv6, port(t, w.Addr), port(t, echo.Addr), withCookies(0)))
				for _, f := range families {
					transfers(t, small, l.Client, server, f.network, port(t, w.Addr), port(t, echo.Addr))
				}
				undisturbed(t, d)
				if c := d.cookies(t); !c.Active || c.Opened < uint64(2*small.short) || c.Refused > 0 {
					t.Errorf("%+v, want a cookie for each of %d connections", c, 2*small.short)
				}
			})
		}
	}
}

// TestCookiesInline is the same on a wire.
func TestCookiesInline(t *testing.T) {
	l := up(t, lab.Options{Inline: true})
	w := web(t, l.Server)
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	d := start(t, l, wire("arp, nd, tcp")+withCookies(0))
	transfers(t, small, l.Client, l.Server, "tcp4", port(t, w.Addr), port(t, echo.Addr))
	d.accounted(t)
}

// TestCookiesUnderFlood floods a server's port with SYNs from addresses all over:
// from the mark on none of them reaches the server, and new connections of a real
// client do.
func TestCookiesUnderFlood(t *testing.T) {
	const from = 16
	l := up(t, lab.Options{NoOffloads: true})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	p := port(t, echo.Addr)
	d := withServer(t, l, "forward", p, withCookies(from))
	must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", p), 1, 1, 64))(t) // shows what the server offers
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	defer sender.Close()
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	ctx, cancel := context.WithCancel(t.Context())
	flooded := make(chan uint64)
	frames := must(l.SYNs(p, 1<<14))(t)
	go func() {
		sent, _ := sender.Flood(ctx, frames, time.Hour)
		flooded <- sent
	}()
	eventually(t, "cookies", func() (bool, string) {
		c := d.cookies(t)
		return c.Active && c.Sent > 1000, fmt.Sprintf("%+v", c)
	})
	d.event(t, "SYNs are answered with cookies")
	r, err := l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", p), 50, 4, 512)
	cancel()
	sent := <-flooded
	if err != nil {
		t.Errorf("connections under the flood: %+v, %v", r, err)
	}
	must(capture.Stop())(t)
	sources := map[netip.Addr]bool{}
	for _, f := range capture.Frames() {
		if ip, tcp, ok := segment(f.Data); ok && !f.Outgoing && tcp[13]&0x12 == 2 {
			sources[netip.AddrFrom4([4]byte(ip[12:16]))] = true
		}
	}
	if len(sources) > from+1 {
		t.Errorf("SYNs of %d clients came to the server, want %d at most", len(sources), from+1)
	}
	c := d.cookies(t)
	if c.Opened < 50 {
		t.Errorf("%+v after 50 connections", c)
	}
	// Of a flood the kernel's queues may lose some.
	if n := d.instances(t)[0].Connections; n > from+100 {
		t.Errorf("%d connections are kept after %d SYNs", n, sent)
	}
	t.Logf("%d SYNs, %+v, connections %+v", sent, c, r)
}
