package ppf

import (
	"context"
	"errors"
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// CheckSpec tries a specification on an engine that no packet reaches: every
// function is bound and every setting decoded. It returns all problems.
func CheckSpec(spec *Spec) []Problem {
	e, err := New(Options{Env: dryEnv{}, Workers: 1, PluginConfig: spec.Plugins})
	if err != nil {
		return []Problem{{Path: "plugins", What: err.Error()}}
	}
	defer e.Close(context.Background())
	e.moduleDirs = spec.ModuleDirs
	e.loadAtOnce(e.ctx)
	var problems []Problem
	for i := range spec.Instances {
		in := &spec.Instances[i]
		_, err := e.prepare(in)
		var decode DecodeError
		switch {
		case err == nil:
		case errors.As(err, &decode):
			for _, p := range decode {
				p.Path = "instances." + in.Name + "." + p.Path
				problems = append(problems, p)
			}
		default:
			problems = append(problems, Problem{Pos: in.Pos, Path: "instances." + in.Name, What: err.Error()})
		}
	}
	return problems
}

// DryEnv is a world in which nothing happens, for engines that no packet
// reaches.
func DryEnv() Env { return dryEnv{} }

// dryEnv is a world in which nothing happens.
type dryEnv struct{}

func (dryEnv) Now() int64                             { return 0 }
func (dryEnv) Uint32() uint32                         { return 0 }
func (dryEnv) DeviceName(int32) string                { return "" }
func (dryEnv) Route(netip.Addr, int32) (Route, error) { return Route{}, ErrNoRoute }
func (dryEnv) ReservePort(netip.Addr, packet.Protocol) (uint16, error) {
	return 0, errors.New("no port in a dry run")
}
func (dryEnv) ReleasePort(netip.Addr, packet.Protocol, uint16) {}
