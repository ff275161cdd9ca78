package ppf_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// from builds a SYN of a client's port.
func from(t testing.TB, port uint16) []byte {
	return ppftest.Segment{Src: netip.AddrPortFrom(ppftest.Client4.Addr(), port), Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
}

// TestPluginConfiguration: the plugin-wide configuration limits the table, and
// a wrong one is told at once.
func TestPluginConfiguration(t *testing.T) {
	for _, wrong := range []string{"connections", "connections 0", "connections x", "connections 9999999999999", "limit 5"} {
		_, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1, PluginConfig: map[string]string{"PROXY": wrong}})
		if err == nil || !strings.Contains(err.Error(), "plugin PROXY: load:") || !strings.Contains(err.Error(), "write `connections N`") {
			t.Errorf("%q: %v", wrong, err)
		}
		if problems := ppf.CheckSpec(&ppf.Spec{Plugins: map[string]string{"PROXY": wrong}}); len(problems) != 1 || problems[0].Path != "plugins" {
			t.Errorf("checking %q: %v", wrong, problems)
		}
	}
	for _, o := range []ppf.Options{{Env: ppf.DryEnv()}, {Workers: 1}} {
		if _, err := ppf.New(o); err == nil {
			t.Errorf("an engine was made of %+v", o)
		}
	}
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1, PluginConfig: map[string]string{"PROXY": " connections 2 "}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{ppftest.Instance("a", "tcp")}}); err != nil {
		t.Fatal(err)
	}
	for port, want := range []ppf.Action{ppf.Accept, ppf.Accept, ppf.Drop} {
		data := from(t, uint16(port+1))
		frames := []ppf.Frame{{Data: data, WireLen: len(data), Hook: ppf.Forward}}
		if e.Handlers()[0].Handle(frames); frames[0].Action != want {
			t.Errorf("connection %d: %v, want %v", port+1, frames[0].Action, want)
		}
	}
	s := e.Stats()
	if counts := e.ReasonCounts(); len(counts) != 1 || counts[0].Reason != "conn.limit-table" || s.Packets.In != 3 || s.Packets.Dropped != 1 || s.Connections != 2 {
		t.Errorf("%+v, %+v", counts, s)
	}
}

// TestCheckSpec: every instance's problems are found, with their places.
func TestCheckSpec(t *testing.T) {
	bad, unknown, override, good := ppftest.Instance("bad", "tcp"), ppftest.Instance("unknown", "nosuch"), ppftest.Instance("override", "tcp"), ppftest.Instance("good", "tcp")
	bad.Modules = map[string]ppf.Value{"tcp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{
		{Key: "closed", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "x", Pos: ppf.Pos{File: "f", Line: 3, Col: 4}}},
		{Key: "close", Pos: ppf.Pos{File: "f", Line: 4, Col: 2}},
	}}}
	unknown.Pos = ppf.Pos{File: "f", Line: 9, Col: 1}
	override.Reasons = []ppf.Override{{Reason: "tcp.flags.nosuch", Do: ppf.DoMonitor}}
	problems := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{bad, unknown, override, good}})
	want := []string{
		`f:3:4: instances.bad.modules.tcp.closed: "x" is not a duration`,
		`f:4:2: instances.bad.modules.tcp.close: unknown key "close" (did you mean "closed"?)`,
		`f:9:1: instances.unknown: function "nosuch": unknown`,
		`instances.override: reason "tcp.flags.nosuch": unknown`,
	}
	if len(problems) != len(want) {
		t.Fatalf("problems %v", problems)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("%q, want %q", p.Error(), want[i])
		}
	}
}

// TestRules: rules have places in their chain; a file's stay where they are.
func TestRules(t *testing.T) {
	file := ppftest.Instance("file", "tcp")
	b := ppftest.New(t, file)
	e := b.Engine
	spec := func(config string) ppf.RuleSpec {
		return ppf.RuleSpec{Chain: ppf.Forward, Plugin: "TEST", Config: config}
	}
	chain := func() string {
		var list []string
		for _, r := range e.Rules(ppf.Forward) {
			list = append(list, r.Name+r.Config)
		}
		return strings.Join(list, " | ")
	}
	want := func(want string) {
		t.Helper()
		if got := chain(); got != want {
			t.Errorf("chain %q, want %q", got, want)
		}
	}
	insert := func(position int, config string) ppf.InstanceNumber {
		t.Helper()
		n, err := e.InsertRule(spec(config), position)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	wrong := func(want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	const files = "filecs 4 tcp. | filesc 1 tcp."
	want(files)
	first := insert(1, "x")
	last := insert(0, "y")
	want("x | " + files + " | y")
	n, err := e.ReplaceRule(spec("z"), 4)
	if err != nil || n <= last {
		t.Errorf("replaced by number %d, %v; the last was %d", n, err, last)
	}
	want("x | " + files + " | z")
	if got := e.FindRule(ppf.Forward, func(r *ppf.Rule) bool { return r.Number == n }); got != 4 {
		t.Errorf("found at %d, want 4", got)
	}
	if got := e.FindRule(ppf.Input, func(*ppf.Rule) bool { return true }); got != 0 {
		t.Errorf("found in an empty chain at %d", got)
	}
	for _, position := range []int{-1, 6} {
		_, err := e.InsertRule(spec("w"), position)
		wrong("out of range (1 to 5)", err)
	}
	for _, position := range []int{0, 5} {
		wrong("there is none (it has 4 rules)", e.DeleteRule(ppf.Forward, position))
	}
	wrong("comes from the configuration file", e.DeleteRule(ppf.Forward, 2))
	_, err = e.ReplaceRule(spec("w"), 3)
	wrong("comes from the configuration file", err)
	wrong("comes from the configuration file", e.Reconfig(e.Rules(ppf.Forward)[1].Number, "cs 2 tcp."))
	want("x | " + files + " | z")
	// A reload leaves what commands made in its place.
	file.Mode = ppf.Strict
	b.Apply(file, func() ppf.InstanceSpec { in := ppftest.Instance("more", "pass"); return in }())
	if got := chain(); !strings.HasPrefix(got, "x | "+files+" | morecs 2 pass. | moresc ") || !strings.HasSuffix(got, " | z") {
		t.Errorf("chain after a reload: %q", got)
	}
	if kept, err := e.FlushRules(ppf.Input); kept != 0 || err != nil {
		t.Errorf("flushed another chain: %d kept, %v", kept, err)
	}
	if kept, err := e.FlushRules(ppf.HookNone); kept != 4 || err != nil {
		t.Errorf("flushed: %d kept, %v", kept, err)
	}
	b.Apply()
	want("")
	if got := insert(0, "again"); got <= n || got <= first {
		t.Errorf("number %d was used before", got)
	}
	if got := len(e.AllRules()); got != 1 {
		t.Errorf("%d rules, want 1", got)
	}
}

// TestRefuseRules: whose server refuses all other traffic has it selected too.
func TestRefuseRules(t *testing.T) {
	in := ppftest.Instance("a", "tcp")
	in.Others, in.Hook, in.Match.Port = ppf.OthersRefuse, ppf.Input, []ppf.PortRange{{Lo: 80, Hi: 80}}
	b := ppftest.New(t, in, ppftest.Instance("b", "tcp"))
	rules := b.Engine.RefuseRules()
	if len(rules) != 2 || rules[0].Criteria.String() != "any any > 203.0.113.1,2001:db8:2::1" || rules[1].Criteria.String() != "any 203.0.113.1,2001:db8:2::1 > any" ||
		!slices.Equal(rules[0].Hooks, []ppf.Hook{ppf.Input}) || !slices.Equal(rules[1].Hooks, []ppf.Hook{ppf.Output}) ||
		rules[0].Dir() != ppf.ClientToServer || rules[1].Dir() != ppf.ServerToClient {
		t.Errorf("%+v", rules)
	}
}

// TestCounters: what is counted outlives its instance, and can be zeroed.
func TestCounters(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	b.Send(ppf.Forward, from(t, 1))
	b.Send(ppf.Forward, to(t, 80)) // adopted
	i := b.Engine.Instances()[0]
	if f := i.Flow[0]; f.In != 2 || f.Sent != 2 || f.InBytes != 80 || i.Flow[1].In != 0 || i.Connections != 2 || !i.Protecting || i.Origin != "file" || i.Hook != "forward" {
		t.Errorf("%+v", i)
	}
	b.Apply()
	if s := b.Engine.Stats(); s.Packets.In != 2 || s.Packets.Sent != 2 || s.Connections != 0 {
		t.Errorf("after the instance went: %+v", s)
	}
	b.Send(ppf.Forward, to(t, 80))
	if s := b.Engine.Stats(); s.Unmatched.In != 1 || s.Unmatched.Unchanged != 1 {
		t.Errorf("of no instance: %+v", s.Unmatched)
	}
	b.Accounted()
	b.Apply(ppftest.Instance("a", "tcp"))
	b.Send(ppf.Forward, from(t, 1))
	b.Engine.ZeroCounters()
	if s := b.Engine.Stats(); s.Packets != (ppf.FlowCounters{}) || s.Unmatched != (ppf.FlowCounters{}) || s.Connections != 1 || len(b.Engine.ReasonCounts()) != 0 {
		t.Errorf("zeroed: %+v", s)
	}
	b.Send(ppf.Forward, from(t, 1))
	if s := b.Engine.Stats(); s.Packets.In != 1 {
		t.Errorf("after zeroing: %+v", s)
	}
	b.Accounted()
}

func TestConnectionList(t *testing.T) {
	second := ppftest.Instance("b", "tcp")
	second.Hook = ppf.Input
	b := ppftest.New(t, ppftest.Instance("a", "tcp"), second)
	for port := range uint16(3) {
		b.Send(ppf.Forward, from(t, port+1))
		b.Env.Advance(1e9)
	}
	b.Send(ppf.Input, from(t, 9))
	for _, tt := range []struct {
		instance string
		limit    int
		want     int
	}{{"", 0, 4}, {"a", 0, 3}, {"b", 0, 1}, {"c", 0, 0}, {"", 2, 2}, {"a", 1, 1}} {
		if got := b.Engine.Connections(tt.instance, tt.limit); got == nil || len(got) != tt.want {
			t.Errorf("instance %q, limit %d: %d, want %d", tt.instance, tt.limit, len(got), tt.want)
		}
	}
	net := netip.MustParsePrefix
	for _, tt := range []struct {
		filter ppf.ConnectionFilter
		want   int
	}{
		{ppf.ConnectionFilter{Protocol: "tcp"}, 4},
		{ppf.ConnectionFilter{Protocol: "udp"}, 0},
		{ppf.ConnectionFilter{State: "syn-sent", Limit: 3}, 3},
		{ppf.ConnectionFilter{State: "ESTABLISHED"}, 0},
		{ppf.ConnectionFilter{Client: net("192.0.2.0/24"), Server: net("203.0.113.1/32"), ServerPort: 80}, 4},
		{ppf.ConnectionFilter{Client: net("192.0.3.0/24")}, 0},
		{ppf.ConnectionFilter{Server: net("192.0.2.0/24")}, 0},
		{ppf.ConnectionFilter{ServerPort: 81}, 0},
	} {
		if got := b.Engine.FindConnections(tt.filter); len(got) != tt.want {
			t.Errorf("%+v: %d, want %d", tt.filter, len(got), tt.want)
		}
	}
	c := b.Engine.Connections("a", 0)[0]
	if c.Client != "192.0.2.1:1" || c.Server != "203.0.113.1:80" || c.Protocol != "tcp" || c.State != "SYN-SENT" || c.SentAs != "" ||
		c.CS.Packets != 1 || c.CS.Bytes != 40 || !c.Created.Equal(time.Unix(1, 0)) || c.Expires.Sub(c.Created) != time.Minute {
		t.Errorf("%+v", c)
	}
}

// TestEventRing: the last events are kept in order, and who waits is woken.
func TestEventRing(t *testing.T) {
	e := ppf.NewEvents(func() int64 { return 5e9 })
	list, more := e.Since(0)
	if len(list) != 0 {
		t.Errorf("%d events at the start", len(list))
	}
	const n = 5000
	for range n {
		e.Add(ppf.Event{Kind: ppf.EventDaemon, Text: "x", Seq: 77})
	}
	select {
	case <-more:
	default:
		t.Error("who waits was not woken")
	}
	list, more = e.Since(0)
	for {
		next, wake := e.Since(list[len(list)-1].Seq)
		if len(next) == 0 {
			break
		}
		select {
		case <-more:
		default:
			t.Fatal("there is more, and who waits is not told")
		}
		list, more = append(list, next...), wake
	}
	if len(list) == 0 || len(list) >= n || list[len(list)-1].Seq != n || !list[0].Time.Equal(time.Unix(5, 0)) {
		t.Fatalf("%d events, the last has number %d", len(list), list[len(list)-1].Seq)
	}
	for i := range list {
		if list[i].Seq != list[0].Seq+uint64(i) {
			t.Fatalf("event %d follows %d", list[i].Seq, list[i-1].Seq)
		}
	}
	select {
	case <-more:
		t.Error("who waits was woken for nothing")
	default:
	}
	if list, _ := e.Since(n - 1); len(list) != 1 {
		t.Errorf("%d events after the last but one", len(list))
	}
	for _, after := range []uint64{n, n + 10} {
		if list, _ := e.Since(after); len(list) != 0 {
			t.Errorf("%d events after number %d", len(list), after)
		}
	}
}

// ticking is a clock that moves on by itself, by 1, 2, 3, … ns for each packet.
type ticking struct {
	ppf.Env
	now, step int64
	odd       bool
}

func (c *ticking) Now() int64 {
	if c.odd = !c.odd; !c.odd {
		c.step++
		c.now += c.step
	}
	return c.now
}

// TestTiming: the times of 1 to n ns have a mean, deviation and percentiles that
// can be told beforehand.
func TestTiming(t *testing.T) {
	clock := &ticking{Env: ppf.DryEnv()}
	e, err := ppf.New(ppf.Options{Env: clock, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s := e.StopTiming(); s != (ppf.TimingSummary{}) {
		t.Errorf("nothing was measured: %+v", s)
	}
	clock.odd, clock.step = false, 0
	e.MeasureTiming()
	const n = 300_000 // more than are kept
	data := to(t, 80)
	frames := []ppf.Frame{{Data: data, WireLen: len(data), Hook: ppf.Forward}}
	for range n {
		e.Handlers()[0].Handle(frames)
	}
	s := e.StopTiming()
	near := func(what string, got time.Duration, want float64) {
		if d := float64(got) - want; d < -0.01*n || d > 0.01*n {
			t.Errorf("%s %d, want %.0f", what, got, want)
		}
	}
	if s.Packets != n || s.Min != 1 || s.Max != n {
		t.Errorf("%+v", s)
	}
	near("mean", s.Mean, n/2)
	near("standard deviation", s.StdDev, n/3.4641)
	near("p50", s.P50, 0.5*n)
	near("p90", s.P90, 0.9*n)
	near("p99", s.P99, 0.99*n)
}
