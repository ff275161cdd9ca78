package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestKeep: a result replaces the one before, in a folder that need not be there;
// one that cannot be kept is an error where it was asked for.
func TestKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "selftest.json")
	for _, mode := range []string{"monitor", "repair"} {
		if err := (keep{file: file}).write(&selftestReport{Mode: mode}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r selftestReport
		if err := json.Unmarshal(text, &r); err != nil || r.Mode != mode {
			t.Errorf("%s, %v, want mode %s", text, err, mode)
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if info, err2 := os.Stat(file); err != nil || err2 != nil || len(left) != 1 || info.Mode() != 0o644 {
		t.Errorf("%v %v, %v %v", left, err, info, err2)
	}
	if err := (keep{}).write(&selftestReport{}); err != nil {
		t.Error(err)
	}
	if err := (keep{file: filepath.Join(file, "below"), asked: true}).write(&selftestReport{}); err == nil {
		t.Error("it is kept below a file")
	}
}
