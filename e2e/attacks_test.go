package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// attack sends attacks that are to be stopped from the client and says what the
// server's side saw. judged, if not nil, waits until the proxy has seen them.
func attack(t *testing.T, l *lab.Lab, env lab.AttackEnv, attacks []lab.Attack, judged func()) map[string]lab.Outcome {
	t.Helper()
	return attackExpecting(t, l, env, attacks, lab.Stopped, judged)
}

// attackExpecting is attack where the server should see something of each.
func attackExpecting(t *testing.T, l *lab.Lab, env lab.AttackEnv, attacks []lab.Attack, expected lab.Outcome, judged func()) map[string]lab.Outcome {
	t.Helper()
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	defer sender.Close()
	for _, a := range attacks {
		if err := sender.SendAll(a.Frames(env)); err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
	}
	if judged != nil {
		judged()
	}
	for _, a := range attacks {
		check(t, a.Await(within(t, patience), env, capture, expected))
	}
	settle(t, l)
	if s := must(capture.Stop())(t); s.Dropped > 0 {
		t.Fatalf("the capture lost %d frames", s.Dropped)
	}
	outcomes := map[string]lab.Outcome{}
	for _, a := range attacks {
		outcomes[a.Name] = a.Outcome(env, capture.Frames())
	}
	return outcomes
}

// attacksOn are the lab's attacks on the protocols that want names.
func attacksOn(protocols ...string) []lab.Attack {
	return slices.DeleteFunc(lab.Attacks(), func(a lab.Attack) bool { return !slices.Contains(protocols, a.Protocol) })
}

// dropped waits until the daemon has dropped n packets since it started.
func (d *daemon) dropped(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d packets dropped", n), func() (bool, string) {
		s := d.accounted(t)
		return s.Packets.Dropped+s.Unmatched.Dropped >= uint64(n), fmt.Sprintf("%+v, no instance %+v", s.Packets, s.Unmatched)
	})
}

// judged waits until the daemon has counted the reason of each attack that
// is sent after its call.
func (d *daemon) judged(t *testing.T, attacks []lab.Attack) func() {
	t.Helper()
	want := map[string]uint64{}
	for _, a := range attacks {
		if want[a.Reason] == 0 {
			want[a.Reason] = d.counted(t, a.Reason)
		}
		want[a.Reason]++
	}
	return func() {
		t.Helper()
		for reason, n := range want {
			eventually(t, fmt.Sprintf("%s counted %d times", reason, n), func() (bool, string) {
				return d.counted(t, reason) >= n, fmt.Sprintf("%+v", d.reasons(t))
			})
		}
	}
}

// settled is how long an answer is waited for that should not come.
const settled = 300 * time.Millisecond

// settle lets what should not arrive do so, if it would: a ping goes behind what
// was sent, and what the proxy holds goes out meanwhile. What should arrive is
// waited for by itself.
func settle(t *testing.T, l *lab.Lab) {
	t.Helper()
	for range 3 {
		// On a busy machine an answer takes long, and what is waited for as well.
		if !l.Inline() { // where the proxy has no address
			must(l.Client.Ping(within(t, patience), l.Proxy.IPv4, lab.EchoOptions{Timeout: refusedWithin}))(t)
		}
		if r := must(l.Client.Ping(within(t, patience), l.Server.IPv4, lab.EchoOptions{Timeout: refusedWithin}))(t); r.Received == 0 {
			return // no ping gets there
		}
	}
}

// TestAttacks sends each malformed packet of the lab: without the proxy it
// arrives, with it it does not, or without its fault, and the reason is counted.
func TestAttacks(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	w := web(t, l.Server)
	env := must(l.AttackEnv(port(t, w.Addr)))(t)
	for name, outcome := range attackExpecting(t, l, env, lab.Attacks(), lab.Arrived, nil) {
		if outcome != lab.Arrived {
			t.Errorf("without the proxy: %s: %v, want arrived", name, outcome)
		}
	}
	for _, p := range transitHooks {
		t.Run(p, func(t *testing.T) {
			// No connection is older than the proxy: none is adopted.
			d := withServer(t, l, p, port(t, w.Addr), notAdopting)
			env = env.Afresh()
			d.withstands(t, l, env, attacksOn("tcp"))
			d.accounted(t)
			// The server is none the worse.
			must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", port(t, w.Addr))).DataURL(1_000_000, 6)))(t)
		})
	}
}

// notAdopting is for tests without a connection that is older than the proxy.
const notAdopting = "    modules: {tcp: {adopt: 0s}}\n"

// withstands sends one attack after the other: the reason of each is counted, and
// nothing arrives, or a packet without the fault.
func (d *daemon) withstands(t *testing.T, l *lab.Lab, env lab.AttackEnv, attacks []lab.Attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.Name, func(t *testing.T) {
			want, list := lab.Stopped, []lab.Attack{a}
			if a.Repairable {
				want = lab.Rebuilt
			}
			outcome := attackExpecting(t, l, env, list, want, d.judged(t, list))[a.Name]
			if outcome != want {
				t.Errorf("%s: %v, want %v", a.About, outcome, want)
			}
		})
	}
}

// TestAttacksOtherProtocols protects a whole server with the chain [tcp]: nothing
// but TCP gets through, well-formed or not.
func TestAttacksOtherProtocols(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	env := must(l.AttackEnv(port(t, web(t, l.Server).Addr)))(t)
	d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: all
    match: {server: [%s, "%s"]}
    chain: [tcp]
`, l.Server.IPv4, l.Server.IPv6))
	others := attacksOn("udp", "icmp")
	for name, outcome := range attack(t, l, env, others, func() { d.dropped(t, len(others)) }) {
		if outcome != lab.Stopped {
			t.Errorf("%s: %v, want stopped", name, outcome)
		}
	}
	if echo := must(l.Client.Ping(within(t, patience), l.Server.IPv4, lab.EchoOptions{Timeout: settled}))(t); echo.Received > 0 {
		t.Error("a ping went through the chain [tcp]")
	}
	d.accounted(t)
}

// TestAttacksStrict wants mode strict to stop what mode repair mends.
func TestAttacksStrict(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	w := web(t, l.Server)
	env := must(l.AttackEnv(port(t, w.Addr)))(t)
	d := withServer(t, l, "forward", port(t, w.Addr), "    mode: strict\n"+notAdopting)
	repairable := slices.DeleteFunc(attacksOn("tcp"), func(a lab.Attack) bool { return !a.Repairable })
	judged := func() { d.dropped(t, len(repairable)) }
	for name, outcome := range attack(t, l, env, repairable, judged) {
		if outcome != lab.Stopped {
			t.Errorf("%s: %v, want stopped", name, outcome)
		}
	}
	d.accounted(t)
}

// TestAttacksMonitor wants mode monitor to let through and count what it would
// stop.
func TestAttacksMonitor(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	w := web(t, l.Server)
	env := must(l.AttackEnv(port(t, w.Addr)))(t)
	d := withServer(t, l, "forward", port(t, w.Addr), "    mode: monitor\n")
	a, err := lab.AttackByName("xmas-scan")
	if err != nil {
		t.Fatal(err)
	}
	judged := func() {
		eventually(t, "the attack judged", func() (bool, string) { return d.counted(t, a.Reason) > 0, "no " + a.Reason })
	}
	if outcome := attackExpecting(t, l, env, []lab.Attack{a}, lab.Arrived, judged)[a.Name]; outcome != lab.Arrived {
		t.Errorf("%s: %v, want arrived", a.Name, outcome)
	}
	for _, r := range d.reasons(t) {
		if r.Reason == a.Reason && r.Action != "would-drop" {
			t.Errorf("%+v, want would-drop", r)
		}
	}
	if d.counted(t, a.Reason) == 0 {
		t.Errorf("%s is not counted", a.Reason)
	}
	if list := d.instances(t); len(list) != 1 || list[0].Protecting {
		t.Errorf("instances: %+v, want one that is not protecting", list)
	}
}
