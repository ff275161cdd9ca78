package ppf

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// Module is a PFM, a proxy framework module: it provides user functions,
// registers them when it is loaded and removes them when it is unloaded
// (thesis 3.2.2). Start registers them through host and may open what they
// need; ctx ends with the engine, whoever asked for the module. When Start fails
// it leaves nothing open. Stop is called once, after the last packet left the
// module's functions, also after a failed Start.
type Module interface {
	Start(ctx context.Context, host *ModuleHost) error
	Stop(ctx context.Context) error
}

// ModuleInfo describes a PFM: a built-in one to the list of them, or one that a
// Loader found in a file.
type ModuleInfo struct {
	Name string
	// Kind says what the module is made of: "built-in", or the Loader's word.
	Kind string
	// File is where a Loader found it; "" for a built-in one.
	File    string
	Aliases []string // other names `module load` knows it by
	Doc     string   // one sentence
	Version string
	// Functions are the user functions that Start registers. A chain that
	// names one of them loads the module (thesis 6.1.1).
	Functions []string
	// AtOnce says that it is loaded as soon as it is found in module_dirs, since no
	// chain names it.
	AtOnce bool
	// New makes the module with its defaults and touches nothing outside.
	New func() Module
}

var builtin struct {
	sync.Mutex
	byName  map[string]ModuleInfo
	loaders []Loader
}

// RegisterModule adds a built-in PFM, from an init function. It panics when a
// name or alias is taken.
func RegisterModule(info ModuleInfo) {
	builtin.Lock()
	defer builtin.Unlock()
	if builtin.byName == nil {
		builtin.byName = map[string]ModuleInfo{}
	}
	info.Kind = "built-in"
	for _, name := range append([]string{info.Name}, info.Aliases...) {
		if _, taken := builtin.byName[name]; taken {
			panic("ppf: module name " + name + " is registered twice")
		}
		builtin.byName[name] = info
	}
}

// BuiltinModule finds a built-in PFM by name or alias.
func BuiltinModule(name string) (ModuleInfo, bool) {
	builtin.Lock()
	defer builtin.Unlock()
	info, ok := builtin.byName[name]
	return info, ok
}

// BuiltinModules lists the built-in PFMs, sorted by name.
func BuiltinModules() []ModuleInfo {
	builtin.Lock()
	defer builtin.Unlock()
	var list []ModuleInfo
	for name, info := range builtin.byName {
		if name == info.Name {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b ModuleInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// ModuleHost is what a loaded module sees of the framework.
type ModuleHost struct {
	engine    *Engine
	module    string
	functions []string
	states    []stateColumn
	// starting collects what Start registers: it is put to use as a whole, once
	// Start was successful.
	starting bool
	staged   []*UserFunction
	tick     func(now int64)
	data     *Data
	// old is the module that this one takes the place of; nil for a new one.
	old       *ModuleHost
	oldModule Module
}

// Predecessor is the module whose place this one takes, nil for none. It goes on
// until Start was successful, and is stopped after that. Called from
// Module.Start.
func (h *ModuleHost) Predecessor() Module { return h.oldModule }

// Workers is how many workers run user functions; see [Exchange.Worker].
func (h *ModuleHost) Workers() int { return len(h.engine.workers) }

// Env is the world around the engine.
func (h *ModuleHost) Env() Env { return h.engine.env }

// Events is where a module says what happens; never per packet without a limit.
func (h *ModuleHost) Events() *Events { return h.engine.events }

// Connections is the table of connections.
func (h *ModuleHost) Connections() *Table { return h.engine.table }

// Register adds a user function (thesis register_user_function). The name must
// be free, or that of the module whose place this one takes. It may be called at
// any time while the module is loaded, also while packets flow; what Start
// registers is put to use when Start is done.
func (h *ModuleHost) Register(f UserFunction) error {
	f.Module = h.module
	if h.starting {
		h.staged = append(h.staged, &f)
		return nil
	}
	if err := h.engine.functions.register(&f); err != nil {
		return err
	}
	h.registered(&f)
	return nil
}

// registered keeps and tells that a function is in use.
func (h *ModuleHost) registered(f *UserFunction) {
	h.functions = append(h.functions, f.Name)
	h.engine.events.Add(Event{Kind: EventModule, Text: fmt.Sprintf("PROXY: Function '%s' registered at table", f.Name)})
}

// Bound is what Bind, BindStream or BindMessage of the user function of that name gave
// for an instance that runs with it now; nil where none does.
func (h *ModuleHost) Bound(n InstanceNumber, function string) any {
	proxy := h.engine.proxy.find(n)
	if proxy == nil {
		return nil
	}
	return unwrapped(proxy.processors[function])
}

// OnTick has f called several times a second while the module is loaded, also
// without traffic, by the first worker between two batches; now is in
// nanoseconds since 1970. f must not block. Called from Module.Start.
func (h *ModuleHost) OnTick(f func(now int64)) { h.tick = f }

// Unregister removes a user function; when it returns no packet is in it any
// more. Flows that name it drop their packets with chain.function-missing
// until a function of that name is registered again.
func (h *ModuleHost) Unregister(name string) {
	i := slices.Index(h.functions, name)
	if i < 0 {
		return
	}
	h.functions = slices.Delete(h.functions, i, i+1)
	h.engine.functions.unregister(name)
	h.engine.events.Add(Event{Kind: EventModule, Text: fmt.Sprintf("PROXY: Function '%s' removed", name)})
}
