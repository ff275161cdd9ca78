package bench

import (
	"os/exec"
	"testing"
	"time"
)

// TestModule: both guests are built from what the program carries, and do the
// same as the function that is compiled in.
func TestModule(t *testing.T) {
	for _, tool := range []string{"go", "clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	r, err := Run(t.Context(), "module", Options{Runs: 1, Duration: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 6 {
		t.Fatalf("%+v", r.Rows)
	}
	for _, row := range r.Rows {
		if row.Ours <= 0 || row.Baseline <= 0 || row.Ratio <= 0 {
			t.Errorf("%+v", row)
		}
	}
}
