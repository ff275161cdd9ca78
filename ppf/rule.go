package ppf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Origin says where a rule comes from.
type Origin uint8

// The origins.
const (
	OriginFile    Origin = iota // a configuration file; a reload replaces it
	OriginRuntime               // a command; survives a reload, not a restart
)

// String names the origin.
func (o Origin) String() string {
	if o == OriginFile {
		return "file"
	}
	return "runtime"
}

// Rule is one configured rule: criteria, plugin and config string, under a
// PromethOS instance number. It does not change.
type Rule struct {
	Number   InstanceNumber
	Chain    Hook   // where it was configured
	Hooks    []Hook // where its packets are taken
	Criteria Criteria
	Plugin   string
	Config   string
	Origin   Origin
	Name     string // the instance of a file; "" otherwise
	Fail     Fail
	// Early says that packets must be taken before conntrack and routing see
	// them, because a function exchanges addresses or sequence numbers.
	Early bool
	// Ends is set for an instance with a transparent stream chain: this host ends
	// its connections.
	Ends *Ends
	// Beside is a further hook, HookNone for none: there packets of connections
	// whose sequence numbers are translated are taken, at PREROUTING before
	// conntrack.
	Beside Hook
	// Hidden says that conntrack must not see the extra packets of this flow, which
	// it would take for invalid.
	Hidden bool

	dir    Dir
	plugin Plugin
}

// Dir is the flow that the rule takes; client to server for a plugin that knows
// none.
func (r *Rule) Dir() Dir { return r.dir }

// flowHooks tells at which hooks the two flows of an instance configured at
// hook h are taken. What this host sends never passes PREROUTING, and what is
// for this host never passes POSTROUTING; a connection whose client or server
// this host is would be seen in one direction only, and its packets refused. A
// packet passes both hooks of a pair only on the loopback interface.
func flowHooks(h Hook) [2][]Hook {
	switch h {
	case Prerouting:
		return [2][]Hook{{Prerouting, Output}, {Prerouting, Output}}
	case Input:
		return [2][]Hook{{Input}, {Output}}
	case Output:
		return [2][]Hook{{Output}, {Input}}
	case Postrouting:
		return [2][]Hook{{Postrouting, Input}, {Postrouting, Input}}
	case InlineClient, InlineServer:
		return [2][]Hook{{InlineClient}, {InlineServer}}
	}
	return [2][]Hook{{Forward}, {Forward}}
}

// exchangeHooks is flowHooks for an instance with a function that exchanges
// addresses: the outgoing interface is known from FORWARD on, and replies must
// be restored before routing, those for this host's own connections too.
func exchangeHooks() [2][]Hook { return [2][]Hook{{Forward, Output}, {Prerouting}} }

// legHooks is flowHooks for a transparent stream chain, whose connections end on
// this host: what comes in and what goes out, on either leg.
func legHooks() [2][]Hook {
	return [2][]Hook{{Prerouting, Postrouting}, {Prerouting, Postrouting}}
}

// snapshot is what workers read: the rules of every hook, in order. It is
// replaced as a whole.
type snapshot struct {
	byHook [numPlaces]hookRules
	all    ruleList // every rule of netfilter's hooks once, for packets that hide what they are
	refuse []netip.Prefix
}

type hookRules struct {
	rules  ruleList
	groups []Hook // the groups of the connections that pass here
	beside bool   // rules of another hook take packets here too
	refuse bool   // an instance at this hook refuses what no instance matches
}

// refuses reports whether an address belongs to a server that refuses what no
// instance matches.
func (s *snapshot) refuses(a netip.Addr) bool {
	return slices.ContainsFunc(s.refuse, func(p netip.Prefix) bool { return p.Contains(a) })
}

// publish builds a new snapshot from the rules and gives it to the workers;
// Engine.mu is held.
func (e *Engine) publish() {
	ofPackets := slices.DeleteFunc(e.allRules(), func(r *Rule) bool { return r.Hooks[0] == HookNone || r.Hooks[0].Inline() })
	s := &snapshot{all: newRuleList(ofPackets), refuse: e.refusePrefixes()}
	for h := range e.chains {
		hr := &s.byHook[h]
		hr.rules = newRuleList(e.chains[h])
		for _, r := range e.chains[h] {
			if proxy := e.proxy.find(r.Number); proxy != nil && !slices.Contains(hr.groups, proxy.groupAt(Hook(h))) {
				hr.groups = append(hr.groups, proxy.groupAt(Hook(h)))
			}
		}
	}
	for _, r := range ofPackets {
		if r.Beside == HookNone {
			continue
		}
		hr := &s.byHook[r.Beside]
		hr.beside = true
		if proxy := e.proxy.find(r.Number); proxy != nil && !slices.Contains(hr.groups, proxy.Group) {
			hr.groups = append(hr.groups, proxy.Group)
		}
	}
	for i := range e.spec.Instances {
		if in := &e.spec.Instances[i]; in.Others == OthersRefuse {
			for _, h := range slices.Concat(flowHooks(in.Hook)[0], flowHooks(in.Hook)[1]) {
				s.byHook[h].refuse = true
			}
		}
	}
	e.snap.Store(s)
}

// RefuseRules gives, for each server with `others: refuse`, the criteria of all
// its traffic, at the hooks of its instance: one rule per flow.
func (e *Engine) RefuseRules() []*Rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []*Rule
	for i := range e.spec.Instances {
		in := &e.spec.Instances[i]
		if in.Others != OthersRefuse || in.Hook.Inline() {
			continue
		}
		all := Match{Server: in.Match.Server, Client: in.Match.Client, In: in.Match.In, Out: in.Match.Out}
		for d, hooks := range flowHooks(in.Hook) {
			list = append(list, &Rule{
				Name: in.Name, Hooks: hooks, Criteria: all.Flow(Dir(d)), Fail: in.Fail, dir: Dir(d),
			})
		}
	}
	return list
}

func (e *Engine) refusePrefixes() []netip.Prefix {
	var list []netip.Prefix
	for i := range e.spec.Instances {
		if in := &e.spec.Instances[i]; in.Others == OthersRefuse {
			list = append(list, in.Match.Server...)
		}
	}
	return list
}

// allRules lists every rule once, in the order of hooks.
func (e *Engine) allRules() []*Rule {
	var list []*Rule
	seen := map[*Rule]bool{}
	for h := range e.chains {
		for _, r := range e.chains[h] {
			if !seen[r] {
				seen[r] = true
				list = append(list, r)
			}
		}
	}
	return list
}

// hookOf is the hook at which a rule was configured.
func (e *Engine) hookOf(n InstanceNumber) Hook {
	if e.configuring != nil && e.configuring.Number == n {
		return e.configuring.Chain
	}
	for _, r := range e.allRules() {
		if r.Number == n {
			return r.Chain
		}
	}
	return HookNone
}

// RuleSpec is a rule to be made by a command.
type RuleSpec struct {
	Chain    Hook
	Criteria Criteria
	Plugin   string
	Config   string
}

// InsertRule makes a rule at a position of its chain, from 1; 0 appends. It
// returns the new PromethOS instance number.
func (e *Engine) InsertRule(spec RuleSpec, position int) (InstanceNumber, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	chain := e.chains[spec.Chain]
	if position < 0 || position > len(chain)+1 {
		return 0, fmt.Errorf("chain %v: rule number %d: out of range (1 to %d)", spec.Chain, position, len(chain)+1)
	}
	if position == 0 {
		position = len(chain) + 1
	}
	r, err := e.configure(&Rule{
		Chain: spec.Chain, Hooks: []Hook{spec.Chain}, Criteria: spec.Criteria,
		Plugin: spec.Plugin, Config: spec.Config, Origin: OriginRuntime,
	})
	if err != nil {
		return 0, err
	}
	e.chains[spec.Chain] = slices.Insert(slices.Clone(chain), position-1, r)
	e.publish()
	return r.Number, nil
}

// configure gives a rule the next number and lets its plugin make an instance.
func (e *Engine) configure(r *Rule) (*Rule, error) {
	plugin, name, err := e.plugin(r.Plugin)
	if err != nil {
		return nil, err
	}
	r.plugin, r.Plugin, r.Number = plugin, name, e.nextNumber
	if name == "PROXY" {
		if cs, err := ParseConfigString(r.Config); err == nil {
			if err := e.loadModulesFor(e.ctx, cs.Functions); err != nil {
				return nil, err
			}
			r.dir = cs.Dir
			r.Early = e.early(r, cs.Functions)
		}
	}
	e.configuring = r
	err = plugin.Config(r.Config, r.Number)
	e.configuring = nil
	if err != nil {
		return nil, err
	}
	e.nextNumber++
	e.events.Add(Event{Kind: EventInstance, Text: fmt.Sprintf("PROMETHOS: got unique instance %d", r.Number)})
	return r, nil
}

// early says whether a command's rule is taken before conntrack; see Rule.Early.
func (e *Engine) early(r *Rule, functions []string) bool {
	return r.Plugin == "PROXY" && r.Chain == Prerouting && e.exchanges(functions)
}

func (e *Engine) exchanges(functions []string) bool {
	return slices.ContainsFunc(functions, func(name string) bool {
		f, ok := e.functions.Lookup(name)
		return ok && f.ExchangesAddress
	})
}

// DeleteRule removes the rule at a position of a chain, from 1.
func (e *Engine) DeleteRule(chain Hook, position int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.ruleAt(chain, position)
	if err != nil {
		return err
	}
	return e.dropRules([]*Rule{r})
}

// FindRule gives the position, from 1, of the rule of a chain with this
// criteria, plugin and config string; 0 where there is none. same compares
// criteria.
func (e *Engine) FindRule(chain Hook, same func(*Rule) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.IndexFunc(e.chains[chain], same) + 1
}

// ReplaceRule puts a new rule in the place of one; it gets a new number.
func (e *Engine) ReplaceRule(spec RuleSpec, position int) (InstanceNumber, error) {
	if err := e.DeleteRule(spec.Chain, position); err != nil {
		return 0, err
	}
	return e.InsertRule(spec, position)
}

// FlushRules removes the rules of one chain, or of all (HookNone), that
// commands made. Rules of the configuration file stay; kept is their number.
func (e *Engine) FlushRules(chain Hook) (kept int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var gone []*Rule
	for h := range e.chains {
		if chain != HookNone && Hook(h) != chain {
			continue
		}
		for _, r := range e.chains[h] {
			if r.Origin == OriginRuntime {
				gone = append(gone, r)
			} else {
				kept++
			}
		}
	}
	return kept, e.dropRules(gone)
}

func (e *Engine) ruleAt(chain Hook, position int) (*Rule, error) {
	if position < 1 || position > len(e.chains[chain]) {
		return nil, fmt.Errorf("chain %v: rule number %d: there is none (it has %d rules)", chain, position, len(e.chains[chain]))
	}
	r := e.chains[chain][position-1]
	if r.Origin == OriginFile {
		return nil, fmt.Errorf("chain %v: rule number %d: instance %s comes from the configuration file (edit the file and `promethos reload`)", chain, position, r.Name)
	}
	return r, nil
}

// dropRules takes rules out of the chains, then ends their plugin instances.
// The end of a proxy's client-to-server flow ends the rule of the other flow
// too, which would have nothing to run.
func (e *Engine) dropRules(gone []*Rule) error {
	for _, r := range slices.Clone(gone) {
		proxy := e.proxy.find(r.Number)
		if proxy == nil || proxy.Number[ClientToServer] != r.Number || proxy.Half() {
			continue
		}
		for _, other := range e.allRules() {
			if other.Number == proxy.Number[ServerToClient] && !slices.Contains(gone, other) {
				gone = append(gone, other)
			}
		}
	}
	for h := range e.chains {
		e.chains[h] = slices.DeleteFunc(slices.Clone(e.chains[h]), func(r *Rule) bool { return slices.Contains(gone, r) })
	}
	e.publish()
	e.synchronize()
	for _, r := range gone {
		if err := r.plugin.Remove(r.Number); err != nil {
			return fmt.Errorf("instance %d: remove: %w", r.Number, err)
		}
	}
	e.unloadPlugins()
	return nil
}

// Reconfig changes the plugin instance of a number (thesis 1.4.2).
func (e *Engine) Reconfig(n InstanceNumber, config string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for h := range e.chains {
		for i, r := range e.chains[h] {
			if r.Number != n {
				continue
			}
			if r.Origin == OriginFile {
				return fmt.Errorf("instance %d: comes from the configuration file as %s (edit the file and `promethos reload`)", n, r.Name)
			}
			if cs, err := ParseConfigString(config); err == nil && r.Plugin == "PROXY" {
				if err := e.loadModulesFor(e.ctx, cs.Functions); err != nil {
					return err
				}
			}
			if err := r.plugin.Reconfig(config, n); err != nil {
				return err
			}
			changed := *r
			changed.Config = config
			if cs, err := ParseConfigString(config); err == nil {
				changed.Early = e.early(r, cs.Functions)
			}
			e.chains[h] = slices.Clone(e.chains[h])
			e.chains[h][i] = &changed
			e.publish()
			return nil
		}
	}
	return fmt.Errorf("instance %d: there is none (`promethos instances` lists them)", n)
}

// Rules lists the rules of a chain in order.
func (e *Engine) Rules(chain Hook) []*Rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.chains[chain])
}

// AllRules lists every rule once.
func (e *Engine) AllRules() []*Rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.allRules()
}

// configString spells one flow of a file's instance as the thesis would.
func configString(d Dir, layer uint8, cs InstanceNumber, functions []string) string {
	if d == ClientToServer {
		return fmt.Sprintf("cs %d %s.", layer, strings.Join(functions, ","))
	}
	return fmt.Sprintf("sc %d %s.", cs, strings.Join(functions, ","))
}
