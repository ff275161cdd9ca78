package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestRecords: what the proxy drops and repairs of real attacks is told in the
// event stream, in the log and in a capture that tshark opens.
func TestRecords(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	drops := filepath.Join(t.TempDir(), "drops.pcapng")
	d := start(t, l, "version: 1\nlog: json\nmetrics: 127.0.0.1:9477\ndrops: "+drops+"\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+
		l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	env := must(l.AttackEnv(p))(t)
	null := must(lab.AttackByName("null-scan"))(t)
	attack(t, l, env, []lab.Attack{null}, func() { d.dropped(t, 1) })

	found := false
	for line := range strings.Lines(d.do(t, "--json", "events")) {
		var e struct {
			Instance string
			Record   *struct {
				Flow, Reason, Action, Function, Field, RFC, Client, Packet string
				Pair                                                       struct{ Received, Sent []byte }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Record == nil || e.Record.Reason != null.Reason {
			continue
		}
		found = true
		if e.Instance != "web" || e.Record.Flow != "cs" || e.Record.Action != "drop" || e.Record.Function != "tcp" || e.Record.RFC == "" ||
			e.Record.Client != env.Source4.String() || len(e.Record.Pair.Received) < 40 || e.Record.Pair.Sent != nil {
			t.Errorf("record %+v of %q", e.Record, e.Instance)
		}
	}
	if !found {
		t.Errorf("no record of %s", null.Reason)
	}
	if top := d.do(t, "top", "-n", "1", "--every", "100ms"); !strings.Contains(top, "web") || !strings.Contains(top, null.Reason) {
		t.Errorf("top:\n%s", top)
	}
	if r := execute(t, l.Proxy, "curl", "-s", "http://127.0.0.1:9477/metrics"); !strings.Contains(r.out, `reason="`+null.Reason+`",action="drop"} 1`) || !strings.Contains(r.out, "promethos_queue_received_total") {
		t.Errorf("metrics: %v", r)
	}
	if r := execute(t, l.Proxy, "curl", "-s", "http://127.0.0.1:9477/v1/overview"); !strings.Contains(r.out, null.Reason) || !strings.Contains(r.out, `"lines"`) {
		t.Errorf("overview: %v", r)
	}
	d.stop(t)
	logged := false
	for line := range strings.Lines(d.Log()) {
		var e struct{ Msg, Instance, Reason string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == "drop "+null.Reason && e.Instance == "web" && e.Reason == null.Reason {
			logged = true
		}
	}
	if !logged {
		t.Errorf("the log does not tell the drop:\n%s", d.Log())
	}
	need(t, "tshark")
	r := executeHere(t, "tshark", "-n", "-r", drops, "-T", "fields", "-e", "frame.comment", "-e", "ip.src")
	if r.status != 0 || !strings.Contains(r.out, "drop "+null.Reason+": instance web, flow cs: ") || !strings.Contains(r.out, env.Source4.String()) {
		t.Errorf("tshark: %v", r)
	}
}

// TestLedgerOfMonitor: before an operator ends monitor mode he sees what that
// would break, and for whom.
func TestLedgerOfMonitor(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n    mode: monitor\n")
	env := must(l.AttackEnv(p))(t)
	null := must(lab.AttackByName("null-scan"))(t)
	attack(t, l, env, []lab.Attack{null}, func() {
		eventually(t, "counted", func() (bool, string) { return d.counted(t, null.Reason) > 0, "" })
	})
	type line struct {
		Server, Client, Instance, Reason, Action string
		Count                                    uint64
	}
	want := line{l.Server.IPv4.String(), env.Source4.String(), "web", null.Reason, "would-drop", 1}
	if got := table[[]line](t, d, "ledger"); len(got) != 1 || got[0] != want {
		t.Errorf("ledger %+v, want %+v", got, want)
	}
}
