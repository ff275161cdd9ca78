package kit

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestGuard: a scenario that stands still is given up, and told where; one that goes
// on slowly is not.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, end := &progress{}, make(chan struct{})
		defer close(end)
		p.at("line 7")
		checks, err := p.guard(t.Context(), func() ([]Check, error) {
			<-end
			return nil, nil
		})
		if checks != nil || err == nil || !strings.HasPrefix(err.Error(), "line 7: nothing has moved for 1m0s") {
			t.Errorf("%v %v", checks, err)
		}
		p = &progress{}
		checks, err = p.guard(t.Context(), func() ([]Check, error) {
			for range 5 {
				time.Sleep(patience - time.Second)
				p.moves.Add(1)
			}
			return []Check{{Name: "slow"}}, nil
		})
		if len(checks) != 1 || err != nil {
			t.Errorf("%v %v", checks, err)
		}
	})
}
