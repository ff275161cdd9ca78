// Package nd is the PFM `nd`: one user function that builds IPv6 neighbour
// discovery (RFC 4861) anew, checks who says to have which address, and lets routers
// speak only where they stand.
package nd
