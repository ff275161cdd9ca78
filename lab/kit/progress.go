package kit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// patience is how long a scenario may stand still. A guest's loops end by its fuel
// long before: what is left is a chain that waits for what does not come.
const patience = time.Minute

// progress is how far a scenario has come.
type progress struct {
	moves atomic.Uint64
	place atomic.Pointer[string]
}

// at says what is done next.
func (p *progress) at(place string) { p.place.Store(&place) }

// guard runs a scenario, and gives it up when it stands still. What it was in is left
// behind then: the program is about to end.
func (p *progress) guard(ctx context.Context, run func() ([]Check, error)) ([]Check, error) {
	type result struct {
		checks []Check
		err    error
	}
	done := make(chan result, 1)
	go func() {
		checks, err := run()
		done <- result{checks, err}
	}()
	for before := p.moves.Load(); ; {
		select {
		case r := <-done:
			return r.checks, r.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(patience):
		}
		now := p.moves.Load()
		if now == before {
			return nil, fmt.Errorf("%s: nothing has moved for %v: a function of the chain waits for ever (see what it does with this step)", *p.place.Load(), patience)
		}
		before = now
	}
}
