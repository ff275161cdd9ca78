package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestBlocklist runs examples/blocklist: a list that is reloaded shuts its clients
// out, and in again, while the configuration stays; a malformed one changes nothing.
func TestBlocklist(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	dir := t.TempDir()
	list := filepath.Join(dir, "scanners.data.json")
	text := string(must(os.ReadFile("../examples/blocklist/scanners.data.json"))(t))
	keep := func(change ...string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(strings.NewReplacer(change...).Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keep()
	file := strings.NewReplacer("192.0.2.10", l.Server.IPv4.String(), "module_dirs: [.]", "module_dirs: ["+dir+"]").
		Replace(string(must(os.ReadFile("../examples/blocklist/promethos.yaml"))(t)))
	d := start(t, l, file)
	address := hostPort(l.Server, "tcp4", p)
	c := must(l.Client.Dial(within(t, patience), "tcp4", address))(t)
	check(t, c.Close())

	keep("198.51.100.66", l.Client.IPv4.String())
	d.do(t, "module", "reload", "scanners")
	if c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", address); err == nil {
		c.Close()
		t.Error("a client on the list got through")
	}
	if n := d.counted(t, "ip.client"); n == 0 {
		t.Error("nothing was dropped with ip.client")
	}
	keep(`"198.51.100.66"`, "66")
	if r := d.try(t, "module", "reload", "scanners"); r.status != 1 {
		t.Errorf("a malformed list was taken: %v", r)
	}
	if c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", address); err == nil {
		c.Close()
		t.Error("a malformed list let the client in")
	}
	keep()
	d.do(t, "module", "reload", "scanners")
	c = must(l.Client.Dial(within(t, patience), "tcp4", address))(t)
	check(t, c.Close())
	d.accounted(t)
}
