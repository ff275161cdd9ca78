// Package test is the PFM `test` (thesis appendix A.1, "modull"): one user
// function that reports each call and sets no packet to send. A ping through it
// is dropped, with the reason chain.unhandled, and accounted. It shows that an
// instance gets the packets one expects.
package test
