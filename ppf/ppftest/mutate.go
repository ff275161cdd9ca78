package ppftest

import (
	"encoding/binary"
	"slices"

	"github.com/promethos/promethos/packet"
)

// Mutate gives a packet with one to three things changed as pick says: bits,
// lengths, flags, options, payload, the whole. Addresses stay, so that it still
// belongs to its instance. In three of four cases its checksums are right
// afterwards.
func Mutate(pkt []byte, pick func(n int, label string) int) []byte {
	b := slices.Clone(pkt)
	for range 1 + pick(3, "mutations") {
		b = mutateOnce(b, pick)
	}
	if pick(4, "checksums") > 0 {
		fixSums(b)
	}
	return b
}

// ipLen is the length of the IP header of a packet from Segment.
func ipLen(b []byte) int {
	if b[0]>>4 == 6 {
		return packet.IPv6Len
	}
	return packet.IPv4MinLen
}

func mutateOnce(b []byte, pick func(n int, label string) int) []byte {
	n := ipLen(b)
	tcp := b[min(n, len(b)):]
	before := 8 // bytes of the IP header in front of the addresses
	if n == packet.IPv4MinLen {
		before = 12
	}
	switch pick(10, "mutation") {
	case 0: // a bit of the IP header, the version excepted: it tells where addresses are
		at, bits := pick(before, "byte"), 8
		if at == 0 {
			bits = 4
		}
		b[at] ^= 1 << pick(bits, "bit")
	case 1, 2: // a bit of TCP header, options, payload
		if len(tcp) > 0 {
			tcp[pick(len(tcp), "byte")] ^= 1 << pick(8, "bit")
		}
	case 3: // flags
		if len(tcp) > 13 {
			tcp[13] = byte(pick(256, "flags"))
		}
	case 4: // sequence or acknowledgment number, near and far
		if len(tcp) > 11 {
			at := 4 + 4*pick(2, "field")
			delta := []uint32{1, 100, 1 << 16, 1 << 31, ^uint32(0), ^uint32(99)}[pick(6, "delta")]
			binary.BigEndian.PutUint32(tcp[at:], binary.BigEndian.Uint32(tcp[at:])+delta)
		}
	case 5: // cut
		return b[:n+pick(len(tcp)+1, "length")]
	case 6: // trailing bytes, which the IP length may or may not know
		for range 1 + pick(16, "bytes") {
			b = append(b, byte(pick(256, "byte")))
		}
		if pick(2, "counted") == 0 {
			setLength(b)
		}
	case 7: // other payload
		if len(tcp) > 20 {
			for i := 20; i < len(tcp); i++ {
				tcp[i] ^= 0xff
			}
		}
	case 8: // options: kind and length
		if len(tcp) > 20 && tcp[12]>>4 > 5 {
			tcp[20], tcp[21%len(tcp)] = byte(pick(40, "kind")), byte(pick(42, "option length"))
		} else if len(tcp) > 12 {
			tcp[12] = byte(pick(16, "data offset")) << 4
		}
	case 9: // an IPv4 fragment, or an IPv6 packet of another next header
		if n == packet.IPv4MinLen {
			binary.BigEndian.PutUint16(b[6:], uint16(pick(1<<16, "fragment")))
		} else {
			b[6] = byte(pick(256, "next header"))
		}
	}
	return b
}

// setLength lets the IP header say how long the packet is.
func setLength(b []byte) {
	if ipLen(b) == packet.IPv6Len {
		put16(b[4:], uint16(len(b)-packet.IPv6Len))
	} else {
		put16(b[2:], uint16(len(b)))
	}
}

// fixSums computes the checksums of a packet whose IP header has no options.
func fixSums(b []byte) {
	n := ipLen(b)
	if n == packet.IPv4MinLen {
		put16(b[10:], 0)
		put16(b[10:], packet.SumBytes(b[:n]).Checksum())
	}
	if tcp := b[n:]; len(tcp) >= 18 {
		put16(tcp[16:], 0)
		put16(tcp[16:], pseudo(b, len(tcp)).Add(packet.SumBytes(tcp)).Checksum())
	}
}
