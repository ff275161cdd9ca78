package ppftest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/promethos/promethos/packet"
)

// Random gives a random packet between the client and the server of Instance, in
// either direction, as the tool isic makes them: mostly well-formed, and in each
// header with some probability one thing that is not. The same numbers give the
// same packets.
func Random(r *rand.Rand) []byte {
	v6 := r.IntN(3) == 0
	src, dst := Client4, Server4
	if v6 {
		src, dst = Client6, Server6
	}
	if r.IntN(3) == 0 {
		src, dst = dst, src
	}
	proto, l4 := randomL4(r, v6)
	var ip []byte
	if v6 {
		ip, l4 = randomIPv6(r, proto, l4)
		copy(ip[8:], src.Addr().AsSlice())
		copy(ip[24:], dst.Addr().AsSlice())
	} else {
		ip = randomIPv4(r, proto, len(l4))
		copy(ip[12:], src.Addr().AsSlice())
		copy(ip[16:], dst.Addr().AsSlice())
		if !one(r, 20) {
			put16(ip[10:], 0)
			put16(ip[10:], packet.SumBytes(ip).Checksum())
		}
	}
	sum(r, ip, proto, l4)
	b := slices.Concat(ip, l4)
	if one(r, 40) {
		b = append(b, make([]byte, 1+r.IntN(20))...) // padding
	}
	if one(r, 40) {
		b = b[:r.IntN(len(b)+1)]
	}
	return b
}

// one is true once in n times.
func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func fill(r *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomIPv4(r *rand.Rand, proto packet.Protocol, payload int) []byte {
	ip := make([]byte, packet.IPv4MinLen)
	if one(r, 10) {
		ip = append(ip, fill(r, make([]byte, 4*(1+r.IntN(10))))...)
	}
	ip[0] = 4<<4 | byte(len(ip)/4)
	ip[1], ip[8], ip[9] = byte(r.Uint32()), byte(1+r.IntN(255)), byte(proto)
	put16(ip[2:], uint16(len(ip)+payload))
	put16(ip[4:], uint16(r.Uint32()))
	if one(r, 2) {
		ip[6] = 0x40 // DF
	}
	switch r.IntN(40) {
	case 0:
		ip[0] = 4<<4 | byte(r.IntN(16))
	case 1:
		put16(ip[2:], uint16(r.Uint32()))
	case 2, 3:
		put16(ip[6:], uint16(r.Uint32()))
	}
	return ip
}

// randomIPv6 gives header and payload; extension headers become part of the
// latter.
func randomIPv6(r *rand.Rand, proto packet.Protocol, l4 []byte) (ip, payload []byte) {
	ip = make([]byte, packet.IPv6Len)
	ip[0], ip[6], ip[7] = 6<<4|byte(r.IntN(16)), byte(proto), byte(1+r.IntN(255))
	binary.BigEndian.PutUint16(ip[2:], uint16(r.Uint32()))
	if one(r, 10) {
		kinds := []packet.Protocol{packet.ProtoHopByHop, packet.ProtoRouting, packet.ProtoFragment, packet.ProtoDstOpts, packet.ProtoAH}
		for range 1 + r.IntN(3) {
			ext := fill(r, make([]byte, 8))
			if options := goodOptions[r.IntN(len(goodOptions))]; one(r, 2) {
				copy(ext[2:], options[:])
			}
			ext[0], ext[1] = ip[6], 0
			ip[6] = byte(kinds[r.IntN(len(kinds))])
			l4 = append(ext, l4...)
		}
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
	if one(r, 40) {
		binary.BigEndian.PutUint16(ip[4:], uint16(r.Uint32()))
	}
	return ip, l4
}

// goodOptions fill an options header of 8 bytes: a router alert, a tunnel limit, one
// for experiments (RFC 4727), and padding.
var goodOptions = [...][6]byte{{5, 2, 0, 0, 1, 0}, {4, 1, 7, 1, 1, 0}, {0x1e, 4, 1, 2, 3, 4}, {1, 4}}

func randomL4(r *rand.Rand, v6 bool) (packet.Protocol, []byte) {
	payload := fill(r, make([]byte, r.IntN(64)))
	ports := make([]byte, 4)
	put16(ports, Client4.Port()+uint16(r.IntN(8)))
	put16(ports[2:], Server4.Port())
	if one(r, 3) {
		ports[0], ports[1], ports[2], ports[3] = ports[2], ports[3], ports[0], ports[1]
	}
	switch n := r.IntN(20); {
	case n < 13:
		return packet.ProtoTCP, append(randomTCP(r, ports), payload...)
	case n < 16:
		b := append(ports, make([]byte, 4)...)
		put16(b[4:], uint16(8+len(payload)))
		if one(r, 10) {
			put16(b[4:], uint16(r.Uint32()))
		}
		return packet.ProtoUDP, append(b, payload...)
	case n < 19:
		b := append(fill(r, make([]byte, 8)), payload...)
		types := []byte{0, 3, 4, 5, 8, 11, 12, 13, 17, 18}
		proto := packet.ProtoICMP
		if v6 {
			types, proto = []byte{1, 2, 3, 4, 128, 129, 133, 134, 135, 136}, packet.ProtoICMPv6
		}
		b[0] = types[r.IntN(len(types))]
		if !one(r, 4) {
			b[1] = 0
		}
		return proto, b[:len(b)-r.IntN(len(b))]
	}
	return packet.Protocol(r.IntN(256)), payload
}

func randomTCP(r *rand.Rand, ports []byte) []byte {
	b := append(ports, make([]byte, 16)...)
	// Few numbers, so that segments meet each other's.
	binary.BigEndian.PutUint32(b[4:], uint32(1000+r.IntN(64)))
	binary.BigEndian.PutUint32(b[8:], uint32(1000+r.IntN(64)))
	flags := []packet.TCPFlags{packet.SYN, packet.SYN | packet.ACK, packet.ACK, packet.ACK | packet.PSH, packet.FIN | packet.ACK, packet.RST}
	b[13] = byte(flags[r.IntN(len(flags))])
	if one(r, 10) {
		b[13] = byte(r.Uint32())
	}
	put16(b[14:], uint16(r.Uint32()))
	if one(r, 10) {
		put16(b[18:], uint16(r.Uint32()))
	}
	options := []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, byte(r.Uint32()), 0, 0, 0, 0, 1, 3, 3, byte(r.IntN(16))}
	switch r.IntN(8) {
	case 0, 1:
		b = append(b, options...)
	case 2:
		b = append(b, options[4:16]...)
	case 3:
		b = append(b, fill(r, make([]byte, 4*r.IntN(11)))...)
	}
	b[12] = byte(len(b)/4) << 4
	if one(r, 20) {
		b[12] = byte(r.Uint32())
	}
	return b
}

// sum writes the checksum of layer 4, now and then a wrong one or none.
func sum(r *rand.Rand, ip []byte, proto packet.Protocol, l4 []byte) {
	at := map[packet.Protocol]int{packet.ProtoTCP: 16, packet.ProtoUDP: 6, packet.ProtoICMP: 2, packet.ProtoICMPv6: 2}[proto]
	if at == 0 || len(l4) < at+2 || one(r, 20) {
		return
	}
	put16(l4[at:], 0)
	s := packet.SumBytes(l4)
	if proto != packet.ProtoICMP {
		s = s.Add(pseudoOf(ip, proto, len(l4)))
	}
	put16(l4[at:], s.Checksum())
}
