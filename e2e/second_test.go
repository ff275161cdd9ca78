package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// refusedBeside wants a second daemon with a configuration to end at once, naming
// the first, which goes on undisturbed.
func (d *daemon) refusedBeside(t *testing.T, l *lab.Lab, configuration string) {
	t.Helper()
	file := t.TempDir() + "/promethos.yaml"
	write(t, file, configuration)
	args := []string{"run", "-c", file, "--control", t.TempDir() + "/other.sock"}
	r := run(t, l.Proxy, args...)
	for _, want := range []string{fmt.Sprintf("process %d", d.PID()), d.Control, "stop it"} {
		if r.status != 1 || !strings.Contains(r.errors, want) {
			t.Errorf("%v\nwant status 1 and %q", r, want)
		}
	}
}

// TestSecondDaemon: a network namespace has one daemon. A second one says which it
// collides with, whatever its queues, and from another container too; after a kill
// the next one starts.
func TestSecondDaemon(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := withServer(t, l, "forward", p, "")
	if r := run(t, l.Proxy, "run", "-c", d.file(), "--control", d.Control); r.status != 1 || !strings.Contains(r.errors, d.Control) {
		t.Errorf("the same socket: %v\nwant status 1 naming it", r)
	}
	before := tables(t, l)
	same := protect("forward", p, "", l.Server)
	d.refusedBeside(t, l, same)
	d.refusedBeside(t, l, "queue: 4711\n"+same)
	d.refusedBeside(t, l, "queue: 4711\n"+protect("forward", 9, "", l.Client))
	d.refusedBeside(t, l, empty)
	d.refusedBeside(t, l, wire("arp, tcp"))
	if after := tables(t, l); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("tables %v, were %v", after, before)
	}

	t.Run("container", func(t *testing.T) {
		need(t, "unshare")
		c := []string{"--mount", "--pid", "--fork", "--mount-proc"}
		if r := execute(t, l.Proxy, "unshare", append(c, "true")...); r.status != 0 {
			t.Skipf("needs namespaces of mounts and processes: %v", r)
		}
		r := execute(t, l.Proxy, "unshare", append(c, program, "run", "-c", d.file(), "--control", t.TempDir()+"/other.sock")...)
		if r.status != 1 || !strings.Contains(r.errors, "not seen from here") {
			t.Errorf("%v\nwant status 1, and no process of another container", r)
		}
	})

	// One that takes no packets disturbs nobody.
	listener := `version: 1
instances:
  - {name: front, source: listen, listen: '127.0.0.1:0', upstream: '127.0.0.1:9', chain: [relay]}
`
	beside := start(t, l, listener)
	beside.configure(t, listener+strings.TrimPrefix(wire("arp, tcp"), "version: 1\ninstances:\n"))
	if r := beside.try(t, "reload"); r.status != 1 || !strings.Contains(r.errors, d.Control) {
		t.Errorf("reload: %v\nwant status 1 naming %s", r, d.Control)
	}
	beside.stop(t)
	reachable(t, l, p)
	undisturbed(t, d)

	d.kill(t)
	withServer(t, l, "forward", p, "").stop(t)
}

// TestSecondDaemonInline: whose the ports of pairs are is one daemon's matter too.
func TestSecondDaemonInline(t *testing.T) {
	l := up(t, lab.Options{Inline: true})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, wire("arp, tcp"))
	d.refusedBeside(t, l, strings.Replace(wire("arp, tcp"), "client: "+lab.ClientInterface, "client: other0", 1))
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
}
