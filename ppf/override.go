package ppf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
)

var doNames = [...]string{DoMonitor: "monitor", DoRepair: "repair", DoRefuse: "refuse"}

// String gives the word as configuration spells it.
func (d Do) String() string {
	if int(d) < len(doNames) && d != 0 {
		return doNames[d]
	}
	return fmt.Sprintf("do(%d)", uint8(d))
}

// ParseDo is the inverse of String.
func ParseDo(s string) (Do, bool) {
	i := slices.Index(doNames[:], s)
	return Do(i), i > 0
}

// OverrideInfo is one override that holds.
type OverrideInfo struct {
	Instance string `json:"instance"`
	Reason   string `json:"reason"`
	Client   string `json:"client,omitempty"` // a network; "": every client
	Do       string `json:"do"`
	Origin   string `json:"origin"` // file or runtime
}

// MayDo reports why a reason cannot be overridden to do, nil if it can.
func MayDo(reason string, do Do) error {
	r, ok := reasonByName(reason)
	if !ok {
		return fmt.Errorf("reason %q: unknown (`promethos reasons --all` lists them)", reason)
	}
	if info := r.Info(); do == DoRepair && info.Class == packet.Refused && !info.Repairable {
		return fmt.Errorf("reason %s: is a contradiction and has no repair (use monitor or refuse)", reason)
	}
	return nil
}

// setOverrides makes the overrides of an instance: those of commands go before
// the file's where both concern the same clients.
func (p *ProxyInstance) setOverrides(runtime []Override) error {
	p.overrides = nil
	list := slices.Clone(runtime)
	if p.spec != nil {
		list = append(list, p.spec.Reasons...)
	}
	for _, o := range list {
		if err := p.addOverride(o); err != nil {
			return err
		}
	}
	return nil
}

// sameOverride compares whom an override concerns, not what it does.
func sameOverride(a, b Override) bool { return a.Reason == b.Reason && a.Client == b.Client }

// Override changes what a reason does in a running instance, for all clients or
// for some, until the daemon ends or Restore; it survives reloads while there is
// an instance of that name. An override of the same reason and clients is
// replaced.
func (e *Engine) Override(instance string, o Override) error {
	if err := MayDo(o.Reason, o.Do); err != nil {
		return err
	}
	return e.changeOverrides(instance, func(list []Override) ([]Override, error) {
		list = slices.DeleteFunc(slices.Clone(list), func(x Override) bool { return sameOverride(x, o) })
		return append(list, o), nil
	})
}

// Restore takes an override of Override back; what the file says holds again.
func (e *Engine) Restore(instance, reason string, client netip.Prefix) error {
	return e.changeOverrides(instance, func(list []Override) ([]Override, error) {
		i := slices.IndexFunc(list, func(x Override) bool { return sameOverride(x, Override{Reason: reason, Client: client}) })
		if i < 0 {
			return nil, fmt.Errorf("override %s of %s: there is none made by a command (`promethos override` lists them)", reason, instance)
		}
		return slices.Delete(slices.Clone(list), i, i+1), nil
	})
}

func (e *Engine) changeOverrides(instance string, change func([]Override) ([]Override, error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(*e.proxy.byID.Load(), func(p *ProxyInstance) bool { return p != nil && p.Name == instance })
	if i < 0 {
		return fmt.Errorf("instance %s: there is none (`promethos instances` lists them)", instance)
	}
	list, err := change(e.overrides[instance])
	if err != nil {
		return err
	}
	old := (*e.proxy.byID.Load())[i]
	now := old.clone()
	if err := now.setOverrides(list); err != nil {
		return err
	}
	if err := e.proxy.adopt(now); err != nil {
		return fmt.Errorf("instance %s: %w", instance, err)
	}
	if e.overrides == nil {
		e.overrides = map[string][]Override{}
	}
	e.overrides[instance] = list
	e.synchronize()
	e.proxy.carryOver(old, now)
	return nil
}

// forgetOverrides drops those of instances that are gone; Engine.mu is held.
func (e *Engine) forgetOverrides() {
	for name := range e.overrides {
		if !slices.ContainsFunc(*e.proxy.byID.Load(), func(p *ProxyInstance) bool { return p != nil && p.Name == name }) {
			delete(e.overrides, name)
		}
	}
}

// Overrides lists what holds, by instance and reason; those of commands first.
func (e *Engine) Overrides() []OverrideInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []OverrideInfo{}
	add := func(instance, origin string, o Override) {
		info := OverrideInfo{Instance: instance, Reason: o.Reason, Do: o.Do.String(), Origin: origin}
		if o.Client.IsValid() {
			info.Client = o.Client.String()
		}
		list = append(list, info)
	}
	for _, p := range *e.proxy.byID.Load() {
		if p == nil {
			continue
		}
		for _, o := range e.overrides[p.Name] {
			add(p.Name, OriginRuntime.String(), o)
		}
		if p.spec != nil {
			for _, o := range p.spec.Reasons {
				add(p.Name, OriginFile.String(), o)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b OverrideInfo) int {
		return cmp.Or(strings.Compare(a.Instance, b.Instance), strings.Compare(a.Reason, b.Reason))
	})
	return list
}
