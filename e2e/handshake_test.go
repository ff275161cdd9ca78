package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// dialed opens a connection and closes it, and tells what the client was told.
func dialed(t *testing.T, l *lab.Lab, network, target string, d time.Duration) error {
	t.Helper()
	c, err := l.Client.Dial(within(t, d), network, target)
	if err == nil {
		check(t, c.Close())
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return unix.ECONNREFUSED
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		// An IPv6 route of type unreachable is the one to what this host sends and the
		// other to what it forwards.
		return unix.EHOSTUNREACH
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// unreachableRoute makes a host say that it cannot reach an address.
func unreachableRoute(t *testing.T, h *lab.Host, to netip.Addr) {
	t.Helper()
	check(t, h.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}, Type: unix.RTN_UNREACHABLE})
	}))
}

// TestHandshakeHonest wants a client to be told the same of a server that cannot
// be had as without a proxy: refused by the server, unreachable for the proxy's host
// or for a router behind it, or nothing at all.
func TestHandshakeHonest(t *testing.T) {
	l := up(t, lab.Options{})
	open, shut := port(t, web(t, l.Server).Addr), closedPort(t, l.Server)
	check(t, l.Server.Sysctl("net/ipv4/ip_forward", "1"))
	check(t, l.Server.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	silent := map[string]netip.Addr{"tcp4": netip.MustParseAddr("203.0.113.1"), "tcp6": netip.MustParseAddr("2001:db8::1")}
	here := map[string]netip.Addr{"tcp4": netip.MustParseAddr("203.0.113.2"), "tcp6": netip.MustParseAddr("2001:db8::2")}
	behind := map[string]netip.Addr{"tcp4": netip.MustParseAddr("203.0.113.3"), "tcp6": netip.MustParseAddr("2001:db8::3")}
	servers := []string{l.Server.IPv4.String(), l.Server.IPv6.String()}
	for _, f := range families {
		via := l.Server.Addr(f.network)
		for _, to := range []netip.Addr{silent[f.network], behind[f.network]} {
			check(t, l.Proxy.AddRoute(netip.PrefixFrom(to, to.BitLen()), via))
		}
		check(t, l.Server.Do(func() error {
			to := silent[f.network]
			return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}, Type: unix.RTN_BLACKHOLE})
		}))
		unreachableRoute(t, l.Proxy, here[f.network])
		unreachableRoute(t, l.Server, behind[f.network])
		servers = append(servers, silent[f.network].String(), here[f.network].String(), behind[f.network].String())
	}
	cases := []struct {
		name   string
		target func(network string) string
		within time.Duration
	}{
		{"open", func(network string) string { return hostPort(l.Server, network, open) }, patience},
		{"refused", func(network string) string { return hostPort(l.Server, network, shut) }, patience},
		{"unreachable here", func(network string) string { return netip.AddrPortFrom(here[network], open).String() }, patience},
		{"unreachable behind", func(network string) string { return netip.AddrPortFrom(behind[network], open).String() }, patience},
		{"silent", func(network string) string { return netip.AddrPortFrom(silent[network], open).String() }, settled},
	}
	without := map[string]error{}
	for _, f := range families {
		for _, c := range cases {
			without[f.name+c.name] = dialed(t, l, f.network, c.target(f.network), c.within)
			if open := without[f.name+c.name] == nil; open != (c.name == "open") {
				t.Fatalf("%s, %s, without a proxy: %v", f.name, c.name, without[f.name+c.name])
			}
		}
	}
	for _, firewall := range firewalls {
		t.Run(firewall.String(), func(t *testing.T) {
			check(t, lab.Firewall(l.Proxy, firewall))
			d := start(t, l, `version: 1
instances:
  - name: any
    match: {protocol: tcp, server: ["`+strings.Join(servers, `", "`)+`"], port: "1-65535"}
    chain: [relay]
`)
			for _, f := range families {
				for _, c := range cases {
					if got, want := dialed(t, l, f.network, c.target(f.network), c.within), without[f.name+c.name]; !errors.Is(got, want) || got != nil && want == nil {
						t.Errorf("%s, %s: %v, without a proxy %v", f.name, c.name, got, want)
					}
				}
			}
			if n := d.counted(t, "stream.server-unreachable"); n < 2*3 {
				t.Errorf("stream.server-unreachable is counted %d times, want one for each refusal", n)
			}
			d.accounted(t)
		})
	}
}

// TestHandshakeFirst answers clients at once: what the server says, or that it says
// nothing, is told in HTTP.
func TestHandshakeFirst(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	shut, silent := closedPort(t, l.Server), netip.MustParseAddr("203.0.113.1")
	check(t, l.Proxy.AddRoute(netip.PrefixFrom(silent, 32), l.Server.IPv4))
	d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: web
    match: {protocol: tcp, server: [%s, "%s"], port: %d}
    handshake: first
    chain: [http]
  - name: silent
    match: {protocol: tcp, server: %s, port: %d}
    handshake: first
    chain: [http]
    modules: {http: {connect_timeout: 300ms}}
`, l.Server.IPv4, l.Server.IPv6, shut, silent, shut))
	for target, want := range map[string]string{
		hostPort(l.Server, "tcp4", shut): "502", hostPort(l.Server, "tcp6", shut): "502",
		netip.AddrPortFrom(silent, shut).String(): "504",
	} {
		r := execute(t, l.Client, "curl", "-sS", "--globoff", "-o", "/dev/null", "-w", "%{http_code}", "http://"+target+"/")
		if r.status != 0 || r.out != want {
			t.Errorf("%s: want status %s: %v", target, want, r)
		}
	}
	d.accounted(t)
}

// TestHandshakePending floods a server with SYNs of clients that do not exist:
// asking the server first, as many connections as are allowed come about; answering
// first, none. Clients that exist are served meanwhile.
func TestHandshakePending(t *testing.T) {
	const pending, flood = 4, 40
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	for handshake, most := range map[string]int{"honest": pending, "first": 0} {
		t.Run(handshake, func(t *testing.T) {
			d := start(t, l, ended(l.Server, p, "http", fmt.Sprintf("    handshake: %s\n    pending: %d\n", handshake, pending)))
			sender := must(l.Client.RawSender(lab.EndInterface))(t)
			defer sender.Close()
			capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
			check(t, sender.SendAll(must(l.SYNs(p, flood))(t)))
			eventually(t, "the flood judged", func() (bool, string) {
				s := d.accounted(t)
				return s.Packets.In >= flood && d.counted(t, "stream.pending")+d.counted(t, "stream.pending-unasked") >= uint64(most/pending*(flood-pending)), fmt.Sprintf("%+v %v", s.Packets, d.reasons(t))
			})
			settle(t, l)
			must(capture.Stop())(t)
			sources := map[netip.Addr]bool{}
			for _, f := range capture.Frames() {
				if ip, tcp, ok := segment(f.Data); ok && !f.Outgoing && tcp[13]&0x12 == 2 {
					sources[netip.AddrFrom4([4]byte(ip[12:16]))] = true
				}
			}
			if len(sources) > most || handshake == "honest" && len(sources) < most {
				t.Errorf("connections of %d clients came to the server, want %d", len(sources), most)
			}
			for range 5 {
				reachable(t, l, p)
				check(t, sender.SendAll(must(l.SYNs(p, flood))(t)))
			}
			reachable(t, l, p)
			// Those that were there took the places of some that were not.
			if handshake == "honest" && d.counted(t, "stream.pending-unasked")*d.counted(t, "stream.unclaimed") == 0 {
				t.Errorf("reasons: %v", d.reasons(t))
			}
		})
	}
}
