// Package proof checks the properties that the proxy promises of what arrives at
// the protected side, by somebody else's decoders (DESIGN.md section 9):
//
//	P1 well-formed   no malformed packet, no wrong checksum, nothing that a proxy may not send
//	P2 canonical     headers are what gopacket writes for what it has read
//	P3 unambiguous   each TCP sequence number has one value over the life of its flow
//	P4 transparent   legitimate transfers are byte for byte the same
//	P5 accounted     in + emitted + split = out + dropped + merged + held, and each drop has a reason
//	P6 survives      no crash, leak or stall
//
// Tests, the demo and the self-test share it.
package proof
