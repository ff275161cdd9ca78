package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is a partial Internet checksum (RFC 1071): a one's complement sum of
// 16-bit words in network order, not yet folded. The zero value is the sum of
// nothing. Room is left for 2^48 additions.
type Sum uint64

// worthVectors is the length from which vectors are faster.
const worthVectors = 2 * vectorLen

// SumBytes sums b, padded with a zero byte where its length is odd. It works on
// 8-byte words with carry: the one's complement sum does not depend on the word
// size, and words of the wrong byte order give the sum in the wrong byte order
// (RFC 1071 §2(B), (C)), which is mended once at the end.
func SumBytes(b []byte) Sum {
	var s, c uint64
	if hasVectors && len(b) >= worthVectors {
		n := len(b) &^ (vectorLen - 1)
		s, b = sumVectors(b[:n]), b[n:]
	}
	for len(b) >= 64 {
		w := b[:64:64]
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[24:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[32:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[40:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[48:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[56:]), c)
		b = b[64:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), c)
		b = b[8:]
	}
	var last uint64 // the up to 7 bytes that are left
	shift := 0
	if len(b) >= 4 {
		last = uint64(binary.LittleEndian.Uint32(b))
		shift, b = 32, b[4:]
	}
	if len(b) >= 2 {
		last |= uint64(binary.LittleEndian.Uint16(b)) << shift
		shift, b = shift+16, b[2:]
	}
	if len(b) == 1 {
		last |= uint64(b[0]) << shift
	}
	s, c = bits.Add64(s, last, c)
	s, c = bits.Add64(s, 0, c)
	s += c
	s = s>>32 + s&0xffffffff            // at most 1fffffffe
	s = s>>16&0xffff + s>>32 + s&0xffff // at most 1fffe
	s = s>>16 + s&0xffff
	return Sum(bits.ReverseBytes16(uint16(s)))
}

// Add adds the sum of bytes that start at an even offset.
func (s Sum) Add(t Sum) Sum { return s + t }

// AddAt adds the sum of bytes that start offset bytes behind the start of what s
// sums: at an odd offset the bytes of t change places (RFC 1071 §2(B)).
func (s Sum) AddAt(offset int, t Sum) Sum {
	if offset&1 != 0 {
		t = Sum(bits.ReverseBytes16(t.Fold()))
	}
	return s + t
}

// AddUint16 adds one word in host order.
func (s Sum) AddUint16(v uint16) Sum { return s + Sum(v) }

// AddUint32 adds two words in host order.
func (s Sum) AddUint32(v uint32) Sum { return s + Sum(v>>16) + Sum(v&0xffff) }

// Fold gives the one's complement sum in 16 bits; over a header with a right
// checksum it is 0xffff.
func (s Sum) Fold() uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// Checksum gives the value for a checksum field.
func (s Sum) Checksum() uint16 { return ^s.Fold() }

// PseudoSum4 sums the IPv4 pseudo header (RFC 9293 §3.1); length is that of
// layer 4 in bytes.
func PseudoSum4(src, dst [4]byte, p Protocol, length int) Sum {
	return Sum(0).AddUint32(binary.BigEndian.Uint32(src[:])).AddUint32(binary.BigEndian.Uint32(dst[:])).
		AddUint16(uint16(p)).AddUint32(uint32(length))
}

// PseudoSum6 sums the IPv6 pseudo header (RFC 8200 §8.1); length is that of
// layer 4 in bytes.
func PseudoSum6(src, dst [16]byte, p Protocol, length int) Sum {
	return SumBytes(src[:]).Add(SumBytes(dst[:])).AddUint16(uint16(p)).AddUint32(uint32(length))
}

// Update16 gives the checksum field after one aligned word of the data changed
// (RFC 1624 §3, equation 3).
func Update16(check, old, new uint16) uint16 {
	return Sum(0).AddUint16(^check).AddUint16(^old).AddUint16(new).Checksum()
}

// Update32 is Update16 for two adjacent words.
func Update32(check uint16, old, new uint32) uint16 {
	return Sum(0).AddUint16(^check).AddUint32(^old).AddUint32(new).Checksum()
}
