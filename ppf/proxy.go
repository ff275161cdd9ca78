package ppf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/promethos/promethos/packet"
)

// String gives the number in decimal.
func (n InstanceNumber) String() string { return strconv.FormatUint(uint64(n), 10) }

// ProxyInstance is one proxy: two flows, each bound to a PromethOS instance
// number (thesis 3.2.4). It does not change once it is in use: a new
// configuration makes a new value with the same identity, counters and
// connections.
type ProxyInstance struct {
	Name     string
	Number   [2]InstanceNumber // per flow; 0 for the missing flow of a half instance
	Layer    [2]uint8          // 2 to 7, as the config string says; stored and shown
	Chain    [2][]string       // names of user functions
	Initiate Initiate
	Others   Others
	Mode     Mode
	Fail     Fail
	// Since is when the instance was first made with its hook, match and chains, in
	// nanoseconds since 1970; a change of settings does not change it.
	Since int64
	// Group is the hook of the client-to-server flow; see Key.Group. On the legs of
	// a transparent stream chain it is arriving.
	Group Hook

	numbers    numbering
	sum        uint32       // of print
	restored   *atomic.Bool // shared by all values of one identity; nil: it has no file
	id         uint32
	spec       *InstanceSpec // nil for an instance made with config strings
	overrides  map[Reason][]override
	processors map[string]Processor
	bound      map[string]*UserFunction // what each processor was made by
	honest     bool                     // see Ends.Honest
	counters   []counters               // by worker; shared by all values of one identity
	streams    *streamCounters          // likewise
	limits     *sessionLimits           // likewise
	events     *rateLimit
	answers    *rateLimit
}

type override struct {
	client netip.Prefix
	do     Do
}

// Restored reports whether the connections that the instance had when the program
// was stopped are there: what is not among them began in no way that it allowed.
func (p *ProxyInstance) Restored() bool { return p.restored != nil && p.restored.Load() }

// Half reports whether the instance has a client-to-server flow only: it sees
// what the client sends and never the answers.
func (p *ProxyInstance) Half() bool { return p.Number[ServerToClient] == 0 }

// MayOpen reports whether connections may be opened in direction d.
func (p *ProxyInstance) MayOpen(d Dir) bool {
	if d == ClientToServer {
		return p.Initiate != InitiateServer
	}
	return p.Initiate != InitiateClient
}

// do says what a finding of reason r leads to: the most specific override
// first, then the mode.
func (p *ProxyInstance) do(r Reason, x *Exchange) Do {
	do := doIn(p.Mode, r)
	if len(p.overrides) > 0 {
		do = p.doFor(r, x.Client(), p.Mode)
	}
	if do == DoMonitor && x.Conn != nil && x.Conn.Translated {
		return doIn(Repair, r) // the received packet would mean something else to its receiver
	}
	return do
}

// doFor is do for a client, in a mode that may be another one than the
// instance's.
func (p *ProxyInstance) doFor(r Reason, client netip.Addr, m Mode) Do {
	for _, o := range p.overrides[r] {
		if !o.client.IsValid() || o.client.Contains(client) {
			return o.do
		}
	}
	return doIn(m, r)
}

// doIn is what a mode makes of a reason.
func doIn(m Mode, r Reason) Do {
	switch {
	case m == Monitor:
		return DoMonitor
	case m == Strict || r.Info().Class == packet.Refused:
		return DoRefuse
	}
	return DoRepair
}

// newPlainInstance makes the instance of a plugin other than PROXY.
func newPlainInstance(name string, n InstanceNumber) *ProxyInstance {
	return &ProxyInstance{Name: name, Number: [2]InstanceNumber{n}, events: newEventLimit(), answers: newAnswerLimit()}
}

// flowRef is what an instance number leads to: one flow of a proxy instance,
// compiled.
type flowRef struct {
	proxy     *ProxyInstance
	dir       Dir
	steps     []step
	observers []SentObserver
	run       int // the step that is given runs of packets; -1 for none
}

type step struct {
	name   string
	proc   Processor // nil: no function of that name is registered
	passes bool
}

// proxyPlugin is the plugin PROXY: the proxy framework itself (thesis 3.2.1).
type proxyPlugin struct {
	engine *Engine
	// refs is indexed by instance number, byID by ProxyInstance.id; both are
	// replaced as a whole, under mu.
	mu   sync.Mutex
	refs atomic.Pointer[[]*flowRef]
	byID atomic.Pointer[[]*ProxyInstance]
}

func newProxyPlugin(e *Engine) *proxyPlugin {
	p := &proxyPlugin{engine: e}
	p.refs.Store(&[]*flowRef{nil})
	p.byID.Store(&[]*ProxyInstance{nil})
	return p
}

// Load takes the plugin-wide configuration: "connections N", "fragments N", both or
// neither.
func (p *proxyPlugin) Load(config string) error {
	words := strings.Fields(config)
	for ; len(words) >= 2; words = words[2:] {
		n, err := strconv.Atoi(words[1])
		switch {
		case words[0] == "connections" && err == nil && n >= 1 && n <= maxConnections:
			p.engine.table.setLimit(n)
			continue
		case words[0] == "fragments" && err == nil && n >= 0 && n <= maxFragments:
			p.engine.fragments.Store(int32(n))
			continue
		}
		break
	}
	if len(words) > 0 {
		return fmt.Errorf("configuration %q: unknown (write `connections N`, N from 1 to %d, or `fragments N`, N from 0 to %d)", config, maxConnections, maxFragments)
	}
	return nil
}

// Config makes a proxy instance from `cs <layer> f1,f2.` or completes one from
// `sc <instance> f3.` (thesis 4.1.3).
func (p *proxyPlugin) Config(config string, n InstanceNumber) error {
	cs, err := ParseConfigString(config)
	if err != nil {
		return err
	}
	if cs.Dir == ClientToServer {
		proxy := &ProxyInstance{
			Name: fmt.Sprintf("%d/0", n), id: p.nextID(),
			counters: make([]counters, len(p.engine.workers)), streams: &streamCounters{}, limits: &sessionLimits{}, events: newEventLimit(), answers: newAnswerLimit(),
			Group: p.engine.hookOf(n), Since: p.engine.env.Now(),
		}
		proxy.Number[ClientToServer], proxy.Layer[ClientToServer], proxy.Chain[ClientToServer] = n, cs.Layer, cs.Functions
		return p.adopt(proxy)
	}
	old := p.find(InstanceNumber(cs.Instance))
	switch {
	case old == nil || old.Number[ClientToServer] != InstanceNumber(cs.Instance):
		return fmt.Errorf("config string %q: instance %d: no client-to-server flow has that number (configure `cs <layer> <functions>.` first and use the number it got)", config, cs.Instance)
	case !old.Half():
		return fmt.Errorf("config string %q: instance %d: is bound to instance %d already (make a new `cs` flow, or `promethos reconfig %d`)",
			config, cs.Instance, old.Number[ServerToClient], old.Number[ServerToClient])
	}
	proxy := old.clone()
	proxy.Name = fmt.Sprintf("%d/%d", cs.Instance, n)
	proxy.Number[ServerToClient], proxy.Layer[ServerToClient], proxy.Chain[ServerToClient] = n, old.Layer[ClientToServer], cs.Functions
	return p.adopt(proxy)
}

// Reconfig replaces the function list of one flow.
func (p *proxyPlugin) Reconfig(config string, n InstanceNumber) error {
	cs, err := ParseConfigString(config)
	if err != nil {
		return err
	}
	old := p.find(n)
	if old == nil {
		return fmt.Errorf("instance %d: unknown", n)
	}
	d := ClientToServer
	if old.Number[ServerToClient] == n {
		d = ServerToClient
	}
	if cs.Dir != d {
		return fmt.Errorf("config string %q: instance %d is the %v flow (start with `%v`)", config, n, d, d)
	}
	if d == ServerToClient && InstanceNumber(cs.Instance) != old.Number[ClientToServer] {
		return fmt.Errorf("config string %q: instance %d is bound to instance %d (write that number)", config, n, old.Number[ClientToServer])
	}
	proxy := old.clone()
	proxy.Chain[d] = cs.Functions
	if d == ClientToServer {
		proxy.Layer[d] = cs.Layer
	}
	if err := p.adopt(proxy); err != nil {
		return err
	}
	p.engine.synchronize()
	p.carryOver(old, proxy)
	return nil
}

// carryOver makes the connections of an instance fit its new configuration: they
// move to its hook, and observers that have left the chains are told that they
// go. Where a function that exchanges addresses or numbers has left they do go:
// nothing that stays knows which each end was shown. So they do where they
// ended here and shall not any more, or the other way round. No worker may still
// be in a batch that uses old.
func (p *proxyPlugin) carryOver(old, now *ProxyInstance) {
	left := old.clone()
	left.processors = map[string]Processor{}
	ends, translated := old.transparent() != now.transparent(), false
	for name, proc := range old.processors {
		if now.processors[name] == nil {
			left.processors[name] = proc
			ends = ends || p.engine.exchanges([]string{name})
			_, translates := proc.(NumberTranslator)
			translated = translated || translates
		}
	}
	if len(left.processors) == 0 && old.Group == now.Group {
		return
	}
	p.engine.table.each(func(c *Conn) bool {
		if c.proxy != now.id {
			return true
		}
		if ends || translated && c.Translated || old.Group != now.Group && !p.engine.table.regroup(c, now.Group) {
			p.engine.observeFreed(old, c)
			return false
		}
		p.engine.observeFreed(left, c)
		return true
	})
}

// Target runs the flow's user functions in order (thesis 4.1.3, handle_packet).
func (p *proxyPlugin) Target(x *Exchange, n InstanceNumber) Verdict {
	flow := (*p.refs.Load())[n]
	x.flow, x.Instance, x.Dir = flow, flow.proxy, flow.dir
	if v := x.walk(0, len(flow.steps)); v.Action != Accept {
		return v
	}
	return x.whole()
}

// walk runs the functions of the packet's flow from one place to before another.
func (x *Exchange) walk(from, to int) Verdict {
	for i := from; i < to; i++ {
		s := &x.flow.steps[i]
		if s.proc == nil {
			return x.Refuse(ReasonFunctionMissing, uint64(i))
		}
		x.passes, x.running = s.passes, i
		if v := s.proc.Process(x); v.Action != Accept {
			return v
		}
	}
	return Verdict{Action: Accept}
}

// whole looks at the end of the chain whether there is a packet to send.
func (x *Exchange) whole() Verdict {
	if !x.Out.IsComplete() && !x.unchanged {
		if x.Dir == ClientToServer {
			x.Report("Proxy: Unable to process c2p packet")
		} else {
			x.Report("Proxy: Unable to process s2p packet")
		}
		return x.Refuse(ReasonUnhandled, 0)
	}
	return Verdict{Action: Accept}
}

// Remove ends one flow; with its client-to-server flow a proxy instance ends.
// The rules that lead to it are gone already, so that no new connection comes.
func (p *proxyPlugin) Remove(n InstanceNumber) error {
	proxy := p.find(n)
	if proxy == nil {
		return nil
	}
	if proxy.Number[ServerToClient] == n {
		half := proxy.clone()
		half.Name = fmt.Sprintf("%d/0", proxy.Number[ClientToServer])
		half.Number[ServerToClient], half.Chain[ServerToClient] = 0, nil
		if err := p.adopt(half); err != nil {
			return err
		}
		p.engine.synchronize()
		p.forget(n)
		return nil
	}
	// Without numbers its connections lead nowhere, so that no worker uses one,
	// or makes a new one in its place, while they are freed.
	detached := proxy.clone()
	detached.Number = [2]InstanceNumber{}
	p.setByID(proxy.id, detached)
	p.engine.synchronize()
	p.engine.table.each(func(c *Conn) bool {
		if c.proxy != proxy.id {
			return true
		}
		p.engine.observeFreed(proxy, c)
		return false
	})
	p.engine.retire(proxy)
	p.forget(proxy.Number[:]...)
	p.setByID(proxy.id, nil)
	return nil
}

// setByID replaces what an identity leads to.
func (p *proxyPlugin) setByID(id uint32, proxy *ProxyInstance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	byID := slices.Clone(*p.byID.Load())
	byID[id] = proxy
	p.byID.Store(&byID)
}

// forget takes instance numbers out of use for good.
func (p *proxyPlugin) forget(numbers ...InstanceNumber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs := slices.Clone(*p.refs.Load())
	for _, n := range numbers {
		refs[n] = nil
	}
	p.refs.Store(&refs)
}

// Unload does nothing: the framework stays with the engine.
func (p *proxyPlugin) Unload() error { return nil }

func (p *proxyPlugin) nextID() uint32 { return uint32(len(*p.byID.Load())) }

func (p *proxyPlugin) find(n InstanceNumber) *ProxyInstance {
	if refs := *p.refs.Load(); int(n) < len(refs) && refs[n] != nil {
		return refs[n].proxy
	}
	return nil
}

// clone copies an instance for a change; identity and counters stay.
func (p *ProxyInstance) clone() *ProxyInstance {
	c := *p
	return &c
}

// adopt checks and binds a new or changed proxy instance and puts it in place
// of the one with the same identity, in one step for packets.
func (p *proxyPlugin) adopt(proxy *ProxyInstance) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.bind(proxy); err != nil {
		return err
	}
	refs := slices.Clone(*p.refs.Load())
	for d, n := range proxy.Number {
		if n == 0 {
			continue
		}
		for int(n) >= len(refs) {
			refs = append(refs, nil)
		}
		refs[n] = proxy.compile(Dir(d))
	}
	byID := slices.Clone(*p.byID.Load())
	for int(proxy.id) >= len(byID) {
		byID = append(byID, nil)
	}
	isNew := byID[proxy.id] == nil
	byID[proxy.id] = proxy
	p.byID.Store(&byID)
	p.refs.Store(&refs)
	e := p.engine.events
	e.Add(Event{Kind: EventInstance, Instance: proxy.Name,
		Text: fmt.Sprintf("PROXY: proxy_generic instance cs:%d sc:%d", proxy.Number[0], proxy.Number[1])})
	if isNew || proxy.Half() {
		e.Add(Event{Kind: EventInstance, Instance: proxy.Name, Text: "PROXY: Functions CS " + strings.Join(proxy.Chain[0], ",")})
	}
	if !proxy.Half() {
		e.Add(Event{Kind: EventInstance, Instance: proxy.Name, Text: "PROXY: Functions SC " + strings.Join(proxy.Chain[1], ",")})
	}
	return nil
}

// bind makes every function of both flows ready for the instance. Functions
// that have no settings of their own and are bound already stay as they are.
func (p *proxyPlugin) bind(proxy *ProxyInstance) error {
	for _, chain := range proxy.Chain {
		if err := p.engine.checkLevels(proxy, chain); err != nil {
			return err
		}
	}
	proxy.processors, proxy.bound = map[string]Processor{}, map[string]*UserFunction{}
	for _, name := range proxy.functions() {
		if _, done := proxy.processors[name]; done {
			continue
		}
		f, ok := p.engine.functions.Lookup(name)
		if !ok {
			return fmt.Errorf("function %q: unknown (`promethos functions` lists what is registered; load its module with `promethos module load`)", name)
		}
		if f.ExchangesAddress && proxy.Mode == Monitor {
			return fmt.Errorf("function %q: exchanges addresses, so mode monitor cannot send packets unchanged (use repair or strict)", name)
		}
		proc, err := p.bindOne(proxy, f)
		if err != nil {
			return err
		}
		proxy.processors[name], proxy.bound[name] = proc, f
	}
	return nil
}

func (p *proxyPlugin) bindOne(proxy *ProxyInstance, f *UserFunction) (Processor, error) {
	b := Binding{Instance: proxy, Env: p.engine.env, Before: p.processorOf(proxy.Name, f.Name)}
	if f.Settings != nil {
		b.Settings = f.Settings()
		if proxy.spec != nil {
			if v, ok := proxy.spec.Modules[f.Name]; ok {
				if err := DecodeSettings(b.Settings, v, "modules."+f.Name); err != nil {
					return nil, err
				}
			}
		}
	}
	var proc Processor
	var err error
	switch f.Level {
	case LevelStream:
		var s StreamFunction
		s, err = f.BindStream(b)
		proc = above{stream: s}
	case LevelMessage:
		var m any
		m, err = f.BindMessage(b)
		proc = above{message: m}
	default:
		proc, err = f.Bind(b)
	}
	if err != nil {
		return nil, fmt.Errorf("function %q: %w", f.Name, err)
	}
	return proc, nil
}

// processorOf gives what a function is bound to in the instance of that name, nil
// where there is none.
func (p *proxyPlugin) processorOf(instance, function string) Processor {
	for _, proxy := range *p.byID.Load() {
		if proxy != nil && proxy.Name == instance {
			return proxy.processors[function]
		}
	}
	return nil
}

// compile resolves one flow's names.
func (p *ProxyInstance) compile(d Dir) *flowRef {
	ref := &flowRef{proxy: p, dir: d}
	for _, name := range p.ofPackets(d) {
		proc := p.processors[name]
		ref.steps = append(ref.steps, step{name, proc, proc != nil && p.bound[name].Passes})
		if o, ok := proc.(SentObserver); ok {
			ref.observers = append(ref.observers, o)
		}
	}
	ref.run = ref.runStep(p)
	return ref
}

// rebind compiles all flows anew for the functions that will be there. A
// function that is gone leaves a hole, which drops its packets; one that came
// back, or in another's place, is bound anew. With strict an instance that it
// cannot be bound to is an error, and nothing has changed.
func (p *proxyPlugin) rebind(functions map[string]*UserFunction, strict bool, publish func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs := slices.Clone(*p.refs.Load())
	byID := slices.Clone(*p.byID.Load())
	for id, old := range byID {
		if old == nil {
			continue
		}
		proxy := old.clone()
		proxy.processors, proxy.bound = map[string]Processor{}, map[string]*UserFunction{}
		for _, name := range proxy.functions() {
			f, ok := functions[name]
			if !ok || proxy.processors[name] != nil {
				continue
			}
			proc := old.processors[name]
			if proc == nil || old.bound[name] != f {
				var err error
				if proc, err = p.bindOne(proxy, f); err != nil {
					if strict {
						return fmt.Errorf("instance %s: %w", proxy.Name, err)
					}
					p.engine.events.Add(Event{Kind: EventInstance, Instance: proxy.Name, Text: "PROXY: " + err.Error()})
					continue
				}
			}
			proxy.processors[name], proxy.bound[name] = proc, f
		}
		byID[id] = proxy
		for d, n := range proxy.Number {
			if n != 0 {
				refs[n] = proxy.compile(Dir(d))
			}
		}
	}
	publish()
	p.byID.Store(&byID)
	p.refs.Store(&refs)
	p.engine.drainStale()
	return nil
}

// usersOf lists the instances with a flow that names a function.
func (p *proxyPlugin) usersOf(function string) []*ProxyInstance {
	var users []*ProxyInstance
	for _, proxy := range *p.byID.Load() {
		if proxy != nil && slices.Contains(proxy.functions(), function) {
			users = append(users, proxy)
		}
	}
	return users
}

// proxyOf finds the instance that owns a live connection.
func (p *proxyPlugin) proxyOf(id uint32) *ProxyInstance { return (*p.byID.Load())[id] }
