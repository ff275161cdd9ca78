package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// TestNetwork protects a network of servers which this machine is part of, on each
// kind of host: connections to a server are translated, and what this machine
// itself serves there, on the same port, is not taken, also when the daemon was
// killed.
func TestNetwork(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	own := must(l.Proxy.StartHTTP(t.Context(), fmt.Sprintf("[::]:%d", p)))(t)
	t.Cleanup(func() { check(t, own.Close()) })
	configuration := fmt.Sprintf(`version: 1
instances:
  - name: network
    hook: forward
    match: {protocol: tcp, server: [10.77.2.0/24, "fd77:2::/64"], port: %d}
    chain: [tcp]
%s`, p, notAdopting)
	beside := map[string]string{"tcp4": fmt.Sprintf("10.77.2.1:%d", p), "tcp6": fmt.Sprintf("[fd77:2::1]:%d", p)}
	for _, firewall := range firewalls {
		t.Run(firewall.String(), func(t *testing.T) {
			check(t, lab.Firewall(l.Proxy, firewall))
			d := start(t, l, configuration)
			for _, f := range families {
				s := at(hostPort(l.Server, f.network, p))
				must(l.Client.Download(within(t, patience), s.DataURL(2_000_000, 1)))(t)
				must(l.Client.Upload(within(t, patience), s.UploadURL(), 2_000_000, 2))(t)
				must(l.Client.Download(within(t, patience), at(beside[f.network]).DataURL(100_000, 3)))(t)
			}
			list := table[[]ppf.ConnectionInfo](t, d, "connections")
			if len(list) != 4 || slices.ContainsFunc(list, func(c ppf.ConnectionInfo) bool { return c.CS.Translation == 0 || c.SC.Translation == 0 }) {
				t.Errorf("connections %+v, want four that are translated", list)
			}
			d.accounted(t)
			undisturbed(t, d)
			d.kill(t)
			for _, f := range families {
				must(l.Client.Download(within(t, patience), at(beside[f.network]).DataURL(100_000, 4)))(t)
			}
			if r := run(t, l.Proxy, "unblock"); r.status != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestNetworkPathMTU: errors of this machine reach clients of a network of servers
// with the numbers that they know.
func TestNetworkPathMTU(t *testing.T) {
	const mtu = 1300
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := up(t, lab.Options{NoOffloads: true}) // kernels remember what they learnt
			p := port(t, web(t, l.Server).Addr)
			d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: network
    hook: forward
    match: {protocol: tcp, server: [10.77.2.0/24, "fd77:2::/64"], port: %d}
    chain: [tcp]
%s`, p, notAdopting))
			narrow(t, l, lab.ServerInterface, mtu)
			s := at(hostPort(l.Server, f.network, p))
			must(l.Client.Upload(within(t, patience), s.UploadURL(), 1_000_000, 2))(t)
			d.accounted(t)
		})
	}
}
