package main

import (
	"errors"
	"strings"
	"testing"
)

// TestKernelFindings: what a kernel has not is told with what holds without it, and how
// to get it.
func TestKernelFindings(t *testing.T) {
	for _, f := range kernel() {
		if !f.OK || f.Detail == "" || (f.Detail == "present") != (f.Fix == "") {
			t.Errorf("%+v", f)
		}
	}
	f := need("wings", errors.New("no such thing"), "only birds need them", "feathers")
	if !f.OK || !strings.Contains(f.Detail, "no such thing; only birds need them") || f.Fix != "feathers" {
		t.Errorf("%+v", f)
	}
}
