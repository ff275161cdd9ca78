// Package arch holds no code, only tests of the house: what the packages of this
// module may import and call, and that its documents have their common form.
package arch
