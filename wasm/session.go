package wasm

import (
	"sync"

	"github.com/tetratelabs/wazero/api"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// unit runs functions for one caller at a time: a guest, or the host of code that
// is compiled in. An error is a fault: the unit must not be used again.
type unit interface {
	message(b *binding, j *messageJob) error
	stream(b *binding, c *filter) error
	// tick calls a binding's timer; t is nil for one of sessions.
	tick(b *binding, t *timer) error
}

// job is what a session wants of a unit.
type job interface {
	do(u unit, b *binding) error
}

// timerJob calls the timer of a binding.
type timerJob struct{}

func (timerJob) do(u unit, b *binding) error { return u.tick(b, nil) }

// pool holds the units that sessions borrow, each for one call: sessions are
// many, in goroutines of their own, and no worker's.
type pool struct {
	idle chan unit
	// closed is when nothing is lent any more: the module is disabled or stopped.
	closed chan struct{}
	once   sync.Once
	// using is held for reading while a unit is lent.
	using sync.RWMutex
}

// open begins the lending; none where no session can ask.
func (p *pool) open(units []unit) {
	p.idle, p.closed = make(chan unit, len(units)), make(chan struct{})
	for _, u := range units {
		p.idle <- u
	}
}

// close ends it, and wait returns when no unit is lent any more.
func (p *pool) close() {
	if p.closed != nil {
		p.once.Do(func() { close(p.closed) })
	}
}

func (p *pool) wait() {
	p.using.Lock()
	defer p.using.Unlock()
}

// forget lets go of the units, when none is lent any more.
func (p *pool) forget() {
	for {
		select {
		case <-p.idle:
		default:
			return
		}
	}
}

// borrow gives a unit, nil when nothing is lent any more. It waits for one: calls
// end when their fuel does.
func (p *pool) borrow() unit {
	p.using.RLock()
	select {
	case <-p.closed:
	default:
		select {
		case u := <-p.idle:
			return u
		case <-p.closed:
		}
	}
	p.using.RUnlock()
	return nil
}

// sessionUnits is how many units sessions share: none where the module has
// functions for packets alone.
func (c *core) sessionUnits() int {
	for i := range c.manifest.Functions {
		if c.manifest.Functions[i].level() != ppf.LevelPacket {
			return max(2, c.host.Workers())
		}
	}
	return 0
}

// call does a session's job by the version of the module that is loaded now,
// which may have taken the place of the one that the session began with. It gives
// ReasonNone, or why the function cannot judge.
func (c *core) call(b *binding, j job) ppf.Reason {
	for first := c; ; {
		if u := c.pool.borrow(); u != nil {
			first.follow(c)
			if c.lend(u, b, j) != nil {
				return ReasonFault
			}
			return packet.ReasonNone
		}
		c.mu.Lock()
		next, stopped := c.next, c.stopped
		c.mu.Unlock()
		switch {
		case !stopped:
			return ReasonDisabled
		case next == nil:
			return ppf.ReasonFunctionMissing
		}
		next.mu.Lock()
		b = next.bindingOf(b)
		next.mu.Unlock()
		if b == nil {
			return ppf.ReasonFunctionMissing
		}
		c = next
	}
}

// follow notes which version is the one that a session gets now, so that those between
// are forgotten.
func (c *core) follow(now *core) {
	if c == now {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = now
}

// lend lets a unit do a job, and takes it back, also from a panic of code that is
// compiled in.
func (c *core) lend(u unit, b *binding, j job) (err error) {
	defer func() {
		if err != nil {
			c.faulted(u, err)
		} else {
			c.pool.idle <- u
		}
		c.pool.using.RUnlock()
	}()
	return j.do(u, b)
}

// sessionFinding tells of something that has one safe meaning in a message or a
// stream. It reports true where it is refused instead.
func sessionFinding(j *messageJob, c *filter, r ppf.Reason) (stop bool) {
	if j != nil {
		return j.x.Finding(r, 0)
	}
	if stop = c.pair.find(r); stop {
		c.pair.end(packet.ReasonNone)
	}
	return stop
}

// judgeSession calls a function of the guest's that judges a message or a stream,
// whose descriptor is written, with the bytes that are kept with the session. It
// gives the verdict, and the reason of a drop.
func (g *guest) judgeSession(f api.Function, kept []byte) (verdict byte, r ppf.Reason, err error) {
	if _, err = g.call(f, g.m.manifest.Limits.Fuel, 1); err != nil {
		return 0, r, err
	}
	// Memory may have grown and moved.
	d, err := g.descriptor()
	if err != nil {
		return 0, r, err
	}
	copy(kept, d[dStorage:])
	if g.stop {
		return byte(ppf.Accept), r, nil
	}
	if verdict = d[dVerdict]; verdict == byte(ppf.Drop) {
		var ok bool
		if r, ok = g.m.reason(le.Uint32(d[dReason:])); !ok {
			return 0, r, errNoReason(le.Uint32(d[dReason:]))
		}
	}
	return verdict, r, nil
}
