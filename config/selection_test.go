package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/ppf"
)

// TestLoadSelection: what concerns functions is no problem for who selects only;
// what concerns the selection is.
func TestLoadSelection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`version: 1
instances:
  - name: web
    match: {protocol: tcp, server: 192.0.2.1, port: 443}
    chain: [https, http]
    modules: {https: {certificate: /nowhere/web.crt, key: /nowhere/web.key}}
  - name: front
    source: listen
    listen: 127.0.0.1:0
    upstream: 192.0.2.2:80
    chain: [https, http]
    modules: {https: {certificate: /nowhere/web.crt, key: /nowhere/web.key}}
  - name: plc
    match: {protocol: tcp, server: 192.0.2.3}
    chain: [tcp]
`)
	if _, problems := config.Load(file); !strings.Contains(text(problems, false), "/nowhere/web") {
		t.Errorf("a key that is not there is no problem: %v", problems)
	}
	spec, problems := config.LoadSelection(file)
	if wrong := text(problems, false); wrong != "" {
		t.Errorf("refused: %s", wrong)
	}
	if !strings.Contains(text(problems, true), "/nowhere/web") {
		t.Errorf("not told: %v", problems)
	}
	var chains []string
	for _, in := range spec.Instances {
		chains = append(chains, in.Name+" "+strings.Join(in.Chain[0], ","))
	}
	if got, want := strings.Join(chains, "; "), "web pass; plc tcp"; got != want {
		t.Errorf("selects by %q, want %q", got, want)
	}
	write("version: 1\ninstances:\n  - {name: web, match: {protocol: tcp, server: 192.0.2.300}, chain: [tcp]}\n")
	if _, problems := config.LoadSelection(file); !strings.Contains(text(problems, false), "192.0.2.300") {
		t.Errorf("a server that is none is no problem: %v", problems)
	}
}

// text joins the problems that are warnings, or those that are not.
func text(problems []ppf.Problem, warnings bool) string {
	var b strings.Builder
	for _, p := range problems {
		if p.Warning == warnings {
			b.WriteString(p.Error() + "\n")
		}
	}
	return b.String()
}
