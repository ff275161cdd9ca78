// Package ethernet is the PFM `ethernet`: one user function that says which frames
// an inline pair carries at all, by VLAN, source and ethertype, and builds the
// Ethernet header of those anew whose payload no other function knows.
package ethernet
