// Package igmp is the PFM `igmp`: two user functions that build anew what hosts and
// routers say about multicast groups, `igmp` for IPv4 (RFC 3376) and `mld` for IPv6
// (RFC 3810).
package igmp
