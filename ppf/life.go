package ppf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Loader makes PFMs of files. The infos it gives have Kind, File and New set;
// their New makes the module of what was read, not of what stands in the file
// by then.
type Loader interface {
	// Suffix is how the names of its files end: ".wasm".
	Suffix() string
	// Open reads one file and checks all that can be checked without running it.
	Open(file string) (ModuleInfo, error)
}

// RegisterLoader adds a kind of files that modules come in, from an init
// function.
func RegisterLoader(l Loader) {
	builtin.Lock()
	defer builtin.Unlock()
	builtin.loaders = append(builtin.loaders, l)
}

// ErrUnknownModule reports that no module has a name.
var ErrUnknownModule = errors.New("unknown")

// loaderOf finds the loader of a file by its suffix.
func loaderOf(file string) Loader {
	builtin.Lock()
	defer builtin.Unlock()
	for _, l := range builtin.loaders {
		if strings.HasSuffix(file, l.Suffix()) {
			return l
		}
	}
	return nil
}

// openModule reads a module's file.
func openModule(file string) (ModuleInfo, error) {
	l := loaderOf(file)
	if l == nil {
		return ModuleInfo{}, fmt.Errorf("module file %s: no module is made of such a file", file)
	}
	info, err := l.Open(file)
	if err == nil {
		if have, taken := BuiltinModule(info.Name); taken {
			err = fmt.Errorf("the name %s belongs to the built-in module %s (give it another)", info.Name, have.Name)
		}
	}
	if err != nil {
		return ModuleInfo{}, fmt.Errorf("module file %s: %w", file, err)
	}
	return info, nil
}

// FindModules reads the module files of some folders, sorted by name. What is
// wrong with a file, or with a folder, is among the errors; of two files with
// one module's name the first counts.
func FindModules(dirs []string) (list []ModuleInfo, errs []error) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("module folder: %w", err))
			continue
		}
		for _, entry := range entries {
			file := filepath.Join(dir, entry.Name())
			if entry.IsDir() || loaderOf(file) == nil {
				continue
			}
			info, err := openModule(file)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if i := slices.IndexFunc(list, func(have ModuleInfo) bool { return have.Name == info.Name }); i >= 0 {
				errs = append(errs, fmt.Errorf("module file %s: module %s is in %s already (remove one of them)", file, info.Name, list[i].File))
				continue
			}
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b ModuleInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, errs
}

// ModuleState tells what is loaded; see [Engine.Modules].
type ModuleState struct {
	ModuleInfo
	Loaded bool
	// State is "loaded", "not loaded", or what a FaultReporter says.
	State string
	// Faults counts what a FaultReporter had to contain.
	Faults uint64
}

// FaultReporter is a module that contains faults of code that it runs.
type FaultReporter interface {
	// Faults tells how the module is, "" for well, and how many faults there were.
	Faults() (state string, faults uint64)
}

type loadedModule struct {
	info   ModuleInfo
	module Module
	host   *ModuleHost
}

// moduleSet is the engine's loaded modules; Engine.mu guards it.
type moduleSet map[string]*loadedModule

// findModule finds what is loaded, built in, in module_dirs, or in a file, by
// name, alias or path; Engine.mu is held.
func (e *Engine) findModule(name string) (ModuleInfo, error) {
	if info, ok := BuiltinModule(name); ok {
		return info, nil
	}
	if m := e.modules[name]; m != nil {
		return m.info, nil
	}
	if loaderOf(name) != nil {
		return openModule(name)
	}
	list, _ := FindModules(e.moduleDirs) // what is wrong with other files is told when the configuration is read
	for _, info := range list {
		if info.Name == name {
			return info, nil
		}
	}
	return ModuleInfo{}, fmt.Errorf("module %s: %w (`promethos modules` lists what there is)", name, ErrUnknownModule)
}

// LoadModule loads a PFM by name, alias or file. Loading one that is loaded
// does nothing.
func (e *Engine) LoadModule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	info, err := e.findModule(name)
	if err != nil {
		return err
	}
	if m := e.modules[info.Name]; m != nil && m.info.File != info.File {
		return fmt.Errorf("module %s: is loaded from %s (`promethos module unload %s` first)", info.Name, cmp.Or(m.info.File, "the program"), info.Name)
	}
	return e.loadModule(ctx, info)
}

// loadAtOnce loads what no chain names, and gives what was not loaded before. What is
// wrong with one is an event: it concerns no instance by itself.
func (e *Engine) loadAtOnce(ctx context.Context) (fresh []*loadedModule) {
	found, _ := FindModules(e.moduleDirs) // as in findModule
	for _, info := range found {
		if !info.AtOnce || e.modules[info.Name] != nil {
			continue
		}
		if err := e.loadModule(ctx, info); err != nil {
			e.events.Add(Event{Kind: EventModule, Text: err.Error()})
			continue
		}
		fresh = append(fresh, e.modules[info.Name])
	}
	return fresh
}

// LoadModuleInfo loads a PFM that the caller brings, for programs and tests that
// have modules of their own which are not registered for everybody.
func (e *Engine) LoadModuleInfo(ctx context.Context, info ModuleInfo) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loadModule(ctx, info)
}

func (e *Engine) loadModule(ctx context.Context, info ModuleInfo) error {
	if e.modules[info.Name] != nil {
		return nil
	}
	m, err := e.startModule(ctx, info, nil)
	if err != nil {
		return err
	}
	e.modules[info.Name] = m
	e.setTicks()
	return nil
}

// setTicks tells the first worker whose ticks it calls; when it returns no other
// is being called.
func (e *Engine) setTicks() {
	var ticks []func(int64)
	for _, m := range e.modules {
		if m.host.tick != nil {
			ticks = append(ticks, m.host.tick)
		}
	}
	e.ticks.Store(&ticks)
	e.workers[0].barrier()
}

// startModule makes a module and puts its functions to use, in place of those of
// old. On error everything is as it was.
func (e *Engine) startModule(ctx context.Context, info ModuleInfo, old *loadedModule) (*loadedModule, error) {
	m := &loadedModule{info: info, module: info.New(), host: &ModuleHost{engine: e, module: info.Name, starting: true}}
	var gone []string
	if old != nil {
		m.host.old, m.host.oldModule, gone = old.host, old.module, old.host.functions
	}
	e.events.Add(Event{Kind: EventModule, Text: "PROMETHOS: init() called for module " + info.Name})
	err := m.module.Start(e.ctx, m.host)
	m.host.starting = false
	if err == nil {
		err = e.keepsUsed(gone, m.host.staged)
	}
	if err == nil {
		err = e.functions.swap(gone, m.host.staged, old != nil)
	}
	if err != nil {
		m.stop(ctx)
		return nil, fmt.Errorf("module %s: start: %w", info.Name, err)
	}
	for _, f := range m.host.staged {
		m.host.registered(f)
	}
	m.publishData()
	m.host.staged, m.host.old, m.host.oldModule = nil, nil, nil
	return m, nil
}

// keepsUsed refuses that a function goes that an instance uses.
func (e *Engine) keepsUsed(gone []string, next []*UserFunction) error {
	for _, name := range gone {
		if slices.ContainsFunc(next, func(f *UserFunction) bool { return f.Name == name }) {
			continue
		}
		if users := e.proxy.usersOf(name); len(users) > 0 {
			return fmt.Errorf("it has no function %s any more, which instance %s uses", name, users[0].Name)
		}
	}
	return nil
}

// stop unregisters what the module registered, stops it and frees its state.
func (m *loadedModule) stop(ctx context.Context) error {
	for _, name := range slices.Clone(m.host.functions) {
		m.host.Unregister(name)
	}
	err := m.module.Stop(ctx)
	for _, s := range m.host.states {
		if m.host.old == nil || !slices.Contains(m.host.old.states, s) {
			m.host.engine.table.removeState(s)
		}
	}
	return err
}

// ReloadModule starts a PFM anew in place of the running one, from its file
// where it came from one, keeping instances, connections, and the state that the
// module added to them where the new one asks for state of the same type. Packets
// see the old or the new one, at the boundary of a batch. When the new one cannot
// be started, or an instance's settings do not suit it, the old one goes on.
func (e *Engine) ReloadModule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.loadedByName(name)
	if old == nil {
		return fmt.Errorf("module %s: not loaded (`promethos module load %s`)", name, name)
	}
	info := old.info
	if info.File != "" {
		var err error
		if info, err = openModule(info.File); err != nil {
			return err
		}
		if info.Name != old.info.Name {
			return fmt.Errorf("module file %s: holds module %s now, not %s (load it under its new name)", info.File, info.Name, old.info.Name)
		}
	}
	next, err := e.startModule(ctx, info, old)
	if err != nil {
		return err
	}
	e.modules[info.Name] = next
	e.setTicks()
	old.host.functions = nil
	old.host.states = slices.DeleteFunc(old.host.states, func(s stateColumn) bool { return slices.Contains(next.host.states, s) })
	e.events.Add(Event{Kind: EventModule, Text: fmt.Sprintf("module %s: version %s took the place of %s", info.Name, info.Version, old.info.Version)})
	if err := old.stop(ctx); err != nil {
		return fmt.Errorf("module %s: stop of the version before: %w", name, err)
	}
	return nil
}

// loadedByName finds a loaded module by name, alias or file.
func (e *Engine) loadedByName(name string) *loadedModule {
	if info, ok := BuiltinModule(name); ok {
		return e.modules[info.Name]
	}
	for _, m := range e.modules {
		if m.info.Name == name || m.info.File != "" && m.info.File == name {
			return m
		}
	}
	return nil
}

// UnloadModule unloads a PFM. It refuses while a flow names one of its
// functions, unless force is set: then those flows are closed, with
// chain.function-missing, until a module brings the function again.
func (e *Engine) UnloadModule(ctx context.Context, name string, force bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.loadedByName(name)
	if m == nil {
		return fmt.Errorf("module %s: not loaded", name)
	}
	for _, f := range m.host.functions {
		users := e.proxy.usersOf(f)
		if len(users) > 0 && !force {
			return fmt.Errorf("module %s: function %s is used by instance %s (remove it first, for example with `promethos iptables -t promethos -F`, or use --force, which closes its flows)",
				name, f, users[0].Name)
		}
		for _, user := range users {
			e.events.Add(Event{Kind: EventModule, Instance: user.Name,
				Text: fmt.Sprintf("module %s was unloaded by force: flows with function %s are closed", m.info.Name, f)})
		}
	}
	if user, function := e.proxy.userOfData(m.info.Name); m.host.data != nil && user != "" {
		if !force {
			return fmt.Errorf("module %s: is used by function %s of instance %s (take it out of the configuration first, or use --force, which refuses what hangs on it)",
				name, function, user)
		}
		e.events.Add(Event{Kind: EventModule, Instance: user, Text: fmt.Sprintf("data module %s was unloaded by force: what hangs on it is refused", m.info.Name)})
	}
	return e.unload(ctx, m)
}

func (e *Engine) unload(ctx context.Context, m *loadedModule) error {
	delete(e.modules, m.info.Name)
	e.setTicks()
	if m.host.data != nil {
		e.data.set(m.info.Name, nil)
	}
	if err := m.stop(ctx); err != nil {
		return fmt.Errorf("module %s: stop: %w", m.info.Name, err)
	}
	return nil
}

// Modules lists what is loaded, built in and in module_dirs, sorted by name.
func (e *Engine) Modules() []ModuleState {
	e.mu.Lock()
	defer e.mu.Unlock()
	found, _ := FindModules(e.moduleDirs) // as in findModule
	byName := map[string]ModuleState{}
	for _, info := range slices.Concat(found, BuiltinModules()) {
		byName[info.Name] = ModuleState{ModuleInfo: info, State: "not loaded"}
	}
	for _, m := range e.modules {
		s := ModuleState{ModuleInfo: m.info, Loaded: true, State: "loaded"}
		if r, ok := m.module.(FaultReporter); ok {
			state, faults := r.Faults()
			s.State, s.Faults = cmp.Or(state, s.State), faults
		}
		byName[m.info.Name] = s
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b ModuleState) int { return cmp.Compare(a.Name, b.Name) })
}

// loadModulesFor loads the modules that provide the named functions.
func (e *Engine) loadModulesFor(ctx context.Context, functions []string) error {
	var list []ModuleInfo
	for _, f := range functions {
		if _, ok := e.functions.Lookup(f); ok {
			continue
		}
		if list == nil {
			found, _ := FindModules(e.moduleDirs) // as in findModule
			list = slices.Concat(BuiltinModules(), found)
		}
		for _, info := range list {
			if slices.Contains(info.Functions, f) {
				if err := e.loadModule(ctx, info); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}
