package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
)

// reloads are the ways to make the daemon read its configuration again.
var reloads = []struct {
	name string
	do   func(*testing.T, *daemon)
}{
	{"SIGHUP", func(t *testing.T, d *daemon) {
		t.Helper()
		before := strings.Count(d.do(t, "events"), "reloaded ")
		d.signal(t, syscall.SIGHUP)
		eventually(t, "reloaded", func() (bool, string) {
			out := d.do(t, "events")
			return strings.Count(out, "reloaded ") > before, out
		})
	}},
	{"reload", func(t *testing.T, d *daemon) {
		t.Helper()
		d.do(t, "reload")
	}},
}

// TestReload changes the configuration under a transfer and a storm of malformed
// packets: the transfer goes on and nothing of the storm arrives.
func TestReload(t *testing.T) {
	l := up(t, lab.Options{})
	p := endless(t, l.Server)
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	one := protect("forward", p, "", l.Server)
	two := one + echoInstance("forward", l.Server, port(t, echo.Addr))
	for connections, way := range reloads {
		t.Run(way.name, func(t *testing.T) {
			d := start(t, l, one)
			number := d.instances(t)[0].Numbers
			arrived := storm(t, l, p)
			transfer := download(t, l.Client, hostPort(l.Server, "tcp4", p), connections)
			transfer.flowing(t)
			const times = 4
			for range times {
				d.configure(t, two)
				way.do(t, d)
				if list := d.instances(t); len(list) != 2 || list[0].Numbers != number {
					t.Errorf("instances: %+v, want a second one, and the first unchanged", list)
				}
				must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", port(t, echo.Addr)), 20, 4, 100))(t)
				d.configure(t, one)
				way.do(t, d)
				if list := d.instances(t); len(list) != 1 || list[0].Numbers != number {
					t.Errorf("instances: %+v, want the first alone, unchanged", list)
				}
				transfer.flowing(t)
			}
			if names := arrived(); len(names) > 0 {
				t.Errorf("arrived during reloads: %v", names)
			}
			transfer.finish(t)
			if n := d.counted(t, "tcp.midstream"); n > 0 {
				t.Errorf("the connection was lost: %d packets of no connection", n)
			}
			d.accounted(t)
		})
	}
}

// TestReloadRefused wants a wrong configuration refused with all its problems, and
// the running one to stay.
func TestReloadRefused(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	good := protect("forward", p, "", l.Server)
	d := start(t, l, good)
	before := fmt.Sprint(d.instances(t)[0].Numbers)
	bad := `version: 1
instances:
  - name: web
    hook: sideways
    match: {protocol: tcp, server: 192.0.2.300}
    chain: [nothing]
    mode: sometimes
`
	d.configure(t, bad)
	r := d.try(t, "reload")
	if r.status != 2 {
		t.Errorf("%v\nwant status 2", r)
	}
	for _, want := range []string{":4:", ":5:", ":6:", ":7:", "sideways", "192.0.2.300", "nothing", "sometimes"} {
		if !strings.Contains(r.errors, want) {
			t.Errorf("reload does not mention %q:\n%s", want, r.errors)
		}
	}
	d.signal(t, syscall.SIGHUP)
	eventually(t, "SIGHUP refused", func() (bool, string) {
		return strings.Contains(d.Log(), "sideways"), d.Log()
	})
	reachable(t, l, p)
	if after := fmt.Sprint(d.instances(t)[0].Numbers); after != before {
		t.Errorf("instance numbers %v, want %v", after, before)
	}
	undisturbed(t, d)

	// What is right again is taken.
	d.configure(t, good)
	d.do(t, "reload")
	reachable(t, l, p)
}

// TestReloadKeepsRuntime wants what commands made to survive a reload, and to be
// gone after a restart.
func TestReloadKeepsRuntime(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := withServer(t, l, "forward", p, "")
	cs := d.rule(t, "-A", "OUTPUT", "-p", "tcp", "-d", l.Server.IPv4.String(), "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 tcp.")
	sc := d.rule(t, "-A", "INPUT", "-p", "tcp", "-s", l.Server.IPv4.String(), "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
	runtime := func() (found []instance) {
		for _, i := range d.instances(t) {
			if i.Origin == "runtime" {
				found = append(found, i)
			}
		}
		return found
	}
	d.configure(t, protect("forward", p, "    mode: strict\n", l.Server))
	if out := d.do(t, "reload"); !strings.Contains(out, "web") {
		t.Errorf("reload printed %q, want what became of web", out)
	}
	if list := runtime(); len(list) != 1 || list[0].Name != cs+"/"+sc {
		t.Errorf("runtime instances after a reload: %+v, want %s/%s", list, cs, sc)
	}
	reachable(t, l, p)
	must(l.Proxy.Download(within(t, patience), at(hostPort(l.Server, "tcp4", p)).DataURL(100_000, 1)))(t)
	if list := runtime(); list[0].Flows[0].Sent == 0 || list[0].Flows[1].Sent == 0 {
		t.Errorf("nothing went through %+v", list[0])
	}
	d.stop(t)
	d = withServer(t, l, "forward", p, "")
	if list := runtime(); len(list) != 0 {
		t.Errorf("runtime instances after a restart: %+v, want none", list)
	}
}

// TestInstancesUnderTraffic makes and removes rules by command while connections
// come and go.
func TestInstancesUnderTraffic(t *testing.T) {
	l := up(t, lab.Options{})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	p := port(t, echo.Addr)
	// However long it takes, the client does not run out of ports.
	check(t, l.Client.Sysctl("net/ipv4/tcp_tw_reuse", "1"))
	d := withServer(t, l, "forward", p, "")
	stop, done := make(chan struct{}), make(chan error, 1)
	ctx := within(t, patience)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if _, err := l.Client.ShortConnections(ctx, hostPort(l.Server, "tcp4", p), 100, 4, 256); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for range 10 {
		d.do(t, "module", "load", "modull")
		// A rule beside the traffic's, for a port that nobody uses.
		cs := d.rule(t, "-A", "FORWARD", "-p", "tcp", "-d", l.Server.IPv4.String(), "--dport", "9", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 test,tcp.")
		d.rule(t, "-A", "FORWARD", "-p", "tcp", "-s", l.Server.IPv4.String(), "--sport", "9", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
		d.iptables(t, "-F")
		d.do(t, "module", "unload", "modull")
	}
	close(stop)
	check(t, <-done)
	if list := d.instances(t); len(list) != 1 || list[0].Name != "web" {
		t.Errorf("instances: %+v, want web alone", list)
	}
	d.accounted(t)
}
