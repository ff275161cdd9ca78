//go:build race

package e2e

// buildFlags let the program under test be watched as its tests are.
var buildFlags = []string{"-race"}

// slowdown is how much less is transferred under the race detector.
const slowdown = 4
