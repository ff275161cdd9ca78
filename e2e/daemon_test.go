package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
)

// daemon is the program running in a lab's proxy host.
type daemon struct {
	*lab.Proxy
	host *lab.Host
	gone bool
}

// empty is a configuration without instances.
const empty = "version: 1\n"

// start runs the program on the proxy host until the test ends, and fails the test
// when it does not end in good order.
func start(t *testing.T, l *lab.Lab, configuration string) *daemon {
	t.Helper()
	// The daemon outlives the test's context: it is stopped and its end judged.
	p, err := l.Proxy.StartProxy(context.WithoutCancel(t.Context()), program, configuration)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{Proxy: p, host: l.Proxy}
	t.Cleanup(func() {
		d.stop(t)
		for _, bad := range []string{"DATA RACE", "panic", "goroutine "} {
			if strings.Contains(d.Log(), bad) {
				t.Errorf("the daemon printed %q:\n%s", bad, d.Log())
				break
			}
		}
		if t.Failed() {
			t.Logf("the daemon printed:\n%s", d.Log())
		}
	})
	return d
}

// stop ends the daemon with SIGTERM; it must exit with status 0.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if !d.gone {
		d.gone = true
		check(t, d.Stop())
	}
}

// kill ends the daemon as a crash does.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	d.gone = true
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
}

// configure replaces the daemon's configuration file.
func (d *daemon) configure(t *testing.T, configuration string) {
	t.Helper()
	write(t, d.file(), configuration)
}

// write makes a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// file is the daemon's configuration file: it lies beside the socket.
func (d *daemon) file() string { return filepath.Join(filepath.Dir(d.Control), "promethos.yaml") }

// result is what a command came to.
type result struct {
	args        []string
	out, errors string
	status      int
}

func (r result) String() string {
	return fmt.Sprintf("promethos %s: status %d\n%s%s", strings.Join(r.args, " "), r.status, r.out, r.errors)
}

// run executes the program on a host.
func run(t *testing.T, h *lab.Host, args ...string) result {
	t.Helper()
	return execute(t, h, program, args...)
}

// execute runs a program on a host.
func execute(t *testing.T, h *lab.Host, name string, args ...string) result {
	t.Helper()
	c := h.Command(within(t, patience), name, args...)
	return finish(t, c.Cmd, c.Run, args)
}

// executeHere runs a program where the test runs.
func executeHere(t *testing.T, name string, args ...string) result {
	t.Helper()
	c := exec.CommandContext(within(t, patience), name, args...)
	return finish(t, c, c.Run, args)
}

// finish runs a command; an exit status is no error, not to run is one.
func finish(t *testing.T, c *exec.Cmd, run func() error, args []string) result {
	t.Helper()
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	err := run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%v: %v", c, err)
	}
	return result{args, out.String(), complaints.String(), c.ProcessState.ExitCode()}
}

// try sends a command to the daemon.
func (d *daemon) try(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, d.host, append([]string{"--control", d.Control}, args...)...)
}

// do sends a command that must succeed, and gives what it prints.
func (d *daemon) do(t *testing.T, args ...string) string {
	t.Helper()
	r := d.try(t, args...)
	if r.status != 0 {
		t.Fatalf("%v", r)
	}
	return r.out
}

// iptables sends the thesis' command.
func (d *daemon) iptables(t *testing.T, args ...string) string {
	t.Helper()
	return d.do(t, append([]string{"iptables", "-t", "promethos"}, args...)...)
}

// rule makes a rule and gives its instance number.
func (d *daemon) rule(t *testing.T, args ...string) string {
	t.Helper()
	out := d.iptables(t, args...)
	var n uint32
	if _, err := fmt.Sscanf(out, "got unique instance %d\n", &n); err != nil || n == 0 {
		t.Fatalf("iptables %s printed %q, want got unique instance N", strings.Join(args, " "), out)
	}
	return fmt.Sprint(n)
}

// table decodes what a command prints with --json; a field that is not in T is
// no error.
func table[T any](t *testing.T, d *daemon, args ...string) (v T) {
	t.Helper()
	out := d.do(t, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("promethos --json %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return v
}

// flow is the accounting of one flow, or of several.
type flow struct {
	In, Sent, Unchanged, Dropped, Queued, Stolen, Merged, Held, Emitted, Split uint64
}

// stats is `stats --json`.
type stats struct {
	Packets, Unmatched flow
	Connections        int
	Sources            []struct {
		Name          string
		Received      uint64
		KernelDropped uint64 `json:"kernel_dropped"`
		SocketDropped uint64 `json:"socket_dropped"`
		VerdictErrors uint64 `json:"verdict_errors"`
	}
}

// accounted checks that every packet came to something, and gives the sums.
func (d *daemon) accounted(t *testing.T) stats {
	t.Helper()
	s := table[stats](t, d, "stats")
	for name, f := range map[string]flow{"instances": s.Packets, "no instance": s.Unmatched} {
		if f.In != f.Sent+f.Unchanged+f.Dropped+f.Queued+f.Stolen+f.Merged+f.Held {
			t.Errorf("accounting of %s does not add up: %+v", name, f)
		}
	}
	for _, q := range s.Sources {
		// The kernel forgets what is queued when a table is replaced: verdicts that
		// it does not want are no loss of ours.
		if q.KernelDropped+q.SocketDropped > 0 {
			t.Errorf("queue %s lost packets: %+v", q.Name, q)
		}
	}
	return s
}

// counted sums up how often a reason was met.
func (d *daemon) counted(t *testing.T, reason string) (n uint64) {
	t.Helper()
	for _, r := range d.reasons(t) {
		if r.Reason == reason {
			n += r.Count
		}
	}
	return n
}

// reason is one entry of `reasons --json`.
type reason struct {
	Reason, Instance, Action, RFC string
	Count                         uint64
	CVE                           []string
}

func (d *daemon) reasons(t *testing.T) []reason {
	t.Helper()
	return table[[]reason](t, d, "reasons")
}

// instance is one entry of `instances --json`.
type instance struct {
	Name, Origin, Hook, Mode string
	Numbers                  [2]uint32
	Protecting               bool
	Connections              int
	Flows                    [2]flow
	Chains                   [2][]string
	Messages                 *[2]struct { // of a stream chain
		In, Sent, Unchanged, Dropped uint64
		InBytes                      uint64 `json:"in_bytes"`
	}
}

func (d *daemon) instances(t *testing.T) []instance {
	t.Helper()
	return table[[]instance](t, d, "instances")
}

// event waits until `promethos events` has a line with a text.
func (d *daemon) event(t *testing.T, text string) {
	t.Helper()
	eventually(t, "event "+text, func() (bool, string) {
		out := d.do(t, "events")
		for line := range strings.Lines(out) {
			if strings.Contains(line, text) {
				return true, ""
			}
		}
		return false, out
	})
}

// signal sends the daemon a signal.
func (d *daemon) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.Signal(s); err != nil {
		t.Fatal(err)
	}
}
