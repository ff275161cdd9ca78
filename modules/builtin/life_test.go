package builtin

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestLife: every module that is built in is loaded, reloaded and unloaded like one of
// a file, and listed as what it is; and not unloaded while an instance uses it, unless
// by force.
func TestLife(t *testing.T) {
	state := func(b *ppftest.Bench, name string) string {
		for _, m := range b.Engine.Modules() {
			if m.Name == name {
				return m.Kind + ", " + m.State
			}
		}
		return ""
	}
	for _, info := range ppf.BuiltinModules() {
		t.Run(info.Name, func(t *testing.T) {
			b := ppftest.New(t)
			for _, step := range []struct {
				name string
				do   func() error
				want string
			}{
				{"load", func() error { return b.Engine.LoadModule(t.Context(), info.Name) }, "built-in, loaded"},
				{"load again", func() error { return b.Engine.LoadModule(t.Context(), info.Name) }, "built-in, loaded"},
				{"reload", func() error { return b.Engine.ReloadModule(t.Context(), info.Name) }, "built-in, loaded"},
				{"unload", func() error { return b.Engine.UnloadModule(t.Context(), info.Name, false) }, "built-in, not loaded"},
			} {
				if err := step.do(); err != nil {
					t.Errorf("%s: %v", step.name, err)
				}
				if got := state(b, info.Name); got != step.want {
					t.Errorf("after %s: %s, want %s", step.name, got, step.want)
				}
			}
			if err := b.Engine.UnloadModule(t.Context(), info.Name, false); err == nil {
				t.Error("it was unloaded twice")
			}
			f := info.Functions[0]
			if err := b.Engine.LoadModule(t.Context(), info.Name); err != nil {
				t.Fatal(err)
			}
			if u, ok := b.Engine.Functions().Lookup(f); !ok || u.Level != ppf.LevelPacket {
				return // chains of these need more than one function; the rest is the same
			}
			b.Apply(ppftest.Instance("a", f))
			if err := b.Engine.ReloadModule(t.Context(), info.Name); err != nil {
				t.Errorf("reload while it is used: %v", err)
			}
			if err := b.Engine.UnloadModule(t.Context(), info.Name, false); err == nil || !strings.Contains(err.Error(), "is used by instance a") {
				t.Errorf("unload while it is used: %v", err)
			}
			if err := b.Engine.UnloadModule(t.Context(), info.Name, true); err != nil {
				t.Errorf("unload by force: %v", err)
			}
			data := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(t)
			if action, _ := b.Send(ppf.Forward, data); action != ppf.Drop || b.Count("chain.function-missing", ppf.OutcomeDrop) != 1 {
				t.Errorf("a packet then: %v %+v", action, b.Engine.ReasonCounts())
			}
		})
	}
}
