package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control/metrics"
)

var update = flag.Bool("update", false, "rewrite docs/reference.md")

// reference writes docs/reference.md from the tables that the program itself uses.
func reference() string {
	var b strings.Builder
	b.WriteString("# Reference\n\nGenerated from the code; `make update` writes it anew. Reasons are in [reasons.md](reasons.md).\n\n## Settings\n\n| key | default | what it says |\n| --- | --- | --- |\n")
	for _, s := range config.Settings() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Path, s.Default, s.Doc)
	}
	b.WriteString("\n## Commands\n\nEvery command knows `--control PATH` and, where a table is printed, `--json`. Exit status: 0 done, 1 failed, 2 wrong usage or configuration.\n")
	for _, c := range allCommands(newRoot()) {
		if c.HasSubCommands() || c.Parent().Name() == "completion" {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n```\n%s\n", c.CommandPath(), c.Short, c.UseLine())
		if flags := c.NonInheritedFlags().FlagUsages(); flags != "" {
			b.WriteString("\n" + flags)
		}
		b.WriteString("```\n")
	}
	b.WriteString("\n## Metrics\n\nServed at `/metrics` where `metrics:` says; [grafana.json](grafana.json) is a dashboard for them. Instance `-` is traffic of no instance.\n\n| metric | kind | labels | what it counts |\n| --- | --- | --- | --- |\n")
	for _, f := range metrics.Families() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(f.Labels, ", "), f.Help)
	}
	return b.String()
}

// TestReference: the reference is what the code says.
func TestReference(t *testing.T) {
	const file = "../../docs/reference.md"
	want := reference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/reference.md is not what the code says (make update)")
	}
}
