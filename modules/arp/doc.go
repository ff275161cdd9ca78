// Package arp is the PFM `arp`: one user function that builds ARP packets for IPv4
// over Ethernet (RFC 826) anew and checks who says to have which address.
package arp
