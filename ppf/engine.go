package ppf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultConnections and maxConnections bound the table of connections.
	defaultConnections = 1 << 20
	maxConnections     = 1 << 30
)

// Options configure an engine.
type Options struct {
	Env     Env
	Workers int // how many sources' workers will run; at least 1
	// Emit sends an extra packet; nil where there is no source.
	Emit func(pkt []byte) error
	// PluginConfig holds plugin-wide configurations by plugin name.
	PluginConfig map[string]string
	// Recorded says that the packets are of a capture: their ends never see what
	// is sent in their place.
	Recorded bool
}

// Engine holds everything that is configured and running: plugins, rules,
// proxy instances, modules, connections, counters. All methods are safe for
// concurrent use.
type Engine struct {
	env          Env
	events       *Events
	table        *Table
	functions    *FunctionRegistry
	data         dataRegistry
	workers      []*worker
	pluginConfig map[string]string
	ownEvents    *rateLimit // of packets that no instance matches
	recorded     bool       // Options.Recorded
	emitter      atomic.Pointer[func([]byte) error]
	sessions     sessions
	follower     atomic.Pointer[func(*Fate)]

	// ctx is what modules are started under: the engine's life.
	ctx    context.Context
	cancel context.CancelFunc

	snap      atomic.Pointer[snapshot]
	lastSweep atomic.Int64
	wires     wires
	ticks     atomic.Pointer[[]func(now int64)] // of modules

	mu          sync.Mutex // guards what follows
	spec        Spec
	plugins     map[string]Plugin
	proxy       *proxyPlugin
	modules     moduleSet
	moduleDirs  []string
	chains      [numPlaces][]*Rule
	nextNumber  InstanceNumber
	configuring *Rule                 // the rule whose plugin instance is being made
	defragments atomic.Bool           // the kernel does, behind prerouting
	fragments   atomic.Int32          // packets that a worker puts together at a time
	retired     counters              // of instances that are gone
	overrides   map[string][]Override // by instance; made by commands
	parted      map[string][]*Rule    // of instances that Try has replaced and settle not ended yet
}

// New makes an engine without any instance.
func New(o Options) (*Engine, error) {
	if o.Workers < 1 || o.Env == nil {
		return nil, errors.New("new engine: it needs an Env and at least one worker")
	}
	e := &Engine{
		env: o.Env, events: NewEvents(func() int64 { return Wall(o.Env) }), table: NewTable(defaultConnections),
		pluginConfig: o.PluginConfig, plugins: map[string]Plugin{}, modules: moduleSet{}, nextNumber: 1, ownEvents: newEventLimit(),
		recorded: o.Recorded,
	}
	e.table.overdue = e.overdue
	e.fragments.Store(defaultFragments)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for i := range o.Workers {
		e.workers = append(e.workers, newWorker(e, i))
	}
	e.SetEmitter(o.Emit)
	e.proxy = newProxyPlugin(e)
	e.functions = newFunctionRegistry(func(next map[string]*UserFunction, strict bool, publish func()) error {
		err := e.proxy.rebind(next, strict, publish)
		e.synchronize()
		return err
	})
	e.snap.Store(&snapshot{})
	e.ticks.Store(&[]func(int64){})
	if _, _, err := e.plugin("PROXY"); err != nil {
		return nil, err
	}
	return e, nil
}

// Env is the world around the engine.
func (e *Engine) Env() Env { return e.env }

// SetDefragmented tells whether the kernel puts the fragments together that pass
// the first hook, prerouting: they are judged there, and the packet that they are
// comes to its instance's hook as a whole.
func (e *Engine) SetDefragmented(on bool) { e.defragments.Store(on) }

// SetEmitter replaces where extra packets go; nil: nowhere, they are errors.
func (e *Engine) SetEmitter(emit func([]byte) error) {
	if emit == nil {
		emit = func([]byte) error { return errors.New("emit packet: no source is open") }
	}
	e.emitter.Store(&emit)
}

func (e *Engine) emit(pkt []byte) error { return (*e.emitter.Load())(pkt) }

// Handlers gives one handler per worker, for Source.Run.
func (e *Engine) Handlers() []Handler {
	list := make([]Handler, len(e.workers))
	for i, w := range e.workers {
		list[i] = w
	}
	return list
}

// Events is the engine's event stream.
func (e *Engine) Events() *Events { return e.events }

// Functions lists the registered user functions.
func (e *Engine) Functions() *FunctionRegistry { return e.functions }

// synchronize returns when every worker has finished the batch it was in, so
// that none uses what was replaced before the call.
func (e *Engine) synchronize() {
	for _, w := range e.workers {
		w.barrier()
	}
}

// freed tells the functions of a connection's instance that it goes; the
// connection is locked.
func (e *Engine) freed(c *Conn) {
	if proxy := e.proxy.proxyOf(c.proxy); proxy != nil {
		e.observeFreed(proxy, c)
	}
}

// observeFreed calls the observers of a connection that goes. It goes also when
// one of them panics.
func (e *Engine) observeFreed(proxy *ProxyInstance, c *Conn) {
	defer func() {
		if fault := recover(); fault != nil {
			e.events.Add(Event{Kind: EventPacket, Instance: proxy.Name,
				Text: fmt.Sprintf("panic in a user function: %v\n%s", fault, debug.Stack())})
		}
	}()
	for _, proc := range proxy.processors {
		if o, ok := proc.(ConnObserver); ok {
			o.Freed(c)
		}
	}
}

// sweepEvery is how often connections are looked through for expired ones.
const sweepEvery = int64(time.Second)

func (e *Engine) sweep(now int64) {
	e.table.gather(now)
	last := e.lastSweep.Load()
	if now-last < sweepEvery || !e.lastSweep.CompareAndSwap(last, now) {
		return
	}
	e.table.expire(now, e.freed)
}

// Change is one line of what Apply does or did.
type Change struct {
	What string // "add", "change", "remove", "keep"
	Name string
}

// String gives "add plc".
func (c Change) String() string { return c.What + " " + c.Name }

// Diff tells what Apply of a new configuration would do to the running one.
func Diff(old, next *Spec) []Change {
	var changes []Change
	for i := range old.Instances {
		if next.instance(old.Instances[i].Name) == nil {
			changes = append(changes, Change{"remove", old.Instances[i].Name})
		}
	}
	for i := range next.Instances {
		in := &next.Instances[i]
		switch have := old.instance(in.Name); {
		case have == nil:
			changes = append(changes, Change{"add", in.Name})
		case have.equal(in):
			changes = append(changes, Change{"keep", in.Name})
		default:
			changes = append(changes, Change{"change", in.Name})
		}
	}
	return changes
}

func (s *Spec) instance(name string) *InstanceSpec {
	for i := range s.Instances {
		if s.Instances[i].Name == name {
			return &s.Instances[i]
		}
	}
	return nil
}

// equal compares what was configured, not where it stands.
func (s *InstanceSpec) equal(o *InstanceSpec) bool {
	a, b := *s, *o
	a.Pos, b.Pos = Pos{}, Pos{}
	a.Reasons, b.Reasons = slices.Clone(a.Reasons), slices.Clone(b.Reasons)
	for _, list := range [][]Override{a.Reasons, b.Reasons} {
		for i := range list {
			list[i].Pos = Pos{}
		}
	}
	sameModules := len(a.Modules) == len(b.Modules)
	for name, v := range a.Modules {
		w, ok := b.Modules[name]
		sameModules = sameModules && ok && v.Equal(w)
	}
	a.Modules, b.Modules = nil, nil
	return sameModules && reflect.DeepEqual(a, b)
}

// Apply makes the file's instances be those of spec, keeping the connections,
// counters and numbers of every instance whose name stays. On error nothing has
// changed. Packets see the old or the new rules, never a mixture.
func (e *Engine) Apply(spec *Spec) ([]Change, error) {
	changes, settle, err := e.Try(spec)
	if err != nil {
		return changes, err
	}
	return changes, settle()
}

// Try is Apply, but what spec has no more ends with settle only: no new connections
// come to it, and those that are there go on. An Apply of the configuration before,
// in place of settle, takes it up again with its numbers, counters and connections.
func (e *Engine) Try(spec *Spec) (_ []Change, settle func() error, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changes := Diff(&e.spec, spec)
	parted := map[string][]*Rule{} // what this takes up again
	for _, c := range changes {
		if rules := e.parted[c.Name]; c.What == "add" && rules != nil && e.proxy.find(rules[0].Number).spec.equal(spec.instance(c.Name)) {
			parted[c.Name] = rules
		}
	}

	// Everything that can fail comes first and changes nothing that packets see.
	made := map[string]*ProxyInstance{}
	dirs := e.moduleDirs
	e.moduleDirs = spec.ModuleDirs
	fresh := e.loadAtOnce(e.ctx) // functions ask for it when they are bound
	for _, c := range changes {
		if c.What != "add" && c.What != "change" || parted[c.Name] != nil {
			continue
		}
		proxy, err := e.prepare(spec.instance(c.Name))
		if err != nil {
			e.moduleDirs = dirs
			for _, m := range fresh {
				err = errors.Join(err, e.unload(e.ctx, m))
			}
			return nil, nil, fmt.Errorf("instance %s: %w", c.Name, err)
		}
		made[c.Name] = proxy
	}

	old := map[string][]*Rule{}
	for _, r := range e.allRules() {
		if r.Origin == OriginFile {
			old[r.Name] = append(old[r.Name], r)
		}
	}
	var fileRules []*Rule
	was := map[string]*ProxyInstance{}
	for _, c := range changes {
		if c.What == "change" {
			was[c.Name] = e.proxy.find(old[c.Name][0].Number)
		}
		switch rules := parted[c.Name]; {
		case rules != nil:
			fileRules = append(fileRules, rules...)
			delete(e.parted, c.Name)
		case c.What == "keep":
			fileRules = append(fileRules, old[c.Name]...)
		case c.What == "add", c.What == "change":
			rules, err := e.install(spec.instance(c.Name), made[c.Name], old[c.Name])
			if err != nil {
				return nil, nil, fmt.Errorf("instance %s: %w", c.Name, err)
			}
			fileRules = append(fileRules, rules...)
		}
	}
	e.spec = *spec
	e.placeFileRules(fileRules)
	e.publish()
	e.synchronize()
	for name, before := range was {
		e.proxy.carryOver(before, made[name])
	}
	e.part(old, fileRules)
	return changes, e.settle, nil
}

// part ends the second flow of file rules whose instance became a half one, and
// notes those of instances that are gone.
func (e *Engine) part(old map[string][]*Rule, now []*Rule) {
	for name, rules := range old {
		if e.spec.instance(name) == nil {
			if e.parted == nil {
				e.parted = map[string][]*Rule{}
			}
			e.parted[name] = rules
			continue
		}
		for _, r := range rules {
			if !slices.ContainsFunc(now, func(n *Rule) bool { return n.Number == r.Number }) {
				e.proxy.forget(r.Number)
			}
		}
	}
}

// settle ends the plugin instances of file rules that are gone, and what was kept
// with them.
func (e *Engine) settle() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for name, rules := range e.parted {
		for _, r := range rules {
			if err := e.proxy.Remove(r.Number); err != nil {
				errs = append(errs, fmt.Errorf("instance %s: remove: %w", name, err))
			}
		}
	}
	e.parted = nil
	e.forgetOverrides()
	e.drainStale()
	return errors.Join(errs...)
}

// prepare builds and binds the proxy instance of a file's entry without putting
// it to use.
func (e *Engine) prepare(in *InstanceSpec) (*ProxyInstance, error) {
	if err := e.loadModulesFor(e.ctx, slices.Concat(in.Chain[0], in.Chain[1])); err != nil {
		return nil, err
	}
	proxy := &ProxyInstance{
		Name: in.Name, Initiate: in.Initiate, Others: in.Others, Mode: in.Mode, Fail: in.Fail,
		Since: e.env.Now(), spec: in, events: newEventLimit(), answers: newAnswerLimit(), counters: make([]counters, len(e.workers)), streams: &streamCounters{}, limits: &sessionLimits{},
		restored: new(atomic.Bool),
	}
	if proxy.Initiate == InitiateDefault {
		proxy.Initiate = InitiateBoth
		if len(in.Match.Port) > 0 {
			proxy.Initiate = InitiateClient
		}
	}
	proxy.Chain = in.Chain
	for d := range proxy.Chain {
		proxy.Layer[d] = e.lowestLayer(proxy.Chain[d])
	}
	if err := proxy.setOverrides(e.overrides[in.Name]); err != nil {
		return nil, err
	}
	proxy.Group = in.Hook
	if e.exchanges(in.Chain[0]) {
		if in.Hook.Inline() {
			return nil, errors.New("chain: a function exchanges addresses, and an inline pair has none of its own (use source: nfqueue)")
		}
		proxy.Group = Forward
	}
	if err := e.prepareStream(in, proxy); err != nil {
		return nil, err
	}
	if err := e.proxy.bind(proxy); err != nil {
		return nil, err
	}
	return proxy, e.checkCookies(in, proxy)
}

func (e *Engine) lowestLayer(functions []string) uint8 {
	layer := uint8(7)
	for _, name := range functions {
		if f, ok := e.functions.Lookup(name); ok {
			layer = min(layer, f.Layer)
		}
	}
	return layer
}

// install puts a prepared instance to use and makes its rules. Where an
// instance of that name runs, identity, numbers and counters are its.
func (e *Engine) install(in *InstanceSpec, proxy *ProxyInstance, old []*Rule) ([]*Rule, error) {
	hooks := flowHooks(in.Hook)
	if in.Source == SourceListen {
		hooks = [2][]Hook{{HookNone}, {HookNone}} // no packet comes there
	}
	exchange, configured := e.exchanges(in.Chain[0]), in.Hook
	if exchange {
		hooks = exchangeHooks()
	}
	if proxy.transparent() {
		hooks, configured = legHooks(), Prerouting
	}
	proxy.numbers, proxy.sum = e.numbering(in, proxy), proxy.printSum()
	proxy.id = e.proxy.nextID()
	var had *ProxyInstance
	if len(old) > 0 {
		had = e.proxy.find(old[0].Number)
		proxy.id = had.id
		proxy.counters, proxy.streams, proxy.limits, proxy.events, proxy.answers = had.counters, had.streams, had.limits, had.events, had.answers
		if had.print() == proxy.print() { // else it takes what began unseen
			proxy.Since, proxy.restored = had.Since, had.restored
		}
	}
	var rules []*Rule
	for d, chain := range in.Chain {
		if len(chain) == 0 {
			continue
		}
		n := e.nextNumber
		if had != nil && had.Number[d] != 0 {
			n = had.Number[d]
		} else {
			e.nextNumber++
		}
		proxy.Number[d] = n
		rules = append(rules, &Rule{
			Number: n, Chain: configured, Hooks: hooks[d], Criteria: in.Match.Flow(Dir(d)), Plugin: "PROXY", plugin: e.proxy,
			Config: configString(Dir(d), proxy.Layer[d], proxy.Number[ClientToServer], chain),
			Origin: OriginFile, Name: in.Name, Fail: in.Fail, dir: Dir(d),
			Early:  exchange && slices.Contains(hooks[d], Prerouting) || slices.Contains(hooks[d], proxy.numbers.before[d]),
			Beside: proxy.numbers.beside[d], Ends: proxy.ends(), Hidden: proxy.hides(Dir(d)),
		})
	}
	return rules, e.proxy.adopt(proxy)
}

// placeFileRules puts the file's rules into the chains, in file order, behind
// the runtime rules that stood before all of the file's.
func (e *Engine) placeFileRules(fileRules []*Rule) {
	for h := range e.chains {
		var chain []*Rule
		var rest []*Rule
		seenFile := false
		for _, r := range e.chains[h] {
			switch {
			case r.Origin == OriginFile:
				seenFile = true
			case seenFile:
				rest = append(rest, r)
			default:
				chain = append(chain, r)
			}
		}
		if !seenFile {
			chain, rest = nil, chain
		}
		for _, r := range fileRules {
			if slices.Contains(r.Hooks, Hook(h)) {
				chain = append(chain, r)
			}
		}
		e.chains[h] = append(chain, rest...)
	}
}

func (p *ProxyInstance) addOverride(o Override) error {
	r, ok := reasonByName(o.Reason)
	if !ok {
		return fmt.Errorf("reason %q: unknown (`promethos reasons --all` lists them)", o.Reason)
	}
	if p.overrides == nil {
		p.overrides = map[Reason][]override{}
	}
	p.overrides[r] = append(p.overrides[r], override{o.Client, o.Do})
	slices.SortStableFunc(p.overrides[r], func(a, b override) int { return cmp.Compare(b.client.Bits(), a.client.Bits()) })
	return nil
}

// Close stops the modules. Workers must not run any more.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	e.table.each(func(c *Conn) bool {
		e.freed(c)
		return false
	})
	for name, m := range e.modules {
		delete(e.modules, name)
		if err := m.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("module %s: stop: %w", name, err))
		}
	}
	e.cancel()
	return errors.Join(errs...)
}
