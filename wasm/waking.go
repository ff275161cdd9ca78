package wasm

import (
	"errors"
	"sync"
	"time"
)

// waking is who wants a flow's reader to look up from a connection on which nothing
// comes: the reader, who has a deadline, the module, and the other flow.
type waking struct {
	mu        sync.Mutex // taken behind the pair's
	reader    time.Time  // zero: never
	module    int64      // ns since 1970; 0: never
	now       bool       // the other flow has something to tell
	forModule bool       // the connection's deadline is the module's
}

// wanted is for whom a deadline of the connection has passed.
type wanted uint8

const (
	forReader wanted = iota
	forModule
	forOther
)

// SetReadDeadline bounds how long a reader waits.
func (c *filter) SetReadDeadline(t time.Time) error {
	w := &c.waking
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reader = t
	return c.arm()
}

// SetDeadline bounds how long a reader and a writer wait.
func (c *filter) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// arm sets the connection's deadline to the first that is wanted; waking.mu is held.
func (c *filter) arm() error {
	w := &c.waking
	at := w.reader
	w.forModule = false
	if module := time.Unix(0, w.module); w.module > 0 && (at.IsZero() || module.Before(at)) {
		at, w.forModule = module, true
	}
	if w.now {
		at = time.Unix(1, 0)
	}
	return c.Conn.SetReadDeadline(at)
}

// poke has the flow's reader look whether there is something that it did not read.
func (c *filter) poke() {
	w := &c.waking
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = true
	// It fails only for a connection that is over.
	_ = c.arm()
}

// wake has the module judge the flow when some ns have passed, a day at most; 0 takes
// it back.
func (c *filter) wake(now int64, after uint64) {
	w := &c.waking
	w.mu.Lock()
	defer w.mu.Unlock()
	w.module = 0
	if after > 0 {
		w.module = deadline(now, after)
	}
	// Likewise.
	_ = c.arm()
}

// expired tells for whom the connection's deadline has passed, and sets the next.
func (c *filter) expired() wanted {
	w := &c.waking
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.now:
		w.now = false
		_ = c.arm()
		return forOther
	case w.forModule:
		w.module = 0
		_ = c.arm()
		return forModule
	}
	return forReader
}
