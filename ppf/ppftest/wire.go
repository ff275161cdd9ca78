package ppftest

import (
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// NewWire makes an engine with one instance for everything on an inline pair,
// with settings of the chain's first function.
func NewWire(t testing.TB, chain []string, settings ...ppf.KeyValue) *Bench {
	t.Helper()
	return New(t, ppf.InstanceSpec{
		Name: "wire", Source: ppf.SourceInline, Hook: ppf.InlineClient, Chain: [2][]string{chain, chain},
		Match:   ppf.Match{In: "eth0", Out: "eth1"},
		Modules: map[string]ppf.Value{chain[0]: {Kind: ppf.ValueMap, Map: settings}},
	})
}

// Cross gives the engine a frame that came in at a port of a wire. It returns what
// is built in its place, with padding, nil for nothing, and the reason that was
// counted.
func (b *Bench) Cross(port ppf.Hook, data []byte) (out []byte, reason string) {
	b.T.Helper()
	before := map[string]uint64{}
	for _, c := range b.Engine.ReasonCounts() {
		before[c.Reason] += c.Count
	}
	f := b.Frame(port, data)
	f.Link = packet.LinkEthernet
	if port == ppf.InlineServer {
		f.In, f.Out = f.Out, f.In
	}
	frames := []ppf.Frame{f}
	b.Engine.Handlers()[0].Handle(frames)
	for _, c := range b.Engine.ReasonCounts() {
		if c.Count > before[c.Reason] {
			reason = c.Reason
		}
	}
	if frames[0].Action == ppf.Accept {
		out = slices.Concat(frames[0].Head, frames[0].Body, frames[0].Padding())
	}
	b.Accounted()
	return out, reason
}
