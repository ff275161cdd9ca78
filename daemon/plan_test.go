package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func instance(name string, hook ppf.Hook, chain ...string) ppf.InstanceSpec {
	return ppf.InstanceSpec{
		Name: name, Hook: hook, Chain: [2][]string{chain, chain},
		Match: ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}, Port: []ppf.PortRange{{Lo: 80, Hi: 80}}},
	}
}

// withEngine is a daemon that has an engine and no kernel.
func withEngine(t *testing.T, instances ...ppf.InstanceSpec) *Daemon {
	t.Helper()
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	spec := &ppf.Spec{QueueFirst: 100, Instances: instances}
	if _, err := e.Apply(spec); err != nil {
		t.Fatal(err)
	}
	return &Daemon{engine: e, spec: spec}
}

// TestPlan: each flow of each instance is selected at its hooks, exchanged
// addresses and sequence numbers before conntrack, and what its server refuses besides.
func TestPlan(t *testing.T) {
	open, refuse, exchange := instance("open", ppf.Input, "tcp"), instance("refuse", ppf.Postrouting, "tcp"), instance("exchange", ppf.Forward, "tcp2")
	open.Fail, refuse.Others = ppf.FailOpen, ppf.OthersRefuse
	numbers, local := instance("numbers", ppf.Forward, "tcp"), instance("local", ppf.Input, "tcp")
	for _, in := range []*ppf.InstanceSpec{&numbers, &local} {
		in.Modules = map[string]ppf.Value{"tcp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "sequence", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "translate"}}}}}
	}
	d := withEngine(t, open, refuse, exchange, numbers, local)
	p := Plan(d.spec, d.engine)
	if p.Closed.First != 100 || p.Closed.Count < 1 || p.Open.First != 100+maxWorkers || p.Open.Count != 1 {
		t.Errorf("queues %+v, %+v", p.Closed, p.Open)
	}
	if p.Opening.Count != 1 || p.Opening.First == p.Hold || p.Opening.First <= p.Open.First {
		t.Errorf("SYNs have queue %+v, those that wait %d", p.Opening, p.Hold)
	}
	if want := uint32(p.Closed.Count) * floodPerWorker; p.Flood != want {
		t.Errorf("a flood begins with %d SYNs a second, want %d", p.Flood, want)
	}
	var got []string
	for _, s := range p.Selectors {
		early := ""
		if s.Early {
			early = " early"
		}
		if s.Beside {
			early += " beside"
		}
		if s.Fail == ppf.FailOpen {
			early += " open"
		}
		got = append(got, s.Instance+" "+s.Dir.String()+" "+s.Hook.String()+early)
	}
	slices.Sort(got)
	want := []string{
		"exchange cs forward", "exchange cs output", "exchange sc prerouting early",
		"local cs input", "local sc output early",
		"numbers cs forward", "numbers cs prerouting early beside", "numbers sc forward", "numbers sc output beside",
		"open cs input open", "open sc output open",
		"refuse cs input", "refuse cs postrouting", "refuse sc input", "refuse sc postrouting",
	}
	if !slices.Equal(got, want) {
		t.Errorf("selected\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range p.Refuse {
		if s.Instance != "refuse" || s.Criteria.Protocol != ppf.ProtocolAny || len(s.Criteria.DstPorts)+len(s.Criteria.SrcPorts) != 0 {
			t.Errorf("refused besides: %+v", s)
		}
	}
	if len(p.Refuse) != 4 {
		t.Errorf("%d selectors of what is refused, want 4", len(p.Refuse))
	}
}

func run(t *testing.T, d *Daemon, args ...string) control.CommandResult {
	t.Helper()
	return d.IPTables(t.Context(), append([]string{"-t", "promethos"}, args...))
}

// TestIPTablesLists prints what the thesis' command prints.
func TestIPTablesLists(t *testing.T) {
	d := withEngine(t, instance("plc", ppf.Forward, "tcp"))
	criteria := ppf.Criteria{Protocol: packet.ProtoICMP, Src: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	n, err := d.engine.InsertRule(ppf.RuleSpec{Chain: ppf.Input, Criteria: criteria, Plugin: "PROXY", Config: "cs 3 test."}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		has   []string
		hasnt []string
	}{
		{[]string{"-L"}, []string{
			"Chain PREROUTING (policy ACCEPT)\n", "Chain POSTROUTING (policy ACCEPT)\n",
			"target     prot  opt  source               destination",
			"PROMETHOS  tcp   --   anywhere             203.0.113.1 ", "PROMETHOS_PROXY#1 'cs 4 tcp.' /* plc */", "PROMETHOS_PROXY#2 'sc 1 tcp.' /* plc */",
			"PROMETHOS  icmp  --   192.0.2.0/24         anywhere ", "PROMETHOS_PROXY#" + n.String() + " 'cs 3 test.'\n",
		}, []string{"num", "pkts"}},
		{[]string{"-L", "INPUT", "-n", "-v", "--line-numbers"}, []string{"Chain INPUT", "num", "pkts", "bytes", "0.0.0.0/0", "1    "}, []string{"Chain FORWARD", "anywhere"}},
		{[]string{"-S"}, []string{"-P FORWARD ACCEPT\n", "-A INPUT ", "'cs 3 test.'"}, []string{"tcp."}},
		{[]string{"-S", "OUTPUT"}, []string{"-P OUTPUT ACCEPT\n"}, []string{"-A", "INPUT"}},
	} {
		r := run(t, d, tt.args...)
		if r.Code != 0 || len(r.Errors) != 0 {
			t.Errorf("%v: %+v", tt.args, r)
		}
		for _, s := range tt.has {
			if !strings.Contains(r.Output, s) {
				t.Errorf("%v: no %q in\n%s", tt.args, s, r.Output)
			}
		}
		for _, s := range tt.hasnt {
			if strings.Contains(r.Output, s) {
				t.Errorf("%v: %q in\n%s", tt.args, s, r.Output)
			}
		}
	}
	// What -S prints is a command that makes the same rule.
	for _, line := range strings.Split(run(t, d, "-S", "INPUT").Output, "\n") {
		if !strings.HasPrefix(line, "-A") {
			continue
		}
		if at := d.engine.FindRule(ppf.Input, func(r *ppf.Rule) bool {
			return config.RuleText(&ppf.RuleSpec{Chain: r.Chain, Criteria: r.Criteria, Plugin: r.Plugin, Config: r.Config}) == line
		}); at != 1 {
			t.Errorf("%q is rule %d, want 1", line, at)
		}
	}
}

// TestIPTablesErrors: a wrong command ends with 2 and says everything that is
// wrong, one that cannot be done with 1; neither changes anything.
func TestIPTablesErrors(t *testing.T) {
	d := withEngine(t, instance("plc", ppf.Forward, "tcp"))
	add := func(chain, config string) []string {
		return []string{"-A", chain, "-p", "icmp", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", config}
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-X"}, 2, ""},
		{[]string{"-A", "NOSUCH", "-p", "nosuch"}, 2, ""},
		{add("INPUT", "cs 3 test"), 1, "the dot at its end is missing"},
		{add("INPUT", "cs 3 nosuch."), 1, `function "nosuch": unknown`},
		{add("INPUT", "sc 77 test."), 1, "no client-to-server flow has that number"},
		{[]string{"-D", "FORWARD", "1"}, 1, "comes from the configuration file"},
		{[]string{"-D", "INPUT", "1"}, 1, "there is none"},
		{append([]string{"-D"}, add("INPUT", "cs 3 test.")[1:]...), 1, "no rule says that"},
	} {
		r := run(t, d, tt.args...)
		if r.Code != tt.code || len(r.Errors) == 0 || !strings.Contains(strings.Join(r.Errors, "\n"), tt.want) {
			t.Errorf("%v: %+v, want code %d and %q", tt.args, r, tt.code, tt.want)
		}
	}
	if n := len(d.engine.AllRules()); n != 2 {
		t.Errorf("%d rules, want the 2 of the file", n)
	}
	if r := run(t, d, "-Z"); r.Code != 0 || r.Output != "" {
		t.Errorf("-Z: %+v", r)
	}
}
