package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// TestFullTable: when the table of connections is full, new ones are refused with a
// reason that says so, and those that are there go on.
func TestFullTable(t *testing.T) {
	l := up(t, lab.Options{})
	echo := must(l.Server.StartEcho(t.Context(), l.Server.IPv4.String()+":0"))(t)
	defer echo.Close()
	d := start(t, l, "version: 1\nplugins: {PROXY: connections 3}\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	var held []net.Conn
	for range 3 {
		c := must(l.Client.Dial(within(t, patience), "tcp", echo.Addr))(t)
		defer c.Close()
		held = append(held, c)
	}
	if c, err := l.Client.Dial(within(t, refusedWithin), "tcp", echo.Addr); err == nil {
		c.Close()
		t.Error("a fourth connection fits")
	}
	eventually(t, "conn.limit-table counted", func() (bool, string) {
		return d.counted(t, "conn.limit-table") > 0, fmt.Sprintf("%+v", d.reasons(t))
	})
	d.event(t, "drop conn.limit-table")
	for _, c := range held {
		must(c.Write([]byte("x")))(t)
		check(t, c.SetReadDeadline(time.Now().Add(patience)))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("a connection that was there: %v", err)
		}
	}
	d.accounted(t)
}

// TestQueueOverrun: what comes while the daemon stands still is dropped by the
// kernel and told in stats, a flood of SYNs in a queue of its own, and then everything
// goes on.
func TestQueueOverrun(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	addr := hostPort(l.Server, "tcp4", p)
	d := start(t, l, "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	frames := must(l.SYNs(p, 20_000))(t) // more than the queue of SYNs holds
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	defer sender.Close()
	eventually(t, "losses in the queue of SYNs are told", func() (bool, string) {
		d.signal(t, syscall.SIGSTOP)
		check(t, sender.SendAll(frames)) // on a busy machine perhaps too slowly for a flood
		d.signal(t, syscall.SIGCONT)
		sources := table[stats](t, d, "stats").Sources
		for _, q := range sources {
			if q.Name == "queue 20578" && q.KernelDropped+q.SocketDropped > 0 {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", sources)
	})
	eventually(t, "the server can be reached again", func() (bool, string) { return !unreached(t, l.Client, addr), "" })
	if top := d.do(t, "top", "-n", "1", "--every", "100ms"); strings.Contains(top, " 0 lost in full queues") {
		t.Errorf("top does not tell:\n%s", top)
	}
}

// TestInterfaceGoneAndBack: an interface that goes down and comes back needs nobody.
func TestInterfaceGoneAndBack(t *testing.T) {
	need(t, "curl")
	need(t, "ip")
	l := up(t, lab.Options{})
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	d := start(t, l, "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+", in: client0, out: server0}\n    chain: [tcp]\n")
	if !reaches(t, l.Client, addr) {
		t.Fatal("the server cannot be reached")
	}
	link := func(state string) {
		t.Helper()
		if r := execute(t, l.Proxy, "ip", "link", "set", "server0", state); r.status != 0 {
			t.Fatal(r)
		}
	}
	link("down")
	if !unreached(t, l.Client, addr) {
		t.Error("the server can be reached without an interface")
	}
	link("up")
	eventually(t, "the server can be reached again", func() (bool, string) { return !unreached(t, l.Client, addr), d.do(t, "stats") })
	d.accounted(t)
}

// TestFullDisk: a capture that finds no room is told once; packets go on.
func TestFullDisk(t *testing.T) {
	need(t, "curl")
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("no disk that is always full: %v", err)
	}
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, "version: 1\ndrops: /dev/full\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	null := must(lab.AttackByName("null-scan"))(t)
	attack(t, l, must(l.AttackEnv(p))(t), []lab.Attack{null, null, null}, func() { d.dropped(t, 3) })
	d.event(t, "no space left on device")
	if n := strings.Count(d.do(t, "events"), "no space left on device"); n != 1 {
		t.Errorf("told %d times, want once", n)
	}
	if !reaches(t, l.Client, hostPort(l.Server, "tcp4", p)) {
		t.Error("the server cannot be reached")
	}
}
