package ppf

import (
	"maps"
	"sync"
)

// ending is how a session is asked to end, and made to.
type ending struct {
	mu               sync.Mutex
	drains, aborts   bool
	onDrain, onAbort func()
}

// OnEnd is for the function that ends a session's stream. drain is called when
// the session shall end at the next boundary of what it carries, which is now
// where nothing is under way; abort when it has to end at once, and its client's
// connection was reset: whatever else it waits for has to return. Each is called
// by another goroutine, once at most, and must not block. A second call replaces
// what the first one set; after OnEnd(nil, nil) nothing is called any more.
func (s *Session) OnEnd(drain, abort func()) {
	e := &s.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onDrain, e.onAbort = drain, abort
	if e.drains && drain != nil {
		drain()
	}
	if e.aborts && abort != nil {
		abort()
	}
}

// Drain asks the session to end as soon as nothing is under way: for new
// connections there is another configuration, or none. It is safe for concurrent
// use, and so is Abort.
func (s *Session) Drain() {
	e := &s.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.drains && e.onDrain != nil {
		e.onDrain()
	}
	e.drains = true
}

// Abort resets the client's connection and counts why: what is under way must not
// look complete.
func (s *Session) Abort(r Reason) {
	s.Count(r, DoRefuse)
	Abort(s.accepted)
	e := &s.ending
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.aborts && e.onAbort != nil {
		e.onAbort()
	}
	e.aborts = true
}

// stale reports whether a session runs by a configuration, or by functions, that
// the instance no longer has.
func (e *Engine) stale(s *Session) bool {
	old, now := s.Instance, e.proxy.proxyOf(s.Instance.id)
	return now == nil || now != old && (now.spec != old.spec || !maps.EqualFunc(now.bound, old.bound, (*UserFunction).goesOnAs))
}

// goesOnAs reports whether sessions may go on with what f bound while connections
// that come get what next binds.
func (f *UserFunction) goesOnAs(next *UserFunction) bool {
	return f == next || f.Lasting && next.Lasting && f.Module == next.Module
}

// drainStale asks sessions to end that are stale.
func (e *Engine) drainStale() {
	e.sessions.each(func(s *Session) {
		if e.stale(s) {
			s.Drain()
		}
	})
}
