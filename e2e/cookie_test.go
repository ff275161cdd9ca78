package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// cookieInfo is what `show instance` tells of an instance's cookies.
type cookieInfo struct {
	Active                bool
	Sent, Opened, Refused uint64
}

func (d *daemon) cookies(t *testing.T, instance string) cookieInfo {
	t.Helper()
	return table[struct{ Cookies cookieInfo }](t, d, "show", "instance", instance).Cookies
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
				if c := d.cookies(t, "web"); !c.Active || c.Opened < uint64(2*small.short) || c.Refused > 0 {
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
	for i, f := range families {
		transfers(t, small, l.Client, l.Server, f.network, port(t, w.Addr), port(t, echo.Addr))
		if c, want := d.cookies(t, "wire"), uint64((i+1)*small.short); !c.Active || c.Opened < want || c.Refused > 0 {
			t.Errorf("%s: %+v, want a cookie for each of %d connections", f.name, c, want)
		}
	}
	d.accounted(t)
}

// TestCookiesOutliveStop: a connection whose server has not answered when the daemon is
// stopped goes on behind the next one, and clients that open others meanwhile come to
// their end, with some of them opened again.
func TestCookiesOutliveStop(t *testing.T) {
	need(t, "nft")
	l := up(t, lab.Options{})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	p := port(t, echo.Addr)
	configuration := fmt.Sprintf("version: 1\non_exit: block\nstate: %s\ninstances:\n  - name: web\n    match: {protocol: tcp, server: [%s, \"%s\"], port: %d}\n    chain: [tcp]\n%s",
		t.TempDir(), l.Server.IPv4, l.Server.IPv6, p, withCookies(0))
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			addr := hostPort(l.Server, f.network, p)
			d := start(t, l, configuration)
			must(l.Client.ShortConnections(within(t, patience), addr, 1, 1, 64))(t) // shows what the server offers
			nft(t, l.Server, "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; add rule inet deaf in tcp flags syn drop")
			waiting := must(l.Client.Dial(within(t, patience), "tcp", addr))(t)
			defer waiting.Close()
			check(t, waiting.SetDeadline(time.Now().Add(patience)))
			eventually(t, "a connection that waits for its server", func() (bool, string) {
				c := d.cookies(t, "web")
				return c.Opened == 1, fmt.Sprintf("%+v", c)
			})
			d.stop(t)
			nft(t, l.Server, "delete table inet deaf")
			var others sync.WaitGroup
			for i := range 8 {
				others.Go(func() { persist(t, l.Client, addr, uint64(i)) })
			}
			next := start(t, l, configuration)
			next.event(t, "connections are taken up from")
			exchange(t, waiting)
			others.Wait()
			next.accounted(t)
			next.stop(t)
			unblock(t, l)
		})
	}
}

// nft changes a host's own rules.
func nft(t *testing.T, h *lab.Host, commands string) {
	t.Helper()
	if r := execute(t, h, "nft", commands); r.status != 0 {
		t.Fatalf("nft %s: %v", commands, r)
	}
}

// pour sends frames over and over until ctx ends, no more of them at a time than a queue
// holds, and gives how many were sent: what is lost of a flood without pauses is a
// matter of luck, also for a SYN that means it.
func pour(ctx context.Context, sender *lab.RawSender, frames [][]byte) (sent int) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		for part := range slices.Chunk(frames, 256) {
			if sender.SendAll(part) != nil {
				return sent
			}
			sent += len(part)
			select {
			case <-pause.C:
			case <-ctx.Done():
				return sent
			}
		}
	}
}

// exchange wants an echo of a connection.
func exchange(t *testing.T, c net.Conn) {
	t.Helper()
	must(c.Write([]byte("question")))(t)
	b := make([]byte, len("question"))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "question" {
		t.Errorf("the echo is %q, %v", b, err)
	}
}

// persist makes short connections one after the other, and one again that is reset.
func persist(t *testing.T, from *lab.Host, addr string, seed uint64) {
	for n := 0; n < 5; {
		_, err := from.ShortConnections(within(t, patience), addr, 1, 1, int(64+seed))
		switch {
		case err == nil:
			n++
		case !errors.Is(err, syscall.ECONNRESET):
			t.Errorf("connection %d: %v", n, err)
			return
		}
	}
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
	flooded := make(chan int)
	frames := must(l.SYNs(p, 1<<14))(t)
	go func() { flooded <- pour(ctx, sender, frames) }()
	eventually(t, "cookies", func() (bool, string) {
		c := d.cookies(t, "web")
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
	// Workers that judge one at the same moment pass the mark by one each.
	if most := from + runtime.GOMAXPROCS(0); len(sources) > most {
		t.Errorf("SYNs of %d clients came to the server, want %d at most", len(sources), most)
	}
	c := d.cookies(t, "web")
	if c.Opened < 50 {
		t.Errorf("%+v after 50 connections", c)
	}
	// Of a flood the kernel's queues may lose some.
	if n := d.instances(t)[0].Connections; n > from+100 {
		t.Errorf("%d connections are kept after %d SYNs", n, sent)
	}
	t.Logf("%d SYNs, %+v, connections %+v", sent, c, r)
}
