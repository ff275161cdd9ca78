package data

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestParse: entries are found as they are, and nothing else.
func TestParse(t *testing.T) {
	f, set, err := parse([]byte(`{"name":"list","version":"3","doc":"a list","addresses":["192.0.2.1","198.51.100.0/24","2001:db8::/32"],"words":["word"],"bytes":["00 ff","7f"]}`))
	if err != nil || f.Version != "3" || set.Len() != 6 {
		t.Fatalf("%+v %v %v", f, set, err)
	}
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "192.0.2.2": false, "198.51.100.77": true, "198.51.101.0": false, "2001:db8:1::1": true, "2001:db9::1": false, "::ffff:192.0.2.1": false,
	} {
		if got := set.HasAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	for word, want := range map[string]bool{"word": true, "wor": false, "\x00\xff": true, "\x7f": true, "": false} {
		if got := set.HasWord([]byte(word)); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
}

// TestRefused: every problem of a file is told.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "EOF"},
		{`{"name":"list"} x`, "something follows its end"},
		{`{"name":"list","adresses":[]}`, `unknown field "adresses"`},
		{`{"name":"List"}`, `name "List"`},
		{`{"name":"list","bytes":["0x"]}`, "is not bytes in hexadecimal"},
		{`{"name":"list","bytes":[""]}`, "is not bytes in hexadecimal"},
		{`{"name":"list","addresses":["192.0.2.300","192.0.2.1/24"]}`, "addresses[0]"},
		{`{"name":"list","addresses":["192.0.2.300","192.0.2.1/24"]}`, "addresses[1]"},
	} {
		if _, _, err := parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// FuzzParse: hostile files are refused or read, never a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"name":"list","addresses":["192.0.2.1","2001:db8::/32"],"words":["word"],"bytes":["00 ff"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, set, err := parse(b)
		if err == nil && (file.Name == "" || set == nil) {
			t.Errorf("%q: %+v", b, file)
		}
	})
}

// TestFound: a data module in module_dirs is loaded at once, as no chain names it.
func TestFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.data.json": `{"name":"list","version":"1","words":["x"]}`, "b.data.json": `{"name":"list"}`, "c.data.json": "{", "d.txt": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, errs := ppf.FindModules([]string{dir, filepath.Join(dir, "nosuch")})
	if len(found) != 1 || found[0].Name != "list" || found[0].Kind != Kind || len(errs) != 3 {
		t.Errorf("%+v %v", found, errs)
	}
	b := ppftest.New(t)
	state := func() string {
		for _, m := range b.Engine.Modules() {
			if m.Name == "list" {
				return m.State
			}
		}
		return ""
	}
	if _, err := b.Engine.Apply(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{ppftest.Instance("a", "nosuch")}}); err == nil {
		t.Error("an unknown function was configured")
	}
	if got := state(); got != "" {
		t.Errorf("after a configuration that was refused: %q", got)
	}
	if _, err := b.Engine.Apply(&ppf.Spec{ModuleDirs: []string{dir}}); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "loaded" {
		t.Errorf("after the configuration: %q", got)
	}
	if err := b.Engine.UnloadModule(t.Context(), "list", false); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "not loaded" {
		t.Errorf("unloaded: %q", got)
	}
}
