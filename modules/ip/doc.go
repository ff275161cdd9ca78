// Package ip provides the user function ip, which decides what an IP header may
// say before functions of layer 4 look at what it carries, and builds the IP
// header of an outgoing packet anew from a received one. It is also what user
// functions of layers 3 and 4 share: one place decides which values of a received
// IP header are understood and carried over, and how ICMP errors about
// connections are built.
package ip
