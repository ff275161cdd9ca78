package main

import (
	"runtime"
	"testing"
)

// TestGarbage: what was allocated counts until the collector has run.
func TestGarbage(t *testing.T) {
	g := newGarbage()
	ran := g.cycles
	var kept []byte
	for allocated := 0; allocated < 2*muchGarbage; allocated += len(kept) {
		kept = make([]byte, 64<<10)
	}
	runtime.KeepAlive(kept)
	if n := g.look(); n <= muchGarbage && g.cycles == ran {
		t.Errorf("%d octets are seen, want more than %d", n, muchGarbage)
	}
	runtime.GC()
	if n := g.look(); n > muchGarbage || g.cycles == ran {
		t.Errorf("after a run %d octets are seen, and the count of runs is %d as before", n, g.cycles)
	}
}
