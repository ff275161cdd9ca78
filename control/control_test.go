package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// backend is a daemon without a kernel.
type backend struct {
	engine *ppf.Engine
	args   []string
	err    error

	added   []string
	removed chan int
}

func (b *backend) Engine() *ppf.Engine { return b.engine }

func (b *backend) SourceStats() ([]ppf.SourceStats, error) {
	return []ppf.SourceStats{{Name: "queue 7", Received: 3}}, b.err
}

func (b *backend) KernelLosses() ([]ppf.KernelLoss, error) {
	return []ppf.KernelLoss{{Family: "ipv4", Counter: "InHdrErrors", Count: 5}}, b.err
}

func (b *backend) IPTables(_ context.Context, args []string) CommandResult {
	b.args = args
	return CommandResult{Output: "out", Errors: []string{"wrong"}, Code: 2}
}

func (b *backend) Reload(context.Context) (ReloadResult, error) {
	return ReloadResult{Changes: []string{"add a"}, Problems: []string{}}, b.err
}

func (b *backend) PlanReload(context.Context) (ReloadResult, error) {
	return ReloadResult{Changes: []string{"change a"}, Problems: []string{}}, b.err
}

func (b *backend) Add(_ context.Context, yaml string) (int, ReloadResult, error) {
	r := ReloadResult{Changes: []string{"add " + yaml}, Problems: []string{}}
	if yaml == "wrong" {
		r.Problems = []string{"it is wrong"}
	}
	b.added = append(b.added, yaml)
	return len(b.added), r, b.err
}

func (b *backend) ChangeAdded(_ context.Context, id int, yaml string) (ReloadResult, error) {
	return ReloadResult{Changes: []string{fmt.Sprintf("change %d to %s", id, yaml)}, Problems: []string{}}, b.err
}

func (b *backend) RemoveAdded(_ context.Context, id int) error {
	b.removed <- id
	return b.err
}

func (b *backend) Reconfig(n ppf.InstanceNumber, config string) error {
	return b.engine.Reconfig(n, config)
}

func (b *backend) Status() Status {
	return Status{Version: "v", Config: "c", PID: 1, Queue: "nft", Workers: 2}
}

// start serves a backend on a socket of its own.
func start(t *testing.T) (*backend, *Client, string) {
	t.Helper()
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{engine: e, removed: make(chan int, 8)}
	path := filepath.Join(t.TempDir(), "deep", "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b, NewClient(path), path
}

func TestListen(t *testing.T) {
	_, _, path := start(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if _, err := Listen(path); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("a second daemon: %v", err)
	}
	// What a crashed daemon left is replaced.
	left := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(left)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := Listen(filepath.Join(path, "below-a-socket")); err == nil || !strings.Contains(err.Error(), "set `control:`") {
		t.Errorf("a path that cannot be made: %v", err)
	}
}

func TestReads(t *testing.T) {
	b, c, _ := start(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	if err := b.engine.LoadModule(ctx, "nosuch"); err == nil {
		t.Error("an unknown module was loaded")
	}
	n, err := b.engine.InsertRule(ppf.RuleSpec{Chain: ppf.Forward, Plugin: "TEST", Config: "x"}, 0)
	must(err)
	s, err := c.Status(ctx)
	must(err)
	if s != (Status{Version: "v", Config: "c", PID: 1, Queue: "nft", Workers: 2}) {
		t.Errorf("status %+v", s)
	}
	instances, err := c.Instances(ctx)
	must(err)
	if len(instances) != len(b.engine.Instances()) {
		t.Errorf("instances %+v", instances)
	}
	functions, err := c.Functions(ctx)
	must(err)
	if functions == nil || len(functions) != len(b.engine.Functions().List()) {
		t.Errorf("functions %+v", functions)
	}
	modules, err := c.Modules(ctx)
	must(err)
	if modules == nil || len(modules) != len(b.engine.Modules()) {
		t.Errorf("modules %+v", modules)
	}
	reasons, err := c.Reasons(ctx)
	must(err)
	if len(reasons) != 0 {
		t.Errorf("reasons %+v", reasons)
	}
	stats, err := c.Stats(ctx)
	must(err)
	if len(stats.Sources) != 1 || stats.Sources[0].Name != "queue 7" || stats.Sources[0].Received != 3 || len(stats.Kernel) != 1 || stats.Kernel[0].Count != 5 {
		t.Errorf("stats %+v", stats)
	}
	connections, err := c.Connections(ctx, ConnectionQuery{Instance: "a b&c", Client: "192.0.2.1", Server: "2001:db8::/32", Limit: 5})
	must(err)
	if connections == nil || len(connections) != 0 {
		t.Errorf("connections %+v", connections)
	}
	must(c.StartTiming(ctx))
	timing, err := c.StopTiming(ctx)
	must(err)
	if timing.Packets != 0 {
		t.Errorf("timing %+v", timing)
	}
	must(c.Reconfig(ctx, n, "y"))
	if got := b.engine.Rules(ppf.Forward)[0].Config; got != "y" {
		t.Errorf("reconfigured to %q", got)
	}
}

func TestCommands(t *testing.T) {
	b, c, _ := start(t)
	ctx := t.Context()
	args := []string{"-t", "promethos", "-A", "FORWARD", "--config", "cs 2 a,b. \"x\""}
	r, err := c.IPTables(ctx, args)
	if err != nil || r.Output != "out" || r.Code != 2 || !slices.Equal(r.Errors, []string{"wrong"}) || !slices.Equal(b.args, args) {
		t.Errorf("%+v, %v; the daemon got %q", r, err, b.args)
	}
	reload, err := c.Reload(ctx)
	if err != nil || !slices.Equal(reload.Changes, []string{"add a"}) {
		t.Errorf("reload %+v, %v", reload, err)
	}
	if plan, err := c.PlanReload(ctx); err != nil || !slices.Equal(plan.Changes, []string{"change a"}) {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if list, err := c.Overrides(ctx); err != nil || list == nil || len(list) != 0 {
		t.Errorf("overrides %+v, %v", list, err)
	}
	for do, want := range map[string]string{"monitor": "instance none: there is none", "default": "instance none: there is none", "x": "write monitor, repair, refuse or default"} {
		err := c.Override(ctx, ppf.OverrideInfo{Instance: "none", Reason: "ip.truncated", Client: "192.0.2.0/24", Do: do})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("override %s: %v, want %q", do, err, want)
		}
	}
	// An error of the daemon is the client's error, word for word.
	b.err = errors.New("the kernel says no")
	if _, err := c.Reload(ctx); err == nil || err.Error() != "the kernel says no" {
		t.Errorf("reload: %v", err)
	}
	if _, err := c.Stats(ctx); err == nil || err.Error() != "the kernel says no" {
		t.Errorf("stats: %v", err)
	}
	if err := c.Reconfig(ctx, 77, "cs 2 tcp."); err == nil || !strings.Contains(err.Error(), "instance 77: there is none") {
		t.Errorf("reconfig: %v", err)
	}
	for do, want := range map[string]string{
		"load": "module nosuch: unknown", "unload": "module nosuch: not loaded", "reload": "module nosuch: not loaded", "explode": `unknown request "explode"`,
	} {
		if err := c.Module(ctx, do, "nosuch", false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("module %s: %v, want %q", do, err, want)
		}
	}
}

// TestWrongRequests: whoever speaks to the socket directly gets a reply.
func TestWrongRequests(t *testing.T) {
	_, c, _ := start(t)
	tests := []struct {
		method, path, body string
		code               int
	}{
		{"GET", "connections?limit=x", "", http.StatusUnprocessableEntity},
		{"GET", "connections?limit=-1", "", http.StatusUnprocessableEntity},
		{"GET", "connections?client=x", "", http.StatusUnprocessableEntity},
		{"GET", "connections?server=192.0.2.1/33", "", http.StatusUnprocessableEntity},
		{"GET", "trace?instance=none", "", http.StatusUnprocessableEntity},
		{"GET", "trace?instance=-&count=x", "", http.StatusUnprocessableEntity},
		{"GET", "trace?instance=-&bytes=-1", "", http.StatusUnprocessableEntity},
		{"GET", "connections?port=x", "", http.StatusUnprocessableEntity},
		{"GET", "events?since=x", "", http.StatusUnprocessableEntity},
		{"POST", "iptables", "{", http.StatusUnprocessableEntity},
		{"POST", "reconfig", "[1]", http.StatusUnprocessableEntity},
		{"POST", "module", `{"do":1}`, http.StatusUnprocessableEntity},
		{"POST", "iptables", `["` + strings.Repeat("x", 1<<20) + `"]`, http.StatusUnprocessableEntity},
		{"GET", "iptables", "", http.StatusMethodNotAllowed},
		{"GET", "nosuch", "", http.StatusNotFound},
	}
	for _, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://promethos/v1/"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
			continue
		}
		if resp.StatusCode != tt.code {
			t.Errorf("%s %s: status %d, want %d", tt.method, tt.path, resp.StatusCode, tt.code)
		}
		var failed errorReply
		if json.NewDecoder(resp.Body).Decode(&failed); tt.code == http.StatusUnprocessableEntity && failed.Error == "" {
			t.Errorf("%s %s: no error is told", tt.method, tt.path)
		}
		resp.Body.Close()
	}
}

func TestEvents(t *testing.T) {
	b, c, _ := start(t)
	b.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Text: "first"})
	var kept []ppf.Event
	if err := c.Events(t.Context(), false, func(e ppf.Event) error { kept = append(kept, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(kept) == 0 || kept[len(kept)-1].Text != "first" {
		t.Fatalf("events %+v", kept)
	}
	// A follower gets what comes, in order and without gaps, until it has enough.
	enough := errors.New("enough")
	seq := uint64(0)
	err := c.Events(t.Context(), true, func(e ppf.Event) error {
		if e.Seq != seq+1 {
			t.Errorf("event %d after %d", e.Seq, seq)
		}
		seq = e.Seq
		if e.Text == "first" {
			b.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Text: "second"})
		}
		if e.Text == "second" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("following: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Events(ctx, true, func(e ppf.Event) error {
		if e.Text == "second" {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Errorf("a follower that leaves: %v", err)
	}
}

// TestNoDaemon: each reason why nobody answers is told with what to do.
func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(filepath.Join(dir, "none")).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no daemon answers (start one with `promethos run -c FILE`") {
		t.Errorf("no socket: %v", err)
	}
	left := filepath.Join(dir, "left")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := NewClient(left).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no daemon answers") {
		t.Errorf("a socket without a daemon: %v", err)
	}
	c := NewClient(left)
	for cause, want := range map[error]string{os.ErrPermission: "not permitted (run as", errors.New("odd"): ": odd"} {
		if err := c.explain(cause); !strings.Contains(err.Error(), want) {
			t.Errorf("%v is explained as %v", cause, err)
		}
	}
}

// TestSlowReader: a follower that does not read delays nobody who adds, and is
// told how much it missed.
func TestSlowReader(t *testing.T) {
	b, c, _ := start(t)
	events := b.engine.Events()
	events.Add(ppf.Event{Kind: ppf.EventDaemon, Text: "first"})
	const burst = 10_000
	enough := errors.New("enough")
	seen, missed, last := uint64(0), uint64(0), uint64(0)
	err := c.Events(t.Context(), true, func(e ppf.Event) error {
		if e.Kind == ppf.EventLost {
			var n uint64
			if _, err := fmt.Sscanf(e.Text, "%d events are lost", &n); err != nil {
				t.Errorf("%q: %v", e.Text, err)
			}
			missed += n
			return nil
		}
		seen++
		last = e.Seq
		if e.Text == "first" {
			// The reader stands still here. Each Add returns; with texts of this size
			// the socket holds a few hundred of them.
			for range burst {
				events.Add(ppf.Event{Kind: ppf.EventDaemon, Text: strings.Repeat("x", 2000)})
			}
			events.Add(ppf.Event{Kind: ppf.EventDaemon, Text: "last"})
		}
		if e.Text == "last" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if missed == 0 || last <= burst || seen+missed != last {
		t.Errorf("%d seen and %d missed, want %d together and some missed", seen, missed, last)
	}
}
