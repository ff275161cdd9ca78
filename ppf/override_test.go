package ppf_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestOverrideAtRunTime: a command changes one reason, survives a reload, goes
// before the file, and can be taken back.
func TestOverrideAtRunTime(t *testing.T) {
	in := ppftest.Instance("a", "odd")
	in.Reasons = []ppf.Override{{Reason: "odd.refused", Do: ppf.DoRefuse}}
	b := ppftest.New(t, in)
	verdict := func(want ppf.Action) {
		t.Helper()
		if got, _ := b.Send(ppf.Forward, to(t, portRefuse)); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	verdict(ppf.Drop)
	must(b.Engine.Override("a", ppf.Override{Reason: "odd.refused", Do: ppf.DoMonitor}))
	verdict(ppf.Accept)
	in.Mode = ppf.Strict
	b.Apply(in)
	verdict(ppf.Accept)
	// One client is narrower than all.
	client := netip.PrefixFrom(ppftest.Client4.Addr(), 32)
	must(b.Engine.Override("a", ppf.Override{Reason: "odd.refused", Do: ppf.DoRefuse, Client: client}))
	verdict(ppf.Drop)
	var got []string
	for _, o := range b.Engine.Overrides() {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", o.Instance, o.Reason, o.Client, o.Do, o.Origin))
	}
	want := []string{"a odd.refused  monitor runtime", "a odd.refused " + client.String() + " refuse runtime", "a odd.refused  refuse file"}
	if !slices.Equal(got, want) {
		t.Errorf("overrides %q, want %q", got, want)
	}
	must(b.Engine.Restore("a", "odd.refused", client))
	verdict(ppf.Accept)
	must(b.Engine.Restore("a", "odd.refused", netip.Prefix{}))
	verdict(ppf.Drop)
	b.Accounted()

	for want, err := range map[string]error{
		"there is none made by a command":        b.Engine.Restore("a", "odd.refused", netip.Prefix{}),
		"instance none: there is none":           b.Engine.Override("none", ppf.Override{Reason: "odd.refused", Do: ppf.DoMonitor}),
		`reason "odd.nosuch": unknown`:           b.Engine.Override("a", ppf.Override{Reason: "odd.nosuch", Do: ppf.DoMonitor}),
		"is a contradiction and has no repair (": b.Engine.Override("a", ppf.Override{Reason: "tcp.flags.null", Do: ppf.DoRepair}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// With the instance its overrides are gone.
	must(b.Engine.Override("a", ppf.Override{Reason: "odd.refused", Do: ppf.DoMonitor}))
	b.Apply()
	b.Apply(in)
	verdict(ppf.Drop)
	if list := b.Engine.Overrides(); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// TestOverrideEveryReason: each reason that this build has does what a command says,
// while packets go through, and what the mode says once that is taken back.
func TestOverrideEveryReason(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	segment := to(t, portAny)
	tried := 0
	for _, r := range packet.Reasons() {
		info := r.Info()
		if info.Class == packet.Rewritten {
			continue // not counted, and nothing to decide
		}
		tried++
		reasonAny.Store(uint32(r))
		outcome := func(when string, action ppf.Action, outcomes ...ppf.Outcome) {
			t.Helper()
			count := func() (n uint64) {
				for _, o := range outcomes {
					n += b.Count(info.Name, o)
				}
				return n
			}
			before := count()
			if got, _ := b.Send(ppf.Forward, segment); got != action || count() != before+1 {
				t.Errorf("%s %s: %v, %d counted as %v, want %v and one more", info.Name, when, got, count()-before, outcomes, action)
			}
		}
		override := func(do ppf.Do) {
			t.Helper()
			if err := b.Engine.Override("a", ppf.Override{Reason: info.Name, Do: do}); err != nil {
				t.Error(err)
			}
		}
		override(ppf.DoRefuse)
		outcome("refuse", ppf.Drop, ppf.OutcomeDrop)
		override(ppf.DoMonitor)
		outcome("monitor", ppf.Accept, ppf.OutcomeWouldDrop, ppf.OutcomeWouldRepair)
		if ppf.MayDo(info.Name, ppf.DoRepair) == nil {
			override(ppf.DoRepair)
			outcome("repair", ppf.Accept, ppf.OutcomeRepair)
		}
		if err := b.Engine.Restore("a", info.Name, netip.Prefix{}); err != nil {
			t.Error(err)
		}
		if info.Class == packet.Refused {
			outcome("default", ppf.Drop, ppf.OutcomeDrop)
		} else {
			outcome("default", ppf.Accept, ppf.OutcomeRepair)
		}
	}
	if tried < 200 {
		t.Errorf("%d reasons tried", tried)
	}
	t.Logf("%d reasons", tried)
	b.Accounted()
}

func TestDo(t *testing.T) {
	for _, d := range []ppf.Do{ppf.DoMonitor, ppf.DoRepair, ppf.DoRefuse} {
		if got, ok := ppf.ParseDo(d.String()); !ok || got != d {
			t.Errorf("%v: %v, %v", d, got, ok)
		}
	}
	for _, wrong := range []string{"", "pass"} {
		if d, ok := ppf.ParseDo(wrong); ok {
			t.Errorf("ParseDo(%q) = %v", wrong, d)
		}
	}
	if got := ppf.Do(9).String(); got != "do(9)" {
		t.Error(got)
	}
}
