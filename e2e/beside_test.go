package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/source/nfqueue"
)

// TestProtectBeside: with a daemon running, the instances run beside those of its
// file, through its reloads, until the command ends, however it ends; when they
// are in the file they stay.
func TestProtectBeside(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	of, allowed, other := port(t, web(t, l.Client).Addr), port(t, web(t, l.Server).Addr), port(t, web(t, l.Server).Addr)
	server := l.Server.IPv4.String()
	// The daemon has an instance for another server.
	file := strings.ReplaceAll(protect("forward", of, "", l.Client), "name: plc", "name: others")
	d := start(t, l, file)
	addr := func(p uint16) string { return hostPort(l.Server, "tcp4", p) }
	names := func() string {
		var list []string
		for _, in := range d.instances(t) {
			list = append(list, in.Name)
		}
		return strings.Join(list, " ")
	}
	before := names()
	gone := func(when string) {
		t.Helper()
		eventually(t, when, func() (bool, string) { return names() == before, names() })
		if !reaches(t, l.Client, addr(other)) {
			t.Errorf("%s: something is left behind", when)
		}
	}
	holds := func(when string) {
		t.Helper()
		if !reaches(t, l.Client, addr(allowed)) || !unreached(t, l.Client, addr(other)) {
			t.Errorf("%s: the allowed port cannot be reached, or another can", when)
		}
	}
	tcp := fmt.Sprint(allowed)
	p := startProtectAt(t, l, d.Control, nil, server, "--tcp", tcp)
	holds("beside")
	d.do(t, "reload")
	holds("after a reload")
	if r := run(t, l.Proxy, "--control", d.Control, "protect", server, "--tcp", tcp); r.status != 1 || !strings.Contains(r.errors, "is there already") {
		t.Errorf("twice: %v", r)
	}
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	gone("after its end")

	p = startProtectAt(t, l, d.Control, nil, server, "--tcp", tcp)
	holds("beside again")
	check(t, p.cmd.Process.Kill())
	<-p.ended
	gone("after it was killed")

	p = startProtectAt(t, l, d.Control, nil, server, "--tcp", "1", "--try", "1")
	p.end(t)
	gone("not confirmed")

	saved := filepath.Join(t.TempDir(), "plc.yaml")
	p = startProtectAt(t, l, d.Control, nil, server, "--tcp", tcp, "--save", "--config", saved)
	eventually(t, "saved", func() (bool, string) { return strings.Contains(p.text(), "saved to "+saved), p.text() })
	d.configure(t, strings.Replace(file, "version: 1\n", "version: 1\ninclude: ["+saved+"]\n", 1))
	d.do(t, "reload")
	number := d.instances(t)[1].Numbers
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	holds("from the file")
	if list := d.instances(t); len(list) < 2 || list[1].Numbers != number {
		t.Errorf("the instances were made anew: %+v", list)
	}
	d.accounted(t)
}

// TestProtectBesideShadowed: what the file has for a server already is not judged by
// an instance behind it, and that is said.
func TestProtectBesideShadowed(t *testing.T) {
	l := up(t, lab.Options{})
	d := start(t, l, protect("forward", 80, "", l.Server))
	r := run(t, l.Proxy, "--control", d.Control, "protect", l.Server.IPv4.String(), "--tcp", "80")
	if r.status != 1 || !strings.Contains(r.errors, "takes traffic of") {
		t.Errorf("%v", r)
	}
	if list := d.instances(t); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// TestReloadTakenBack: what the kernel refuses when the instances are there already
// is taken back, and connections go on, also those of instances that were to go.
func TestReloadTakenBack(t *testing.T) {
	l := up(t, lab.Options{})
	p := endless(t, l.Server)
	one := protect("forward", p, "", l.Server)
	d := start(t, l, one)
	before := d.instances(t)
	transfer := download(t, l.Client, hostPort(l.Server, "tcp4", p), 0)
	transfer.flowing(t)
	taken := must(l.Proxy.StartEcho(t.Context(), "127.0.0.1:0"))(t)
	t.Cleanup(func() { check(t, taken.Close()) })
	// Somebody else has the queue that an instance that fails open needs.
	check(t, l.Proxy.Do(func() error {
		queue, err := nfqueue.Open(nfqueue.Config{Queues: []uint16{20576}, Now: func() int64 { return 0 }})
		if err == nil {
			t.Cleanup(func() { check(t, queue.Close()) })
		}
		return err
	}))
	refused := func(name string) {
		t.Helper()
		if r := run(t, l.Proxy, "reload", "--control", d.Control); r.status != 1 || !strings.Contains(r.errors, "the configuration before is in use again") {
			t.Errorf("%s: %v", name, r)
		}
		if list := d.instances(t); len(list) != len(before) || list[0].Numbers != before[0].Numbers || list[0].Connections != 1 {
			t.Errorf("%s: instances %+v, want %+v with a connection", name, list, before)
		}
		transfer.flowing(t)
	}
	for name, more := range map[string]string{
		"a port in use":  "  - name: front\n    source: listen\n    listen: " + taken.Addr + "\n    upstream: 127.0.0.1:9\n    chain: [relay]\n",
		"a queue in use": "  - name: open\n    match: {protocol: tcp, server: 192.0.2.77}\n    fail: open\n    chain: [tcp]\n",
	} {
		for what, text := range map[string]string{"more": one + more, "others": "version: 1\ninstances:\n" + more} {
			d.configure(t, text)
			refused(name + ", " + what)
		}
	}
	d.configure(t, one)
	d.do(t, "reload")
	transfer.finish(t)
	if n := d.counted(t, "tcp.midstream"); n > 0 {
		t.Errorf("the connection was lost: %d packets of no connection", n)
	}
}
