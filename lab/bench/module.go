package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/promethos/promethos/examples/count"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/wasm"
)

// modulePayloads are the sizes of the packets, in bytes behind the UDP header.
var modulePayloads = []int{16, 1400}

// module measures what a packet costs in a guest in Go and in C, against the same
// function compiled in. There is no kernel in it: one worker judges the same batch
// again and again.
func module(ctx context.Context, o Options) (_ *Result, err error) {
	dir, err := os.MkdirTemp("", "promethos-bench-module-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	manifest, err := count.Sources.ReadFile("count.json")
	if err != nil {
		return nil, err
	}
	builtIn, err := newModuleBench(ctx, func(e *ppf.Engine) error { return e.LoadModuleInfo(ctx, wasm.Native(manifest, count.Module)) })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, builtIn.Close(ctx)) }()
	r := &Result{Bench: "module"}
	for _, form := range []struct {
		name  string
		build func(context.Context, string) (string, error)
	}{
		{"Go guest", func(ctx context.Context, dir string) (string, error) {
			return goGuest(ctx, dir, "count", count.Sources, "count.go", "guest/main.go")
		}},
		{"C guest", cGuest},
	} {
		file, err := form.build(ctx, filepath.Join(dir, strings.Fields(form.name)[0]))
		if err != nil {
			return nil, fmt.Errorf("bench module: %s: %w", form.name, err)
		}
		guest, err := newModuleBench(ctx, func(e *ppf.Engine) error { return e.LoadModule(ctx, file) })
		if err != nil {
			return nil, err
		}
		for _, size := range modulePayloads {
			batch, err := moduleBatch(size)
			if err != nil {
				return nil, err
			}
			row := Row{Name: fmt.Sprintf("count, %s, %d bytes", form.name, size), Against: "built in", Unit: "ns/packet", less: true}
			row, err = measure(row, o.Runs,
				func() (float64, error) { return moduleCost(guest, batch, o.Duration) },
				func() (float64, error) { return moduleCost(builtIn, batch, o.Duration) })
			if err != nil {
				return nil, errors.Join(err, guest.Close(ctx))
			}
			r.Rows = append(r.Rows, row)
		}
		if err := guest.Close(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := moduleMessages(ctx, dir, o)
	r.Rows = append(r.Rows, rows...)
	return r, err
}

// newModuleBench makes an engine with an instance of count alone.
func newModuleBench(ctx context.Context, load func(*ppf.Engine) error) (*ppf.Engine, error) {
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1})
	if err != nil {
		return nil, err
	}
	never := ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "every", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: strconv.Itoa(math.MaxInt64)}}}}
	if err = load(e); err == nil {
		_, err = e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{{
			Name: "bench", Hook: ppf.Forward, Chain: [2][]string{{"count"}, {"count"}}, Modules: map[string]ppf.Value{"count": never},
			Match: ppf.Match{Protocol: packet.ProtoUDP, Server: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}},
		}}})
	}
	if err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// moduleBatch is 64 frames of one datagram.
func moduleBatch(size int) ([]ppf.Frame, error) {
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 64, DF: true, Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("203.0.113.1")})
	out.SetUDP(packet.UDP{SrcPort: 40000, DstPort: 9})
	out.SetPayload(make([]byte, size))
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		return nil, err
	}
	data := append(head, out.Payload()...)
	batch := make([]ppf.Frame, 64)
	for i := range batch {
		batch[i] = ppf.Frame{Data: data, WireLen: len(data), Hook: ppf.Forward}
	}
	return batch, nil
}

// moduleCost is the time per packet in ns.
func moduleCost(e *ppf.Engine, batch []ppf.Frame, d time.Duration) (float64, error) {
	h := e.Handlers()[0]
	packets := 0
	start := time.Now()
	for packets == 0 || time.Since(start) < d {
		h.Handle(batch)
		packets += len(batch)
	}
	cost := float64(time.Since(start).Nanoseconds()) / float64(packets)
	for i := range batch {
		if batch[i].Action != ppf.Accept {
			return 0, fmt.Errorf("a packet was not sent on: %v", e.ReasonCounts())
		}
	}
	return cost, nil
}

// unpack writes files of an embedded tree below a folder.
func unpack(dir string, from embed.FS, paths ...string) error {
	for _, path := range paths {
		text, err := from.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// goGuest builds an example with the Go toolchain.
func goGuest(ctx context.Context, dir, name string, from embed.FS, files ...string) (string, error) {
	entries, err := pfm.Sources.ReadDir(".")
	if err != nil {
		return "", err
	}
	var kit []string
	for _, entry := range entries {
		if !entry.IsDir() && entry.Name() != "sources.go" {
			kit = append(kit, entry.Name())
		}
	}
	if err := errors.Join(unpack(filepath.Join(dir, "pfm"), pfm.Sources, kit...),
		unpack(filepath.Join(dir, "examples", name), from, files...),
		unpack(dir, from, name+".json"),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/promethos/promethos\n\ngo 1.26\n"), 0o644)); err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", name+".wasm", "./examples/"+name+"/guest")
	c.Dir, c.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	return filepath.Join(dir, name+".wasm"), run(c)
}

// cGuest builds count with clang.
func cGuest(ctx context.Context, dir string) (string, error) {
	if err := errors.Join(unpack(filepath.Join(dir, "pfm"), pfm.Sources, "c/pfm.h"),
		unpack(filepath.Join(dir, "examples", "count"), count.Sources, "c/count.c"),
		unpack(dir, count.Sources, "count.json")); err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, "clang", "--target=wasm32", "-O2", "-nostdlib", "-Wl,--no-entry", "-o", "count.wasm", "examples/count/c/count.c")
	c.Dir = dir
	return filepath.Join(dir, "count.wasm"), run(c)
}

func run(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}
