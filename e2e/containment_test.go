package e2e

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestContainment sends packets that make a guest loop for ever, while a transfer
// goes through another instance: only the guest's own flow is closed, and it
// is disabled and reloaded under traffic.
func TestContainment(t *testing.T) {
	l := up(t, lab.Options{})
	p := endless(t, l.Server)
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	dir := t.TempDir()
	guest(t, dir, "looping", "./testdata/looping", "testdata/looping/looping.json")
	e := port(t, echo.Addr)
	file := withModule(dir, "tcp", p, l) + strings.Replace(echoInstance("forward", l.Server, e), "chain: [tcp]", "chain: [tcp, looping]", 1)
	d := start(t, l, file)
	t.Cleanup(func() { check(t, echo.Close()) }) // before the daemon ends, which resets what is open
	transfer := download(t, l.Client, hostPort(l.Server, "tcp4", p), 0)
	transfer.flowing(t)
	short := func() {
		t.Helper()
		must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, "tcp4", e), 20, 4, 100))(t)
	}
	short()

	// The segment is sent again and again, and each time is a fault.
	c := must(l.Client.Dial(within(t, patience), "tcp4", hostPort(l.Server, "tcp4", e)))(t)
	defer c.Close()
	must(c.Write([]byte("loop")))(t)
	eventually(t, "disabled", func() (bool, string) {
		m := d.module(t, "looping")
		return m.State == "disabled", m.State
	})
	transfer.flowing(t)
	if n := d.module(t, "looping").Faults; n < 3 {
		t.Errorf("%d faults", n)
	}
	d.event(t, "endless loop: it used up its fuel")
	d.event(t, "disabled after 3 faults")
	if other, err := l.Client.Dial(within(t, refusedWithin), "tcp4", hostPort(l.Server, "tcp4", e)); err == nil {
		other.Close()
		t.Error("the flow of a disabled module is open")
	}
	if n := d.counted(t, "wasm.disabled"); n == 0 {
		t.Error("nothing was dropped with wasm.disabled")
	}
	check(t, c.Close())
	d.do(t, "module", "reload", "looping")
	transfer.flowing(t)
	short()
	transfer.finish(t)
	if n := d.counted(t, "tcp.midstream"); n > 0 {
		t.Errorf("%d packets of no connection", n)
	}
	d.accounted(t)
}
