// Package config reads configuration: the YAML file and the thesis' iptables
// syntax, both to the framework's one form. Nothing is taken over in part: a
// configuration is good as a whole, or all its problems are told at once, each
// with its place and the fix.
package config
