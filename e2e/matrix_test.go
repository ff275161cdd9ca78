package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// place is a hook and where client and server stand for it to be passed.
type place struct {
	hook           string
	client, server func(*lab.Lab) *lab.Host
}

func clientHost(l *lab.Lab) *lab.Host { return l.Client }
func proxyHost(l *lab.Lab) *lab.Host  { return l.Proxy }
func serverHost(l *lab.Lab) *lab.Host { return l.Server }

var places = []place{
	{"prerouting", clientHost, serverHost},
	{"input", clientHost, proxyHost},
	{"forward", clientHost, serverHost},
	{"output", proxyHost, serverHost},
	{"postrouting", clientHost, serverHost},
}

var firewalls = []lab.FirewallKind{lab.Plain, lab.CTInvalidDrop, lab.Masquerade}

// TestMatrix sends transfers, ours and those of curl and iperf3, through the chain [tcp] at each hook, on each kind of
// host, in both families.
func TestMatrix(t *testing.T) {
	if len(places) != ppf.NumHooks-1 { // without HookNone
		t.Errorf("%d hooks are tested, want %d", len(places), ppf.NumHooks-1)
	}
	l := up(t, lab.Options{})
	for _, firewall := range firewalls {
		t.Run(firewall.String(), func(t *testing.T) {
			if err := lab.Firewall(l.Proxy, firewall); err != nil {
				t.Fatal(err)
			}
			for _, p := range places {
				t.Run(p.hook, func(t *testing.T) { p.test(t, l) })
			}
		})
	}
}

// test runs the transfers of one cell and wants every packet of them rebuilt.
func (p place) test(t *testing.T, l *lab.Lab) {
	server, client := p.server(l), p.client(l)
	s := web(t, server)
	echo := must(server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	foreign := closedPort(t, server)
	d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: web
    hook: %s
    match: {protocol: tcp, server: [%s, "%s"], port: [%d, %d, %d]}
    chain: [tcp]
`, p.hook, server.IPv4, server.IPv6, port(t, s.Addr), port(t, echo.Addr), foreign))
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			before := d.accounted(t)
			transfers(t, matrixVolume(i), client, server, f.network, port(t, s.Addr), port(t, echo.Addr))
			after := d.accounted(t)
			// 25 MB in super-packets of at most 64 KiB, and 200 connections.
			if n := after.Packets.Sent - before.Packets.Sent; n < 25_000_000/65536+200*6 {
				t.Errorf("%d packets went through the chain: too few", n)
			}
			undisturbed(t, d)
			t.Run("curl", func(t *testing.T) { curl(t, client, at(hostPort(server, f.network, port(t, s.Addr)))) })
			undisturbed(t, d)
		})
	}
	t.Run("iperf3", func(t *testing.T) {
		need(t, "iperf3")
		iperf3Server(t, server, foreign)
		for _, f := range families {
			t.Run(f.name, func(t *testing.T) { iperf3(t, client, server, f.network, foreign) })
		}
		// A client that ends a test closes while the server still sends: what comes
		// after its RST is no part of a connection.
		if s := d.accounted(t); s.Packets.Unchanged+s.Unmatched.In > 0 {
			t.Errorf("stats: %+v, no instance %+v", s.Packets, s.Unmatched)
		}
	})
}

// volume is how much goes through one cell of the matrix.
type volume struct {
	down, up int64 // bytes
	short    int   // connections
}

// small is enough to see that a cell works.
var small = volume{20_000_000, 5_000_000, 200}

// full reports whether the environment asks for the long form of tests.
func full() bool { return os.Getenv("PROMETHOS_TEST") == "full" }

// matrixVolume is larger where the environment asks for it, in one direction for
// each family; that takes some minutes more.
func matrixVolume(family int) volume {
	v := small
	if full() {
		v.short = 10_000
		if family == 0 {
			v.down = 1_000_000_000
		} else {
			v.up = 1_000_000_000
		}
	}
	return v
}

// transfers are a download, an upload and short connections.
func transfers(t *testing.T, v volume, client, server *lab.Host, network string, httpPort, echoPort uint16) {
	t.Helper()
	s := at(hostPort(server, network, httpPort))
	must(client.Download(within(t, patience), s.DataURL(v.down, 1)))(t)
	must(client.Upload(within(t, patience), s.UploadURL(), v.up, 2))(t)
	must(client.ShortConnections(within(t, patience), hostPort(server, network, echoPort), v.short, 8, 512))(t)
}
