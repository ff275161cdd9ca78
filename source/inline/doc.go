// Package inline is the source for a bump in the wire: two interfaces between
// which nothing passes but what this program emits. It takes every frame of both
// with packet sockets, whatever its ethertype, and needs no address on them.
//
// Super-packets that the kernel or a card has put together come whole, with what
// is needed to cut them (PACKET_VNET_HDR), and are handed on whole. VLAN tags,
// which the kernel takes out of a frame, are put back where they stood.
//
// A packet socket is a tap: the host's own stack sees each frame too. Keeping it
// silent is for package rules; see Config.Prepare.
package inline
