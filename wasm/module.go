package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What becomes of packets while a guest is out of order.
var (
	ReasonFault = newReason(ppf.ReasonInfo{Name: "wasm.fault", Field: "chain",
		Doc:   "the module was stopped while it judged the packet: it trapped, used up its fuel or memory, flooded the log, or gave a wrong verdict",
		Trips: "a faulty module; `promethos events` says what it did", Relax: "fail: open"})
	ReasonRestarting = newReason(ppf.ReasonInfo{Name: "wasm.restarting", Field: "chain",
		Doc:   "the module was stopped after a fault and is being started again",
		Trips: "packets that come within milliseconds after a fault", Relax: "fail: open"})
	ReasonDisabled = newReason(ppf.ReasonInfo{Name: "wasm.disabled", Field: "chain",
		Doc:   "the module was disabled after too many faults",
		Trips: "a faulty module", Relax: "promethos module reload, or fail: open"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("wasm", info) }

// maxReasons is how many reasons a module may register.
const maxReasons = 256

// pageKiB is the size of a page of a guest's memory.
const pageKiB = 64

// code is what a file holds.
type code struct {
	manifest *Manifest
	binary   []byte
}

// module is a PFM that runs a guest per worker.
type module struct {
	code
	host     *ppf.ModuleHost
	runtime  wazero.Runtime
	compiled wazero.CompiledModule

	column, columnBefore column
	shared               *sharedStore
	dropped              atomic.Uint64 // connections whose bytes were dropped by a reload
	bindings             atomic.Pointer[[]*binding]
	reasons              atomic.Pointer[[]ppf.Reason]
	timers               timers
	logs                 logLimit

	// guests is indexed by worker; nil while one is started again.
	guests   []atomic.Pointer[guest]
	disabled atomic.Bool
	faults   atomic.Uint64

	mu       sync.Mutex // guards what follows, and trial
	trial    *guest     // answers whether settings are good; belongs to no worker
	recent   []int64    // times of the last faults
	stopped  bool
	before   *module // whose place this one takes; nil once that is stopped
	next     *module // that takes this one's place
	restarts sync.WaitGroup
}

var (
	_ ppf.Module        = (*module)(nil)
	_ ppf.FaultReporter = (*module)(nil)
)

// cache keeps compiled code while a module of it lives: that of the running
// daemon is there when a configuration is checked.
var cache = wazero.NewCompilationCache()

// Start compiles the guest, starts one per worker, and registers its functions.
func (m *module) Start(ctx context.Context, host *ppf.ModuleHost) (err error) {
	m.host = host
	m.bindings.Store(&[]*binding{})
	m.reasons.Store(&[]ppf.Reason{})
	m.shared = newSharedStore(m.manifest.Limits.SharedKiB << 10)
	metered, err := meter(m.binary, startFuel)
	if err != nil {
		return err
	}
	m.binary = nil // the file has it
	m.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCompilationCache(cache).
		WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD).
		WithMemoryLimitPages(uint32(m.manifest.Limits.MemoryMiB)<<10/pageKiB).
		WithDebugInfoEnabled(false))
	if m.compiled, err = m.runtime.CompileModule(ctx, metered); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if err := m.checkImports(); err != nil {
		return err
	}
	if err := provide(ctx, m.runtime, m.manifest); err != nil {
		return err
	}
	if err := provideWASI(ctx, m.runtime, m.compiled); err != nil {
		return err
	}
	m.column, m.columnBefore = openColumns(host, m.manifest.Storage.Connection)
	if m.trial, err = m.newGuest(); err != nil {
		return err
	}
	if old, ok := host.Predecessor().(*module); ok {
		m.succeed(old)
	}
	m.guests = make([]atomic.Pointer[guest], host.Workers())
	for i := range m.guests {
		g, err := m.newGuest()
		if err != nil {
			return err
		}
		m.guests[i].Store(g)
	}
	if m.manifest.has(CapTimers) {
		host.OnTick(m.tick)
	}
	for i, f := range m.manifest.Functions {
		u := ppf.UserFunction{
			Name: f.Name, Doc: f.Doc, Level: ppf.LevelPacket, Layer: f.Layer,
			Bind: func(b ppf.Binding) (ppf.Processor, error) { return m.bind(uint32(i), b) },
		}
		if f.Settings != nil {
			u.Settings = func() any { return newSettings(f.Settings) }
		}
		if err := host.Register(u); err != nil {
			return err
		}
	}
	return nil
}

// checkImports refuses what the guest is not given, by name.
func (m *module) checkImports() error {
	for _, f := range m.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if module == wasiModule {
			continue
		}
		if module != callModule || !slices.ContainsFunc(calls, func(c call) bool { return c.name == name }) {
			return fmt.Errorf("it imports %s.%s, which does not exist", module, name)
		}
	}
	return nil
}

// Stop ends the guests. No worker is in one any more.
func (m *module) Stop(ctx context.Context) error {
	m.mu.Lock()
	m.stopped = true
	next := m.next
	m.mu.Unlock()
	if next != nil {
		next.mu.Lock()
		next.before = nil
		next.mu.Unlock()
	}
	m.restarts.Wait()
	if n := m.dropped.Load(); n > 0 {
		m.say(fmt.Appendf(nil, "the bytes of %d connections were dropped, as their schema was another", n))
	}
	if m.runtime == nil {
		return nil
	}
	return m.runtime.Close(ctx)
}

// Faults tells whether the module is disabled, and how often a guest was stopped.
func (m *module) Faults() (string, uint64) {
	state := ""
	if m.disabled.Load() {
		state = "disabled"
	}
	return state, m.faults.Load()
}

// reason gives a registered reason by the number that the guest knows.
func (m *module) reason(n uint32) (ppf.Reason, bool) {
	list := *m.reasons.Load()
	if n == 0 || int(n) > len(list) {
		return packet.ReasonNone, false
	}
	return list[n-1], true
}

// register gives a reason its number. Each guest registers the same, and a
// reload finds those of the version before.
func (m *module) register(info ppf.ReasonInfo) (int, error) {
	if !m.manifest.ownsReason(info.Name) {
		return 0, fmt.Errorf("its name has to start with %q", m.manifest.Name+".")
	}
	r, err := packet.RenewReason(m.manifest.Name, info)
	if err != nil {
		return 0, err
	}
	list := *m.reasons.Load()
	if i := slices.Index(list, r); i >= 0 {
		return i + 1, nil
	}
	if len(list) == maxReasons {
		return 0, fmt.Errorf("it has more than %d reasons", maxReasons)
	}
	next := append(slices.Clone(list), r)
	m.reasons.Store(&next)
	return len(next), nil
}

// binding is one function, ready for one proxy instance.
type binding struct {
	m        *module
	handle   uint32
	function uint32 // in the manifest
	instance ppf.InstanceNumber
	settings *settings
	store    *instanceStore
}

// bind tries the settings on a guest that no packet reaches.
func (m *module) bind(function uint32, b ppf.Binding) (ppf.Processor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &binding{m: m, function: function, instance: b.Instance.Number[ppf.ClientToServer], settings: &settings{}}
	if s, ok := b.Settings.(*settings); ok {
		if s.wrong != nil {
			return nil, s.wrong
		}
		p.settings = s
	}
	var err error
	if p.store, err = m.storeOf(p); err != nil {
		return nil, err
	}
	old := *m.bindings.Load()
	p.handle = uint32(len(old))
	next := append(slices.Clip(old), p)
	m.bindings.Store(&next)
	if err := m.trial.bind(p); err != nil {
		fresh, freshErr := m.newGuest()
		if freshErr == nil {
			m.trial.close()
			m.trial = fresh
		}
		return nil, errors.Join(err, freshErr)
	}
	return p, nil
}

// Process lets the worker's guest judge the packet.
func (b *binding) Process(x *ppf.Exchange) ppf.Verdict {
	m := b.m
	worker := x.Worker()
	g := m.guests[worker].Load()
	if g == nil {
		if m.disabled.Load() {
			return x.CannotJudge(ReasonDisabled, m.faults.Load())
		}
		return x.CannotJudge(ReasonRestarting, m.faults.Load())
	}
	v, err := g.judge(b, x)
	if err != nil {
		m.fault(worker, g, err, x.Now)
		return x.CannotJudge(ReasonFault, m.faults.Load())
	}
	return v
}

// fault takes a guest out of use. It is started again beside the worker, unless
// there were too many faults: then the module is disabled.
func (m *module) fault(worker int, g *guest, err error, now int64) {
	m.guests[worker].Store(nil)
	n := m.faults.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	since := now - int64(m.manifest.Limits.FaultSeconds)*int64(time.Second)
	m.recent = slices.DeleteFunc(m.recent, func(t int64) bool { return t < since })
	m.recent = append(m.recent, now)
	m.event("fault %d: %v", n, err)
	if len(m.recent) >= m.manifest.Limits.Faults {
		if !m.disabled.Swap(true) {
			m.event("disabled after %d faults in %d s: its packets get the instances' fail policy (`promethos module reload %s`)",
				len(m.recent), m.manifest.Limits.FaultSeconds, m.manifest.Name)
		}
		g.close()
		return
	}
	if m.stopped {
		return
	}
	m.restarts.Go(func() {
		g.close()
		fresh, err := m.newGuest()
		if err != nil {
			m.disabled.Store(true)
			m.event("disabled: it cannot be started again: %v", err)
			return
		}
		m.guests[worker].Store(fresh)
	})
}

func (m *module) event(format string, args ...any) {
	m.host.Events().Add(ppf.Event{Kind: ppf.EventModule, Text: fmt.Sprintf("module %s: ", m.manifest.Name) + fmt.Sprintf(format, args...)})
}

// logLimit lets some lines a second into the event stream.
type logLimit struct {
	mu      sync.Mutex
	second  int64
	count   int
	skipped int
}

// say puts a line of the guest's into the event stream; what is too much is
// counted and told with the next line that goes through.
func (m *module) say(text []byte) {
	l := &m.logs
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := m.host.Env().Now() / int64(time.Second); second != l.second {
		l.second, l.count = second, 0
	}
	if l.count++; l.count > m.manifest.Limits.LogsPerSec {
		l.skipped++
		return
	}
	if l.skipped > 0 {
		m.event("%d lines were left out", l.skipped)
		l.skipped = 0
	}
	m.event("%.400q", text)
}

// timers holds when each binding wants to be called.
type timers struct {
	mu  sync.Mutex
	due map[uint32]int64
}

// callTimer has promethos_timer called for an instance after some ns; 0 takes it
// back.
func (g *guest) callTimer(s []uint64) {
	b := g.binding(s[0])
	t := &g.m.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due == nil {
		t.due = map[uint32]int64{}
	}
	if s[1] == 0 {
		delete(t.due, b.handle)
	} else {
		t.due[b.handle] = deadline(g.m.host.Env().Now(), s[1])
	}
	s[0] = callOK
}

// tick calls the timers that are due, on the first worker's guest between two
// batches.
func (m *module) tick(now int64) {
	m.timers.mu.Lock()
	var due []uint32
	for handle, at := range m.timers.due {
		if at <= now {
			due = append(due, handle)
			delete(m.timers.due, handle)
		}
	}
	m.timers.mu.Unlock()
	slices.SortFunc(due, cmp.Compare[uint32])
	for _, handle := range due {
		g := m.guests[0].Load()
		if g == nil || g.timer == nil {
			return
		}
		g.now = now
		err := g.bind((*m.bindings.Load())[handle])
		if err == nil {
			_, err = g.call(g.timer, m.manifest.Limits.Fuel, uint64(handle))
		}
		if err != nil {
			m.fault(0, g, fmt.Errorf("timer: %w", err), now)
		}
	}
}
