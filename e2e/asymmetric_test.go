package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestProtectAsymmetric: answers of the server that take another way are told before
// anything is protected, with what to do, and nothing is told where they do not.
func TestProtectAsymmetric(t *testing.T) {
	need(t, "curl")
	need(t, "ip")
	l := up(t, lab.Options{})
	s := web(t, l.Server)
	told := func(h string) string {
		t.Helper()
		r := run(t, l.Proxy, "--control", "/nonexistent", "protect", h, "--tcp", "80", "--monitor", "--print")
		if r.status != 0 {
			t.Fatal(r)
		}
		return r.errors
	}
	for _, f := range families {
		if said := told(l.Server.Addr(f.network).String()); strings.Contains(said, "asymmetric") {
			t.Errorf("%s: by one way:\n%s", f.name, said)
		}
	}
	check(t, l.Detour(t.Context()))
	for _, f := range families {
		said := told(l.Server.Addr(f.network).String())
		for _, want := range []string{
			"asymmetric route: an answer of the server to " + l.Proxy.Addr(f.network).String() + " comes in by " + lab.ClientInterface + " and not by " + lab.ServerInterface,
			"make " + map[string]string{"tcp4": "10.77.2.1", "tcp6": "fd77:2::1"}[f.network] + " the way to the clients",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not told:\n%s", f.name, want, said)
			}
		}
	}
	// What it says is so, and its advice helps.
	addr := hostPort(l.Server, "tcp4", port(t, s.Addr))
	if !reaches(t, l.Client, addr) {
		t.Fatal("the way round does not carry answers")
	}
	p := startProtect(t, l, nil, l.Server.IPv4.String(), "--tcp", "1-65535")
	if !unreached(t, l.Client, addr) {
		t.Error("a connection of which only one flow is seen comes about")
	}
	if r := execute(t, l.Server, "ip", "route", "del", "10.77.1.0/24"); r.status != 0 {
		t.Fatal(r)
	}
	if !reaches(t, l.Client, addr) {
		t.Errorf("with answers by the proxy the server cannot be reached:\n%s", p.text())
	}
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	// A server that answers its own segment only.
	if r := execute(t, l.Server, "ip", "route", "add", "blackhole", "10.77.1.0/24"); r.status != 0 {
		t.Fatal(r)
	}
	if said, want := told(l.Server.IPv4.String()), "asymmetric route: the server answers 10.77.2.1 and not 10.77.1.1"; !strings.Contains(said, want) {
		t.Errorf("%q is not told:\n%s", want, said)
	}
}
