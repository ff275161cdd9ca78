package e2e

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestOwnConnections opens connections whose client or server is the proxy host
// itself, with an instance at each hook: one that saw only half of such a
// connection would refuse it.
func TestOwnConnections(t *testing.T) {
	l := up(t, lab.Options{})
	for _, role := range []struct {
		name           string
		client, server *lab.Host
	}{{"client", l.Proxy, l.Server}, {"server", l.Client, l.Proxy}} {
		t.Run(role.name, func(t *testing.T) {
			for _, at := range places {
				t.Run(at.hook, func(t *testing.T) {
					// What kernels repeat of connections through the daemon before must
					// not meet this one: a port of its own.
					p := port(t, web(t, role.server).Addr)
					d := start(t, l, protect(at.hook, p, notAdopting, role.server))
					for _, f := range families {
						must(role.client.Download(within(t, patience), dataURL(role.server, f, p, 1_000_000)))(t)
					}
					if n := d.accounted(t).Packets.Dropped; n > 0 {
						t.Errorf("%d packets dropped: %+v", n, d.reasons(t))
					}
				})
			}
		})
	}
}

// dataURL names a download of n bytes from a web server on a host.
func dataURL(h *lab.Host, f family, p uint16, n int64) string {
	return at(hostPort(h, f.network, p)).DataURL(n, 1)
}

// TestOwnConnectionsExchanged does so with tcp2, whose server-to-client flow is
// taken before this host knows what is its own.
func TestOwnConnectionsExchanged(t *testing.T) {
	l := up(t, lab.Options{})
	for _, firewall := range firewalls {
		if firewall == lab.Masquerade {
			continue // docs/hooks.md: tcp2 exchanges the address itself
		}
		t.Run(firewall.String(), func(t *testing.T) {
			if err := lab.Firewall(l.Proxy, firewall); err != nil {
				t.Fatal(err)
			}
			p := port(t, web(t, l.Server).Addr) // of its own, as above
			d := start(t, l, strings.Replace(protect("forward", p, "", l.Server), "[tcp]", "[tcp2]", 1))
			for _, f := range families {
				for _, client := range []*lab.Host{l.Client, l.Proxy} {
					must(client.Download(within(t, patience), dataURL(l.Server, f, p, 1_000_000)))(t)
				}
			}
			undisturbed(t, d)
		})
	}
}
