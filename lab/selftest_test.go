package lab

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestVulnerabilities counts the table: 108 of seven families, and each trigger
// exists and is used.
func TestVulnerabilities(t *testing.T) {
	known := map[string]bool{isnTrigger: false}
	for _, tr := range triggers() {
		if _, twice := known[tr.name]; twice {
			t.Errorf("trigger %s stands twice", tr.name)
		}
		known[tr.name] = false
	}
	for _, tr := range wireTriggers() {
		if _, twice := known[tr.name]; twice {
			t.Errorf("trigger %s stands twice", tr.name)
		}
		known[tr.name] = false
	}
	for _, tr := range webTriggers() {
		if _, twice := known[tr.name]; twice {
			t.Errorf("trigger %s stands twice", tr.name)
		}
		known[tr.name] = false
	}
	count, triggered, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, v := range Vulnerabilities() {
		count[v.Family]++
		if seen[v.CVE] {
			t.Errorf("%s stands twice", v.CVE)
		}
		seen[v.CVE] = true
		if !slices.Contains([]Precision{FromPoC, FromRule, FromText}, v.Precision) {
			t.Errorf("%s: precision %q", v.CVE, v.Precision)
		}
		switch _, ok := known[v.trigger]; {
		case v.trigger != "" && !ok:
			t.Errorf("%s: no trigger %q", v.CVE, v.trigger)
		case v.trigger != "":
			known[v.trigger] = true
			triggered[v.Family]++
		case !slices.Contains([]string{"DNS", "DHCP", "FTP", "TFTP", "?"}, v.Needs):
			t.Errorf("%s: neither a trigger nor a module that is needed", v.CVE)
		}
	}
	sum := 0
	for family, want := range map[string][2]int{ripple20: {19, 16}, urgent11: {11, 11}, amnesia33: {33, 17}, numberJack: {9, 9}, nameWreck: {9, 1}, infraHalt: {14, 8}, nucleus13: {13, 8}} {
		if got := [2]int{count[family], triggered[family]}; got != want {
			t.Errorf("%s: %d vulnerabilities, %d with a trigger; want %v", family, got[0], got[1], want)
		}
		sum += count[family]
	}
	if sum != 108 {
		t.Errorf("%d vulnerabilities in the seven families, want 108", sum)
	}
	for name, used := range known {
		if !used {
			t.Errorf("trigger %s: no vulnerability uses it", name)
		}
	}
}

// TestTriggersHaveTheirFault lets the judge look at every trigger as it is sent,
// and at its twin.
func TestTriggersHaveTheirFault(t *testing.T) {
	env := OfflineAttackEnv(SelftestPort)
	for _, tr := range triggers() {
		e := triggerEnv{src: env.Source4, dst: env.Server4, from: triggerPort, to: SelftestPort, seq: attackSeq, ack: 7, quoted: make([]byte, ipv4Len+tcpLen)}
		if tr.v6 {
			e.src, e.dst = env.Source6, env.Server6
		}
		e.quoted[0] = 4<<4 | 5
		frames := func(packets [][]byte) (list []Frame) {
			for _, p := range packets {
				list = append(list, Frame{Data: env.ethernet(p)})
			}
			return list
		}
		if o := judgeTrigger(frames(tr.packets(e)), tr.fault); o != Arrived {
			t.Errorf("%s: the judge finds nothing wrong with it (%v)", tr.name, o)
		}
		if o := judgeTrigger(frames(tr.twin(e)), nil); o != Rebuilt {
			t.Errorf("%s: its twin is %v: %v", tr.name, o, JudgeFrames(frames(tr.twin(e)), KindDFID))
		}
	}
}

// TestWireTriggersHaveTheirFault: a trigger has its fault, its twin has not, and the
// judge says so where the fault is one of layer 3.
func TestWireTriggersHaveTheirFault(t *testing.T) {
	mac, _ := station(1)
	judged := func(tr wireTrigger, rest []byte) []Finding {
		return JudgeFrames([]Frame{{Data: tr.between(mac, rest)}})
	}
	for _, tr := range wireIPTriggers() {
		if len(judged(tr, tr.frame(1))) == 0 {
			t.Errorf("%s: the judge finds nothing wrong with %x", tr.name, tr.frame(1))
		}
	}
	for _, tr := range wireTriggers() {
		if list := judged(tr, tr.twin(1)); len(list) > 0 {
			t.Errorf("%s: its twin: %v", tr.name, list)
		}
		if !bytes.Contains(tr.frame(1), tr.fault) || tr.fault != nil && bytes.Contains(tr.twin(1), tr.fault) {
			t.Errorf("%s: %x, its twin %x", tr.name, tr.frame(1), tr.twin(1))
		}
	}
}

// TestWebTriggersHaveTheirFault: a request has its fault, its twin has not and is one
// that Go's server takes.
func TestWebTriggersHaveTheirFault(t *testing.T) {
	for _, tr := range webTriggers() {
		if judgeRequest(tr.request, tr.fault) != Arrived || judgeRequest(tr.twin, tr.fault) != Rebuilt || judgeRequest("", tr.fault) != Stopped {
			t.Errorf("%s: %q, its twin %q", tr.name, tr.request, tr.twin)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(tr.twin)))
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			t.Errorf("%s: its twin: %v", tr.name, err)
		}
	}
}

// TestEvidence wants a trigger to count only where it was seen to arrive without
// the proxy, and its twin with it.
func TestEvidence(t *testing.T) {
	known := Vulnerability{CVE: "CVE-1", Precision: FromPoC, trigger: "x"}
	guessed := Vulnerability{CVE: "CVE-2", Precision: FromText, trigger: "x"}
	for _, tt := range []struct {
		name          string
		v             Vulnerability
		forwarding    Outcome
		proxy         Outcome
		twin          bool
		verdict       string
		evidence      string
		failed        bool
		forwardingSay string
	}{
		{"held", known, Arrived, Stopped, true, "stopped", "trigger", false, "arrived"},
		{"mended", known, Arrived, Rebuilt, true, "rebuilt", "trigger", false, "arrived"},
		{"not forwarded either", known, Stopped, Stopped, true, "stopped", "construction", false, "stopped"},
		{"mended by forwarding", known, Rebuilt, Stopped, true, "stopped", "construction", false, "stopped"},
		{"its twin is stopped as well", known, Arrived, Stopped, false, "stopped", "construction", false, "arrived"},
		{"let through", known, Arrived, Arrived, true, "arrived", "construction", true, "arrived"},
		{"one sentence is known", guessed, Arrived, Stopped, true, "stopped", "construction", false, "arrived"},
		{"one sentence is known, let through", guessed, Arrived, Arrived, true, "arrived", "construction", false, "arrived"},
	} {
		var results [numScenes]map[string]outcome
		results[sceneForwarding] = map[string]outcome{"x": {trigger: tt.forwarding}}
		results[sceneProxy] = map[string]outcome{"x": {trigger: tt.proxy, twin: tt.twin}}
		r := tt.v.row(results)
		if r.Verdict != tt.verdict || r.Evidence != tt.evidence || r.Failed() != tt.failed || r.Baselines.Forwarding != tt.forwardingSay || (r.Twin == "arrived") != tt.twin {
			t.Errorf("%s: %+v, failed %v", tt.name, r, r.Failed())
		}
	}
	for needs, want := range map[string]string{"DNS": "not-covered", "?": "unpublished"} {
		r := Vulnerability{Needs: needs, Precision: FromPoC}.row([numScenes]map[string]outcome{})
		if r.Verdict != want || r.Twin != "none" || r.Baselines.Relay != "none" || r.Failed() {
			t.Errorf("%s: %+v", needs, r)
		}
	}
}

// TestSenders wants room for every trigger and twin among the senders.
func TestSenders(t *testing.T) {
	needed := 2*len(triggers()) + 1
	st := &stage{env: OfflineAttackEnv(SelftestPort)}
	seen := map[netip.Addr]bool{}
	for range needed {
		e := st.from(false)
		if !senders4.Contains(e.src) || seen[e.src] {
			t.Fatalf("sender %v of %d is used twice or outside of %v", e.src, needed, senders4)
		}
		seen[e.src] = true
	}
}
