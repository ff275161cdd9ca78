// Package udp tracks flows of UDP datagrams and builds every datagram anew: the
// server gets an IP header and a UDP header of our encoder, and the payload.
package udp
