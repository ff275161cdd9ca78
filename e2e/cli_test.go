package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// here runs the program where the test runs, for commands that need no lab.
func here(t *testing.T, args ...string) result {
	t.Helper()
	return executeHere(t, program, args...)
}

// wrong has a mistake in each line from the fourth on.
const wrong = `version: 1
instances:
  - name: web
    hook: sideways
    match: {protocol: tcp, server: 192.0.2.300, port: 70000}
    chain: [nothing]
    mode: sometimes
    fail: maybe
    colour: red
`

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, wrong)
	mistakes := []string{"sideways", "192.0.2.300", "70000", "nothing", "sometimes", "maybe", "colour"}

	r := here(t, "check", "-c", file)
	if r.status != 2 {
		t.Errorf("%v\nwant status 2", r)
	}
	for _, m := range mistakes {
		if !regexp.MustCompile(`(?m)^promethos: ` + regexp.QuoteMeta(file) + `:\d+:\d+: .*` + regexp.QuoteMeta(m)).MatchString(r.errors) {
			t.Errorf("check does not say FILE:LINE:COLUMN of %q:\n%s", m, r.errors)
		}
	}

	r = here(t, "--json", "check", "-c", file)
	var problems []map[string]any
	if err := json.Unmarshal([]byte(r.out), &problems); err != nil || r.status != 2 {
		t.Fatalf("%v: %v", err, r)
	}
	if len(problems) < len(mistakes) {
		t.Errorf("%d problems, want at least %d: %s", len(problems), len(mistakes), r.out)
	}

	write(t, file, "version: 1\ninstances:\n  - {name: web, match: {protocol: tcp, server: 192.0.2.1}, chain: [tcp]}\n")
	if r := here(t, "check", "-c", file); r.status != 0 {
		t.Errorf("%v\nwant status 0", r)
	}
	if r := here(t, "check", "-c", file+".missing"); r.status != 2 || !strings.Contains(r.errors, file+".missing") {
		t.Errorf("%v\nwant status 2 naming the file", r)
	}
}

// TestCheckPlan wants the rules of a configuration without touching the kernel.
func TestCheckPlan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, "version: 1\ninstances:\n  - {name: web, match: {protocol: tcp, server: 192.0.2.1, port: 502}, chain: [tcp]}\n")
	r := here(t, "check", "-c", file, "--plan")
	for _, want := range []string{"192.0.2.1", "502", "queue", "forward"} {
		if r.status != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%v\nwant status 0 and %q", r, want)
		}
	}
	r = here(t, "--json", "check", "-c", file, "--plan")
	var plan struct {
		Problems []any
		Rules    string
	}
	if err := json.Unmarshal([]byte(r.out), &plan); err != nil || len(plan.Problems) == 0 || !strings.Contains(plan.Rules, "502") {
		t.Errorf("%v: %v\nwant problems and rules", r, err)
	}
}

// busy is a daemon that something went through.
func busy(t *testing.T) (*lab.Lab, *daemon, uint16) {
	t.Helper()
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := withServer(t, l, "forward", p, notAdopting)
	reachable(t, l, p)
	env := must(l.AttackEnv(p))(t)
	a, err := lab.AttackByName("xmas-scan")
	if err != nil {
		t.Fatal(err)
	}
	attack(t, l, env, []lab.Attack{a}, func() { d.dropped(t, 1) })
	return l, d, p
}

// TestLists wants each list as a table with a heading, and as JSON with the names
// that others rely on.
func TestLists(t *testing.T) {
	_, d, _ := busy(t)
	for _, list := range []struct {
		args    []string
		heading string
		fields  []string
	}{
		{[]string{"instances"}, "NAME", []string{"name", "origin", "numbers", "hook", "chains", "mode", "flows"}},
		{[]string{"functions"}, "NAME", []string{"name", "module", "level", "used_by"}},
		{[]string{"modules"}, "NAME", []string{"name", "aliases", "loaded", "functions"}},
		{[]string{"connections"}, "INSTANCE", []string{"instance", "client", "server", "protocol", "state", "cs", "sc"}},
		{[]string{"reasons"}, "REASON", []string{"reason", "instance", "count", "action", "rfc", "cve"}},
		{[]string{"reasons", "--all"}, "REASON", []string{"reason", "class", "rfc"}},
	} {
		t.Run(strings.Join(list.args, " "), func(t *testing.T) {
			if out := d.do(t, list.args...); !strings.HasPrefix(out, list.heading+" ") {
				t.Errorf("want a table that begins with %s:\n%s", list.heading, out)
			}
			rows := table[[]map[string]any](t, d, list.args...)
			if len(rows) == 0 {
				t.Fatal("no row")
			}
			for _, f := range list.fields {
				if _, ok := rows[0][f]; !ok {
					t.Errorf("no field %q in %v", f, rows[0])
				}
			}
		})
	}
	for _, single := range []struct {
		args   []string
		text   string
		fields []string
	}{
		{[]string{"stats"}, "dropped", []string{"packets", "unmatched", "connections", "sources"}},
		{[]string{"version"}, "promethos ", []string{"version", "commit", "go"}},
		{[]string{"show", "instance", "web"}, "web", []string{"name", "numbers", "flows", "reasons"}},
		{[]string{"show", "instance", fmt.Sprint(d.instances(t)[0].Numbers[1])}, "web", []string{"name"}},
	} {
		t.Run(strings.Join(single.args, " "), func(t *testing.T) {
			if out := d.do(t, single.args...); !strings.Contains(out, single.text) {
				t.Errorf("want %q:\n%s", single.text, out)
			}
			v := table[map[string]any](t, d, single.args...)
			for _, f := range single.fields {
				if _, ok := v[f]; !ok {
					t.Errorf("no field %q in %v", f, v)
				}
			}
		})
	}
	for line := range strings.Lines(d.do(t, "--json", "events")) {
		var e struct {
			Seq        uint64
			Kind, Text string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq == 0 || e.Kind == "" || e.Text == "" {
			t.Fatalf("event %q: %v, %+v", line, err, e)
		}
	}
	if c := table[[]struct{ Instance, State, Protocol string }](t, d, "connections"); c[0].Instance != "web" || c[0].Protocol != "tcp" || c[0].State == "" {
		t.Errorf("connections: %+v", c)
	}
	if r := d.try(t, "show", "instance", "none"); r.status != 1 {
		t.Errorf("%v\nwant status 1", r)
	}
}

// TestIPTables goes through the operations of the thesis' command.
func TestIPTables(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, empty)
	server := l.Server.IPv4.String()
	cs := d.rule(t, "-A", "FORWARD", "-p", "tcp", "-d", server, "-j", "PROMETHOS", "-plugin", "PROXY", "-autoinstance", "-config", "cs 2 tcp.")
	sc := d.rule(t, "-I", "FORWARD", "-p", "tcp", "-s", server, "-j", "PROMETHOS", "--plugin", "PROXY3", "--autoinstance", "--config", "sc "+cs+" tcp.")
	must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", p)).DataURL(1_000_000, 1)))(t)

	list := d.iptables(t, "-L", "FORWARD", "-n", "-v", "--line-numbers")
	for _, want := range []string{
		`(?m)^num +pkts +bytes +target +prot +opt +source +destination *$`,
		`(?m)^1 +[1-9]\d* +[1-9]\d* +PROMETHOS +tcp +-- +` + server + ` +0\.0\.0\.0/0 .*PROMETHOS_PROXY#` + sc + ` `,
		`(?m)^2 +[1-9]\d* +[1-9]\d* +PROMETHOS +tcp +-- +0\.0\.0\.0/0 +` + server + ` .*PROMETHOS_PROXY#` + cs + ` `,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("-L does not show %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, "Chain INPUT") {
		t.Errorf("-L FORWARD shows other chains:\n%s", list)
	}

	// -S prints what makes the same rules again.
	specs := d.iptables(t, "-S", "FORWARD")
	for _, want := range []string{"-P FORWARD ACCEPT", "-A FORWARD -p tcp -s " + server, "--config 'cs 2 tcp.'", "--config 'sc " + cs + " tcp.'"} {
		if !strings.Contains(specs, want) {
			t.Errorf("-S does not show %q:\n%s", want, specs)
		}
	}
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, d.iptables(t, "-S", "--yaml"))
	if r := here(t, "check", "-c", file); r.status != 0 {
		t.Errorf("-S --yaml is no configuration: %v\n%s", r, d.iptables(t, "-S", "--yaml"))
	}

	d.iptables(t, "-Z")
	if flows := d.instances(t)[0].Flows; flows[0].In+flows[1].In != 0 {
		t.Errorf("after -Z: %+v", flows)
	}

	// -D with a rule, and with a number.
	d.iptables(t, "-D", "FORWARD", "-p", "tcp", "-s", server, "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
	replaced := d.rule(t, "-R", "FORWARD", "1", "-p", "tcp", "-d", server, "--dport", "1", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 3 tcp.")
	if replaced == cs || replaced == sc {
		t.Errorf("-R gave number %s again", replaced)
	}
	d.iptables(t, "-D", "FORWARD", "1")
	if list := d.instances(t); len(list) != 0 {
		t.Errorf("instances after -D: %+v", list)
	}
	if names := tables(t, l); len(names) > 1 {
		t.Errorf("tables: %v", names)
	}
	reachable(t, l, p)
}

// TestIPTablesErrors wants wrong commands refused: usage with status 2, what the
// daemon cannot do with 1.
func TestIPTablesErrors(t *testing.T) {
	l := up(t, lab.Options{})
	d := start(t, l, empty)
	rule := func(config string) []string {
		return []string{"-t", "promethos", "-A", "FORWARD", "-p", "tcp", "-d", "192.0.2.1", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", config}
	}
	n := d.rule(t, rule("cs 2 tcp.")[2:]...)
	d.rule(t, rule("sc " + n + " tcp.")[2:]...)
	for _, c := range []struct {
		name   string
		args   []string
		status int
		why    string
	}{
		{"no table", []string{"-L"}, 2, "-t promethos"},
		{"other table", []string{"-t", "nat", "-L"}, 2, "nat"},
		{"unknown chain", []string{"-t", "promethos", "-L", "SIDEWAYS"}, 2, "SIDEWAYS"},
		{"unknown option", []string{"-t", "promethos", "--sideways"}, 2, "--sideways"},
		{"wrong address", []string{"-t", "promethos", "-A", "FORWARD", "-d", "192.0.2.300", "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 tcp."}, 2, "192.0.2.300"},
		{"no target", []string{"-t", "promethos", "-A", "FORWARD", "-p", "tcp"}, 2, "-j"},
		{"missing dot", rule("cs 2 tcp"), 0, "dot"},
		{"unknown function", rule("cs 2 nothing."), 1, "nothing"},
		{"unknown instance", rule("sc 9999 tcp."), 1, "9999"},
		{"bound instance", rule("sc " + n + " tcp."), 1, n},
		{"no such rule", []string{"-t", "promethos", "-D", "FORWARD", "77"}, 1, "77"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.try(t, append([]string{"iptables"}, c.args...)...)
			wrong := r.status != c.status
			if c.status == 0 { // usage or refusal: both are right
				wrong = r.status == 0
			}
			if wrong || !strings.Contains(r.errors, c.why) || !strings.HasPrefix(r.errors, "promethos: ") {
				t.Errorf("%v\nwant status %d and %q", r, c.status, c.why)
			}
		})
	}
	if list := d.instances(t); len(list) != 1 {
		t.Errorf("instances: %+v, want the first alone", list)
	}
}

// TestUsage wants wrong usage to exit with 2, and no daemon with 1 and a hint.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"sideways"}, {"module", "sideways"}, {"show", "sideways"}, {"lab", "sideways"}, {"completion", "sideways"}, {"run"}, {"check"}, {"instances", "--sideways"}, {"show", "instance"}, {"reconfig", "x", "cs 2 tcp."}} {
		if r := here(t, args...); r.status != 2 || !strings.HasPrefix(r.errors, "promethos: ") {
			t.Errorf("%v\nwant status 2", r)
		}
	}
	socket := filepath.Join(t.TempDir(), "none.sock")
	if r := here(t, "--control", socket, "instances"); r.status != 1 || !strings.Contains(r.errors, socket) {
		t.Errorf("%v\nwant status 1 naming the socket", r)
	}
}

// TestReconfig changes a chain while it runs.
func TestReconfig(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, empty)
	server := l.Server.IPv4.String()
	cs := d.rule(t, "-A", "FORWARD", "-p", "tcp", "-d", server, "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 2 tcp.")
	d.rule(t, "-A", "FORWARD", "-p", "tcp", "-s", server, "-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "sc "+cs+" tcp.")
	d.do(t, "module", "load", "test")
	d.do(t, "reconfig", cs, "cs 2 test,tcp.")
	if got := fmt.Sprint(d.instances(t)[0].Chains[0]); got != "[test tcp]" {
		t.Errorf("chain %s, want [test tcp]", got)
	}
	must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", p)).DataURL(100_000, 1)))(t)
	d.event(t, "TEST_FUNCTION called")
	if r := d.try(t, "reconfig", cs, "cs 2 nothing."); r.status != 1 || !strings.Contains(r.errors, "nothing") {
		t.Errorf("%v\nwant status 1", r)
	}
	if got := fmt.Sprint(d.instances(t)[0].Chains[0]); got != "[test tcp]" {
		t.Errorf("chain %s after a refused reconfig, want [test tcp]", got)
	}
}

// TestDoctor looks at a host with a daemon, without one, and after a crash.
func TestDoctor(t *testing.T) {
	l := up(t, lab.Options{})
	doctor := func(d *daemon) (map[string]bool, string) {
		r := d.try(t, "--json", "doctor")
		var list []struct {
			Name, Detail, Fix string
			OK                bool
		}
		if err := json.Unmarshal([]byte(r.out), &list); err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		found, all := map[string]bool{}, true
		for _, f := range list {
			found[f.Name] = f.OK
			all = all && f.OK
			if !f.OK && f.Fix == "" {
				t.Errorf("%+v: no fix", f)
			}
		}
		if all != (r.status == 0) {
			t.Errorf("status %d, all well %v", r.status, all)
		}
		return found, r.out
	}
	d := withServer(t, l, "forward", 80, "")
	found, out := doctor(d)
	for _, what := range []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "nf_tables", "queue target", "NFQUEUE", "our queues", "daemon",
		"own addresses", "fragments", "packet sockets", "policy routing", "ending sockets", "other firewalls", "reverse path filter", "offloads", "bridges", "routes IPv4", "routes IPv6"} {
		if !found[what] {
			t.Errorf("%s is not well: %s", what, out)
		}
	}
	if !strings.Contains(out, fmt.Sprintf("process %d", d.PID())) {
		t.Errorf("the running daemon is not found: %s", out)
	}
	d.kill(t)
	if found, out := doctor(d); found["our queues"] {
		t.Errorf("rules without a daemon are well: %s", out)
	}
	unblock(t, l)
	check(t, l.Proxy.Sysctl("net/ipv4/conf/all/rp_filter", "1"))
	check(t, l.Proxy.Sysctl("net/ipv4/ip_forward", "0"))
	out = d.try(t, "doctor").out
	for _, want := range []string{"strict on all", "rp_filter=2", "sysctl -w net.ipv4.ip_forward=1", "transparent proxy", "socket match"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
}
