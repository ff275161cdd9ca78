package pass

import (
	"context"

	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "pass", Version: "1.0.0",
		Doc:       "sends the received packet on unchanged",
		Functions: []string{"pass"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "pass", Doc: "sends the received packet on unchanged, without interception",
		Level: ppf.LevelPacket, Layer: 2, Passes: true, Apart: true,
		Bind: func(ppf.Binding) (ppf.Processor, error) { return ppf.ProcessFunc(process), nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// process leaves a packet alone that an earlier function of the chain built.
func process(x *ppf.Exchange) ppf.Verdict {
	if !x.Out.IsComplete() {
		x.SendReceived()
	}
	return ppf.Verdict{Action: ppf.Accept}
}
