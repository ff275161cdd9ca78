package wasm

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
)

// counting is a guest whose promethos_process turns 10,000 times around a loop of
// a few instructions.
var counting = assembly{locals: 1, process: cat(
	[]byte{opLoop, blockVoid, opLocalGet, 1}, i32Const(1), []byte{0x6a, opLocalTee, 1}, i32Const(10000), []byte{0x48, opBrIf, 0, opEnd},
)}

// BenchmarkLoop measures what ending endless loops costs, per turn of a loop and
// per call: not at all, with the fuel counter, and with wazero's own way, which
// looks at a context.
func BenchmarkLoop(b *testing.B) {
	metered, err := meter(counting.bytes(), startFuel)
	if err != nil {
		b.Fatal(err)
	}
	empty := assembly{process: []byte{0x01}}
	meteredEmpty, err := meter(empty.bytes(), startFuel)
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name   string
		binary []byte
		done   bool
	}{
		{"loop/plain", counting.bytes(), false}, {"loop/fuel", metered, false}, {"loop/context", counting.bytes(), true},
		{"call/plain", empty.bytes(), false}, {"call/fuel", meteredEmpty, false}, {"call/context", empty.bytes(), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCloseOnContextDone(bb.done))
			defer r.Close(ctx)
			mod, err := r.Instantiate(ctx, bb.binary)
			if err != nil {
				b.Fatal(err)
			}
			f := mod.ExportedFunction(exportProcess)
			fuel := mod.ExportedGlobal(fuelName)
			stack := make([]uint64, 1)
			b.ReportAllocs()
			for b.Loop() {
				if fuel != nil {
					fuel.(interface{ Set(uint64) }).Set(startFuel)
				}
				if err := f.CallWithStack(ctx, stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
