package wasm

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// wasiModule is the interface that compilers' runtimes expect (WASI preview 1).
// A guest gets of it what a runtime cannot start without: a clock that shows
// the packet's time, random numbers from the engine's seed, empty arguments and
// environment, and a standard error that ends in the log. Everything else
// answers "not supported".
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI.
const (
	wasiSuccess = 0
	wasiBadf    = 8
	wasiNosys   = 52
)

// maxStderr is how many bytes of what a guest prints in one call are kept.
const maxStderr = 4096

var wasiCalls = map[string]func(g *guest, s []uint64) uint32{
	"args_get":          func(*guest, []uint64) uint32 { return wasiSuccess },
	"environ_get":       func(*guest, []uint64) uint32 { return wasiSuccess },
	"args_sizes_get":    wasiNothing,
	"environ_sizes_get": wasiNothing,
	"clock_time_get":    wasiClock,
	"random_get":        wasiRandom,
	"sched_yield":       func(*guest, []uint64) uint32 { return wasiSuccess },
	"poll_oneoff":       wasiPoll,
	"fd_write":          wasiWrite,
	"fd_fdstat_get":     func(*guest, []uint64) uint32 { return wasiBadf },
	"fd_prestat_get":    func(*guest, []uint64) uint32 { return wasiBadf },
	"proc_exit": func(g *guest, s []uint64) uint32 {
		g.fail("it ended itself with status %d%s", uint32(s[0]), g.lastWords())
		return 0
	},
}

// provideWASI gives a runtime what the module imports of WASI.
func provideWASI(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule) error {
	b := r.NewHostModuleBuilder(wasiModule)
	asked := false
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != wasiModule {
			continue
		}
		asked = true
		impl, results := wasiCalls[name], len(f.ResultTypes())
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
			code := uint32(wasiNosys)
			if impl != nil {
				code = impl(ctx.(*guestContext).g, s)
			}
			if results > 0 {
				s[0] = uint64(code)
			}
		}), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	if !asked {
		return nil
	}
	_, err := b.Instantiate(ctx)
	return err
}

// wasiNothing answers that there are no arguments and no variables.
func wasiNothing(g *guest, s []uint64) uint32 {
	clear(g.bytes(s[0], 4))
	clear(g.bytes(s[1], 4))
	return wasiSuccess
}

// wasiClock shows the time of the packet. It moves on by a microsecond with each
// look, so that nobody waits for it for ever.
func wasiClock(g *guest, s []uint64) uint32 {
	g.now += 1000
	le.PutUint64(g.bytes(s[2], 8), uint64(g.now))
	return wasiSuccess
}

func wasiRandom(g *guest, s []uint64) uint32 {
	for b := g.bytes(s[0], s[1]); len(b) > 0; {
		var eight [8]byte
		le.PutUint64(eight[:], g.random.Uint64())
		b = b[copy(b, eight[:]):]
	}
	return wasiSuccess
}

// wasiPoll tells that everything that is waited for has happened. A runtime waits
// before it prints why it panics.
func wasiPoll(g *guest, s []uint64) uint32 {
	const subscription, event = 48, 32
	n := min(uint64(uint32(s[2])), 64)
	in, out := g.bytes(s[0], n*subscription), g.bytes(s[1], n*event)
	for ; len(out) > 0; in, out = in[subscription:], out[event:] {
		clear(out[:event])
		copy(out, in[:8]) // whose it is
		out[10] = in[8]   // clock, or descriptor
	}
	le.PutUint32(g.bytes(s[3], 4), uint32(n))
	return wasiSuccess
}

// wasiWrite keeps the first bytes that a runtime prints, which say why it ends.
func wasiWrite(g *guest, s []uint64) uint32 {
	vectors := g.bytes(s[1], 8*min(uint64(uint32(s[2])), 64))
	written := uint32(0)
	for ; len(vectors) >= 8; vectors = vectors[8:] {
		b := g.bytes(uint64(le.Uint32(vectors)), uint64(le.Uint32(vectors[4:])))
		g.printed = append(g.printed, b[:min(len(b), maxStderr-len(g.printed))]...)
		written += uint32(len(b))
	}
	le.PutUint32(g.bytes(s[3], 4), written)
	return wasiSuccess
}

// lastWords gives the first line that the guest printed, for messages.
func (g *guest) lastWords() string {
	line, _, _ := bytes.Cut(g.printed, []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return fmt.Sprintf(": %.200q", line)
}
