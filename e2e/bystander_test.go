package e2e

import (
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestBystanders wants what no instance matches to pass as it is: other protocols,
// fragmented datagrams, and other ports of the server.
func TestBystanders(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	protected := port(t, web(t, l.Server).Addr)
	other := port(t, web(t, l.Server).Addr)
	echo := must(l.Server.StartUDPEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	for _, firewall := range firewalls {
		for _, hook := range transitHooks {
			t.Run(firewall.String()+"/"+hook, func(t *testing.T) {
				if err := lab.Firewall(l.Proxy, firewall); err != nil {
					t.Fatal(err)
				}
				d := withServer(t, l, hook, protected, notAdopting)
				for _, f := range families {
					for _, size := range []int{56, 1400, 4000, 20000} {
						options := lab.EchoOptions{Count: 3, Size: size}
						if r := must(l.Client.Ping(within(t, patience), l.Server.Addr(f.network), options))(t); r.Received != options.Count {
							t.Errorf("%s: %d of %d pings of %d bytes answered", f.name, r.Received, options.Count, size)
						}
						if r := must(l.Client.UDPEcho(within(t, patience), hostPort(l.Server, f.network, port(t, echo.Addr)), options))(t); r.Received != options.Count {
							t.Errorf("%s: %d of %d datagrams of %d bytes answered", f.name, r.Received, options.Count, size)
						}
					}
					must(l.Client.Download(within(t, patience), dataURL(l.Server, f, other, 1_000_000)))(t)
					// The server as a client.
					must(l.Server.Download(within(t, patience), dataURL(l.Client, f, port(t, web(t, l.Client).Addr), 1_000_000)))(t)
				}
				s := d.accounted(t)
				if s.Packets.In > 0 || s.Packets.Dropped+s.Unmatched.Dropped > 0 {
					t.Errorf("bystanders met the instance: %+v, no instance %+v, %+v", s.Packets, s.Unmatched, d.reasons(t))
				}
			})
		}
	}
}
