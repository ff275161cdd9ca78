// Package arch holds no code, only tests of what the packages of this module
// may use: which of each other, which libraries, and the real clock.
package arch
