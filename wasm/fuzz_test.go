package wasm

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// FuzzMeter: hostile bytes are refused or rewritten, never a panic; and what was
// valid is valid with the counter too, and no other than that of our own.
func FuzzMeter(f *testing.F) {
	for _, n := range nasties {
		f.Add(n.a.bytes())
	}
	f.Add(counting.bytes())
	f.Add(assembly{process: cat(i32Const(0), []byte{opPrefix, subDataDrop, 0})}.bytes())
	ctx := context.Background()
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2 &^ api.CoreFeatureSIMD).WithMemoryLimitPages(16)
	valid := func(b []byte) error {
		r := wazero.NewRuntimeWithConfig(ctx, config)
		defer r.Close(ctx)
		_, err := r.CompileModule(ctx, b)
		return err
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		metered, err := meter(b, 1000)
		if err != nil {
			return
		}
		before, after := valid(b), valid(metered)
		if (before == nil) != (after == nil) {
			t.Errorf("before %v, metered %v", before, after)
		}
	})
}

// FuzzManifest: a manifest is refused or keeps within its limits.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(nastyManifest))
	f.Add([]byte(keeperManifest("keeper", 1, 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if m.Limits.MemoryMiB < 1 || m.Limits.MemoryMiB > 256 || m.Limits.Fuel < 1 || m.Limits.Fuel > maxFuel || m.Limits.Faults < 1 ||
			m.Storage.Connection > maxStorage || m.Storage.Instance > maxStorage || m.Storage.Connection < 0 || m.Storage.Instance < 0 {
			t.Errorf("taken: %+v", m)
		}
	})
}
