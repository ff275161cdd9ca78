package e2e

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// closed wants nothing that goes to the server's port to arrive: neither a
// connection, nor malformed packets, nor fragments, nor ICMP errors.
func closed(t *testing.T, l *lab.Lab, p uint16) {
	t.Helper()
	env := must(l.AttackEnv(p))(t)
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	for _, f := range families {
		if c, err := l.Client.Dial(within(t, refusedWithin), f.network, hostPort(l.Server, f.network, p)); err == nil {
			c.Close()
			t.Errorf("%s: the server accepts connections", f.name)
		}
	}
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	defer sender.Close()
	attacks := attacksOn("tcp")
	for _, a := range attacks {
		if err := sender.SendAll(a.Frames(env)); err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
	}
	for _, e := range unreachables(t, l, p) {
		if err := sender.Send(e); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, l)
	if s := must(capture.Stop())(t); s.Dropped > 0 {
		t.Fatalf("the capture lost %d frames", s.Dropped)
	}
	for _, a := range attacks {
		if o := a.Outcome(env, capture.Frames()); o != lab.Stopped {
			t.Errorf("%s: %v, want stopped", a.Name, o)
		}
	}
	for _, frame := range capture.Frames() {
		if ip, tcp, ok := segment(frame.Data); ok && !frame.Outgoing {
			t.Fatalf("a segment arrived: IP %x TCP %x", ip[:20], tcp[:20])
		}
		if !frame.Outgoing && isUnreachable(frame.Data) {
			t.Fatalf("an ICMP error arrived: %x", frame.Data)
		}
	}
}

// reachable wants a connection to come about.
func reachable(t *testing.T, l *lab.Lab, p uint16) {
	t.Helper()
	for _, f := range families {
		must(l.Client.Download(within(t, patience), at(hostPort(l.Server, f.network, p)).DataURL(100_000, 1)))(t)
	}
}

// tables lists the nftables tables of the proxy host.
func tables(t *testing.T, l *lab.Lab) (names []string) {
	t.Helper()
	err := l.Proxy.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		list, err := c.ListTables()
		for _, table := range list {
			names = append(names, table.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var transitHooks = []string{"prerouting", "forward", "postrouting"}

// TestKilled wants the server unreachable after the daemon was killed, and
// reachable again after a restart.
func TestKilled(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	for _, hook := range transitHooks {
		t.Run(hook, func(t *testing.T) {
			d := withServer(t, l, hook, p, notAdopting)
			reachable(t, l, p)
			d.kill(t)
			closed(t, l, p)
			d = withServer(t, l, hook, p, notAdopting)
			d.event(t, "were replaced in one transaction")
			reachable(t, l, p)
			d.stop(t)
			if names := tables(t, l); len(names) > 0 {
				t.Errorf("tables left: %v", names)
			}
		})
	}
}

// TestUnblockAfterKill removes by command what a killed daemon left.
func TestUnblockAfterKill(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	withServer(t, l, "forward", p, "").kill(t)
	if r := run(t, l.Proxy, "unblock"); r.status != 0 || !strings.Contains(r.out, "killed daemon") {
		t.Errorf("%v", r)
	}
	if names := tables(t, l); len(names) > 0 {
		t.Errorf("tables left: %v", names)
	}
	reachable(t, l, p)
}

// waiting counts the packets that wait for a verdict on a host, for the test's
// lifetime (nfnetlink_queue.c, seq_show: number, port id, packets that wait, …).
func waiting(t *testing.T, h *lab.Host) func() (n int, err error) {
	t.Helper()
	var file *os.File
	check(t, h.Do(func() (err error) {
		file, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	}))
	t.Cleanup(func() { check(t, file.Close()) })
	return func() (n int, err error) {
		table := make([]byte, 4096)
		length, err := file.ReadAt(table, 0)
		if err != nil && err != io.EOF {
			return 0, err
		}
		for line := range strings.Lines(string(table[:length])) {
			if f := strings.Fields(line); len(f) > 2 {
				queued, err := strconv.Atoi(f[2])
				if err != nil {
					return 0, err
				}
				n += queued
			}
		}
		return n, nil
	}
}

// storm sends malformed packets without pause until the returned function is
// called, which says what of them arrived. It pauses only where a daemon that does
// not get the processor would lose what no longer fits into its queues.
func storm(t *testing.T, l *lab.Lab, p uint16) (arrived func() []string) {
	t.Helper()
	env := must(l.AttackEnv(p))(t)
	// Those to nothing are legitimate while connections are adopted.
	var attacks []lab.Attack
	var frames [][]byte
	for _, a := range attacksOn("tcp") {
		if a.Reason != "tcp.midstream" {
			attacks = append(attacks, a)
			frames = append(frames, a.Frames(env)...)
		}
	}
	const mayWait = 1000 // packets, a quarter of what a queue holds
	waiting := waiting(t, l.Proxy)
	capture := must(l.Server.Capture(lab.CaptureOptions{Filter: func(frame []byte) bool {
		for _, a := range attacks {
			if a.Seen(env, frame) == lab.Arrived {
				return true
			}
		}
		return false
	}}))(t)
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	end, ended := make(chan struct{}), make(chan error, 1)
	var rounds int
	go func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-end:
				ended <- nil
				return
			case <-pace.C:
				n, err := waiting()
				if err != nil {
					ended <- err
					return
				}
				if n > mayWait {
					continue
				}
				rounds++
				if err := sender.SendAll(frames); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	return func() (names []string) {
		t.Helper()
		close(end)
		check(t, <-ended)
		check(t, sender.Close())
		settle(t, l)
		s := must(capture.Stop())(t)
		t.Logf("%d rounds of %d frames", rounds, len(frames))
		if rounds == 0 || s.Dropped > 0 {
			t.Errorf("%d rounds were sent, capture %+v", rounds, s)
		}
		for _, a := range attacks {
			if a.Outcome(env, capture.Frames()) == lab.Arrived {
				names = append(names, a.Name)
			}
		}
		return names
	}
}

// TestRestart kills or stops the daemon under a transfer and a storm of malformed
// packets: the next one goes on with the transfer, whose sides know different
// sequence numbers, and adopts nothing else; nothing of the storm arrives
// meanwhile.
func TestRestart(t *testing.T) {
	l := up(t, lab.Options{})
	p, connections := endless(t, l.Server), 0
	state := t.TempDir()
	for _, f := range families {
		for _, how := range []string{"killed", "blocked"} {
			t.Run(f.name+"/"+how, func(t *testing.T) {
				configuration := "on_exit: block\nstate: " + state + "\n" + protect("forward", p, notAdopting, l.Server)
				d := start(t, l, configuration)
				arrived := storm(t, l, p)
				transfer := download(t, l.Client, hostPort(l.Server, f.network, p), connections)
				connections++
				transfer.flowing(t)
				if how == "killed" {
					d.kill(t)
				} else {
					d.stop(t)
				}
				next := start(t, l, configuration)
				next.event(t, map[string]string{"killed": "was not stopped", "blocked": "connections are taken up from"}[how])
				transfer.flowing(t)
				list := table[[]ppf.ConnectionInfo](t, next, "connections")
				if !slices.ContainsFunc(list, func(c ppf.ConnectionInfo) bool {
					return c.State == "ESTABLISHED" && c.CS.Translation != 0 && c.SC.Translation != 0
				}) {
					t.Errorf("connections %+v", list)
				}
				if names := arrived(); len(names) > 0 {
					t.Errorf("arrived during the restart: %v", names)
				}
				transfer.finish(t)
				next.accounted(t)
				next.stop(t)
				unblock(t, l)
			})
		}
	}
}

// unblock runs `promethos unblock`, which must find something to remove.
func unblock(t *testing.T, l *lab.Lab) {
	t.Helper()
	if r := run(t, l.Proxy, "unblock"); r.status != 0 || !strings.HasPrefix(r.out, "removed") {
		t.Errorf("%v", r)
	}
	if names := tables(t, l); len(names) > 0 {
		t.Errorf("tables left: %v", names)
	}
}

// TestOnExitBlock wants the selection to turn into drops, which `unblock` removes.
func TestOnExitBlock(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	for _, hook := range transitHooks {
		t.Run(hook, func(t *testing.T) {
			d := start(t, l, "on_exit: block\n"+protect(hook, p, notAdopting, l.Server))
			reachable(t, l, p)
			if r := run(t, l.Proxy, "unblock"); r.status != 1 || !strings.Contains(r.errors, d.Control) {
				t.Errorf("unblock beside a running daemon: %v, want status 1 naming %s", r, d.Control)
			}
			reachable(t, l, p)
			d.stop(t)
			closed(t, l, p)
			unblock(t, l)
			reachable(t, l, p)
			if r := run(t, l.Proxy, "unblock"); r.status != 0 || !strings.HasPrefix(r.out, "nothing to remove") {
				t.Errorf("a second unblock: %v", r)
			}
		})
	}
}

// TestTerminated wants SIGTERM to leave nothing behind, with traffic going on:
// where its numbers were carried over it does, and where they were translated both
// sides are told that it does not.
func TestTerminated(t *testing.T) {
	l := up(t, lab.Options{})
	p := endless(t, l.Server)
	for connections, sequence := range []string{"keep", "translate"} {
		d := withServer(t, l, "forward", p, "    modules: {tcp: {sequence: "+sequence+"}}\n")
		if len(tables(t, l)) == 0 {
			t.Error("a running daemon has no table")
		}
		transfer := download(t, l.Client, hostPort(l.Server, "tcp4", p), connections)
		transfer.flowing(t)
		d.stop(t)
		if names := tables(t, l); len(names) > 0 {
			t.Errorf("tables left: %v", names)
		}
		if sequence == "keep" {
			transfer.finish(t)
		} else if err := <-transfer.done; !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the transfer ended with %v, want a reset", err)
		}
	}
}

// TestWithoutCapability wants a daemon that may not change rules to say so.
func TestWithoutCapability(t *testing.T) {
	need(t, "setpriv")
	l := up(t, lab.Options{})
	file := t.TempDir() + "/promethos.yaml"
	write(t, file, protect("forward", 80, "", l.Server))
	r := execute(t, l.Proxy, "setpriv", "--bounding-set=-net_admin", program, "run", "-c", file, "--control", t.TempDir()+"/control.sock")
	if r.status != 1 || !strings.Contains(r.errors, "CAP_NET_ADMIN") {
		t.Errorf("%v\nwant status 1 naming CAP_NET_ADMIN", r)
	}
	if names := tables(t, l); len(names) > 0 {
		t.Errorf("tables left: %v", names)
	}
}
