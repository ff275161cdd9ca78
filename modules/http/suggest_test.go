package http

import (
	"regexp"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/ppf"
)

// relax changes a rig as a setting says that a report prints, which has to be one that
// the configuration takes.
func (r *rig) relax(t *testing.T, settings, printed string) {
	t.Helper()
	printed, _, _ = strings.Cut(printed, ", or ")
	text := "version: 1\ninstances:\n  - name: a\n    source: listen\n    listen: 127.0.0.1:0\n    upstream: 192.0.2.1:80\n    chain: [http]\n    " + printed + "\n"
	spec, problems := config.Parse("test.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatalf("%s is no setting: %v", printed, problems)
	}
	cfg := DefaultConfig()
	(&tableCase{settings: settings}).configure(t)(cfg)
	if v, ok := spec.Instances[0].Modules["http"]; ok {
		if err := ppf.DecodeSettings(cfg, v, "modules.http"); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	overrides := map[string]ppf.Do{}
	for _, o := range spec.Instances[0].Reasons {
		overrides[o.Reason] = o.Do
	}
	r.change(func() { r.policy, r.overrides = p, overrides })
}

// TestSuggestions puts the setting in that a refusal prints: it is one, and the same
// message is not refused for that any more.
func TestSuggestions(t *testing.T) {
	printed := regexp.MustCompile(`refused (\S+) .*; setting: (.*)$`)
	tried := map[string]bool{}
	for _, c := range readTable(t, "testdata/requests.txt") {
		_, reason, _ := strings.Cut(c.want, " ")
		if reason == "" {
			continue
		}
		r := newRig(t, c.modeOf(t), c.configure(t))
		r.send(c.sent, 0)
		reports := r.told()
		m := printed.FindStringSubmatch(strings.Join(reports, "\n"))
		if m == nil || m[1] != reason {
			t.Errorf("%s: the reports say %q", c.name, reports)
			continue
		}
		if m[2] == "none" {
			continue
		}
		tried[reason] = true
		mended := newRig(t, c.modeOf(t), nil)
		mended.relax(t, c.settings, m[2])
		mended.send(c.sent, 0)
		for _, report := range mended.told() {
			if strings.Contains(report, "refused "+reason+" ") {
				t.Errorf("%s: with %s: %s", c.name, m[2], report)
			}
		}
	}
	if len(tried) < 15 {
		t.Errorf("settings of %d reasons were tried: %v", len(tried), tried)
	}
}
