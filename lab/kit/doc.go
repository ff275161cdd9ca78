// Package kit is the conformance kit for modules that are loaded at run time: it
// sends scenarios, recorded and fuzzed traffic through an engine without a
// kernel, and judges what comes out by somebody else's decoder.
package kit
