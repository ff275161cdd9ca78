package ppf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Data is a set of addresses and words that a data module brings, used by
// functions by its name. It does not change.
type Data struct {
	prefixes map[netip.Prefix]bool
	bits     [2][]int // the lengths of prefixes of IPv4 and IPv6
	words    map[string]bool
}

// NewData makes a set.
func NewData(prefixes []netip.Prefix, words []string) *Data {
	d := &Data{prefixes: map[netip.Prefix]bool{}, words: map[string]bool{}}
	for _, p := range prefixes {
		p = p.Masked()
		d.prefixes[p] = true
		if family := &d.bits[boolIndex(p.Addr().Is6())]; !slices.Contains(*family, p.Bits()) {
			*family = append(*family, p.Bits())
		}
	}
	for _, w := range words {
		d.words[w] = true
	}
	return d
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

// HasAddr reports whether an address is in one of the prefixes.
func (d *Data) HasAddr(a netip.Addr) bool {
	for _, bits := range d.bits[boolIndex(a.Is6())] {
		if p, err := a.Prefix(bits); err == nil && d.prefixes[p] {
			return true
		}
	}
	return false
}

// HasWord reports whether a word is in the set.
func (d *Data) HasWord(w []byte) bool { return d.words[string(w)] }

// Len is how many prefixes and words there are.
func (d *Data) Len() int { return len(d.prefixes) + len(d.words) }

// dataRegistry holds the sets by name. Reading is lock-free; Engine.mu
// serialises writers.
type dataRegistry struct {
	byName atomic.Pointer[map[string]*Data]
}

// set puts a set in place of the one of that name; nil removes it.
func (r *dataRegistry) set(name string, d *Data) {
	next := map[string]*Data{}
	if old := r.byName.Load(); old != nil {
		next = maps.Clone(*old)
	}
	if next[name] = d; d == nil {
		delete(next, name)
	}
	r.byName.Store(&next)
}

// Data gives the set that a data module of that name brings now, nil where none
// is loaded. It is cheap enough to be asked for each packet, and whoever does
// sees a reload at once.
func (h *ModuleHost) Data(name string) *Data { return h.engine.lookupData(name) }

func (e *Engine) lookupData(name string) *Data {
	if all := e.data.byName.Load(); all != nil {
		return (*all)[name]
	}
	return nil
}

// ProvideData gives functions a set under the module's name, in one step for
// packets, once Start is done. Called from Module.Start.
func (h *ModuleHost) ProvideData(d *Data) { h.data = d }

// publishData puts what a module provides to use.
func (m *loadedModule) publishData() {
	if m.host.data == nil {
		return
	}
	m.host.engine.data.set(m.info.Name, m.host.data)
	m.host.engine.events.Add(Event{Kind: EventModule, Text: fmt.Sprintf("data module %s: %d entries", m.info.Name, m.host.data.Len())})
}

// DataUser is implemented by functions, ready for an instance, that use data modules.
type DataUser interface {
	UsesData(name string) bool
}

// userOfData gives an instance with a function that uses a data module; "" for none.
func (p *proxyPlugin) userOfData(name string) (instance, function string) {
	for _, proxy := range *p.byID.Load() {
		if proxy == nil {
			continue
		}
		for _, function := range proxy.functions() {
			if u, ok := unwrapped(proxy.processors[function]).(DataUser); ok && u.UsesData(name) {
				return proxy.Name, function
			}
		}
	}
	return "", ""
}
