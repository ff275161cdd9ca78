package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// full has everything, bare nothing.
type full struct{}

func (full) hasProgram(string) bool    { return true }
func (full) hasCapability(string) bool { return true }
func (full) isRoot() bool              { return true }

type bare struct{}

func (bare) hasProgram(string) bool    { return false }
func (bare) hasCapability(string) bool { return false }
func (bare) isRoot() bool              { return false }

// mixed has CAP_NET_ADMIN and tshark.
type mixed struct{}

func (mixed) hasProgram(n string) bool    { return n == "tshark" }
func (mixed) hasCapability(n string) bool { return n == "CAP_NET_ADMIN" }
func (mixed) isRoot() bool                { return true }

func TestContradiction(t *testing.T) {
	for _, tc := range []struct {
		reason string
		m      machine
		want   string
	}{
		{"x_test.go:3: needs tshark", full{}, "tshark"},
		{"x_test.go:3: needs tshark", bare{}, ""},
		{"x_test.go:3: needs hping3 or nmap", mixed{}, ""},
		{"x_test.go:3: needs hping3, tshark", mixed{}, "tshark"},
		{"x_test.go:3: the nft_queue module is missing", full{}, ""}, // not the program
		{"x_test.go:3: needs a lab: missing CAP_SYS_ADMIN, CAP_NET_RAW", bare{}, ""},
		{"x_test.go:3: missing CAP_NET_ADMIN", mixed{}, "CAP_NET_ADMIN"},
		{"x_test.go:3: missing CAP_NET_ADMIN, CAP_SYS_ADMIN", mixed{}, ""},
		{"x_test.go:3: needs root", full{}, "root"},
		{"x_test.go:3: needs root", bare{}, ""},
		{"x_test.go:3: needs a lab: cannot unshare", mixed{}, "a lab"},
		{"x_test.go:3: needs an ordinary user, this is root", full{}, ""},
		{"x_test.go:3: the kernel has no native queue", full{}, ""},
	} {
		if got := contradiction(tc.reason, tc.m); got != tc.want {
			t.Errorf("contradiction(%q, %T): got %q, want %q", tc.reason, tc.m, got, tc.want)
		}
	}
}

func TestRun(t *testing.T) {
	log := func(events ...event) string {
		var b strings.Builder
		for _, e := range events {
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
		return b.String()
	}
	skipped := []event{
		{Action: "run", Package: "p", Test: "TestA"},
		{Action: "output", Package: "p", Test: "TestA", Output: "=== RUN   TestA\n"},
		{Action: "output", Package: "p", Test: "TestA", Output: "    a_test.go:3: needs tshark\n"},
		{Action: "output", Package: "p", Test: "TestA", Output: "--- SKIP: TestA (0.00s)\n"},
		{Action: "skip", Package: "p", Test: "TestA"},
		{Action: "output", Package: "p", Output: "PASS\n"},
		{Action: "output", Package: "p", Output: "ok  \tp\t0.01s\n"},
		{Action: "pass", Package: "p"},
	}
	for _, tc := range []struct {
		name string
		in   string
		m    machine
		want string
		ok   bool
	}{
		{"all pass", log(
			event{Action: "output", Package: "p", Test: "TestA", Output: "chatter\n"},
			event{Action: "pass", Package: "p", Test: "TestA"},
			event{Action: "output", Package: "p", Output: "PASS\n"},
			event{Action: "output", Package: "p", Output: "ok  \tp\t0.01s\n"},
			event{Action: "pass", Package: "p"},
		), full{}, "ok  \tp\t0.01s\n", true},
		{"one fails", log(
			event{Action: "output", Package: "p", Test: "TestA", Output: "a_test.go:3: got 1\n"},
			event{Action: "output", Package: "p", Test: "TestB", Output: "chatter\n"},
			event{Action: "pass", Package: "p", Test: "TestB"},
			event{Action: "fail", Package: "p", Test: "TestA"},
			event{Action: "output", Package: "p", Output: "FAIL\tp\t0.01s\n"},
			event{Action: "fail", Package: "p"},
		), full{}, "a_test.go:3: got 1\nFAIL\tp\t0.01s\n", false},
		{"does not build", log(
			event{Action: "build-output", Output: "a.go:1: syntax error\n"},
			event{Action: "build-fail"},
		), full{}, "a.go:1: syntax error\n", false},
		{"honest skip", log(skipped...), bare{}, "skip\tp\tTestA: a_test.go:3: needs tshark\nok  \tp\t0.01s\n", true},
		{"false skip", log(skipped...), full{},
			"skip\tp\tTestA: a_test.go:3: needs tshark\nFAIL\tp\tTestA: it skips for want of tshark, which is here\nok  \tp\t0.01s\n", false},
		{"silent skip", log(event{Action: "skip", Package: "p", Test: "TestA"}), full{}, "skip\tp\tTestA: no reason given\n", true},
		{"no test files", log(
			event{Action: "output", Package: "p", Output: "?   \tp\t[no test files]\n"},
			event{Action: "skip", Package: "p"},
		), full{}, "?   \tp\t[no test files]\n", true},
		{"not JSON", "panic: oops\n", full{}, "panic: oops\n", true},
		{"no newline at the end", strings.TrimSuffix(log(event{Action: "fail", Package: "p"}), "\n"), full{}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(tc.in), &out, tc.m)
			if err != nil || ok != tc.ok || out.String() != tc.want {
				t.Errorf("run: got %v, %v and\n%s\nwant %v and\n%s", ok, err, out.String(), tc.ok, tc.want)
			}
		})
	}
}

// TestWords keeps what is recognised in reasons and what is looked for on the
// machine together.
func TestWords(t *testing.T) {
	for name := range capabilities {
		if capabilityWord.FindString(name) != name {
			t.Errorf("capability %q: not recognised in a reason", name)
		}
	}
	for _, name := range programs {
		if programWord.FindString("needs "+name) != name {
			t.Errorf("program %q: not recognised in a reason", name)
		}
	}
	if (host{}).hasProgram("promethos-no-such-program") || (host{}).hasCapability("CAP_NO_SUCH") {
		t.Error("the host has what does not exist")
	}
}
