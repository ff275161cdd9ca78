// Package tcp is the PFM `tcp` (thesis 4.2): a TCP state machine seen from the
// middle that builds a new segment for every segment (Model A: the handshake is
// the two ends' own; retransmission and order stay with them).
//
// The Tracker serves the user function tcp, and through Translator functions
// that exchange addresses on the way, such as tcp2.
package tcp
