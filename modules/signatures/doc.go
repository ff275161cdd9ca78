// Package signatures is the PFM `signatures`: a message function that refuses
// requests which fit patterns from a file. Each pattern brings examples that must
// match and examples that must not, and the file is taken as a whole or not at
// all.
package signatures
