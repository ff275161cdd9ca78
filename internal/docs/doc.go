// Package docs finds the commands that documents tell, and its tests see to it that
// the documents tell the truth: examples are accepted, commands are understood, and
// names, classes and defaults in tables are those of the program.
package docs
