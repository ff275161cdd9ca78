package wasm

import (
	"cmp"
	"slices"
	"sync"

	"github.com/promethos/promethos/ppf"
)

// timers holds when each binding wants to be called.
type timers struct {
	mu  sync.Mutex
	due map[uint32]timer // by handle
}

// timer is a call that is due, and where the packet came in that it was set with:
// what it emits goes that way.
type timer struct {
	at   int64
	from ppf.Ingress
}

// timerCall calls a binding's timer. It reports false where nobody can take the
// call now, but soon.
type timerCall func(b *binding, t *timer) bool

// setTimer has a binding's timer called after some ns; 0 takes it back.
func (c *core) setTimer(b *binding, after uint64, from ppf.Ingress) {
	t := &c.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due == nil {
		t.due = map[uint32]timer{}
	}
	if after == 0 || b.instance == 0 { // it is only tried
		delete(t.due, b.handle)
		return
	}
	if from.Instance != b.instance { // set without a packet: the way stays
		if from = t.due[b.handle].from; from.Instance == 0 {
			from.Instance = b.instance
		}
	}
	t.due[b.handle] = timer{deadline(c.host.Env().Now(), after), from}
}

// timerOf gives what is set of the binding before of the same, also of the version
// before of the module; mu is held.
func (c *core) timerOf(b *binding) (timer, bool) {
	old, holds := c.bindingOf(b), c
	if old == nil && c.before != nil {
		old, holds = c.before.bindingOf(b), c.before
	}
	if old == nil || !c.manifest.has(CapTimers) {
		return timer{}, false
	}
	t := &holds.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	set, ok := t.due[old.handle]
	return set, ok
}

// tick calls the timers that are due. Those of bindings that are not in use wait
// until they are.
func (c *core) tick(now int64, call timerCall) {
	t := &c.timers
	t.mu.Lock()
	var handles []uint32
	for handle, set := range t.due {
		if set.at <= now {
			handles = append(handles, handle)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(handles, cmp.Compare[uint32])
	for _, handle := range handles {
		b := (*c.bindings.Load())[handle]
		if !b.inUse(c) {
			continue
		}
		t.mu.Lock()
		set, still := t.due[handle]
		delete(t.due, handle)
		t.mu.Unlock()
		if !still {
			continue // another one took it back
		}
		if c.manifest.Functions[b.function].level() != ppf.LevelPacket {
			c.ticking.Go(func() { c.callTimer(b) })
			continue
		}
		if !call(b, &set) {
			t.mu.Lock()
			t.due[handle] = set
			t.mu.Unlock()
		}
	}
}

// callTimer calls the timer of a binding of sessions, by a unit of theirs, which
// the worker that looks at the clock does not wait for.
func (c *core) callTimer(b *binding) {
	defer func() {
		if fault := recover(); fault != nil {
			c.event("panic in a timer: %v", fault)
		}
	}()
	// Why it cannot be called has been told.
	c.call(b, timerJob{})
}
