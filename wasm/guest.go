package wasm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// startFuel is what a guest may use to start, to be configured, and to migrate
// one connection's bytes: the Go runtime's start costs about a hundredth.
const startFuel = 1_000_000_000

// What a guest exports beside its memory.
const (
	exportABI        = "promethos_abi"
	exportArea       = "promethos_area"
	exportConfigure  = "promethos_configure"
	exportBatch      = "promethos_batch"
	exportProcess    = "promethos_process"
	exportMessage    = "promethos_message"
	exportStream     = "promethos_stream"
	exportMigrate    = "promethos_migrate"
	exportTimer      = "promethos_timer"
	exportInitialize = "_initialize" // of a WASI reactor
)

// guest is one instance of a module's code, with its own memory. It does one
// thing at a time: it belongs to a worker, or to whoever holds core.mu.
type guest struct {
	m         *module
	mod       api.Module
	fuel      api.MutableGlobal
	area      uint32
	room      int // descriptors in it
	process   api.Function
	configure api.Function
	migrate   api.Function // nil: none
	timer     api.Function // nil: none
	// These are nil where the module has no functions of that level.
	judgeMessage, judgeStream api.Function
	ctx                       *guestContext
	stack                     [8]uint64
	random                    *rand.Rand
	now                       int64 // what the guest's clock shows, ns since 1970
	starting                  bool  // reasons may be registered
	// configured tells which bindings the guest knows, by handle.
	configured []bool

	// Of what is being judged.
	run     run
	stop    bool // a call has decided, of a message or a stream
	logs    int
	trap    string // why a call of the guest's ended it
	printed []byte // the start of what it printed
	column  []byte // the connection's bytes, written back after the call
	options packet.TCPOptions
	extra   packet.Out // being built for emit
	payload []byte     // of extra

	due  *timer      // the timer that has come, of a function of packets
	job  *messageJob // the message that is being judged
	flow *filter     // the stream that is being judged

	arena ppf.Arena // payloads that the guest wrote
	batch uint64
}

// guestContext leads from a call of the host's back to its guest.
type guestContext struct {
	context.Context
	g *guest
}

// errTrap ends a guest from inside a call of the host's; guest.trap says why.
var errTrap = errors.New("the guest was ended")

// fail ends the guest that is making a call.
func (g *guest) fail(format string, args ...any) {
	g.trap = fmt.Sprintf(format, args...)
	panic(errTrap)
}

// newGuest starts an instance. It registers reasons and may log.
func (m *module) newGuest() (_ *guest, err error) {
	g := &guest{m: m, starting: true}
	env := m.host.Env()
	g.random = rand.New(rand.NewPCG(uint64(env.Uint32()), uint64(env.Uint32())))
	g.ctx = &guestContext{context.Background(), g}
	g.mod, err = m.runtime.InstantiateModule(g.ctx, m.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", g.explain(err))
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	var ok bool
	if g.fuel, ok = g.mod.ExportedGlobal(fuelName).(api.MutableGlobal); !ok || g.mod.Memory() == nil {
		return nil, errors.New("it exports no memory")
	}
	if init := g.mod.ExportedFunction(exportInitialize); init != nil {
		if _, err := g.call(init, startFuel); err != nil {
			return nil, fmt.Errorf("%s: %w", exportInitialize, err)
		}
	}
	version, err := g.number(exportABI)
	if err != nil {
		return nil, err
	}
	if version != abiVersion {
		return nil, fmt.Errorf("it was made for version %d of the interface, this is version %d", version, abiVersion)
	}
	if g.area, err = g.number(exportArea); err != nil {
		return nil, err
	}
	if err := g.findRoom(); err != nil {
		return nil, err
	}
	for _, e := range []struct {
		name     string
		params   int
		f        *api.Function
		required bool
	}{
		{exportConfigure, 2, &g.configure, true}, {exportProcess, 1, &g.process, m.manifest.hasLevel(ppf.LevelPacket)},
		{exportMessage, 1, &g.judgeMessage, m.manifest.hasLevel(ppf.LevelMessage)},
		{exportStream, 1, &g.judgeStream, m.manifest.hasLevel(ppf.LevelStream)},
		{exportMigrate, 4, &g.migrate, false}, {exportTimer, 1, &g.timer, false},
	} {
		f := g.mod.ExportedFunction(e.name)
		if f == nil && !e.required {
			continue
		}
		if f == nil || len(f.Definition().ParamTypes()) != e.params || len(f.Definition().ResultTypes()) > 1 {
			return nil, fmt.Errorf("it exports no function %s with %d parameters", e.name, e.params)
		}
		*e.f = f
	}
	g.starting = false
	return g, nil
}

// number calls a function of the guest's that gives one.
func (g *guest) number(name string) (uint32, error) {
	f := g.mod.ExportedFunction(name)
	if f == nil || len(f.Definition().ParamTypes()) != 0 || len(f.Definition().ResultTypes()) != 1 {
		return 0, fmt.Errorf("it exports no function %s() i32", name)
	}
	v, err := g.call(f, startFuel)
	return uint32(v), err
}

// close gives the guest's memory back.
func (g *guest) close() {
	// A module of ours has nothing to close that could fail.
	_ = g.mod.Close(g.ctx)
}

// call runs a function of the guest with at most fuel units. It is not safe to
// use the guest after an error.
func (g *guest) call(f api.Function, fuel int64, args ...uint64) (uint64, error) {
	g.fuel.Set(uint64(fuel))
	g.logs, g.trap, g.printed = 0, "", g.printed[:0]
	copy(g.stack[:], args)
	if err := f.CallWithStack(g.ctx, g.stack[:]); err != nil {
		return 0, g.explain(err)
	}
	return g.stack[0], nil
}

// explain says in our words why a guest ended.
func (g *guest) explain(err error) error {
	switch {
	case g.trap != "":
		return errors.New(g.trap)
	case g.fuel != nil && int64(g.fuel.Get()) < 0:
		return errors.New("endless loop: it used up its fuel")
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text + g.lastWords())
}

// bind makes the guest know a binding.
func (g *guest) bind(b *binding) error {
	if int(b.handle) < len(g.configured) && g.configured[b.handle] {
		return nil
	}
	for len(g.configured) <= int(b.handle) {
		g.configured = append(g.configured, false)
	}
	code, err := g.call(g.configure, startFuel, uint64(b.handle), uint64(b.function))
	if err != nil {
		return err
	}
	if uint32(code) != 0 {
		return fmt.Errorf("it refused its settings with code %d%s", int32(code), g.lastWords())
	}
	g.configured[b.handle] = true
	return nil
}

// tick calls the guest's timer of a binding.
func (g *guest) tick(b *binding, t *timer) error {
	if g.timer == nil {
		return nil
	}
	g.now, g.due = g.m.host.Env().Now(), t
	defer func() { g.due = nil }()
	g.extra.Reset()
	if err := g.bind(b); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if _, err := g.call(g.timer, g.m.manifest.Limits.Fuel, uint64(b.handle)); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	return nil
}

// descriptor is the first one of the exchange area, for a message or a stream.
func (g *guest) descriptor() ([]byte, error) {
	a, err := g.writeArea(1)
	if err != nil {
		return nil, err
	}
	return a.descriptor(0), nil
}

// verdict reads what the guest answered.
func (g *guest) verdict(d []byte, x *ppf.Exchange) (ppf.Verdict, error) {
	switch v := d[dVerdict]; v {
	case byte(ppf.Accept):
		return ppf.Verdict{Action: ppf.Accept}, nil
	case byte(ppf.Drop):
		r, ok := g.m.reason(le.Uint32(d[dReason:]))
		if !ok {
			return ppf.Verdict{}, errNoReason(le.Uint32(d[dReason:]))
		}
		return x.Refuse(r, le.Uint64(d[dValue:])), nil
	default:
		return ppf.Verdict{}, errVerdict(v)
	}
}

func errNoReason(n uint32) error {
	return fmt.Errorf("wrong verdict: a drop with reason %d, which it did not register", n)
}

func errVerdict(v byte) error {
	if v == verdictUnset {
		return errors.New("wrong verdict: it gave none")
	}
	return fmt.Errorf("wrong verdict: %d (a guest answers 0, drop, or 1, accept)", v)
}
