package wasm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// built caches what buildGuest compiled, by package.
var built struct {
	sync.Mutex
	binaries map[string][]byte
}

// buildGuest compiles a guest of this repository with the stock toolchain.
func buildGuest(t testing.TB, pkg string) []byte {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if b := built.binaries[pkg]; b != nil {
		return b
	}
	out := filepath.Join(t.TempDir(), "guest.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if built.binaries == nil {
		built.binaries = map[string][]byte{}
	}
	built.binaries[pkg] = b
	return b
}

// install writes a module's files into a folder and returns the binary's path.
func install(t testing.TB, dir, name string, binary []byte, manifest string) string {
	t.Helper()
	file := filepath.Join(dir, name+".wasm")
	for path, data := range map[string][]byte{file: binary, filepath.Join(dir, name+".json"): []byte(manifest)} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// countManifest is the manifest of examples/count.
func countManifest(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../examples/count/count.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// apply configures instances with module folders.
func apply(b *ppftest.Bench, dir string, instances ...ppf.InstanceSpec) {
	b.T.Helper()
	if _, err := b.Engine.Apply(&ppf.Spec{ModuleDirs: []string{dir}, Instances: instances}); err != nil {
		b.T.Fatal(err)
	}
}

func segment(t testing.TB, payload string) []byte {
	return ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4,
		TCP: packet.TCP{Flags: packet.ACK | packet.PSH, Seq: 7, Ack: 9, Window: 100}, IP: packet.IPv4{DF: true}, Payload: []byte(payload)}.Bytes(t)
}

// events lists the texts of the module events that contain a word.
func events(b *ppftest.Bench, word string) (list []string) {
	all, _ := b.Engine.Events().Since(0)
	for _, e := range all {
		if strings.Contains(e.Text, word) {
			list = append(list, e.Text)
		}
	}
	return list
}

// TestGoGuest: a chain that names a function of a file in module_dirs loads it,
// and packets are built anew from typed values.
func TestGoGuest(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "count", buildGuest(t, "../examples/count/guest"), countManifest(t))
	b := ppftest.New(t)
	in := ppftest.Instance("a", "count")
	in.Modules = map[string]ppf.Value{"count": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "every", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "2"}}}}}
	apply(b, dir, in)
	data := segment(t, "hello")
	for range 4 {
		action, out := b.Send(ppf.Forward, data)
		if action != ppf.Accept || string(out[40:]) != "hello" {
			t.Fatalf("%v %x: %v", action, out, events(b, "fault"))
		}
		if out[4] != 0 || out[5] != 0 {
			t.Errorf("ID %x: not built anew", out[4:6])
		}
	}
	if got := events(b, "packets"); len(got) != 2 || !strings.Contains(got[1], "4 packets, 20 bytes") {
		t.Errorf("logged %q", got)
	}
	b.Accounted()
}

func BenchmarkGoGuest(b *testing.B) {
	dir := b.TempDir()
	install(b, dir, "count", buildGuest(b, "../examples/count/guest"), countManifest(b))
	bench := ppftest.New(b)
	apply(bench, dir, ppftest.Instance("a", "count"))
	frames := []ppf.Frame{bench.Frame(ppf.Forward, segment(b, "hello"))}
	h := bench.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(frames)
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCrossing is the cost of a call of a guest's that does nothing: what a
// batch of packets in one call could save of each (docs/adr/0020).
func BenchmarkCrossing(b *testing.B) {
	for _, form := range []struct {
		name   string
		binary func(testing.TB) []byte
	}{
		{"bytes", func(testing.TB) []byte { return assembly{process: verdictOf(1)}.bytes() }},
		{"C", func(t testing.TB) []byte { return buildC(t, "../examples/count/c/count.c") }},
		{"Go", func(t testing.TB) []byte { return buildGuest(t, "../examples/count/guest") }},
	} {
		b.Run(form.name, func(b *testing.B) {
			file := install(b, b.TempDir(), "count", form.binary(b), countManifest(b))
			info, err := loader{}.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			m := info.New().(*module)
			info.New = func() ppf.Module { return m }
			bench := ppftest.New(b)
			if err := bench.Engine.LoadModuleInfo(b.Context(), info); err != nil {
				b.Fatal(err)
			}
			area := m.trial.mod.ExportedFunction(exportArea)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.trial.call(area, startFuel); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
