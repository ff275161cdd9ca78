// Package packet knows the formats of layers 2 to 4: read-only views of
// received bytes behind one parse gate per header, typed values, and one
// encoder. Only the encoder (Out.Encode) writes header bytes, lengths and
// checksums; what has no field in a typed value cannot be sent.
//
// Views are lent: they alias the received bytes and are good while these do not
// change. Nothing in this package allocates on the way of a packet, and nothing
// but the reason registry is shared between goroutines.
package packet
