package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// ended is the configuration of a chain that ends connections in front of a host's
// port; more is indented by four spaces.
func ended(h *lab.Host, p uint16, chain, more string) string {
	return fmt.Sprintf(`version: 1
instances:
  - name: web
    match: {protocol: tcp, server: [%s, "%s"], port: %d}
    chain: [%s]
%s`, h.IPv4, h.IPv6, p, chain, more)
}

// serving starts a web server on a host.
func serving(t *testing.T, h *lab.Host, addr string, handler http.HandlerFunc) uint16 {
	t.Helper()
	l := must(h.Listen(t.Context(), "tcp", addr))(t)
	s := &http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		check(t, s.Close())
		<-served
	})
	return port(t, l.Addr().String())
}

// origin starts a web server on a host that tells who asks.
func origin(t *testing.T, h *lab.Host, addr string) uint16 {
	t.Helper()
	return serving(t, h, addr, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprint(w, r.RemoteAddr)
		}
	})
}

// asked sends a request over a new connection, and gives whom the server saw and
// the client's own end.
func asked(t *testing.T, l *lab.Lab, network, target string) (seen, own netip.AddrPort) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := l.Client.Dial(ctx, network, addr)
		if err == nil {
			own = netip.MustParseAddrPort(c.LocalAddr().String())
		}
		return c, err
	}}}
	request := must(http.NewRequestWithContext(within(t, patience), "GET", "http://"+target+"/", nil))(t)
	response := must(client.Do(request))(t)
	defer response.Body.Close()
	text := string(must(io.ReadAll(response.Body))(t))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %s: %s", response.Status, text)
	}
	seen = must(netip.ParseAddrPort(text))(t)
	return netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port()), own
}

// diverted counts the policy rules on a host that are not the kernel's own.
func diverted(t *testing.T, h *lab.Host) (n int) {
	t.Helper()
	check(t, h.Do(func() error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			list, err := netlink.RuleList(family)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.Mark != 0 {
					n++
				}
			}
		}
		return nil
	}))
	return n
}

// TestTransparent ends connections to a server on hosts with each kind of firewall:
// the server sees the client's own address and port, or what the operator's
// masquerade makes of it; every packet of both legs is built anew.
func TestTransparent(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	for _, chain := range []string{"http", "tcp, relay"} {
		for _, firewall := range firewalls {
			t.Run(chain+"/"+firewall.String(), func(t *testing.T) {
				// Ports of its own: what kernels repeat of connections through the daemon
				// before must not meet this one.
				p, files := origin(t, l.Server, "[::]:0"), web(t, l.Server)
				check(t, lab.Firewall(l.Proxy, firewall))
				d := start(t, l, ended(l.Server, p, chain, "")+fmt.Sprintf(`  - name: files
    match: {protocol: tcp, server: [%s, "%s"], port: %d}
    chain: [%s]
`, l.Server.IPv4, l.Server.IPv6, port(t, files.Addr), chain))
				for _, f := range families {
					target := hostPort(l.Server, f.network, p)
					seen, own := asked(t, l, f.network, target)
					if masked := firewall == lab.Masquerade; !masked && seen != own || masked && seen.Addr() == own.Addr() {
						t.Errorf("%s: the server sees %v, and the client is %v", f.name, seen, own)
					}
					transferFiles := at(hostPort(l.Server, f.network, port(t, files.Addr)))
					must(l.Client.Download(within(t, patience), transferFiles.DataURL(5_000_000, 1)))(t)
					must(l.Client.Upload(within(t, patience), transferFiles.UploadURL(), 5_000_000, 2))(t)
					r := execute(t, l.Client, "curl", "-sS", "--globoff", "http://"+target+"/")
					if r.status != 0 || !strings.Contains(r.out, ":") {
						t.Errorf("%v", r)
					}
				}
				s := d.accounted(t)
				if s.Packets.Unchanged+s.Packets.Dropped+s.Unmatched.In > 0 || s.Packets.Sent < 2*5*10 {
					t.Errorf("stats: %+v, no instance %+v\n%s", s.Packets, s.Unmatched, d.do(t, "reasons"))
				}
				for _, i := range d.instances(t) {
					if i.Messages == nil {
						t.Fatalf("%s: messages are not counted", i.Name)
					}
					for flow, m := range i.Messages {
						if done := m.Sent + m.Unchanged; done < uint64(2*len(families)) || done != m.In || m.InBytes == 0 || (m.Sent > 0) != (chain == "http") {
							t.Errorf("%s, flow %d: messages %+v", i.Name, flow, m)
						}
					}
				}
				d.stop(t)
				if n := diverted(t, l.Proxy); n > 0 {
					t.Errorf("%d policy rules are left", n)
				}
			})
		}
	}
}

// TestTransparentWithstands sends each malformed segment of the lab to a chain that
// names no packet function: nothing of them arrives, the reasons are counted, and
// with the daemon killed the server is unreachable until the next one starts.
func TestTransparentWithstands(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	configuration := ended(l.Server, p, "tcp, http", notAdopting)
	d := start(t, l, configuration)
	reachable(t, l, p)
	env := must(l.AttackEnv(p))(t)
	attacks := attacksOn("tcp")
	outcomes := attack(t, l, env, attacks, d.judged(t, attacks))
	for _, a := range attacks {
		// A SYN without its fault is one for which the proxy opens a connection.
		if o := outcomes[a.Name]; o == lab.Arrived || o == lab.Rebuilt && !a.Repairable {
			t.Errorf("%s: %v, want stopped", a.Name, o)
		}
		if d.counted(t, a.Reason) == 0 {
			t.Errorf("%s: %s is not counted", a.Name, a.Reason)
		}
	}
	reachable(t, l, p)
	d.accounted(t)
	d.kill(t)
	closed(t, l, p)
	d = start(t, l, configuration)
	d.event(t, "were replaced in one transaction")
	reachable(t, l, p)
	d.stop(t)
	if names := tables(t, l); len(names) > 0 {
		t.Errorf("tables left: %v", names)
	}
	if n := diverted(t, l.Proxy); n > 0 {
		t.Errorf("%d policy rules are left", n)
	}
}

// TestTransparentUnblock removes by command what a killed daemon left.
func TestTransparentUnblock(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	start(t, l, ended(l.Server, p, "http", "")).kill(t)
	if r := run(t, l.Proxy, "unblock"); r.status != 0 || !strings.Contains(r.out, "policy routing") {
		t.Errorf("%v", r)
	}
	if n, names := diverted(t, l.Proxy), tables(t, l); n+len(names) > 0 {
		t.Errorf("left: %d policy rules, tables %v", n, names)
	}
	reachable(t, l, p)
}

// TestTransparentReload keeps a connection over a reload that adds an instance, ends
// connections that are not ended here any more, and takes policy routing away with
// the last of them.
func TestTransparentReload(t *testing.T) {
	l := up(t, lab.Options{})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { _ = echo.Close() }) // a connection is reset on purpose
	p := port(t, echo.Addr)
	one := ended(l.Server, p, "relay", "")
	d := start(t, l, one)
	c := must(l.Client.Dial(within(t, patience), "tcp4", hostPort(l.Server, "tcp4", p)))(t)
	defer c.Close()
	said := func() error {
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}
	check(t, said())
	d.configure(t, one+echoInstance("forward", l.Server, p+1))
	d.do(t, "reload")
	check(t, said())
	if n := diverted(t, l.Proxy); n != len(families) {
		t.Errorf("%d policy rules, want one for each IP version", n)
	}
	d.configure(t, protect("forward", p, "", l.Server))
	d.do(t, "reload")
	if err := said(); err == nil {
		t.Error("a connection that was ended here goes on without its socket")
	}
	if n := diverted(t, l.Proxy); n > 0 {
		t.Errorf("%d policy rules are left", n)
	}
	must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", p), 5, 1, 100))(t)
	d.configure(t, one)
	d.do(t, "reload")
	must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", p), 5, 1, 100))(t)
	if list := d.instances(t); len(list) != 1 || list[0].Hook != "prerouting" {
		t.Errorf("instances: %+v, want one at prerouting", list)
	}
}

// TestTransparentPortReuse opens connection after connection from the same four
// ports, also to a server without timestamps, where nobody takes a port out of
// TIME-WAIT by itself (RFC 6191 §2): the proxy waits on the client's leg, and with
// http on the server's as well.
func TestTransparentPortReuse(t *testing.T) {
	const connections = 20
	l := up(t, lab.Options{})
	check(t, l.Client.Sysctl("net/ipv4/ip_local_port_range", "40000 40003"))
	for _, timestamps := range []string{"1", "0"} {
		check(t, l.Server.Sysctl("net/ipv4/tcp_timestamps", timestamps))
		p := origin(t, l.Server, "[::]:0")
		for _, chain := range []string{"http", "relay"} {
			t.Run(chain+"/timestamps "+timestamps, func(t *testing.T) {
				d := start(t, l, ended(l.Server, p, chain, ""))
				for _, f := range families {
					for i := range connections {
						c := redial(t, l.Client, f.network, hostPort(l.Server, f.network, p))
						must(io.WriteString(c, "GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n"))(t)
						if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK\r\n") {
							t.Fatalf("%s: connection %d: %q, %v", f.name, i+1, text, err)
						}
						check(t, c.Close())
					}
				}
				d.accounted(t)
			})
		}
	}
}

// TestTransparentHTTPS ends TLS in front of a server that has none, and which the
// client goes on to reach by its own address.
func TestTransparentHTTPS(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	p, dir := origin(t, l.Server, "[::]:0"), t.TempDir()
	check(t, lab.WriteCertificate(dir, "web", l.Server.IPv4.String(), l.Server.IPv6.String()))
	d := start(t, l, ended(l.Server, p, "tcp, https, http", fmt.Sprintf("    modules: {https: {certificate: %[1]s/web.crt, key: %[1]s/web.key}}\n", dir)))
	for _, f := range families {
		r := execute(t, l.Client, "curl", "-sS", "--globoff", "--cacert", filepath.Join(dir, "web.crt"), "https://"+hostPort(l.Server, f.network, p)+"/")
		if seen, err := netip.ParseAddrPort(r.out); err != nil || seen.Addr().Unmap() != l.Client.Addr(f.network) {
			t.Errorf("%s: %v, want the client's address", f.name, r)
		}
		// Who does not speak TLS never comes to the server.
		c := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p)))(t)
		must(io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"))(t)
		if text, err := io.ReadAll(c); strings.Contains(string(text), "HTTP") {
			t.Errorf("%s: plain HTTP was answered: %q, %v", f.name, text, err)
		}
		check(t, c.Close())
	}
	legs := map[string]int{}
	for _, c := range table[[]struct{ Leg string }](t, d, "connections") {
		legs[c.Leg]++
	}
	if legs["client"] != 2*len(families) || legs["server"] != len(families) {
		t.Errorf("legs of connections: %v, want %d to clients and %d to the server", legs, 2*len(families), len(families))
	}
}

// TestTransparentDNAT has connections to the proxy's own address that the
// operator's DNAT leads to the server, beside those to the server itself.
func TestTransparentDNAT(t *testing.T) {
	need(t, "nft")
	l := up(t, lab.Options{})
	p := origin(t, l.Server, "[::]:0")
	rules := filepath.Join(t.TempDir(), "nat.nft")
	write(t, rules, fmt.Sprintf(`table inet operator {
	chain nat {
		type nat hook prerouting priority -100
		ip daddr %s tcp dport 8080 dnat ip to %s:%d
		ip6 daddr %s tcp dport 8080 dnat ip6 to [%s]:%d
	}
	chain filter {
		type filter hook input priority 0
		ct state invalid drop
	}
}
`, l.Proxy.IPv4, l.Server.IPv4, p, l.Proxy.IPv6, l.Server.IPv6, p))
	if r := execute(t, l.Proxy, "nft", "-f", rules); r.status != 0 {
		t.Fatal(r)
	}
	for _, address := range []string{"client", "proxy"} {
		t.Run(address, func(t *testing.T) {
			start(t, l, ended(l.Server, p, "http", "    upstream_address: "+address+"\n"))
			for _, f := range families {
				for _, target := range []string{hostPort(l.Proxy, f.network, 8080), hostPort(l.Server, f.network, p)} {
					seen, own := asked(t, l, f.network, target)
					if (seen.Addr() == own.Addr()) != (address == "client") {
						t.Errorf("%s: to %s the server sees %v, and the client is %v", f.name, target, seen, own)
					}
				}
			}
		})
	}
}

// TestTransparentBlock wants the server closed after the daemon ended in good order
// with on_exit: block, and policy routing gone.
func TestTransparentBlock(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, strings.Replace(ended(l.Server, p, "http", ""), "version: 1\n", "version: 1\non_exit: block\n", 1))
	reachable(t, l, p)
	d.stop(t)
	closed(t, l, p)
	if n := diverted(t, l.Proxy); n > 0 {
		t.Errorf("%d policy rules are left", n)
	}
}

// connected counts the sockets of connections to a port of a host.
func connected(t *testing.T, h *lab.Host, p uint16) (n int) {
	t.Helper()
	const listening = 10 // TCP_LISTEN (include/net/tcp_states.h)
	check(t, h.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := netlink.SocketDiagTCP(family)
			if err != nil {
				return err
			}
			for _, s := range list {
				if s.ID.SourcePort == p && s.State != listening {
					n++
				}
			}
		}
		return nil
	}))
	return n
}

// TestTransparentAfterwards takes the proxy out of the way of clients that use the
// ports again on which it waits in TIME-WAIT: their packets are forwarded.
func TestTransparentAfterwards(t *testing.T) {
	l := up(t, lab.Options{})
	check(t, l.Client.Sysctl("net/ipv4/ip_local_port_range", "40000 40003"))
	// The server does not wait itself: it has seen the proxy's timestamps, and those
	// of the client's kernel may be older (RFC 6191 §2).
	check(t, l.Server.Sysctl("net/ipv4/tcp_max_tw_buckets", "0"))
	p := origin(t, l.Server, "[::]:0")
	exchange := func() {
		t.Helper()
		for _, f := range families {
			for range 8 {
				c := redial(t, l.Client, f.network, hostPort(l.Server, f.network, p))
				must(io.WriteString(c, "GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n"))(t)
				must(io.ReadAll(c))(t)
				check(t, c.Close())
			}
		}
		eventually(t, "every connection over for the server", func() (bool, string) {
			n := connected(t, l.Server, p)
			return n == 0, fmt.Sprintf("%d are left", n)
		})
	}
	one := ended(l.Server, p, "relay", "")
	d := start(t, l, one)
	exchange()
	d.configure(t, protect("forward", p, "", l.Server))
	d.do(t, "reload")
	exchange()
	d.configure(t, one)
	d.do(t, "reload")
	exchange()
	d.stop(t)
	exchange()
}
