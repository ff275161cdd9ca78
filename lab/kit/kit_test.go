package kit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/kit"
	"github.com/promethos/promethos/lab/kit/kittest"
	"github.com/promethos/promethos/packet"
)

const counting = "chain count\nport 9\n> udp \"hello\"\n= accept \"hello\"\n"

// TestKit: what holds is told as that, and what does not with its line.
func TestKit(t *testing.T) {
	module := kittest.Guest(t, "../../examples/count/guest", "../../examples/count/count.json")
	for _, tt := range []struct{ name, trace, want string }{
		{"as it should be", counting, ""},
		{"another payload", strings.Replace(counting, `accept "hello"`, `accept "hullo"`, 1), `line 3: payload "hello", want "hullo"`},
		{"a drop that does not come", strings.Replace(counting, `accept "hello"`, "drop count.nothing", 1), "line 3: accept, want drop"},
		{"a drop that is not expected", counting + "> tcp SYN,FIN\n= accept\n", "line 5: drop, want accept (reasons [tcp.flags.syn-fin])"},
		{"wrong data for one sequence number", counting + "> tcp ACK seq=5 \"one\"\n> tcp ACK seq=5 \"two\"\n", "P3 unambiguous"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := kit.ParseTrace("t", tt.trace)
			if err != nil {
				t.Fatal(err)
			}
			checks, err := kit.Run(t.Context(), kit.Options{Module: module, Scenarios: []*kit.Scenario{s}, Fuzz: 100})
			if err != nil || len(checks) != 3 {
				t.Fatalf("%+v, %v", checks, err)
			}
			got := strings.Join(checks[0].Problems, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
			if len(checks[1].Problems) > 0 || checks[1].Packets < 50 {
				t.Errorf("recorded: %+v", checks[1])
			}
			if len(checks[2].Problems) > 0 || checks[2].Packets != 100 {
				t.Errorf("fuzzed: %+v", checks[2])
			}
		})
	}
}

// TestRecorded: captured packets go through the chain in both directions.
func TestRecorded(t *testing.T) {
	module := kittest.Guest(t, "../../examples/count/guest", "../../examples/count/count.json")
	s, err := kit.ParseTrace("t", counting)
	if err != nil {
		t.Fatal(err)
	}
	var frames []lab.Frame
	for _, step := range append(s.Steps, s.Steps...) {
		eth := make([]byte, packet.EthernetLen)
		eth[12] = 8
		frames = append(frames, lab.Frame{Data: append(eth, step.Data...)})
	}
	path := filepath.Join(t.TempDir(), "t.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.WriteCapture(f, frames); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := lab.ReadCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for _, recorded := range [][]lab.Frame{nil, read} {
		checks, err := kit.Run(t.Context(), kit.Options{Module: module, Scenarios: []*kit.Scenario{s}, Recorded: recorded})
		if err != nil || len(checks) != 2 || checks[1].Packets != packets+len(recorded) && packets > 0 || len(checks[1].Problems) > 0 {
			t.Errorf("%+v, %v", checks, err)
		}
		packets = checks[1].Packets
	}
}

// TestParseTrace: malformed scenarios are refused with their line.
func TestParseTrace(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"chian a", `"chian" is unknown`},
		{"port x", "invalid syntax"},
		{"port", "write `port NUMBER`"},
		{"settings a", "write `settings FUNCTION {JSON}`"},
		{"settings a {", "unexpected EOF"},
		{"wait long", "invalid duration"},
		{">", "write udp, tcp, stream, end or http"},
		{"> icmp", `"icmp" is unknown`},
		{"> tcp ACC", `"ACC" is no TCP flag`},
		{"> tcp seq=x", `"seq=x" is not a number`},
		{"> tcp sack=1", `"sack" is unknown`},
		{`> udp "x`, "the text does not end"},
		{"= accept", "what is expected follows a step"},
		{"> udp x00\n= pass", `"pass" is unknown`},
		{"> stream x00\n= reply", "write `= reply BYTES`"},
		{"wait 1s\n= extra no", "write `= extra BYTES`"},
		{"wait 1s\n= accept", "behind a wait stands"},
		{"> udp x00\n= drop", "a drop has a reason"},
		{"> stream", "write `stream BYTES`"},
		{"> end x00", "write `stream BYTES` or `end`"},
		{"> http", "write `http"},
		{"> http GET", "write `http"},
		{"> udp x00\n> stream x00", "need scenarios of their own"},
		{"< http \"HTTP/1.1 200 OK\"", "an answer follows its request"},
		{"> udp x00\n= drop a.b c.d", `"c.d": one reason can be expected`},
	} {
		_, err := kit.ParseTrace("t", "chain a\n"+tt.line+"\n")
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "t:") {
			t.Errorf("%q: %v, want %q", tt.line, err, tt.want)
		}
	}
	if _, err := kit.ParseTrace("t", "port 1\n"); err == nil || !strings.Contains(err.Error(), "no chain is named") {
		t.Errorf("without a chain: %v", err)
	}
}

const ferrying = `chain ferry relay
> stream "pass a\npa"
= accept "pass a\n"
> stream "ss b\nupper c\n"
= accept "pass b\nUPPER C\n"
< stream "answer\n"
= accept "answer\n"
> stream "mend\n"
= accept ferry.mended "mended\n"
> stream "deny\n"
= accept ferry.denied ""
= reply "no\n"
> stream "later\n"
= accept ""
wait 1s
= reply "still there\n"
> stream "pass on\n"
= accept "woken\npass on\n"
> end
= accept "ended\n"
> stream "refuse\n"
= drop ferry.refused
> stream "pass again\n"
= accept "pass again\n"
`

const keeping = `chain keeper
port 9
> udp "beat 2"
= accept "beat 2"
wait 500ms
wait 500ms
= extra "beat"
= extra "beat"
> udp "nothing"
= accept
> udp "nothing"
= accept
`

const talking = `chain http talker
settings http {"fields": ["Do", "Saw", "Length"]}
> http "GET /a HTTP/1.1" "Host: h" "Do: greeting"
= accept "GET /a HTTP/1.1\r\n" "Saw: hello\r\n"
> http "POST / HTTP/1.1" "Host: h" "Do: body" "" "one two"
= accept "Length: 7\r\n" "\r\n\r\nthree two"
< http "HTTP/1.1 200 OK" "Do: status 404" "" "one"
= accept "HTTP/1.1 404" "one"
> http "GET / HTTP/1.1" "Host: h" "Do: refuse 422"
= drop talker.refused
> http "GET / HTTP/1.1" "Host: h"
= accept
< http "HTTP/1.1 200 OK" "Do: refuse 503"
= drop talker.refused
`

// TestSessions: scenarios of streams and messages are told as they come out, and
// fuzzed ones harm nothing.
func TestSessions(t *testing.T) {
	for _, tt := range []struct {
		module, manifest, trace string
		wrong                   []string // what to change, what into, and what is told
	}{
		{"ferry", `{"abi":1,"name":"ferry","version":"1","doc":"t","functions":[{"name":"ferry","doc":"t","level":"stream","layer":5}],
			"capabilities":["connection-storage","timers"],"storage":{"schema":1,"connection":8,"instance":8},"limits":{"window_kib":1}}`, ferrying,
			[]string{`accept "pass a\n"`, `accept "pass b\n"`, `line 2: payload "pass a\n", want "pass b\n"`}},
		{"keeper", `{"abi":1,"name":"keeper","version":"1","doc":"t","functions":[{"name":"keeper","doc":"t","level":"packet","layer":4,"settings":{"type":"object","properties":{"again":{"type":"boolean"}}}}],
			"capabilities":["connection-storage","timers","emit","log","shared-data"],"storage":{"schema":1,"connection":8,"instance":64}}`, keeping,
			[]string{`= extra "beat"`, `= extra "bean"`, `line 6: extra packets ["beat" "beat"], want ["bean" "beat"]`}},
		{"talker", `{"abi":1,"name":"talker","version":"1","doc":"t","functions":[{"name":"talker","doc":"t","level":"message","layer":7,"settings":{"type":"object","properties":{"greeting":{"type":"string","default":"hello"}}}}],
			"capabilities":["connection-storage","timers","log"],"storage":{"schema":1,"connection":8,"instance":8}}`, talking,
			[]string{"Saw: hello", "Saw: hullo", "line 3: "}},
	} {
		t.Run(tt.module, func(t *testing.T) {
			manifest := filepath.Join(t.TempDir(), tt.module+".json")
			if err := os.WriteFile(manifest, []byte(tt.manifest), 0o644); err != nil {
				t.Fatal(err)
			}
			module := kittest.Guest(t, "../../wasm/testdata/"+tt.module+"/guest", manifest)
			run := func(trace string, fuzz int) []kit.Check {
				s, err := kit.ParseTrace("t", trace)
				if err != nil {
					t.Fatal(err)
				}
				checks, err := kit.Run(t.Context(), kit.Options{Module: module, Scenarios: []*kit.Scenario{s}, Fuzz: fuzz})
				if err != nil {
					t.Fatal(err)
				}
				return checks
			}
			for _, c := range run(tt.trace, 500) {
				if len(c.Problems) > 0 || c.Packets < 3 {
					t.Errorf("%s: %d, %q", c.Name, c.Packets, c.Problems)
				}
			}
			got := strings.Join(run(strings.Replace(tt.trace, tt.wrong[0], tt.wrong[1], 1), 0)[0].Problems, "\n")
			if !strings.HasPrefix(got, tt.wrong[2]) || strings.Contains(got, "\n") {
				t.Errorf("%q became %q: %q, want %q", tt.wrong[0], tt.wrong[1], got, tt.wrong[2])
			}
		})
	}
}
