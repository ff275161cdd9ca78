package ppf

import (
	"fmt"
	"slices"
)

// InstanceNumber is a PromethOS instance number: it names one configured rule
// (criteria, plugin and config string) and is never used again in a run. Zero
// is no number.
type InstanceNumber uint32

// Plugin is what a PromethOS instance runs (thesis 1.4.2, appendix B.1.3). All
// methods but Target are called one at a time; Target is called by all workers
// at once, also while the others run.
type Plugin interface {
	// Load is called once, before anything else, with the plugin-wide
	// configuration ("" where there is none).
	Load(config string) error
	// Config makes a plugin instance for a new number; on error the number is
	// not used.
	Config(config string, n InstanceNumber) error
	// Reconfig changes the plugin instance of a number; on error nothing changes.
	Reconfig(config string, n InstanceNumber) error
	// Target decides a packet that the rule of number n selected.
	Target(x *Exchange, n InstanceNumber) Verdict
	// Remove ends the plugin instance of a number whose rule is gone.
	Remove(n InstanceNumber) error
	// Unload is called once, when no number is left.
	Unload() error
}

// pluginAliases are other names of plugins: appendix A.3 says PROXY3.
var pluginAliases = map[string]string{"PROXY3": "PROXY"}

// plugin finds a plugin by name or alias and loads it when it is needed for the
// first time; Engine.mu is held.
func (e *Engine) plugin(name string) (Plugin, string, error) {
	if full, ok := pluginAliases[name]; ok {
		name = full
	}
	if p, ok := e.plugins[name]; ok {
		return p, name, nil
	}
	var p Plugin
	switch name {
	case "PROXY":
		p = e.proxy
	case "TEST":
		p = newTestPlugin()
	default:
		return nil, "", fmt.Errorf("plugin %q: unknown (PROXY, its alias PROXY3, and TEST are there)", name)
	}
	e.events.Add(Event{Kind: EventInstance, Text: "PROMETHOS: init() called for plugin " + name})
	if err := p.Load(e.pluginConfig[name]); err != nil {
		return nil, "", fmt.Errorf("plugin %s: load: %w", name, err)
	}
	e.plugins[name] = p
	return p, name, nil
}

// unloadPlugins unloads the plugins that have no rule any more, but for PROXY,
// which stays with the engine.
func (e *Engine) unloadPlugins() {
	for name, p := range e.plugins {
		used := slices.ContainsFunc(e.allRules(), func(r *Rule) bool { return r.Plugin == name })
		if used || p == Plugin(e.proxy) {
			continue
		}
		delete(e.plugins, name)
		if err := p.Unload(); err != nil {
			e.events.Add(Event{Kind: EventInstance, Text: fmt.Sprintf("PROMETHOS: unload of plugin %s: %v", name, err)})
		}
	}
}
