package modbus_test

import (
	"testing"

	"github.com/promethos/promethos/lab/kit/kittest"
)

// TestModule: the scenarios come out as they say, and what comes out is well
// formed whatever comes in.
func TestModule(t *testing.T) {
	kittest.Run(t, kittest.Guest(t, "./guest", "modbus.json"), "testdata/modbus.trace", "testdata/reset.trace")
}
