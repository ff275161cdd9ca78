package wasm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
	"github.com/promethos/promethos/wasm/testdata/keeper"
)

// buildC compiles a guest with Debian's clang, or skips naming what is missing.
func buildC(t testing.TB, source string) []byte {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	out := filepath.Join(t.TempDir(), "guest.wasm")
	c := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry", "-o", out, source)
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCGuest: a guest in C reads its settings, registers a reason, and judges.
// Its manifest stands inside.
func TestCGuest(t *testing.T) {
	manifest := strings.Replace(nastyManifest, `"layer":2`, `"layer":4,"settings":{"type":"object","required":["first"],"properties":{"first":{"type":"integer"}}}`, 1)
	packed, err := Pack(buildC(t, "testdata/c/refuse.c"), []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	install(t, dir, "nasty", packed, "")
	remove(t, dir, "nasty.json")
	b := ppftest.New(t)
	in := ppftest.Instance("a", "nasty")
	in.Modules = map[string]ppf.Value{"nasty": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{scalar("first", "120")}}}
	apply(b, dir, in)
	if got := ask(t, b, "hello"); got != "hello" {
		t.Errorf("sent %q", got)
	}
	if action, _ := b.Send(ppf.Forward, segment(t, "xyz")); action != ppf.Drop || b.Count("nasty.first", ppf.OutcomeDrop) != 1 {
		t.Errorf("%v, %q", action, events(b, "fault"))
	}
	for value, want := range map[string]string{"256": "it refused its settings with code 1", "": "the setting is missing"} {
		in.Modules["nasty"] = ppf.Value{Kind: ppf.ValueMap}
		if value != "" {
			in.Modules["nasty"] = ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{scalar("first", value)}}
		}
		problems := ppf.CheckSpec(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{in}})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("first %q: %v, want %q", value, problems, want)
		}
	}
	b.Accounted()
}

// TestCTimer: a guest in C sends a packet from a timer, and migrates what it keeps.
func TestCTimer(t *testing.T) {
	manifest := func(schema int) string {
		return fmt.Sprintf(`{"abi":1,"name":"beat","version":"1","doc":"for tests","functions":[{"name":"beat","doc":"for tests","level":"packet","layer":4}],
"capabilities":["connection-storage","timers","emit"],"storage":{"schema":%d,"connection":8,"instance":0}}`, schema)
	}
	dir, binary := t.TempDir(), buildC(t, "testdata/c/beat.c")
	install(t, dir, "beat", binary, manifest(1))
	b := ppftest.New(t)
	apply(b, dir, ppftest.Instance("a", "beat"))
	if got := ask(t, b, "hello"); got != "\x01" {
		t.Errorf("sent %q", got)
	}
	later(b, time.Second)
	if len(b.Emitted) != 1 || !bytes.HasSuffix(b.Emitted[0], []byte("heard")) {
		t.Errorf("emitted %x, %q", b.Emitted, events(b, "fault"))
	}
	install(t, dir, "beat", binary, manifest(2))
	if err := b.Engine.ReloadModule(t.Context(), "beat"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, b, "hello"); got != "\x66" {
		t.Errorf("after a reload: sent %q", got)
	}
	b.Accounted()
}

// TestCExample: examples/count in C counts as the one in Go does, and without an
// allocation.
func TestCExample(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "count", buildC(t, "../examples/count/c/count.c"), countManifest(t))
	b := ppftest.New(t)
	apply(b, dir, ppftest.Instance("a", "count"))
	if got := ask(t, b, "hello"); got != "hello" {
		t.Errorf("sent %q", got)
	}
	wantNoAllocations(t, b)
}

// wantNoAllocations sends the same packet again and again.
func wantNoAllocations(t *testing.T, b *ppftest.Bench) {
	t.Helper()
	frames := []ppf.Frame{b.Frame(ppf.Forward, segment(t, "hello"))}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations per packet, want 0", n)
	}
}

// TestAllocations: judging a packet allocates nothing, in a Go guest and
// compiled in.
func TestAllocations(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "count", buildGuest(t, "../examples/count/guest"), countManifest(t))
	b := ppftest.New(t)
	apply(b, dir, ppftest.Instance("a", "count"))
	wantNoAllocations(t, b)
	b = ppftest.New(t)
	if err := b.Engine.LoadModuleInfo(t.Context(), Native([]byte(keeperManifest("keeper", 1, 16)), keeper.Module)); err != nil {
		t.Fatal(err)
	}
	apply(b, "", ppftest.Instance("a", "keeper"))
	wantNoAllocations(t, b)
}
