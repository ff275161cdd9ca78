// Package icmp builds echo requests and replies of ICMP and ICMPv6 anew, matches
// them, and drops all other messages but errors about known connections.
package icmp
