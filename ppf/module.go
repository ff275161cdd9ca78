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

// ModuleInfo describes a PFM to the list of built-in modules.
type ModuleInfo struct {
	Name    string
	Aliases []string // other names `module load` knows it by
	Doc     string   // one sentence
	Version string
	// Functions are the user functions that Start registers. A chain that
	// names one of them loads the module (thesis 6.1.1).
	Functions []string
	// New makes the module with its defaults and touches nothing outside.
	New func() Module
}

var builtin struct {
	sync.Mutex
	byName map[string]ModuleInfo
}

// RegisterModule adds a built-in PFM, from an init function. It panics when a
// name or alias is taken.
func RegisterModule(info ModuleInfo) {
	builtin.Lock()
	defer builtin.Unlock()
	if builtin.byName == nil {
		builtin.byName = map[string]ModuleInfo{}
	}
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
}

// Env is the world around the engine.
func (h *ModuleHost) Env() Env { return h.engine.env }

// Events is where a module says what happens; never per packet without a limit.
func (h *ModuleHost) Events() *Events { return h.engine.events }

// Connections is the table of connections.
func (h *ModuleHost) Connections() *Table { return h.engine.table }

// Register adds a user function (thesis register_user_function). The name must
// be free. It may be called at any time while the module is loaded, also while
// packets flow.
func (h *ModuleHost) Register(f UserFunction) error {
	f.Module = h.module
	if err := h.engine.functions.register(&f); err != nil {
		return err
	}
	h.functions = append(h.functions, f.Name)
	h.engine.events.Add(Event{Kind: EventModule, Text: fmt.Sprintf("PROXY: Function '%s' registered at table", f.Name)})
	return nil
}

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

// ModuleState tells what is loaded; see [Engine.Modules].
type ModuleState struct {
	ModuleInfo
	Loaded bool
}

type loadedModule struct {
	info   ModuleInfo
	module Module
	host   *ModuleHost
}

// moduleSet is the engine's loaded modules; Engine.mu guards it.
type moduleSet map[string]*loadedModule

// LoadModule loads a built-in PFM by name or alias. Loading one that is loaded
// does nothing.
func (e *Engine) LoadModule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loadModule(ctx, name)
}

func (e *Engine) loadModule(ctx context.Context, name string) error {
	info, ok := BuiltinModule(name)
	if !ok {
		return fmt.Errorf("module %s: unknown (`promethos modules` lists what there is)", name)
	}
	if e.modules[info.Name] != nil {
		return nil
	}
	m := &loadedModule{info: info, module: info.New(), host: &ModuleHost{engine: e, module: info.Name}}
	e.events.Add(Event{Kind: EventModule, Text: "PROMETHOS: init() called for module " + info.Name})
	if err := m.module.Start(e.ctx, m.host); err != nil {
		m.stop(ctx)
		return fmt.Errorf("module %s: start: %w", info.Name, err)
	}
	e.modules[info.Name] = m
	return nil
}

// stop unregisters what the module registered, stops it and frees its state.
func (m *loadedModule) stop(ctx context.Context) error {
	for _, name := range slices.Clone(m.host.functions) {
		m.host.Unregister(name)
	}
	err := m.module.Stop(ctx)
	for _, s := range m.host.states {
		m.host.engine.table.removeState(s)
	}
	return err
}

// ReloadModule starts a PFM anew in place of the running one, keeping instances
// and connections; the state that the module added to connections is dropped.
// Packets that come meanwhile are dropped with chain.function-missing.
func (e *Engine) ReloadModule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	info, ok := BuiltinModule(name)
	if !ok || e.modules[info.Name] == nil {
		return fmt.Errorf("module %s: not loaded (`promethos module load %s`)", name, name)
	}
	m := e.modules[info.Name]
	delete(e.modules, info.Name)
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("module %s: stop: %w", name, err)
	}
	return e.loadModule(ctx, name)
}

// UnloadModule unloads a PFM. It refuses while a flow names one of its
// functions.
func (e *Engine) UnloadModule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	info, ok := BuiltinModule(name)
	if !ok || e.modules[info.Name] == nil {
		return fmt.Errorf("module %s: not loaded", name)
	}
	m := e.modules[info.Name]
	for _, f := range m.host.functions {
		if users := e.proxy.usersOf(f); len(users) > 0 {
			return fmt.Errorf("module %s: function %s is used by instance %s (remove it first, for example with `promethos iptables -t promethos -F`)",
				name, f, users[0].Name)
		}
	}
	delete(e.modules, info.Name)
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("module %s: stop: %w", name, err)
	}
	return nil
}

// Modules lists the built-in PFMs and whether each is loaded.
func (e *Engine) Modules() []ModuleState {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []ModuleState
	for _, info := range BuiltinModules() {
		list = append(list, ModuleState{ModuleInfo: info, Loaded: e.modules[info.Name] != nil})
	}
	return list
}

// loadModulesFor loads the modules that provide the named functions.
func (e *Engine) loadModulesFor(ctx context.Context, functions []string) error {
	for _, f := range functions {
		if _, ok := e.functions.Lookup(f); ok {
			continue
		}
		for _, info := range BuiltinModules() {
			if slices.Contains(info.Functions, f) {
				if err := e.loadModule(ctx, info.Name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
