package test

import (
	"context"

	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "test", Aliases: []string{"modull"}, Version: "1.0.0",
		Doc:       "reports each call and sends nothing",
		Functions: []string{"test"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "test", Doc: "reports each call and sets no packet, so that the packet is dropped",
		Level: ppf.LevelPacket, Layer: 2, Apart: true,
		Bind: func(ppf.Binding) (ppf.Processor, error) { return ppf.ProcessFunc(process), nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// process says the line of appendix A.1.2 and what the function was given.
func process(x *ppf.Exchange) ppf.Verdict {
	x.Report("TEST_FUNCTION called")
	x.Report("TEST_FUNCTION: %v %v in=%s out=%s: %v", x.Dir, x.Hook, x.InDev.Name(), x.OutDev.Name(), x.In)
	return ppf.Verdict{Action: ppf.Accept}
}
