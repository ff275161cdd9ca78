package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promethos/promethos/config"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// inst is a good instance that a case spoils.
func inst(lines ...string) string {
	s := "version: 1\ninstances:\n  - name: plc\n    match: {protocol: tcp, server: 192.0.2.1}\n    chain: [tcp]\n"
	for _, l := range lines {
		s += "    " + l + "\n"
	}
	return s
}

// TestWrong lists what is refused: every problem with its place.
func TestWrong(t *testing.T) {
	tests := []struct {
		name string
		yaml string
		want []string // "line:col: text", the text a part of the problem
	}{
		{"empty", "", []string{"1:1: the file is empty"}},
		{"comment only", "# nothing\n", []string{"1:1: the file is empty"}},
		{"not a map", "- a\n", []string{"1:1: it is a list where a map belongs", "1:1: version: the version is missing"}},
		{"syntax", "version: [1\n", []string{"2:1: did not find expected"}},
		{"tab", "version: 1\n\tinstances: []\n", []string{"2:1: "}},
		{"no version", "instances: []\n", []string{"1:1: version: the version is missing"}},
		{"version 2", "version: 2\n", []string{"1:10: version: version 2 is unknown"}},
		{"version text", "version: one\n", []string{`1:10: version: "one" is not a number`}},
		{"unknown top key", "version: 1\ninstancs: []\n", []string{`2:1: instancs: unknown key "instancs" (did you mean "instances"?)`}},
		{"key twice", "version: 1\nversion: 1\n", []string{`2:1: key "version" stands twice`}},
		{"relative state", "version: 1\nstate: lib/promethos\n", []string{`2:8: state: "lib/promethos" is not an absolute path`}},
		{"relative control", "version: 1\ncontrol: run/x.sock\n", []string{`2:10: control: "run/x.sock" is not an absolute path`}},
		{"metrics", "version: 1\nmetrics: localhost\n", []string{"2:10: metrics: \"localhost\" is no address with a port (write ADDRESS:PORT"}},
		{"drops", "version: 1\ndrops: x.pcapng\n", []string{"2:8: drops: \"x.pcapng\" is not an absolute path"}},
		{"log", "version: 1\nlog: loud\n", []string{"2:6: log: \"loud\" is unknown"}},
		{"module dirs", "version: 1\nmodule_dirs: [/nosuch/folder]\n", []string{"2:15: module_dirs[0]: open /nosuch/folder: no such file or directory"}},
		{"on_exit", "version: 1\non_exit: stay\n", []string{`2:10: on_exit: "stay" is unknown`}},
		{"queue too high", "version: 1\nqueue: 65001\n", []string{"2:8: queue: queue number 65001 is too high"}},
		{"queue text", "version: 1\nqueue: x\n", []string{`2:8: queue: "x" is not a number`}},
		{"include missing", "version: 1\ninclude: [gone.yaml]\n", []string{"2:11: include[0]: file"}},
		{"include pattern", "version: 1\ninclude: ['[x']\n", []string{"2:11: include[0]: pattern"}},
		{"plugin config", "version: 1\nplugins: {TEST: x}\n", []string{`2:10: plugins.TEST: plugin "TEST" has no configuration`}},
		{"plugin config content", "version: 1\nplugins: {PROXY: lots}\n", []string{"plugins: plugin PROXY: load: configuration \"lots\": unknown"}},
		{"alias", "version: 1\ncontrol: &a /run/a\nqueue: *a\n", []string{"3:8: alias *a is not supported"}},
		{"instance no map", "version: 1\ninstances: [plc]\n", []string{
			"2:13: instances[0]: it is a value where a map belongs", "2:13: instances[0].name: the name is missing",
			"2:13: instances[0].match: the match is missing", "2:13: instances[0].chain: the chain is missing"}},
		{"no name", "version: 1\ninstances:\n  - match: {server: 192.0.2.1}\n    chain: [tcp]\n", []string{"3:5: instances[0].name: the name is missing"}},
		{"bad name", "version: 1\ninstances:\n  - name: a b\n    match: {server: 192.0.2.1}\n    chain: [tcp]\n", []string{`3:11: instances[0].name: name "a b" is not a name`}},
		{"same name", inst() + "  - name: plc\n    match: {server: 192.0.2.2}\n    chain: [tcp]\n", []string{`6:11: instances[1].name: name "plc" is taken by the instance at f.yaml:3:11`}},
		{"unknown key", inst("hok: forward"), []string{`6:5: instances[0].hok: unknown key "hok" (did you mean "hook"?)`}},
		{"hook", inst("hook: forwrd"), []string{`6:11: instances[0].hook: "forwrd" is unknown (did you mean "forward"?)`}},
		{"mode", inst("mode: strct"), []string{`6:11: instances[0].mode: "strct" is unknown (did you mean "strict"?)`}},
		{"fail", inst("fail: never"), []string{`6:11: instances[0].fail: "never" is unknown`}},
		{"initiate", inst("initiate: nobody"), []string{`6:15: instances[0].initiate: "nobody" is unknown`}},
		{"others", inst("others: drop"), []string{`6:13: instances[0].others: "drop" is unknown`}},
		{"arp at a hook", "version: 1\ninstances:\n  - name: a\n    match: {protocol: arp, server: 192.0.2.1}\n    chain: [pass]\n", []string{"4:12: instances[0].match.protocol: protocol arp is for source: inline"}},
		{"arp excluded at a hook", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1, not: {protocol: arp}}\n    chain: [pass]\n", []string{"4:12: instances[0].match.protocol: protocol arp is for source: inline"}},
		{"inline without a pair", inst("source: inline"), []string{"3:5: instances[0].inline: the inline pair is missing"}},
		{"inline half a pair", inst("source: inline", "inline: {client: a}"), []string{"7:13: instances[0].inline.server: the interface is missing"}},
		{"inline one interface", inst("source: inline", "inline: {client: a, server: a}"), []string{"7:13: instances[0].inline: client and server are the same interface"}},
		{"inline bad name", inst("source: inline", "inline: {client: a/b, server: c}"), []string{`7:22: instances[0].inline.client: "a/b" is not an interface name`}},
		{"inline fail open", inst("source: inline", "inline: {client: a, server: b}", "fail: open"), []string{"8:11: instances[0].fail: an inline pair has nothing that could carry frames past the proxy"}},
		{"inline hook", inst("source: inline", "inline: {client: a, server: b}", "hook: input"), []string{"8:11: instances[0].hook: hook is for source: nfqueue"}},
		{"inline others", inst("source: inline", "inline: {client: a, server: b}", "others: pass"), []string{"8:13: instances[0].others: what no instance of an inline pair matches is dropped"}},
		{"inline shared port", inst("source: inline", "inline: {client: a, server: b}") +
			"  - name: two\n    source: inline\n    inline: {client: b, server: c}\n    chain: [tcp]\n",
			[]string{"10:13: instances[1].inline: b is a port of the pair {client: a, server: b} already"}},
		{"handshake", inst("handshake: first"), []string{"honest and first need a chain with a stream function"}},
		{"upstream_address", inst("upstream_address: proxy"), []string{"upstream_address: needs a chain with a stream function"}},
		{"listen", inst("listen: 127.0.0.1:80"), []string{"6:13: instances[0].listen: listen needs source: listen"}},
		{"upstream", inst("upstream: 127.0.0.1:80"), []string{"6:15: instances[0].upstream: upstream needs source: listen"}},
		{"inline", inst("inline: {client: a, server: b}"), []string{"6:13: instances[0].inline: inline needs source: inline"}},
		{"no match", "version: 1\ninstances:\n  - name: a\n    chain: [tcp]\n", []string{"3:5: instances[0].match: the match is missing"}},
		{"no server", "version: 1\ninstances:\n  - name: a\n    match: {protocol: tcp}\n    chain: [tcp]\n", []string{"4:12: instances[0].match.server: the server is missing"}},
		{"server", "version: 1\ninstances:\n  - name: a\n    match: {server: plc.example}\n    chain: [tcp]\n", []string{`4:21: instances[0].match.server: "plc.example" is not an address`}},
		{"host bits", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1/24}\n    chain: [tcp]\n", []string{`4:21: instances[0].match.server: "192.0.2.1/24" has host bits set; the network is 192.0.2.0/24`}},
		{"families", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1, client: '2001:db8::/64'}\n    chain: [tcp]\n", []string{"4:40: instances[0].match.client: client and server have no IP version in common"}},
		{"protocol", "version: 1\ninstances:\n  - name: a\n    match: {protocol: sctp, server: 192.0.2.1}\n    chain: [tcp]\n", []string{`4:23: instances[0].match.protocol: protocol "sctp" is unknown`}},
		{"port without protocol", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1, port: 80}\n    chain: [tcp]\n", []string{"4:38: instances[0].match.port: ports need a protocol that has them"}},
		{"port", "version: 1\ninstances:\n  - name: a\n    match: {protocol: tcp, server: 192.0.2.1, port: http}\n    chain: [tcp]\n", []string{`4:53: instances[0].match.port: "http" is not a port`}},
		{"port 0", "version: 1\ninstances:\n  - name: a\n    match: {protocol: tcp, server: 192.0.2.1, port: 0}\n    chain: [tcp]\n", []string{"4:53: instances[0].match.port: port 0 is no port"}},
		{"port range", "version: 1\ninstances:\n  - name: a\n    match: {protocol: tcp, server: 192.0.2.1, port: [80, 90-80]}\n    chain: [tcp]\n", []string{`4:58: instances[0].match.port[1]: port range "90-80" ends before it starts`}},
		{"out at prerouting", "version: 1\ninstances:\n  - name: a\n    hook: prerouting\n    match: {server: 192.0.2.1, out: eth0}\n    chain: [tcp]\n", []string{"5:37: instances[0].match.out: the outgoing interface is not known at prerouting"}},
		{"in at output", "version: 1\ninstances:\n  - name: a\n    hook: output\n    match: {server: 192.0.2.1, in: eth0}\n    chain: [tcp]\n", []string{"5:36: instances[0].match.in: there is no incoming interface at output"}},
		{"interface", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1, in: averyveryverylongname}\n    chain: [tcp]\n", []string{"4:36: instances[0].match.in: \"averyveryverylongname\" is not an interface name"}},
		{"not in not", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1, not: {not: {client: 192.0.2.9}}}\n    chain: [tcp]\n", []string{"4:43: instances[0].match.not.not: not inside not"}},
		{"no chain", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1}\n", []string{"3:5: instances[0].chain: the chain is missing"}},
		{"empty chain", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1}\n    chain: []\n", []string{"5:12: instances[0].chain: the list is empty"}},
		{"unknown function", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1}\n    chain: [tpc]\n", []string{`5:13: instances[0].chain[0]: user function "tpc" is unknown (did you mean "tcp"?)`}},
		{"function twice", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1}\n    chain: [tcp, tcp]\n", []string{`5:18: instances[0].chain[1]: user function "tcp" stands twice`}},
		{"chain and list", inst("client_to_server: [pass]"), []string{"5:12: instances[0].chain: chain and a list of one flow are both given"}},
		{"sc only", "version: 1\ninstances:\n  - name: a\n    match: {server: 192.0.2.1}\n    server_to_client: [tcp]\n", []string{"5:23: instances[0].server_to_client: a server-to-client flow alone"}},
		{"settings of no function", inst("modules: {pass: {x: 1}}"), []string{`6:21: instances[0].modules.pass: settings for "pass", which is not in the chain`}},
		{"unknown setting", inst("modules: {tcp: {half_opn: 1s}}"), []string{`6:21: instances.plc.modules.tcp.half_opn: unknown key "half_opn" (did you mean "half_open"?)`}},
		{"setting's type", inst("modules: {tcp: {closed: 10}}"), []string{`6:29: instances.plc.modules.tcp.closed: "10" is not a duration (write a number with a unit`}},
		{"setting's range", inst("modules: {tcp: {closed: 1ms, connections: -1}}"), []string{"6:20: instances.plc.modules.tcp: closed: 1ms is out of range", "6:20: instances.plc.modules.tcp: connections: -1 is negative"}},
		{"unknown reason", inst("reasons: {tcp.flags.xmass: monitor}"), []string{`6:15: instances[0].reasons.tcp.flags.xmass: reason "tcp.flags.xmass" is unknown (did you mean "tcp.flags.xmas"?)`}},
		{"unknown override", inst("reasons: {tcp.flags.xmas: drop}"), []string{`6:31: instances[0].reasons.tcp.flags.xmas: "drop" is unknown`}},
		{"no repair", inst("reasons: {tcp.flags.xmas: repair}"), []string{"6:31: instances[0].reasons.tcp.flags.xmas: tcp.flags.xmas is a contradiction and has no repair"}},
		{"override without do", inst("reasons: {tcp.flags.xmas: {client: 192.0.2.9}}"), []string{"6:31: instances[0].reasons.tcp.flags.xmas.do: what to do is missing"}},
		{"override's client", inst("reasons: {tcp.flags.xmas: [{client: here, do: monitor}]}"), []string{`6:41: instances[0].reasons.tcp.flags.xmas.client: "here" is not an address`}},
		{"reasons no map", inst("reasons: [a]"), []string{"6:14: instances[0].reasons: it is not a map"}},
		{"monitor with exchange", "version: 1\ninstances:\n  - name: a\n    match: {protocol: tcp, server: 192.0.2.1}\n    mode: monitor\n    chain: [tcp2]\n", []string{`3:5: instances.a: function "tcp2": exchanges addresses, so mode monitor`}},
		{"all at once", "version: 3\nqueue: x\ninstances:\n  - name: ''\n    hook: up\n    match: {protocol: tcp, server: nowhere, port: 99999}\n    chain: [nothing]\n    mode: maybe\n", []string{
			"1:10: version: version 3", "2:8: queue:", "4:11: instances[0].name:", "5:11: instances[0].hook:",
			"6:36: instances[0].match.server:", "6:51: instances[0].match.port:", "7:13: instances[0].chain[0]:", "8:11: instances[0].mode:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := config.Parse("f.yaml", []byte(tt.yaml))
			var got []string
			for _, p := range problems {
				if !p.Warning {
					got = append(got, strings.TrimPrefix(p.Error(), "f.yaml:"))
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %d problems, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
			for _, want := range tt.want {
				found := false
				for _, g := range got {
					place, text, ok := splitPlace(want)
					found = found || strings.Contains(g, text) && (!ok || strings.HasPrefix(g, place))
				}
				if !found {
					t.Errorf("want %q, got:\n%s", want, strings.Join(got, "\n"))
				}
			}
		})
	}
}

// splitPlace takes "line:col: " off an expectation that has it.
func splitPlace(want string) (place, text string, ok bool) {
	parts := strings.SplitN(want, ": ", 2)
	if len(parts) == 2 && strings.Trim(parts[0], "0123456789:") == "" {
		return parts[0] + ": ", parts[1], true
	}
	return "", want, false
}

func TestGood(t *testing.T) {
	spec, problems := config.Parse("f.yaml", []byte(`
version: 1
control: /run/p.sock
on_exit: block
queue: 100
plugins: {PROXY: connections 5000}
instances:
  - name: plc
    hook: forward
    match: {protocol: tcp, server: 192.0.2.1, port: [80, "502-503"], in: eth0, not: {client: 10.0.0.0/8, port: 81}}
    initiate: both
    others: refuse
    chain: [tcp]
    mode: strict
    fail: open
    reasons:
      tcp.flags.xmas: monitor
      tcp.urgent-removed: [{client: 192.0.2.0/24, do: repair}, refuse]
    modules: {tcp: {half_open: 5s}}
  - name: ping
    hook: input
    match: {protocol: icmp, server: ["192.0.2.2", "2001:db8::1"]}
    client_to_server: [test, pass]
`))
	for _, p := range problems {
		if !p.Warning {
			t.Errorf("problem: %v", p)
		}
	}
	want := []ppf.Match{{
		Protocol: packet.ProtoTCP, Server: prefixes(t, "192.0.2.1/32"), Port: []ppf.PortRange{{Lo: 80, Hi: 80}, {Lo: 502, Hi: 503}}, In: "eth0",
		Not: []ppf.Match{{Client: prefixes(t, "10.0.0.0/8")}, {Port: []ppf.PortRange{{Lo: 81, Hi: 81}}}},
	}, {Protocol: packet.ProtoICMP, Server: prefixes(t, "192.0.2.2/32", "2001:db8::1/128")}}
	for i := range want {
		if diff := cmp.Diff(want[i], spec.Instances[i].Match, comparePrefix); diff != "" {
			t.Errorf("match %d (-want +got):\n%s", i, diff)
		}
	}
	a, b := spec.Instances[0], spec.Instances[1]
	if a.Initiate != ppf.InitiateBoth || a.Others != ppf.OthersRefuse || a.Mode != ppf.Strict || a.Fail != ppf.FailOpen || len(a.Reasons) != 3 {
		t.Errorf("instance plc: %+v", a)
	}
	if b.Hook != ppf.Input || len(b.Chain[0]) != 2 || len(b.Chain[1]) != 0 {
		t.Errorf("instance ping: %+v", b)
	}
	if spec.Control != "/run/p.sock" || spec.OnExit != ppf.ExitBlock || spec.QueueFirst != 100 || spec.Plugins["PROXY"] != "connections 5000" {
		t.Errorf("spec: %+v", spec)
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := strings.Replace(inst(), "version: 1\n", "", 1)
	write("b.yaml", strings.Replace(one, "plc", "b", 1))
	write("a.yaml", "version: 1\n"+strings.Replace(one, "plc", "a", 1))
	main := write("main.conf", "version: 1\ninclude: ['*.yaml']\n")
	spec, problems := config.Load(main)
	if len(spec.Instances) != 2 || spec.Instances[0].Name != "a" || spec.Instances[1].Name != "b" {
		t.Fatalf("instances: %+v, problems %v", spec.Instances, problems)
	}
	write("c.yaml", "on_exit: block\n"+one)
	if _, problems = config.Load(main); !hasProblem(problems, "an included file holds instances only") {
		t.Errorf("problems: %v", problems)
	}
	if _, problems = config.Load(filepath.Join(dir, "gone")); !hasProblem(problems, "no such file") {
		t.Errorf("problems: %v", problems)
	}
}

func hasProblem(list []ppf.Problem, text string) bool {
	for _, p := range list {
		if strings.Contains(p.Error(), text) {
			return true
		}
	}
	return false
}

func TestWarnings(t *testing.T) {
	_, problems := config.Parse("f.yaml", []byte(inst()+"  - name: web\n    match: {protocol: tcp, server: 192.0.2.0/24, port: 80}\n    chain: [tcp]\n"))
	for _, want := range []string{"overlaps with instance plc at f.yaml:3:5", "not protected by this instance: protocols other than TCP, other ports, IPv6"} {
		if !hasProblem(problems, want) {
			t.Errorf("want a warning %q, got %v", want, problems)
		}
	}
	for _, p := range problems {
		if !p.Warning {
			t.Errorf("problem: %v", p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(inst("mode: strict", "reasons: {tcp.flags.xmas: monitor}", "modules: {tcp: {closed: 5s}}")))
	f.Add([]byte("version: 1\ninclude: [x]\ninstances: [{match: {not: {port: [1, 2-3]}}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "include") {
			return // no files
		}
		spec, problems := config.Parse("f.yaml", data)
		for _, p := range problems {
			if p.What == "" || p.Error() == "" {
				t.Errorf("problem without text: %+v", p)
			}
			if !p.Warning {
				return
			}
		}
		for _, in := range spec.Instances {
			if in.Name == "" || len(in.Chain[0]) == 0 || len(in.Match.Server) == 0 {
				t.Errorf("accepted: %+v", in)
			}
		}
	})
}
