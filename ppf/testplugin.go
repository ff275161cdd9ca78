package ppf

import (
	"maps"
	"sync/atomic"
)

// testPlugin is the plugin TEST (thesis 1.4.3): it takes any config string,
// reports each packet and lets it go on unchanged. It proves that the plugin
// contract serves others than PROXY.
type testPlugin struct {
	configs atomic.Pointer[map[InstanceNumber]*testInstance]
}

type testInstance struct {
	config string
	proxy  *ProxyInstance // carries the name, counters and event limit
}

func newTestPlugin() *testPlugin {
	p := &testPlugin{}
	p.configs.Store(&map[InstanceNumber]*testInstance{})
	return p
}

func (p *testPlugin) Load(string) error { return nil }

func (p *testPlugin) Config(config string, n InstanceNumber) error {
	next := maps.Clone(*p.configs.Load())
	next[n] = &testInstance{config: config, proxy: newPlainInstance("TEST#"+n.String(), n)}
	p.configs.Store(&next)
	return nil
}

func (p *testPlugin) Reconfig(config string, n InstanceNumber) error {
	next := maps.Clone(*p.configs.Load())
	next[n] = &testInstance{config: config, proxy: next[n].proxy}
	p.configs.Store(&next)
	return nil
}

func (p *testPlugin) Target(x *Exchange, n InstanceNumber) Verdict {
	inst := (*p.configs.Load())[n]
	x.Instance = inst.proxy
	x.Report("TEST: instance %d '%s' at %v: %v", n, inst.config, x.Hook, x.In)
	x.passes = true
	x.SendReceived()
	return Verdict{Action: Accept}
}

func (p *testPlugin) Remove(n InstanceNumber) error {
	next := maps.Clone(*p.configs.Load())
	delete(next, n)
	p.configs.Store(&next)
	return nil
}

func (p *testPlugin) Unload() error { return nil }
