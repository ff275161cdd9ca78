// Package ip builds the IP header of an outgoing packet anew from a received
// one, and ICMP errors about connections. It is what all user functions of
// layers 3 and 4 share: one place decides which values of a received IP header
// are understood and carried over.
package ip
