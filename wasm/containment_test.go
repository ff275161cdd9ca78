package wasm

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

const nastyManifest = `{"abi":1,"name":"nasty","version":"1","doc":"does wrong",
"functions":[{"name":"nasty","doc":"does wrong","level":"packet","layer":2}],
"capabilities":["log"],"limits":{"memory_mib":1,"fuel":1000000,"faults":3,"fault_seconds":10}}`

// nasties are guests that do wrong with the first packet.
var nasties = []struct {
	name string
	a    assembly
	want string // in the event
}{
	{"endless loop", assembly{process: []byte{opLoop, blockVoid, opBr, 0, opEnd}}, "endless loop: it used up its fuel"},
	{"endless loop in a block of values", assembly{process: cat([]byte{opLoop, typeI32, opBr, 0, opEnd, opDrop})}, "endless loop: it used up its fuel"},
	{"endless calls one inside the other", assembly{process: cat([]byte{opLocalGet, 0, opCall, 4}), others: [][]byte{{opLocalGet, 0, opCall, 4}}},
		"endless loop: it used up its fuel"},
	{"much memory at once again and again", assembly{process: cat([]byte{opLoop, blockVoid}, i32Const(0), i32Const(7), i32Const(65536),
		[]byte{opPrefix, subMemoryFill, 0, opBr, 0, opEnd})}, "endless loop: it used up its fuel"},
	{"long straight code again and again", assembly{process: cat([]byte{opLoop, blockVoid}, straight(50000), []byte{opBr, 0, opEnd})},
		"endless loop: it used up its fuel"},
	{"memory beyond the limit", assembly{process: cat(i32Const(100), []byte{opMemoryGrow, 0}, i32Const(-1), []byte{0x46, opIf, blockVoid, opUnreachable, opEnd})},
		"wasm error: unreachable"},
	{"memory grows again and again", assembly{process: cat([]byte{opLoop, blockVoid}, i32Const(0), []byte{opMemoryGrow, 0, opDrop, opBr, 0, opEnd})},
		"endless loop: it used up its fuel"},
	{"trap", assembly{process: []byte{opUnreachable}}, "wasm error: unreachable"},
	{"division by zero", assembly{process: cat(i32Const(1), i32Const(0), []byte{0x6d, opDrop})}, "wasm error: integer divide by zero"},
	{"outside its memory", assembly{process: cat(i32Const(-8), []byte{0x28, 0, 0, opDrop})}, "wasm error: out of bounds memory access"},
	{"no verdict", assembly{process: []byte{0x01}}, "wrong verdict: it gave none"},
	{"a verdict that does not exist", assembly{process: verdictOf(3)}, "wrong verdict: 3"},
	{"a drop without a reason", assembly{process: verdictOf(0)}, "wrong verdict: a drop with reason 0"},
	{"a flood of logs", assembly{imports: []assembledImport{{"log", []byte{typeI32, typeI32}, nil}},
		process: cat([]byte{opLoop, blockVoid}, i32Const(0), i32Const(4), []byte{opCall, 0, opBr, 0, opEnd})}, "a flood of logs: more than 16 in one call"},
	{"a call with an address outside its memory", assembly{imports: []assembledImport{{"log", []byte{typeI32, typeI32}, nil}},
		process: cat(i32Const(-1), i32Const(4), []byte{opCall, 0})}, "an address outside its memory: 0xffffffff, 4 bytes"},
	{"a call about another packet", assembly{imports: []assembledImport{{"rebuild", []byte{typeI32}, []byte{typeI32}}},
		process: cat(i32Const(1), []byte{opCall, 0, opDrop})}, "a call about packet 1, which is not there"},
	{"a call without the capability", assembly{imports: []assembledImport{{"emit", []byte{typeI32}, []byte{typeI32}}},
		process: cat(i32Const(0), []byte{opCall, 0, opDrop})}, `its manifest does not ask for the capability "emit"`},
	{"a payload beyond the received one", assembly{imports: []assembledImport{{"out_received", []byte{typeI32, typeI32, typeI32}, []byte{typeI32}}},
		process: cat(i32Const(0), i32Const(0), i32Const(6), []byte{opCall, 0, opDrop})}, "out_received: bytes 0 to 6 of 5"},
	{"a reason while packets flow", assembly{imports: []assembledImport{{"reason", []byte{typeI32, typeI32}, []byte{typeI32}}},
		process: cat(i32Const(0), i32Const(0), []byte{opCall, 0, opDrop})}, "reasons are registered while the module starts"},
}

// straight is code of n instructions that does nothing.
func straight(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0x01
	}
	return b
}

// TestContainment: whatever a guest does wrong costs its own packets, under its
// own reason; another instance notices nothing; and after three faults the module
// is disabled, until it is reloaded.
func TestContainment(t *testing.T) {
	for _, tt := range nasties {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				file := install(t, dir, "nasty", tt.a.bytes(), nastyManifest)
				b := ppftest.New(t)
				in, other := ppftest.Instance("a", "nasty"), ppftest.Instance("other", "tcp")
				other.Hook = ppf.Input
				apply(b, dir, in, other)
				data := segment(t, "hello")
				syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
				for i := range 4 {
					if action, _ := b.Send(ppf.Forward, data); action != ppf.Drop {
						t.Errorf("packet %d: %v", i, action)
					}
					if action, _ := b.Send(ppf.Input, syn); action != ppf.Accept {
						t.Errorf("another instance: %v", action)
					}
					synctest.Wait() // the guest is started again
				}
				if faults, disabled := b.Count("wasm.fault", ppf.OutcomeDrop), b.Count("wasm.disabled", ppf.OutcomeDrop); faults != 3 || disabled != 1 {
					t.Errorf("%d faults, %d packets while disabled: %q", faults, disabled, events(b, "nasty"))
				}
				if got := events(b, tt.want); len(got) != 3 {
					t.Errorf("want %q three times in %q", tt.want, events(b, "nasty"))
				}
				if got := events(b, "disabled after 3 faults in 10 s"); len(got) != 1 {
					t.Errorf("events %q", events(b, "nasty"))
				}
				install(t, dir, "nasty", assembly{process: verdictOf(1)}.bytes(), nastyManifest)
				if err := b.Engine.ReloadModule(t.Context(), file); err != nil {
					t.Fatal(err)
				}
				b.Send(ppf.Forward, data)
				if n := b.Count("chain.unhandled", ppf.OutcomeDrop); n != 1 {
					t.Errorf("after a reload: unhandled %d", n)
				}
				b.Accounted()
			})
		})
	}
}

// TestDisabledEverywhere: what one worker's packets disabled, no other runs.
func TestDisabledEverywhere(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "nasty", assembly{process: []byte{opUnreachable}}.bytes(), strings.Replace(nastyManifest, `"faults":3`, `"faults":1`, 1))
	env := ppftest.NewEnv()
	e, err := ppf.New(ppf.Options{Env: env, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{ppftest.Instance("a", "nasty")}}); err != nil {
		t.Fatal(err)
	}
	data := segment(t, "")
	for _, h := range e.Handlers() {
		h.Handle([]ppf.Frame{{Data: data, WireLen: len(data), Hook: ppf.Forward, Time: env.Now()}})
	}
	for _, c := range e.ReasonCounts() {
		if c.Count != 1 || c.Reason != "wasm.fault" && c.Reason != "wasm.disabled" {
			t.Errorf("%+v", c)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFailOpen: the packets of a stopped module get the instance's fail policy.
func TestFailOpen(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "nasty", assembly{process: []byte{opUnreachable}}.bytes(), nastyManifest)
	b := ppftest.New(t)
	in := ppftest.Instance("a", "nasty", "tcp")
	in.Fail = ppf.FailOpen
	apply(b, dir, in)
	data := segment(t, "hello")
	for range 10 {
		if action, out := b.Send(ppf.Forward, data); action != ppf.Accept || string(out) != string(data) {
			t.Errorf("%v %x", action, out)
		}
	}
	if n := b.Count("wasm.fault", ppf.OutcomeWouldDrop); n == 0 {
		t.Errorf("counted as %+v", b.Engine.ReasonCounts())
	}
	b.Accounted()
}

// TestOldFaults: faults that are long ago disable nothing.
func TestOldFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		install(t, dir, "nasty", assembly{process: []byte{opUnreachable}}.bytes(), nastyManifest)
		b := ppftest.New(t)
		apply(b, dir, ppftest.Instance("a", "nasty"))
		for range 10 {
			b.Send(ppf.Forward, segment(t, ""))
			synctest.Wait()
			b.Env.Advance(int64(6 * time.Second))
		}
		if n := b.Count("wasm.fault", ppf.OutcomeDrop); n != 10 {
			t.Errorf("%d faults, want 10: %q", n, events(b, "nasty"))
		}
		i := 0
		for _, m := range b.Engine.Modules() {
			if m.Name == "nasty" && m.Faults == 10 && m.State == "loaded" && m.Kind == "wasm" {
				i++
			}
		}
		if i != 1 {
			t.Errorf("listed as %+v", b.Engine.Modules())
		}
	})
}

// TestRefused: what must not be loaded is not, and the message says why.
func TestRefused(t *testing.T) {
	ok := assembly{process: verdictOf(1)}
	edit := func(f func(*assembly)) []byte {
		a := ok
		f(&a)
		return a.bytes()
	}
	for _, tt := range []struct {
		name     string
		binary   []byte
		manifest string
		want     string
	}{
		{"no module", []byte("#!/bin/sh\n"), nastyManifest, "it is no WebAssembly module"},
		{"cut", ok.bytes()[:40], nastyManifest, "it ends in the middle"},
		{"unknown call", edit(func(a *assembly) { a.imports = []assembledImport{{"open_file", nil, nil}} }), nastyManifest, "it imports promethos.open_file, which does not exist"},
		{"no exports", edit(func(a *assembly) { a.noExports = true }), nastyManifest, "it exports nothing"},
		{"reaches for the fuel", edit(func(a *assembly) { a.process = cat([]byte{opI64Const, 0, opGlobalSet, 0}, verdictOf(1)) }), nastyManifest, "global 0 is missing"},
		{"exports the fuel", edit(func(a *assembly) { a.more = [][]byte{cat(text("mine"), []byte{externGlobal, 0})} }), nastyManifest, `export "mine" is not the guest's to make`},
		{"takes the fuel's name", edit(func(a *assembly) { a.more = [][]byte{cat(text(fuelName), []byte{externMemory, 0})} }), nastyManifest, "is not the guest's to make"},
		{"tables that grow", edit(func(a *assembly) { a.process = []byte{opPrefix, subTableGrow, 0} }), nastyManifest, "table.grow is not supported"},
		{"a large table", edit(func(a *assembly) { a.extra = []section{{sectionTable, cat([]byte{1, 0x70, 0}, putU32(nil, 1<<20))}} }), nastyManifest, "is too large"},
		{"vectors", edit(func(a *assembly) { a.process = []byte{0xfd, 12} }), nastyManifest, "instruction 0xfd is not supported"},
		{"more memory than its limit", edit(func(a *assembly) { a.pages = 17 }), nastyManifest, "compile"},
		{"configure loops", edit(func(a *assembly) { a.configure = []byte{opLoop, blockVoid, opBr, 0, opEnd, opI32Const, 0} }), nastyManifest, "endless loop"},
		{"configure refuses", edit(func(a *assembly) { a.configure = i32Const(5) }), nastyManifest, "it refused its settings with code 5"},
		{"no manifest", ok.bytes(), "", "it has no manifest"},
		{"manifest of a built-in module's name", ok.bytes(), strings.Replace(nastyManifest, `"name":"nasty","v`, `"name":"tcp","v`, 1), "belongs to the built-in module tcp"},
		{"function of another module", ok.bytes(), strings.Replace(nastyManifest, `[{"name":"nasty"`, `[{"name":"tcp"`, 1), "module tcp has registered that name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			file := install(t, dir, "nasty", tt.binary, tt.manifest)
			if tt.manifest == "" {
				remove(t, dir, "nasty.json")
			}
			b := ppftest.New(t, ppftest.Instance("keep", "tcp"))
			err := b.Engine.LoadModule(t.Context(), file)
			if err == nil {
				_, err = b.Engine.Apply(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{ppftest.Instance("a", "nasty")}})
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
