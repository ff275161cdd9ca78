// Package kittest is the conformance kit in a Go test.
package kittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/promethos/promethos/lab/kit"
)

// Guest compiles a module's guest in a folder of the test's, with its manifest
// beside it, and returns the file.
func Guest(t testing.TB, pkg, manifest string) string {
	t.Helper()
	name := filepath.Base(manifest)
	file := filepath.Join(t.TempDir(), name[:len(name)-len(filepath.Ext(name))]+".wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", file, pkg)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Run tests a module with its scenarios and fuzzed traffic.
func Run(t *testing.T, module string, traces ...string) {
	t.Helper()
	o := kit.Options{Module: module, Fuzz: 20000, Seed: 1}
	for _, path := range traces {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := kit.ParseTrace(path, string(text))
		if err != nil {
			t.Fatal(err)
		}
		if s.Kind != kit.KindPackets {
			o.Fuzz = 5000 // they take longer than packets
		}
		o.Scenarios = append(o.Scenarios, s)
	}
	checks, err := kit.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		for _, p := range c.Problems {
			t.Errorf("%s: %s", c.Name, p)
		}
		if c.Packets == 0 {
			t.Errorf("%s: no packet", c.Name)
		}
	}
}
