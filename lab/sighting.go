package lab

import (
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// sighting is what an attack's predicate looks at: the parts of a captured frame,
// found tolerantly, since the frames in question are malformed. It is neither the
// parser of package packet nor a judge; the judges are JudgeFrames and TsharkJudge.
type sighting struct {
	v6         bool
	ip         []byte // header, with options or extension headers
	extensions []byte // IPv6: the next-header numbers met
	fragment   bool
	id         uint16 // IPv4 identification, low half of an IPv6 fragment's
	offset     int    // of the fragment
	proto      byte
	l4         []byte // as far as the IP length goes
	pseudo     packet.Sum
}

// dissect finds the parts; ok is false for what is not IP.
func dissect(frame []byte) (s sighting, ok bool) {
	const vlan, qinq, ip4, ip6 = 0x8100, 0x88a8, 0x0800, 0x86dd
	for at := 12; len(frame) >= at+2; at += 4 {
		switch binary.BigEndian.Uint16(frame[at:]) {
		case vlan, qinq:
			continue
		case ip4:
			return dissect4(frame[at+2:])
		case ip6:
			return dissect6(frame[at+2:])
		}
		break
	}
	return s, false
}

func dissect4(b []byte) (s sighting, ok bool) {
	if len(b) < ipv4Len {
		return s, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Len || total < header || total > len(b) {
		return s, false
	}
	s.ip, s.l4 = b[:header], b[header:total]
	field := binary.BigEndian.Uint16(b[6:])
	s.id, s.offset, s.fragment = binary.BigEndian.Uint16(b[4:]), int(field&0x1fff)*8, field&0x3fff != 0
	s.proto = b[9]
	s.pseudo = packet.PseudoSum4([4]byte(b[12:16]), [4]byte(b[16:20]), packet.Protocol(s.proto), len(s.l4))
	return s, true
}

func dissect6(b []byte) (s sighting, ok bool) {
	s.v6 = true
	if len(b) < ipv6Len || ipv6Len+int(binary.BigEndian.Uint16(b[4:])) > len(b) {
		return s, false
	}
	all := b[:ipv6Len+int(binary.BigEndian.Uint16(b[4:]))]
	at := ipv6Len
	s.proto = b[6]
	for s.proto == 0 || s.proto == protoRouting || s.proto == protoFragment || s.proto == protoDstOpts {
		if len(all) < at+8 {
			return s, false
		}
		s.extensions = append(s.extensions, s.proto)
		length := 8
		if s.proto == protoFragment {
			s.fragment = true
			s.offset = int(binary.BigEndian.Uint16(all[at+2:]) &^ 7)
			s.id = binary.BigEndian.Uint16(all[at+6:])
		} else {
			length += int(all[at+1]) * 8
		}
		if s.proto = all[at]; len(all) < at+length {
			return s, false
		}
		if at += length; s.offset > 0 {
			break
		}
	}
	s.ip, s.l4 = all[:at], all[at:]
	s.pseudo = packet.PseudoSum6([16]byte(b[8:24]), [16]byte(b[24:40]), packet.Protocol(s.proto), len(s.l4))
	return s, true
}

// mark finds the number that an attack's frames carry: the source port, the
// identifier of an ICMP echo, in later fragments the identification.
func (s sighting) mark() (uint16, bool) {
	switch {
	case s.fragment && s.offset > 0:
		return s.id, true
	case (s.proto == protoTCP || s.proto == protoUDP) && len(s.l4) >= 2:
		return binary.BigEndian.Uint16(s.l4), true
	case (s.proto == protoICMP || s.proto == protoICMPv6) && len(s.l4) >= 6:
		return binary.BigEndian.Uint16(s.l4[4:]), true
	}
	return 0, false
}

// sumWrong says that the layer-4 checksum does not fit.
func (s sighting) sumWrong() bool {
	sum := packet.SumBytes(s.l4)
	if s.proto != protoICMP {
		sum = sum.Add(s.pseudo)
	}
	return sum.Fold() != 0xffff
}

// flags gives FIN to URG; ok is false where there are none.
func (s sighting) flags() (flags byte, ok bool) {
	if s.proto != protoTCP || len(s.l4) < tcpLen {
		return 0, false
	}
	return s.l4[13] & 0x3f, true
}

// dataOffset gives the TCP header's declared length in bytes; 0 without header.
func (s sighting) dataOffset() int {
	if s.proto != protoTCP || len(s.l4) < tcpLen {
		return 0
	}
	return int(s.l4[12]>>4) * 4
}

// tcpOption gives kind and length byte of the options up to the first that cannot
// be walked over, which comes last.
func (s sighting) tcpOptions() (list [][2]byte) {
	end := s.dataOffset()
	if end < tcpLen || end > len(s.l4) {
		return nil
	}
	for b := s.l4[tcpLen:end]; len(b) > 0 && b[0] != 0; {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 {
			return append(list, [2]byte{b[0], 0xff})
		}
		list = append(list, [2]byte{b[0], b[1]})
		if b[1] < 2 || int(b[1]) > len(b) {
			return list
		}
		b = b[b[1]:]
	}
	return list
}

// source reads a frame's IP source address where there is room for one.
func source(frame []byte) (netip.Addr, bool) {
	switch {
	case len(frame) >= 30 && frame[12] == 0x08 && frame[13] == 0:
		return netip.AddrFrom4([4]byte(frame[26:30])), true
	case len(frame) >= 38 && frame[12] == 0x86 && frame[13] == 0xdd:
		return netip.AddrFrom16([16]byte(frame[22:38])), true
	}
	return netip.Addr{}, false
}
