package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// guest compiles a module of this repository into a folder; edit changes its
// manifest.
func guest(t *testing.T, dir, name, pkg, manifest string) {
	t.Helper()
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name+".wasm"), pkg)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	describe(t, dir, name, string(must(os.ReadFile(manifest))(t)))
}

// describe writes a module's manifest beside it.
func describe(t *testing.T, dir, name, manifest string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
}

// module is one line of `promethos modules --json`.
type module struct {
	Name, Kind, Version, State string
	Loaded                     bool
	Faults                     uint64
	Functions                  []string
}

func (d *daemon) module(t *testing.T, name string) module {
	t.Helper()
	var list []module
	if err := json.Unmarshal([]byte(d.do(t, "modules", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no module %s in %+v", name, list)
	return module{}
}

// memory is the daemon's resident memory in KiB (proc_pid_status(5)).
func (d *daemon) memory(t *testing.T) (kib int64) {
	t.Helper()
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID())))(t))
	_, rest, _ := strings.Cut(status, "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// withModule is protect with a module in the chain.
func withModule(dir, chain string, p uint16, l *lab.Lab) string {
	file := protect("forward", p, "", l.Server)
	file = strings.Replace(file, "chain: [tcp]", "chain: ["+chain+"]", 1)
	return strings.Replace(file, "version: 1\n", fmt.Sprintf("version: 1\nmodule_dirs: [%s]\n", dir), 1)
}

// TestModuleReloads reloads a module again and again under a transfer at full
// speed: the connection stays, its storage goes over, no packet is lost on the way
// through the chain, and memory stays flat.
func TestModuleReloads(t *testing.T) {
	times := 40
	if full() {
		times = 1000
	}
	l := up(t, lab.Options{})
	p := endless(t, l.Server)
	dir := t.TempDir()
	guest(t, dir, "count", "../examples/count/guest", "../examples/count/count.json")
	manifest := string(must(os.ReadFile(filepath.Join(dir, "count.json")))(t))
	d := start(t, l, withModule(dir, "tcp, count", p, l))
	if m := d.module(t, "count"); !m.Loaded || m.Kind != "wasm" || m.Version != "1.0.0" {
		t.Errorf("the chain's module: %+v", m)
	}
	transfer := download(t, l.Client, hostPort(l.Server, "tcp4", p), 0)
	transfer.flowing(t)
	var early int64
	for i := range times {
		version := fmt.Sprintf("1.0.%d", i+1)
		describe(t, dir, "count", strings.Replace(manifest, `"version": "1.0.0"`, fmt.Sprintf("%q: %q", "version", version), 1))
		d.do(t, "module", "reload", "count")
		if m := d.module(t, "count"); m.Version != version || m.Faults != 0 || m.State != "loaded" {
			t.Fatalf("after reload %d: %+v", i+1, m)
		}
		if i == times/4 {
			early = d.memory(t)
		}
	}
	transfer.flowing(t)
	if late := d.memory(t); late > early+early/2 {
		t.Errorf("resident memory grew from %d to %d KiB in %d reloads", early, late, times-times/4)
	} else {
		t.Logf("resident memory after %d reloads %d KiB, after %d %d KiB", times/4, early, times, late)
	}
	transfer.finish(t)
	for _, reason := range []string{"tcp.midstream", "chain.function-missing", "chain.unhandled", "wasm.fault", "wasm.restarting"} {
		if n := d.counted(t, reason); n > 0 {
			t.Errorf("%d packets dropped with %s", n, reason)
		}
	}
	d.accounted(t)
}

// TestModuleLife loads, refuses, forces and reloads by name and by file.
func TestModuleLife(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	dir := t.TempDir()
	guest(t, dir, "count", "../examples/count/guest", "../examples/count/count.json")
	d := start(t, l, withModule(dir, "tcp, count", p, l))
	reachable(t, l, p)
	wrong := func(want string, args ...string) {
		t.Helper()
		if r := d.try(t, args...); r.status != 1 || !strings.Contains(r.errors, want) {
			t.Errorf("%v: %v\nwant %q", args, r, want)
		}
	}
	wrong("is used by instance web", "module", "unload", "count")
	wrong("nosuch", "module", "load", "nosuch")
	wrong("nosuch.wasm", "module", "load", filepath.Join(dir, "nosuch.wasm"))
	d.do(t, "module", "unload", "--force", "count")
	if r, err := l.Client.Dial(within(t, refusedWithin), "tcp4", hostPort(l.Server, "tcp4", p)); err == nil {
		r.Close()
		t.Error("the server was reached without the chain's module")
	}
	if n := d.counted(t, "chain.function-missing"); n == 0 {
		t.Error("nothing was dropped with chain.function-missing")
	}
	d.do(t, "module", "load", filepath.Join(dir, "count.wasm"))
	reachable(t, l, p)
	// A built-in module has the same life.
	d.do(t, "module", "reload", "tcp")
	reachable(t, l, p)
	if m := d.module(t, "tcp"); m.Kind != "built-in" || m.State != "loaded" {
		t.Errorf("listed as %+v", m)
	}
	d.accounted(t)
}

// TestModuleSettings: a wrong setting of a guest is a problem of the file like
// any other.
func TestModuleSettings(t *testing.T) {
	dir := t.TempDir()
	guest(t, dir, "count", "../examples/count/guest", "../examples/count/count.json")
	file := filepath.Join(dir, "promethos.yaml")
	text := `version: 1
module_dirs: [.]
instances:
  - name: a
    match: {protocol: tcp, server: 192.0.2.1}
    chain: [tcp, count]
    modules: {count: {every: 0, evry: 1}}
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "check", "-c", file).CombinedOutput()
	if err == nil {
		t.Errorf("check took it:\n%s", out)
	}
	for _, want := range []string{`:7:30: instances.a.modules.count.every: 0 is out of range (1 at least)`, `:7:33: instances.a.modules.count.evry: unknown key "evry" (did you mean "every"?)`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("check says\n%s\nand not %q", out, want)
		}
	}
}
