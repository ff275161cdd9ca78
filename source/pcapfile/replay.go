package pcapfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/promethos/promethos/ppf"
)

// Options say what to replay and where the results go.
type Options struct {
	Spec   *ppf.Spec
	In     io.Reader
	Out    io.Writer
	Drops  io.Writer // nil: dropped packets are not kept
	Report io.Writer // nil: only sums
	Seed   uint64
}

// ErrUnaccounted reports that packets got lost between the files: a bug.
var ErrUnaccounted = errors.New("packets are unaccounted for")

// Replay sends a capture's packets through the chains of a configuration and
// gives the sums. What could be written before an error is written. A broken file
// is a *FormatError.
func Replay(ctx context.Context, o Options) (_ *Sums, err error) {
	if i := slices.IndexFunc(o.Spec.Instances, func(i ppf.InstanceSpec) bool { return i.Source == ppf.SourceListen }); i >= 0 {
		return nil, fmt.Errorf("replay instance %s: it listens for connections, and a capture has packets only (leave the instance out)", o.Spec.Instances[i].Name)
	}
	in, err := NewReader(o.In)
	if err != nil {
		return nil, err
	}
	s := &Source{in: in, report: newReport(o.Report), env: newEnv(o.Seed)}
	// The clock stands at the first packet when the instances are made.
	first, err := in.Next()
	switch {
	case err == nil:
		s.first = &first
		s.env.advance(first.Time)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if s.out, err = NewWriter(o.Out, in); err != nil {
		return nil, err
	}
	if o.Drops != nil {
		if s.drops, err = NewWriter(o.Drops, in); err != nil {
			return nil, err
		}
	}
	engine, err := offline(s, o.Spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	err = errors.Join(s.Run(ctx, engine.Handlers()), s.Close())
	sums := &s.report.Sums
	if err == nil && !sums.Accounted() {
		err = fmt.Errorf("replay: %w: %+v", ErrUnaccounted, *sums)
	}
	return sums, err
}

// offline makes an engine for a source with the instances of a configuration as
// a capture can have them.
func offline(s *Source, spec *ppf.Spec) (*ppf.Engine, error) {
	engine, err := ppf.New(ppf.Options{Env: s.env, Workers: s.Workers(), Emit: s.Emit, PluginConfig: spec.Plugins, Recorded: true})
	if err != nil {
		return nil, err
	}
	if s.wire, err = newWire(s, spec); err != nil {
		return nil, errors.Join(fmt.Errorf("replay: %w", err), engine.Close(context.Background()))
	}
	offline := withoutHooks(spec, s.wire != nil)
	if err = replayable(engine, offline); err == nil {
		_, err = engine.Apply(offline)
	}
	if err == nil {
		err = replayable(engine, offline) // now with the modules of files
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close(context.Background()))
	}
	engine.Follow(s.Follow)
	return engine, nil
}

// withoutHooks puts all instances at one hook, or at the ports of a wire, and takes
// interfaces out of their criteria: a capture knows neither.
func withoutHooks(spec *ppf.Spec, wire bool) *ppf.Spec {
	out := *spec
	out.Instances = slices.Clone(spec.Instances)
	for i := range out.Instances {
		in := &out.Instances[i]
		in.Hook, in.Match.In, in.Match.Out = ppf.Forward, "", ""
		if wire {
			in.Hook = ppf.InlineClient
		}
		in.Match.Not = slices.DeleteFunc(slices.Clone(in.Match.Not), func(m ppf.Match) bool { return m.In != "" || m.Out != "" })
	}
	return &out
}

// replayable refuses by name what a capture has no place for.
func replayable(e *ppf.Engine, spec *ppf.Spec) error {
	for _, in := range spec.Instances {
		for _, name := range slices.Concat(in.Chain[0], in.Chain[1]) {
			f, ok := lookUp(e, name)
			switch {
			case !ok:
			case f.Level != ppf.LevelPacket:
				return fmt.Errorf("replay instance %s: %s works on a %v, and a capture has packets only (leave the instance out)", in.Name, name, f.Level)
			case f.ExchangesAddress:
				return fmt.Errorf("replay instance %s: %s takes addresses of the host it runs on, and a capture has no host (leave the instance out)", in.Name, name)
			}
		}
	}
	return nil
}

// lookUp finds a function, and loads the built-in module that has it.
func lookUp(e *ppf.Engine, name string) (*ppf.UserFunction, bool) {
	f, ok := e.Functions().Lookup(name)
	for _, m := range ppf.BuiltinModules() {
		if !ok && slices.Contains(m.Functions, name) && e.LoadModule(context.Background(), m.Name) == nil {
			return e.Functions().Lookup(name)
		}
	}
	return f, ok
}
