package config_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var comparePrefix = cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}

func prefixes(t *testing.T, list ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		p, err := ppf.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func fields(s string) []string {
	var out []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// TestIPTables reads commands of the thesis and of iptables' own manual.
func TestIPTables(t *testing.T) {
	tests := []struct {
		args string
		want config.Command
	}{
		{"-t promethos -A OUTPUT -p icmp -j PROMETHOS --plugin PROXY --autoinstance --config 'cs 2 test.'",
			config.Command{Op: config.OpAppend, Chain: ppf.Output, HasRule: true, Rule: ppf.RuleSpec{Chain: ppf.Output, Plugin: "PROXY", Config: "cs 2 test.",
				Criteria: ppf.Criteria{Family: ppf.FamilyIPv4, Protocol: packet.ProtoICMP}}}},
		{"-t promethos -A INPUT -s 192.168.1.1 -j PROMETHOS -plugin TEST -autoinstance -config 'some config string'",
			config.Command{Op: config.OpAppend, Chain: ppf.Input, HasRule: true, Rule: ppf.RuleSpec{Chain: ppf.Input, Plugin: "TEST", Config: "some config string",
				Criteria: ppf.Criteria{Family: ppf.FamilyIPv4, Src: prefixes(t, "192.168.1.1")}}}},
		{"-t promethos -I FORWARD 2 ! -s 10.0.0.0/255.0.0.0 -d 192.0.2.1,192.0.2.2 -p tcp -m tcp --dport 80:90 -i eth+ -o eth1 -j PROMETHOS --plugin=PROXY3 --config 'sc 1 tcp2.'",
			config.Command{Op: config.OpInsert, Chain: ppf.Forward, Position: 2, HasRule: true, Rule: ppf.RuleSpec{Chain: ppf.Forward, Plugin: "PROXY3", Config: "sc 1 tcp2.",
				Criteria: ppf.Criteria{Family: ppf.FamilyIPv4, Protocol: packet.ProtoTCP, Dst: prefixes(t, "192.0.2.1", "192.0.2.2"), DstPorts: []ppf.PortRange{{Lo: 80, Hi: 90}},
					In: "eth+", Out: "eth1", Not: []ppf.Criteria{{Src: prefixes(t, "10.0.0.0/8")}}}}}},
		{"-t promethos -A PREROUTING -p udp -d 2001:db8::1 -m multiport --dports 53,100:200 --sport :1023 -j PROMETHOS --plugin PROXY",
			config.Command{Op: config.OpAppend, Chain: ppf.Prerouting, HasRule: true, Rule: ppf.RuleSpec{Chain: ppf.Prerouting, Plugin: "PROXY",
				Criteria: ppf.Criteria{Family: ppf.FamilyIPv6, Protocol: packet.ProtoUDP, Dst: prefixes(t, "2001:db8::1"),
					DstPorts: []ppf.PortRange{{Lo: 53, Hi: 53}, {Lo: 100, Hi: 200}}, SrcPorts: []ppf.PortRange{{Lo: 0, Hi: 1023}}}}}},
		{"-t promethos -A POSTROUTING -6 -p icmp -j PROMETHOS --plugin PROXY",
			config.Command{Op: config.OpAppend, Chain: ppf.Postrouting, HasRule: true, Rule: ppf.RuleSpec{Chain: ppf.Postrouting, Plugin: "PROXY",
				Criteria: ppf.Criteria{Family: ppf.FamilyIPv6, Protocol: packet.ProtoICMPv6}}}},
		{"-t promethos -L -n -v --line-numbers", config.Command{Op: config.OpList, Numeric: true, Verbose: true, LineNumbers: true}},
		{"-t promethos -L FORWARD", config.Command{Op: config.OpList, Chain: ppf.Forward, Rule: ppf.RuleSpec{Chain: ppf.Forward}}},
		{"-t promethos -D FORWARD 3", config.Command{Op: config.OpDelete, Chain: ppf.Forward, Position: 3, Rule: ppf.RuleSpec{Chain: ppf.Forward}}},
		{"-t promethos -F", config.Command{Op: config.OpFlush}},
		{"-t promethos -S --yaml", config.Command{Op: config.OpSpecs, YAML: true}},
		{"-t promethos -Z", config.Command{Op: config.OpZero}},
	}
	for _, tt := range tests {
		got, problems := config.ParseIPTables(fields(tt.args))
		if len(problems) > 0 {
			t.Errorf("%s: %v", tt.args, problems)
			continue
		}
		if diff := cmp.Diff(&tt.want, got, comparePrefix); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
		if got.Op == config.OpAppend {
			again, problems := config.ParseIPTables(append([]string{"-t", "promethos"}, fields(config.RuleText(&got.Rule))...))
			if len(problems) > 0 || !config.SameRule(&again.Rule, &got.Rule) {
				t.Errorf("%s: printed as %s, read again as %+v %v", tt.args, config.RuleText(&got.Rule), again, problems)
			}
		}
	}
}

func TestIPTablesWrong(t *testing.T) {
	const good = " -j PROMETHOS --plugin PROXY --config 'cs 2 tcp.'"
	tests := []struct {
		args string
		want []string
	}{
		{"", []string{`the table is ""`, "no operation is given"}},
		{"-t filter -L", []string{`the table is "filter"`}},
		{"-t promethos -A forward" + good, []string{`chain "forward" is unknown`}},
		{"-t promethos -A", []string{"-A needs a chain", "the target is missing", "the plugin is missing"}},
		{"-t promethos -A FORWARD -L" + good, []string{"2 operations are given", "this operation takes no rule"}},
		{"-t promethos -A FORWARD -p sctpx" + good, []string{`protocol "sctpx" is unknown`}},
		{"-t promethos -A FORWARD -p tcp -s here" + good, []string{`"here" is not an address`}},
		{"-t promethos -A FORWARD -s 10.0.0.0/255.0.255.0" + good, []string{`mask "255.0.255.0" has gaps`}},
		{"-t promethos -A FORWARD --dport 80" + good, []string{"ports need a protocol"}},
		{"-t promethos -A FORWARD -p tcp --dport 90:80" + good, []string{"ends before it starts"}},
		{"-t promethos -A FORWARD -p tcp --dport http" + good, []string{`"http" is not a port`}},
		{"-t promethos -A OUTPUT -i eth0" + good, []string{"the incoming interface is not known at OUTPUT"}},
		{"-t promethos -A INPUT -o eth0" + good, []string{"the outgoing interface is not known at INPUT"}},
		{"-t promethos -A FORWARD -4 -d 2001:db8::1" + good, []string{"-4 or -6 contradicts"}},
		{"-t promethos -A FORWARD -s 192.0.2.1 -d 2001:db8::1" + good, []string{"addresses of both IP versions"}},
		{"-t promethos -A FORWARD -j DROP", []string{`target "DROP" is unknown`, "the plugin is missing"}},
		{"-t promethos -A FORWARD -m state" + good, []string{`match "state" is unknown`}},
		{"-t promethos -A FORWARD --frob" + good, []string{`"--frob" is not an option`}},
		{"-t promethos -A FORWARD -j PROMETHOS --plugin PROXY --config", []string{"--config needs an argument"}},
		{"-t promethos -A FORWARD ! -j PROMETHOS --plugin PROXY", []string{"! before -j means nothing"}},
		{"-t promethos -A FORWARD ! -p all" + good, []string{"! -p all leaves nothing"}},
		{"-t promethos -R FORWARD" + good, []string{"-R needs a rule number"}},
		{"-t promethos -D FORWARD zero" + good, []string{`rule number "zero" is not a number`}},
		{"-t promethos -F -p tcp", []string{"this operation takes no rule"}},
		{"-t promethos -A FORWARD -p nope -s bad --dport x" + good, []string{`protocol "nope"`, `"bad" is not`, `"x" is not a port`}},
	}
	for _, tt := range tests {
		_, problems := config.ParseIPTables(fields(tt.args))
		for _, want := range tt.want {
			if !hasProblem(problems, want) {
				t.Errorf("%s: want a problem %q, got %v", tt.args, want, problems)
			}
		}
		if len(problems) != len(tt.want) {
			t.Errorf("%s: got %d problems, want %d: %v", tt.args, len(problems), len(tt.want), problems)
		}
	}
}

func TestInstanceYAML(t *testing.T) {
	m := ppf.Match{
		Protocol: packet.ProtoTCP, Server: prefixes(t, "192.0.2.1", "2001:db8::/64"), Client: prefixes(t, "198.51.100.0/24"),
		Port: []ppf.PortRange{{Lo: 80, Hi: 80}, {Lo: 90, Hi: 99}}, In: "eth0", Out: "eth1", Not: []ppf.Match{{Client: prefixes(t, "198.51.100.7")}, {In: "lo"}},
	}
	cs, sc := m.Flow(ppf.ClientToServer), m.Flow(ppf.ServerToClient)
	text, ok := config.InstanceYAML("x", ppf.Forward, cs, &sc, [2][]string{{"tcp"}, {"tcp"}})
	spec, problems := config.Parse("f.yaml", []byte("version: 1\ninstances:\n"+text))
	if !ok || len(spec.Instances) != 1 {
		t.Fatalf("ok %v, problems %v in\n%s", ok, problems, text)
	}
	for _, p := range problems {
		if !p.Warning {
			t.Errorf("problem: %v", p)
		}
	}
	if diff := cmp.Diff(m, spec.Instances[0].Match, comparePrefix); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, text)
	}
	if _, ok := config.InstanceYAML("x", ppf.Forward, cs, &cs, [2][]string{{"tcp"}, {"tcp"}}); ok {
		t.Error("flows that are not each other's reverse have a form")
	}
}

func FuzzParseIPTables(f *testing.F) {
	f.Add("-t promethos -A FORWARD ! -s 10.0.0.0/8 -p tcp --dport 80:90 -j PROMETHOS --plugin PROXY --config 'cs 2 tcp.'")
	f.Fuzz(func(t *testing.T, line string) {
		cmd, problems := config.ParseIPTables(fields(line))
		if len(problems) > 0 || cmd.Op != config.OpAppend || strings.ContainsAny(cmd.Rule.Config+cmd.Rule.Plugin+cmd.Rule.Criteria.In+cmd.Rule.Criteria.Out, "' \t\n\v\f\r=!-\u0085\u00a0") {
			return
		}
		again, problems := config.ParseIPTables(append([]string{"-t", "promethos"}, fields(config.RuleText(&cmd.Rule))...))
		if len(problems) > 0 || !config.SameRule(&cmd.Rule, &again.Rule) {
			t.Errorf("%q: printed as %q, which reads as %+v %v", line, config.RuleText(&cmd.Rule), again.Rule, problems)
		}
	})
}
