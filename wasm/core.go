package wasm

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// core is what the host keeps for a module, whether its code is a guest's or
// compiled in.
type core struct {
	manifest *Manifest
	host     *ppf.ModuleHost

	column, columnBefore column
	shared               *sharedStore
	dropped              atomic.Uint64 // connections whose bytes were dropped by a reload
	bindings             atomic.Pointer[[]*binding]
	reasons              atomic.Pointer[[]ppf.Reason]
	timers               timers
	logs                 logLimit
	// migrate lays out bytes anew, on no worker; nil: the module cannot.
	migrate migration
	pool    pool
	ticking sync.WaitGroup // timers of sessions' bindings
	// faulted is told of a unit of the pool that must not be used again.
	faulted func(u unit, err error)

	mu      sync.Mutex // guards what follows
	before  *core      // whose place this one takes; nil once that is stopped
	next    *core      // that takes this one's place
	stopped bool
}

// hasCore is a module with a core.
type hasCore interface{ itsCore() *core }

func (c *core) itsCore() *core { return c }

// open begins the module's life.
func (c *core) open(host *ppf.ModuleHost) {
	c.host = host
	c.bindings.Store(&[]*binding{})
	c.reasons.Store(&[]ppf.Reason{})
	c.shared = newSharedStore(c.manifest.Limits.SharedKiB << 10)
	c.column, c.columnBefore = openColumns(host, c.manifest.Storage.Connection)
}

// stop begins the end: sessions get the version that takes this one's place, and
// when it returns no unit of the pool is in use.
func (c *core) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.pool.close()
	c.ticking.Wait()
	c.pool.wait()
}

// close ends it.
func (c *core) close() {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	if next != nil {
		next.mu.Lock()
		next.before = nil
		next.mu.Unlock()
	}
	if n := c.dropped.Load(); n > 0 {
		c.event("the bytes of %d connections were dropped, as their schema was another", n)
	}
}

// registerFunctions registers what the manifest names. try tells whether a
// function can be bound, with mu held; processor makes one of packets ready; timer
// is called when a binding's time has passed.
func (c *core) registerFunctions(try func(*binding) error, processor func(*binding) ppf.Processor, timer timerCall) error {
	if c.manifest.has(CapTimers) {
		c.host.OnTick(func(now int64) { c.tick(now, timer) })
	}
	for i, f := range c.manifest.Functions {
		u := ppf.UserFunction{
			Name: f.Name, Doc: f.Doc, Level: f.level(), Layer: f.Layer, Lasting: true,
		}
		switch u.Level {
		case ppf.LevelPacket:
			u.Bind = func(b ppf.Binding) (ppf.Processor, error) {
				p, err := c.bind(uint32(i), b, try)
				if err != nil {
					return nil, err
				}
				return processor(p), nil
			}
		case ppf.LevelStream:
			u.HandsOn = true
			u.BindStream = func(b ppf.Binding) (ppf.StreamFunction, error) {
				p, err := c.bind(uint32(i), b, try)
				return &streamFunction{c, p}, err
			}
		case ppf.LevelMessage:
			u.BindMessage = func(b ppf.Binding) (any, error) {
				p, err := c.bind(uint32(i), b, try)
				return &messageFunction{c, p}, err
			}
		}
		if f.Settings != nil {
			u.Settings = func() any { return newSettings(f.Settings) }
		}
		if err := c.host.Register(u); err != nil {
			return err
		}
	}
	return nil
}

// binding is one function, ready for one proxy instance.
type binding struct {
	handle   uint32
	function uint32 // in the manifest
	name     string // the function's
	instance ppf.InstanceNumber
	settings *settings
	store    *instanceStore
}

// inUse reports whether it is a function of an instance's chain, and not one that was
// only tried or whose place another has taken.
func (b *binding) inUse(c *core) bool {
	f, ok := c.host.Bound(b.instance, b.name).(interface{ itsBinding() *binding })
	return ok && f.itsBinding() == b
}

func (b *binding) itsBinding() *binding { return b }

func (c *core) bind(function uint32, b ppf.Binding, try func(*binding) error) (*binding, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &binding{function: function, name: c.manifest.Functions[function].Name, instance: b.Instance.Number[ppf.ClientToServer], settings: &settings{}}
	if s, ok := b.Settings.(*settings); ok {
		if s.wrong != nil {
			return nil, s.wrong
		}
		p.settings = s
	}
	var err error
	if p.store, err = c.storeOf(p); err != nil {
		return nil, err
	}
	set, isSet := c.timerOf(p)
	old := *c.bindings.Load()
	p.handle = uint32(len(old))
	next := append(slices.Clip(old), p)
	c.bindings.Store(&next)
	if isSet {
		c.setTimer(p, uint64(max(set.at-c.host.Env().Now(), 1)), set.from)
	}
	return p, try(p)
}

// reason gives a registered reason by the number that the guest knows.
func (c *core) reason(n uint32) (ppf.Reason, bool) {
	list := *c.reasons.Load()
	if n == 0 || int(n) > len(list) {
		return packet.ReasonNone, false
	}
	return list[n-1], true
}

// register gives a reason its number. Each guest registers the same, and a
// reload finds those of the version before.
func (c *core) register(info ppf.ReasonInfo) (int, error) {
	if !c.manifest.ownsReason(info.Name) {
		return 0, fmt.Errorf("its name has to start with %q", c.manifest.Name+".")
	}
	r, err := packet.RenewReason(c.manifest.Name, info)
	if err != nil {
		return 0, err
	}
	list := *c.reasons.Load()
	if i := slices.Index(list, r); i >= 0 {
		return i + 1, nil
	}
	if len(list) == maxReasons {
		return 0, fmt.Errorf("it has more than %d reasons", maxReasons)
	}
	next := append(slices.Clone(list), r)
	c.reasons.Store(&next)
	return len(next), nil
}

func (c *core) event(format string, args ...any) {
	c.host.Events().Add(ppf.Event{Kind: ppf.EventModule, Text: fmt.Sprintf("module %s: ", c.manifest.Name) + fmt.Sprintf(format, args...)})
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
func (c *core) say(text []byte) {
	l := &c.logs
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := c.host.Env().Now() / int64(time.Second); second != l.second {
		l.second, l.count = second, 0
	}
	if l.count++; l.count > c.manifest.Limits.LogsPerSec {
		l.skipped++
		return
	}
	if l.skipped > 0 {
		c.event("%d lines were left out", l.skipped)
		l.skipped = 0
	}
	c.event("%.400q", text)
}
