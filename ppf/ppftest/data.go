package ppftest

import (
	"context"
	"net/netip"

	"github.com/promethos/promethos/ppf"
)

// SetData loads a data module of addresses and networks, or reloads the one of that
// name with others.
func (b *Bench) SetData(name string, addresses ...string) {
	b.T.Helper()
	var prefixes []netip.Prefix
	for _, a := range addresses {
		p, err := ppf.ParsePrefix(a)
		if err != nil {
			b.T.Fatal(err)
		}
		prefixes = append(prefixes, p)
	}
	if b.data == nil {
		b.data = map[string]*ppf.Data{}
	}
	_, loaded := b.data[name]
	b.data[name] = ppf.NewData(prefixes, nil)
	var err error
	if loaded {
		err = b.Engine.ReloadModule(b.T.Context(), name)
	} else {
		err = b.Engine.LoadModuleInfo(b.T.Context(), ppf.ModuleInfo{Name: name, Kind: "data", New: func() ppf.Module { return dataModule{b.data[name]} }})
	}
	if err != nil {
		b.T.Fatal(err)
	}
}

type dataModule struct{ set *ppf.Data }

func (m dataModule) Start(_ context.Context, h *ppf.ModuleHost) error {
	h.ProvideData(m.set)
	return nil
}

func (dataModule) Stop(context.Context) error { return nil }
