package wasm

import (
	"os"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestNothingElse: a guest gets no files, no sockets, no programs, no environment and
// no clock but the packet's, and its randomness is the engine's: two runs are alike.
// What it reaches for costs it nothing, and waits for nothing.
func TestNothingElse(t *testing.T) {
	binary := buildGuest(t, "./testdata/reach/guest")
	run := func() (random string) {
		dir := t.TempDir()
		install(t, dir, "reach", binary, `{"abi":1,"name":"reach","version":"1","doc":"for tests","functions":[{"name":"reach","doc":"for tests","level":"packet","layer":4}]}`)
		b := ppftest.New(t)
		apply(b, dir, ppftest.Instance("a", "reach"))
		for _, what := range []string{"read", "write", "list", "folder", "dial", "run", "input"} {
			if got := ask(t, b, what); got != "error" {
				t.Errorf("%s: %q", what, got)
			}
		}
		now := time.Unix(0, b.Env.Now()).UTC().Format(time.RFC3339)
		for what, want := range map[string]string{"environment": "0 0", "output": "said", "clock": now} {
			if got := ask(t, b, what); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		if got := events(b, "fault"); len(got) > 0 {
			t.Errorf("faults %q", got)
		}
		random = ask(t, b, "random")
		if action, _ := b.Send(ppf.Forward, segment(t, "sleep")); action != ppf.Drop || len(events(b, "endless loop")) != 1 {
			t.Errorf("a guest that sleeps: %v, %q", action, events(b, "fault"))
		}
		return random
	}
	if one, two := run(), run(); one != two || len(one) != len("got ")+32 {
		t.Errorf("random numbers of two runs: %q, %q", one, two)
	}
	if _, err := os.Stat("/tmp/promethos-reached"); err == nil {
		t.Error("a guest has made a file")
	}
}
