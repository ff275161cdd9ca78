package forms_test

import (
	"testing"

	"github.com/promethos/promethos/lab/kit/kittest"
)

// TestModule: the scenarios come out as they say, and what arrives is well formed
// whatever comes in.
func TestModule(t *testing.T) {
	kittest.Run(t, kittest.Guest(t, "./guest", "forms.json"), "testdata/forms.trace")
}
