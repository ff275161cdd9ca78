package lab

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/promethos/promethos/packet"
)

// Attacks lists the malformed packets, always in the same order.
func Attacks() []Attack {
	list := slices.Concat(flagAttacks(), optionAttacks(), headerAttacks(), ipAttacks(), ip6Attacks(), otherAttacks())
	for i := range list {
		list[i].index = uint16(i)
		if list[i].Protocol == "" {
			list[i].Protocol = "tcp"
		}
	}
	return list
}

// attackSeq is the sequence number of all attacks.
const attackSeq = 0x50504600

// validMSS is the option of an innocent SYN: MSS 1460.
var validMSS = []byte{2, 4, 0x05, 0xb4}

// segment4 builds an attack that is one IPv4 packet with the segment s.
func segment4(s hostileTCP) func(AttackEnv, uint16) [][]byte {
	return func(e AttackEnv, mark uint16) [][]byte {
		return [][]byte{e.tcp4(s, mark)}
	}
}

// tcp4 is an IPv4 packet with the segment s from the attack's port.
func (e AttackEnv) tcp4(s hostileTCP, mark uint16) []byte {
	return hostileIP{src: e.Source4, dst: e.Server4, proto: protoTCP, id: mark, fragment: ip4DF,
		payload: e.segment(s, mark).bytes(e.Source4, e.Server4)}.bytes()
}

func (e AttackEnv) segment(s hostileTCP, mark uint16) hostileTCP {
	s.srcPort, s.dstPort, s.seq = mark, e.Port, attackSeq
	return s
}

func flagAttacks() []Attack {
	attack := func(name, reason string, flags byte, about string) Attack {
		return Attack{Name: name, Reason: reason, About: about,
			build: segment4(hostileTCP{flags: flags}),
			defect: func(s sighting) bool {
				got, ok := s.flags()
				return ok && got == flags
			}}
	}
	return []Attack{
		attack("null-scan", "tcp.flags.null", 0, "a segment without any flag"),
		attack("xmas-scan", "tcp.flags.xmas", flagFIN|flagPSH|flagURG, "FIN, PSH and URG without ACK"),
		attack("syn-fin", "tcp.flags.syn-fin", flagSYN|flagFIN, "SYN and FIN together"),
		attack("syn-rst", "tcp.flags.syn-rst", flagSYN|flagRST, "SYN and RST together"),
		attack("fin-rst", "tcp.flags.fin-rst", flagFIN|flagRST|flagACK, "FIN and RST together"),
		attack("fin-without-ack", "tcp.flags.no-ack", flagFIN, "a FIN without ACK"),
		attack("ack-to-nothing", "tcp.midstream", flagACK, "an ACK that belongs to no connection"),
		attack("rst-to-nothing", "tcp.midstream", flagRST, "a RST that belongs to no connection"),
	}
}

// optionAttacks are SYNs with bad options.
func optionAttacks() []Attack {
	attack := func(name, reason string, options []byte, about string, bad func(list [][2]byte) bool) Attack {
		return Attack{Name: name, Reason: reason, About: about,
			build:  segment4(hostileTCP{flags: flagSYN, options: options}),
			defect: func(s sighting) bool { return bad(s.tcpOptions()) }}
	}
	has := func(option ...byte) func([][2]byte) bool {
		return func(list [][2]byte) bool { return slices.Contains(list, [2]byte(option)) }
	}
	return []Attack{
		attack("option-length-zero", "tcp.option.length-zero", []byte{0xff, 0, 0, 0},
			"a SYN with an option of length 0 (CVE-2020-24337: endless loop)", has(0xff, 0)),
		attack("option-length-one", "tcp.option.length-short", []byte{29, 1, 0, 0},
			"a SYN with a TCP-AO option of length 1 (CVE-2019-12260)", has(29, 1)),
		attack("option-beyond-end", "tcp.option.beyond-end", []byte{0xfd, 20, 0, 0},
			"a SYN with an option that goes beyond the header (CVE-2020-13988)", has(0xfd, 20)),
		attack("wscale-length-2", "tcp.option.length-wrong", []byte{3, 2, 1, 1},
			"a SYN with a window scale option without its value (CVE-2019-12258)", has(3, 2)),
		attack("sack-length-9", "tcp.option.length-wrong", []byte{5, 9, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1},
			"a SYN with a SACK block cut in the middle (CVE-2021-31889)", has(5, 9)),
		attack("mss-twice", "tcp.option.duplicate", slices.Concat(validMSS, []byte{2, 4, 0, 1}),
			"a SYN that announces two maximum segment sizes", func(list [][2]byte) bool {
				first := slices.Index(list, [2]byte{2, 4})
				return first >= 0 && slices.Contains(list[first+1:], [2]byte{2, 4})
			}),
	}
}

// headerAttacks are segments with a bad header.
func headerAttacks() []Attack {
	return []Attack{
		{Name: "data-offset-15", Reason: "tcp.data-offset", About: "a SYN whose header claims 40 bytes of options and has none (CVE-2020-24341)",
			build:  segment4(hostileTCP{flags: flagSYN, offset: 15}),
			defect: func(s sighting) bool { return s.dataOffset() > len(s.l4) }},
		{Name: "data-offset-4", Reason: "tcp.data-offset", About: "a SYN whose header claims to be shorter than any can be",
			build:  segment4(hostileTCP{flags: flagSYN, offset: 4}),
			defect: func(s sighting) bool { return len(s.l4) >= tcpLen && s.dataOffset() < tcpLen }},
		{Name: "short-header", Reason: "tcp.truncated", About: "a TCP header that ends after the acknowledgment number (CVE-2021-31890)",
			build: func(e AttackEnv, mark uint16) [][]byte {
				whole := e.segment(hostileTCP{flags: flagSYN}, mark).bytes(e.Source4, e.Server4)
				return [][]byte{hostileIP{src: e.Source4, dst: e.Server4, proto: protoTCP, id: mark, fragment: ip4DF, payload: whole[:12]}.bytes()}
			},
			defect: func(s sighting) bool { return s.proto == protoTCP && len(s.l4) < tcpLen }},
		{Name: "reserved-bits", Reason: "tcp.reserved-cleared", Repairable: true, About: "a SYN with reserved header bits set",
			build:  segment4(hostileTCP{flags: flagSYN, reserved: 0b1110, options: validMSS}),
			defect: func(s sighting) bool { return s.dataOffset() > 0 && s.l4[12]&0b1110 != 0 }},
		{Name: "urgent-zero", Reason: "tcp.urgent-removed", Repairable: true, About: "a SYN with URG and urgent pointer 0 (the header of CVE-2019-12255)",
			build: segment4(hostileTCP{flags: flagSYN | flagURG, options: validMSS}),
			defect: func(s sighting) bool {
				flags, _ := s.flags()
				return flags&flagURG != 0
			}},
		{Name: "urgent-beyond-data", Reason: "tcp.urgent-removed", Repairable: true, About: "a SYN with an urgent pointer far beyond its data (CVE-2020-17437)",
			build: segment4(hostileTCP{flags: flagSYN | flagURG, urgent: 0xfff0, options: validMSS}),
			defect: func(s sighting) bool {
				return s.dataOffset() > 0 && binary.BigEndian.Uint16(s.l4[18:]) != 0
			}},
		{Name: "tcp-checksum", Reason: "tcp.checksum", About: "a SYN with a wrong checksum",
			build:  segment4(hostileTCP{flags: flagSYN, options: validMSS, wrongSum: true}),
			defect: func(s sighting) bool { return s.proto == protoTCP && s.sumWrong() }},
	}
}

// isFragment is the defect of all fragments: none may reach the server.
func isFragment(s sighting) bool { return s.fragment }

// ipAttacks are SYNs inside bad IPv4 packets.
func ipAttacks() []Attack {
	syn := hostileTCP{flags: flagSYN, options: validMSS}
	packet4 := func(options []byte, fragment uint16) func(AttackEnv, uint16) [][]byte {
		return func(e AttackEnv, mark uint16) [][]byte {
			return [][]byte{hostileIP{src: e.Source4, dst: e.Server4, proto: protoTCP, id: mark, fragment: fragment, options: options,
				payload: e.segment(syn, mark).bytes(e.Source4, e.Server4)}.bytes()}
		}
	}
	fragments := func(e AttackEnv, mark uint16, pieces ...piece) (list [][]byte) {
		for _, p := range pieces {
			field := p.offset / 8
			if p.more {
				field |= ip4MF
			}
			list = append(list, hostileIP{src: e.Source4, dst: e.Server4, proto: protoTCP, id: mark, fragment: field, payload: p.data}.bytes())
		}
		return list
	}
	return []Attack{
		{Name: "ip-option", Reason: "ip.options-removed", Repairable: true, About: "a SYN behind an IP option that nobody knows",
			build:  packet4([]byte{0x9e, 4, 0xab, 0xcd}, ip4DF),
			defect: func(s sighting) bool { return !s.v6 && len(s.ip) > ipv4Len }},
		{Name: "ip-reserved-flag", Reason: "ip.reserved-cleared", Repairable: true, About: "a SYN with the reserved bit of the IP header set",
			build:  packet4(nil, ip4DF|ip4Evil),
			defect: func(s sighting) bool { return !s.v6 && s.ip[6]&(ip4Evil>>8) != 0 }},
		{Name: "tiny-fragment", Reason: "ip.fragment.tiny", About: "a SYN whose flags hide in the second fragment (RFC 1858)",
			build: func(e AttackEnv, mark uint16) [][]byte {
				b := e.segment(syn, mark).bytes(e.Source4, e.Server4)
				return fragments(e, mark, piece{0, true, b[:8]}, piece{8, false, b[8:]})
			}, defect: isFragment},
		{Name: "overlapping-fragments", Reason: "ip.fragment.overlap", About: "a SYN in two fragments that disagree about the same bytes (RFC 1858)",
			build: func(e AttackEnv, mark uint16) [][]byte {
				b := append(e.segment(syn, mark).bytes(e.Source4, e.Server4), make([]byte, 60)...)
				rewritten := bytes.Clone(b[8:])
				rewritten[5] = flagRST
				return fragments(e, mark, piece{0, true, b[:56]}, piece{8, false, rewritten})
			}, defect: isFragment},
		{Name: "fragment-beyond-64k", Reason: "ip.fragment.beyond-end", About: "a later fragment that ends beyond the greatest IP packet (ping of death)",
			build: func(e AttackEnv, mark uint16) [][]byte {
				return fragments(e, mark, piece{65528, false, bytes.Repeat([]byte{0xa5}, 64)})
			}, defect: isFragment},
	}
}

// piece is a fragment of a packet; offset in bytes.
type piece struct {
	offset uint16
	more   bool
	data   []byte
}

// ip6Attacks are SYNs inside IPv6 packets with extension headers.
func ip6Attacks() []Attack {
	syn := hostileTCP{flags: flagSYN, options: validMSS}
	attack := func(name, reason string, repairable bool, first byte, extensions []byte, about string) Attack {
		return Attack{Name: name, Reason: reason, Repairable: repairable, About: about, IPv6: true,
			build: func(e AttackEnv, mark uint16) [][]byte {
				return [][]byte{hostileIP{src: e.Source6, dst: e.Server6, proto: protoTCP, first: first, options: extensions,
					payload: e.segment(syn, mark).bytes(e.Source6, e.Server6)}.bytes()}
			},
			defect: func(s sighting) bool { return len(s.extensions) > 0 }}
	}
	many := []byte(nil)
	for range 8 {
		many = append(many, protoDstOpts, 0, 1, 4, 0, 0, 0, 0)
	}
	many = append(many, protoTCP, 0, 1, 4, 0, 0, 0, 0)
	return []Attack{
		attack("ip6-option-beyond-end", "ip6.extension.option", false, protoDstOpts, []byte{protoTCP, 0, 1, 200, 0, 0, 0, 0},
			"a SYN behind a destination option that goes beyond its header (CVE-2020-17445)"),
		attack("ip6-destination-options", "ip6.extension-removed", true, protoDstOpts, []byte{protoTCP, 0, 1, 4, 0, 0, 0, 0},
			"a SYN behind destination options that say nothing"),
		attack("ip6-many-extensions", "ip6.extension.order", false, protoDstOpts, many,
			"a SYN behind nine destination options headers (CVE-2021-24086)"),
		attack("ip6-routing-type-0", "ip6.extension.rh0", false, protoRouting, []byte{protoTCP, 0, 0, 0, 0, 0, 0, 0},
			"a SYN behind a routing header of type 0 (CVE-2020-11897)"),
		attack("ip6-atomic-fragment", "ip6.extension-removed", true, protoFragment, fragmentHeader(protoTCP, 0, false, attackSeq),
			"a SYN behind the fragment header of a packet that is whole (RFC 6946)"),
		{Name: "ip6-fragments", Reason: "ip.fragment.tiny", IPv6: true, About: "a SYN in two IPv6 fragments (RFC 7112)",
			build: func(e AttackEnv, mark uint16) [][]byte {
				b := e.segment(syn, mark).bytes(e.Source6, e.Server6)
				part := func(offset uint16, more bool, data []byte) []byte {
					return hostileIP{src: e.Source6, dst: e.Server6, first: protoFragment,
						options: fragmentHeader(protoTCP, offset, more, uint32(mark)), payload: data}.bytes()
				}
				return [][]byte{part(0, true, b[:8]), part(8, false, b[8:])}
			}, defect: isFragment},
	}
}

// otherAttacks are of protocols other than TCP.
func otherAttacks() []Attack {
	datagram := func(d hostileUDP) func(AttackEnv, uint16) [][]byte {
		return func(e AttackEnv, mark uint16) [][]byte {
			d.srcPort, d.dstPort = mark, e.Port
			return [][]byte{hostileIP{src: e.Source4, dst: e.Server4, proto: protoUDP, id: mark, fragment: ip4DF,
				payload: d.bytes(e.Source4, e.Server4)}.bytes()}
		}
	}
	length := func(s sighting) (field, real int) {
		if s.proto != protoUDP || len(s.l4) < udpLen {
			return 0, 0
		}
		return int(binary.BigEndian.Uint16(s.l4[4:])), len(s.l4)
	}
	text := []byte("promethos lab")
	return []Attack{
		{Name: "udp-length-long", Reason: "udp.length", Protocol: "udp", About: "a datagram that claims more bytes than it has (CVE-2021-31345)",
			build: datagram(hostileUDP{payload: text, lengthError: 400}),
			defect: func(s sighting) bool {
				field, real := length(s)
				return field > real
			}},
		{Name: "udp-length-short", Reason: "udp.length", Protocol: "udp", About: "a datagram that claims fewer bytes than it has",
			build: datagram(hostileUDP{payload: text, lengthError: -5}),
			defect: func(s sighting) bool {
				field, real := length(s)
				return field < real
			}},
		{Name: "udp-checksum", Reason: "udp.checksum", Protocol: "udp", About: "a datagram with a wrong checksum",
			build:  datagram(hostileUDP{payload: text, wrongSum: true}),
			defect: func(s sighting) bool { return s.proto == protoUDP && s.sumWrong() }},
		{Name: "icmp-checksum", Reason: "icmp.checksum", Protocol: "icmp", About: "an ICMP echo request with a wrong checksum",
			build: func(e AttackEnv, mark uint16) [][]byte {
				b := []byte{icmpEchoRequest4, 0, 0, 0}
				b = append(binary.BigEndian.AppendUint16(b, mark), 0, 1)
				b = append(b, text...)
				binary.BigEndian.PutUint16(b[2:], packet.SumBytes(b).Checksum()^0x5555)
				return [][]byte{hostileIP{src: e.Source4, dst: e.Server4, proto: protoICMP, id: mark, fragment: ip4DF, payload: b}.bytes()}
			},
			defect: func(s sighting) bool { return s.proto == protoICMP && s.sumWrong() }},
	}
}
