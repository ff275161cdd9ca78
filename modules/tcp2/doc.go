// Package tcp2 is the PFM `tcp2` (thesis appendix A.3): what tcp does, and the
// client's source address is exchanged for that of the outgoing interface; on
// the way back destination address and port are restored, also in what ICMP
// errors quote.
//
// Its client-to-server flow is taken at FORWARD, where the outgoing interface
// is known, and its server-to-client flow at PREROUTING, before routing.
package tcp2
