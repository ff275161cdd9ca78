package wasm

import (
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

// module is a PFM that runs a guest per worker.
type module struct {
	core
	binary   []byte
	runtime  wazero.Runtime
	compiled wazero.CompiledModule

	// guests is indexed by worker; nil while one is started again.
	guests   []atomic.Pointer[guest]
	ones     []oneRun // by worker
	disabled atomic.Bool
	faults   atomic.Uint64

	// core.mu guards what follows.
	trial    *guest  // answers whether settings are good; belongs to no worker
	recent   []int64 // times of the last faults
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
	m.open(host)
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
	if m.trial, err = m.newGuest(); err != nil {
		return err
	}
	if m.trial.migrate != nil {
		m.migrate = m.trial.callMigrate
	}
	m.succeed()
	if m.manifest.hasLevel(ppf.LevelPacket) {
		m.guests, m.ones = make([]atomic.Pointer[guest], host.Workers()), make([]oneRun, host.Workers())
	}
	for i := range m.guests {
		g, err := m.newGuest()
		if err != nil {
			return err
		}
		m.guests[i].Store(g)
	}
	var units []unit
	for range m.sessionUnits() {
		g, err := m.newGuest()
		if err != nil {
			return err
		}
		units = append(units, g)
	}
	m.faulted = m.sessionFault
	m.pool.open(units)
	return m.registerFunctions(m.try, m.processor, m.callTimer)
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
	m.stop()
	m.restarts.Wait()
	m.close()
	if m.runtime == nil {
		return nil
	}
	err := m.runtime.Close(ctx)
	// Sessions that began with this version know it as long as they live: its guests'
	// memory must not live as long.
	m.pool.forget()
	m.runtime, m.compiled, m.trial, m.guests, m.migrate = nil, nil, nil, nil, nil
	return err
}

// Faults tells whether the module is disabled, and how often a guest was stopped.
func (m *module) Faults() (string, uint64) {
	state := ""
	if m.disabled.Load() {
		state = "disabled"
	}
	return state, m.faults.Load()
}

// try lets a guest that no packet reaches look at the settings; mu is held.
func (m *module) try(b *binding) error {
	if err := m.trial.bind(b); err != nil {
		fresh, freshErr := m.newGuest()
		if freshErr == nil {
			m.trial.close()
			m.trial = fresh
		}
		return errors.Join(err, freshErr)
	}
	return nil
}

func (m *module) processor(b *binding) ppf.Processor { return guestFunction{m, b} }

// guestFunction is a function of a guest, ready for one proxy instance.
type guestFunction struct {
	m *module
	*binding
}

var _ ppf.BatchProcessor = guestFunction{}

// oneRun is a run of one packet, where the engine gives no longer ones.
type oneRun struct {
	packets  [1]*ppf.Exchange
	verdicts [1]ppf.Verdict
}

// Process lets the worker's guest judge the packet.
func (f guestFunction) Process(x *ppf.Exchange) ppf.Verdict {
	one := &f.m.ones[x.Worker()]
	one.packets[0] = x
	f.ProcessRun(one.packets[:], one.verdicts[:])
	return one.verdicts[0]
}

// RunLength is for how many packets the guest has room.
func (f guestFunction) RunLength(x *ppf.Exchange) int {
	if g := f.m.guests[x.Worker()].Load(); g != nil {
		return g.room
	}
	return 1
}

// ProcessRun lets the worker's guest judge packets in one call. Where it faults, those
// before have their verdicts, and for those behind the module is out of order.
func (f guestFunction) ProcessRun(run []*ppf.Exchange, verdicts []ppf.Verdict) {
	m, worker := f.m, run[0].Worker()
	judged, reason := 0, ReasonRestarting
	g := m.guests[worker].Load()
	if m.disabled.Load() {
		reason = ReasonDisabled
	} else if g != nil {
		var err error
		if judged, err = g.judge(f.binding, run, verdicts); err != nil {
			m.guests[worker].Store(nil)
			m.fault(g, err, run[0].Now, m.guests[worker].Store)
			verdicts[judged] = run[judged].CannotJudge(ReasonFault, m.faults.Load())
			judged++
			if m.disabled.Load() {
				reason = ReasonDisabled
			}
		}
	}
	for i, x := range run[judged:] {
		verdicts[judged+i] = x.CannotJudge(reason, m.faults.Load())
	}
}

// sessionFault takes a guest of the sessions' out of use.
func (m *module) sessionFault(u unit, err error) {
	m.fault(u.(*guest), err, m.host.Env().Now(), func(fresh *guest) { m.pool.idle <- fresh })
}

// fault ends a guest that is out of use. Another one takes its place, started
// beside who used it, unless there were too many faults: then the module is
// disabled.
func (m *module) fault(g *guest, err error, now int64, use func(fresh *guest)) {
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
			m.pool.close()
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
			m.pool.close()
			m.event("disabled: it cannot be started again: %v", err)
			return
		}
		use(fresh)
	})
}

// callTimer calls the guest's timer of a binding on the first worker's guest,
// between two batches. It waits for a guest that is being started again.
func (m *module) callTimer(b *binding, t *timer) bool {
	g := m.guests[0].Load()
	switch {
	case m.disabled.Load():
		return true
	case g == nil:
		return false
	}
	if err := g.tick(b, t); err != nil {
		m.guests[0].Store(nil)
		m.fault(g, err, m.host.Env().Now(), m.guests[0].Store)
	}
	return true
}
