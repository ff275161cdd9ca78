package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// adrName is the form of a decision record's file name.
var adrName = regexp.MustCompile(`^(\d{4})-[a-z0-9-]+\.md$`)

// TestDecisions checks that decision records are numbered without gaps, have
// the four parts, and stand in the index under their titles.
func TestDecisions(t *testing.T) {
	dir := filepath.Join(root, "docs", "adr")
	index, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if f.Name() == "README.md" {
			continue
		}
		n++
		m := adrName.FindStringSubmatch(f.Name())
		if want := fmt.Sprintf("%04d", n); m == nil || m[1] != want {
			t.Errorf("%s: want a name that starts with %s-", f.Name(), want)
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		heading, rest, _ := strings.Cut(string(b), "\n")
		title, ok := strings.CutPrefix(heading, fmt.Sprintf("# %d. ", n))
		if !ok {
			t.Errorf("%s: starts with %q, want \"# %d. TITLE\"", f.Name(), heading, n)
		}
		for _, part := range []string{"**Context.**", "**Decision.**", "**Alternatives.**", "**Cost.**"} {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s: %s is missing or out of order", f.Name(), part)
				continue
			}
			rest = after
		}
		if row := fmt.Sprintf("| [%s](%s) | %s |", m[1], f.Name(), title); !strings.Contains(string(index), row) {
			t.Errorf("README.md: want the row %q", row)
		}
	}
	if n == 0 {
		t.Error("no decision record found")
	}
}

// TestLibrariesHaveRecords checks that each dependency was decided on.
func TestLibrariesHaveRecords(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "adr", "0*-dependency-*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var records strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		records.Write(b)
	}
	for _, lib := range libraries {
		if name := strings.TrimPrefix(lib.path, "github.com/"); !strings.Contains(records.String(), name) {
			t.Errorf("library %s: no record in docs/adr names it", lib.path)
		}
	}
}

// moduleParts are the sections of a module's README, in order.
var moduleParts = []string{"## What it does", "## Use", "## Settings", "## Reasons", "## Limits"}

// TestModuleReadmes checks that each module with user functions has a README of
// the common form.
func TestModuleReadmes(t *testing.T) {
	dirs, err := os.ReadDir(filepath.Join(root, "modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		switch d.Name() {
		case "builtin", "ip", "link": // they register no function
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, "modules", d.Name(), "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		rest := string(b)
		if !strings.HasPrefix(rest, "# "+d.Name()+"\n") {
			t.Errorf("modules/%s/README.md: does not start with its name", d.Name())
		}
		for _, part := range moduleParts {
			_, after, found := strings.Cut(rest, "\n"+part+"\n")
			if !found {
				t.Errorf("modules/%s/README.md: section %q is missing or out of order", d.Name(), part)
				continue
			}
			rest = after
		}
	}
}

// TestArchitectureNamesPackages wants every folder with Go code in the table of
// packages, by its path or the last part of it.
func TestArchitectureNamesPackages(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && skipped(d.Name()):
			return fs.SkipDir
		case !d.IsDir():
			return nil
		}
		code, err := filepath.Glob(filepath.Join(root, name, "*.go"))
		if err != nil {
			return err
		}
		if len(code) > 0 && !strings.Contains(string(b), "`"+name+"`") && !strings.Contains(string(b), "`"+d.Name()+"`") {
			t.Errorf("ARCHITECTURE.md: does not name package %s", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
