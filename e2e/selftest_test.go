package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promethos/promethos/lab"
)

// selftest runs `selftest --cve --json`.
func selftest(t *testing.T, args ...string) (report struct {
	Mode       string
	Rows       []lab.SelftestRow
	Violations []string
}, status int) {
	t.Helper()
	lab.Require(t)
	kept := filepath.Join(t.TempDir(), "state", "selftest.json")
	r := here(t, append([]string{"--json", "selftest", "--cve", "--result", kept}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	var printed, file any
	check(t, json.Unmarshal([]byte(r.out), &printed))
	check(t, json.Unmarshal(must(os.ReadFile(kept))(t), &file))
	if d := cmp.Diff(printed, file); d != "" {
		t.Errorf("what is kept for the web page is another result: %s", d)
	}
	return report, r.status
}

// TestSelftest sends every trigger through all that this build has.
func TestSelftest(t *testing.T) {
	report, status := selftest(t)
	if report.Mode != "repair" || len(report.Rows) != len(lab.Vulnerabilities()) {
		t.Fatalf("mode %q, %d rows", report.Mode, len(report.Rows))
	}
	failed := false
	for _, r := range report.Rows {
		held := r.Verdict == "stopped" || r.Verdict == "rebuilt"
		if covered := r.Trigger != ""; covered != (held || r.Verdict == "arrived") {
			t.Errorf("%s: trigger %q, verdict %s", r.CVE, r.Trigger, r.Verdict)
		}
		if r.Verdict == "arrived" {
			t.Errorf("%s: its trigger %s arrived", r.CVE, r.Trigger)
		}
		failed = failed || r.Failed()
		proven := r.Evidence == "trigger"
		if proven && (!held || r.Twin != "arrived" || r.Baselines.Forwarding != "arrived") {
			t.Errorf("%s counts as proven: %+v", r.CVE, r)
		}
		if known := r.Trigger != "" && r.Precision != lab.FromText; known != proven {
			t.Errorf("%s, whose trigger is known: %v, is proven: %v; %+v", r.CVE, known, proven, r)
		}
		if r.Twin == "stopped" {
			t.Errorf("%s: the twin of %s did not arrive", r.CVE, r.Trigger)
		}
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	if (status == 1) != failed || status > 1 {
		t.Errorf("status %d, a known trigger arrived: %v", status, failed)
	}
}

// TestSelftestMonitor wants the test to fail where nothing is protected.
func TestSelftestMonitor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, "version: 1\ninstances:\n  - {name: plc, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [tcp], mode: monitor}\n")
	report, status := selftest(t, "-c", file)
	arrived := slices.DeleteFunc(report.Rows, func(r lab.SelftestRow) bool { return !r.Failed() })
	if status != 1 || report.Mode != "monitor" || len(arrived) == 0 || len(report.Violations) == 0 {
		t.Errorf("status %d, mode %q, %d known triggers arrived, %d violations", status, report.Mode, len(arrived), len(report.Violations))
	}
}

func TestSelftestWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	for text, want := range map[string]string{
		"version: 1\n":    "no instances",
		"version: 1\nx: ": "x",
	} {
		write(t, file, text)
		if r := here(t, "selftest", "--cve", "-c", file); r.status != 2 || !strings.Contains(r.errors, want) {
			t.Errorf("%v\nwant status 2 and %q", r, want)
		}
	}
	if r := here(t, "selftest"); r.status != 2 || !strings.Contains(r.errors, "--cve") {
		t.Errorf("%v\nwant status 2", r)
	}
}
