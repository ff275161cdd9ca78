package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is a partial Internet checksum (RFC 1071): a one's complement sum of
// 16-bit words, held in 64 bits and not yet folded. Sums of pieces add up with
// Add as long as every piece but the last has an even length.
type Sum uint64

// SumBytes sums b, padded with a zero byte where its length is odd. It works on
// 8-byte words with carry: the one's complement sum does not depend on the word
// size (RFC 1071 §2(C)), and byte order is mended once at the end.
func SumBytes(b []byte) Sum {
	var s, c uint64
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
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(last[:]), c)
	}
	s, c = bits.Add64(s, 0, c)
	s += c
	s = s>>32 + s&0xffffffff
	s = s>>16&0xffff + s>>32 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return Sum(bits.ReverseBytes16(uint16(s)))
}

// Add adds two sums.
func (s Sum) Add(t Sum) Sum { return s + t }

// AddUint16 adds one word in host order.
func (s Sum) AddUint16(v uint16) Sum { return s + Sum(v) }

// AddUint32 adds two words in host order.
func (s Sum) AddUint32(v uint32) Sum { return s + Sum(v>>16) + Sum(v&0xffff) }

// Fold gives the one's complement sum in 16 bits.
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

// PseudoSum6 sums the IPv6 pseudo header (RFC 8200 §8.1).
func PseudoSum6(src, dst [16]byte, p Protocol, length int) Sum {
	return SumBytes(src[:]).Add(SumBytes(dst[:])).AddUint16(uint16(p)).AddUint32(uint32(length))
}

// Update16 gives the checksum field after one word of the data changed (RFC
// 1624 §3, equation 3).
func Update16(check, old, new uint16) uint16 {
	return Sum(0).AddUint16(^check).AddUint16(^old).AddUint16(new).Checksum()
}

// Update32 is Update16 for two adjacent words.
func Update32(check uint16, old, new uint32) uint16 {
	return Update16(Update16(check, uint16(old>>16), uint16(new>>16)), uint16(old), uint16(new))
}
