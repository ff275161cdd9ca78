// Package data loads data modules: files of addresses and words that functions
// use by name, and that are reloaded by themselves.
package data
