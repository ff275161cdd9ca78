//go:build race

package e2e

// buildFlags let the program under test be watched as its tests are.
var buildFlags = []string{"-race"}
