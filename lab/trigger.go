package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
)

// trigger is what a published vulnerability reacts to: packets with one fault,
// and their twin that is the same without it.
type trigger struct {
	name string
	v6   bool
	// open says that the packets go into an open TCP connection; twinOpen says it
	// of the twin.
	open, twinOpen bool
	// answered says that the server shall have sent data in the connection.
	answered bool
	// packets and twin build IP packets.
	packets func(e triggerEnv) [][]byte
	twin    func(e triggerEnv) [][]byte
	// fault finds what the judge takes for well-formed: a packet that no plain
	// client sends, or a value. nil: the judge finds it.
	fault func(p gopacket.Packet) bool
}

// triggerEnv says where packets go.
type triggerEnv struct {
	src, dst netip.Addr
	from, to uint16 // ports; from is also the identifier of echoes
	seq, ack uint32 // next to send and to acknowledge, of an open connection
	quoted   []byte // of an open connection: the server's last segment, from the IP header on
}

// Lengths and types of what triggers are made of.
const (
	protoIPIP    = 4
	protoIGMP    = 2
	proto6in4    = 41
	protoICMPv6  = 58
	protoHop     = 0
	icmpPort     = 3 // codes of destination unreachable
	icmpMTU      = 4
	icmpUnreach  = 3
	icmpParam    = 12
	icmpMask     = 18
	icmp6RA      = 134
	triggerData  = "promethos selftest"
	fragmentID   = 0x5050
	ip6MinMTU    = 1280
	windowScale7 = "\x03\x03\x07\x01"
)

func (e triggerEnv) ip(proto byte, payload []byte) hostileIP {
	return hostileIP{src: e.src, dst: e.dst, proto: proto, fragment: ip4DF, payload: payload}
}

// tcp builds a packet with a segment; what the segment does not say is filled in.
func (e triggerEnv) tcp(s hostileTCP) []byte { return e.ip(protoTCP, e.segment(s)).bytes() }

func (e triggerEnv) segment(s hostileTCP) []byte {
	s.srcPort, s.dstPort = e.from, e.to
	if s.flags&flagACK != 0 && s.ack == 0 {
		s.ack = e.ack
	}
	if s.seq == 0 {
		s.seq = e.seq
	}
	return s.bytes(e.src, e.dst)
}

func (e triggerEnv) syn() []byte { return e.segment(hostileTCP{flags: flagSYN, options: validMSS}) }

func (e triggerEnv) echo() []byte { return e.icmp(icmpEchoRequest4, icmpEchoRequest6, e.echoBody()) }

func (e triggerEnv) echoBody() []byte {
	return append(append(binary.BigEndian.AppendUint16(nil, e.from), 0, 1), triggerData...)
}

// icmp builds a message of the family's type, with code 0.
func (e triggerEnv) icmp(type4, type6 byte, body []byte) []byte {
	b := append([]byte{type4, 0, 0, 0}, body...)
	if e.src.Is6() {
		b[0] = type6
	}
	return e.icmpSum(b)
}

func (e triggerEnv) icmpSum(b []byte) []byte {
	sum := packet.SumBytes(b)
	if e.src.Is6() {
		sum = sum.Add(pseudoSum(e.src, e.dst, protoICMPv6, len(b)))
	}
	binary.BigEndian.PutUint16(b[2:], sum.Checksum())
	return b
}

func (e triggerEnv) icmpProto() byte {
	if e.src.Is6() {
		return protoICMPv6
	}
	return protoICMP
}

func (e triggerEnv) udp(d hostileUDP) []byte {
	d.payload = []byte(triggerData)
	return e.ip(protoUDP, e.datagram(d)).bytes()
}

func (e triggerEnv) datagram(d hostileUDP) []byte {
	d.srcPort, d.dstPort = e.from, e.to
	return d.bytes(e.src, e.dst)
}

// Twins.
func synTwin(e triggerEnv) [][]byte  { return [][]byte{e.ip(protoTCP, e.syn()).bytes()} }
func echoTwin(e triggerEnv) [][]byte { return [][]byte{e.ip(e.icmpProto(), e.echo()).bytes()} }
func udpTwin(e triggerEnv) [][]byte  { return [][]byte{e.udp(hostileUDP{})} }
func dataTwin(e triggerEnv) [][]byte {
	return [][]byte{e.tcp(hostileTCP{flags: flagPSH | flagACK, payload: []byte(triggerData)})}
}

// one makes a builder of one packet.
func one(build func(e triggerEnv) []byte) func(triggerEnv) [][]byte {
	return func(e triggerEnv) [][]byte { return [][]byte{build(e)} }
}

// synWith is a SYN with options.
func synWith(options string) func(triggerEnv) [][]byte {
	return one(func(e triggerEnv) []byte { return e.tcp(hostileTCP{flags: flagSYN, options: []byte(options)}) })
}

// fragments4 cuts an IPv4 packet of a protocol after first bytes of its payload.
func (e triggerEnv) fragments4(proto byte, payload []byte, first int) [][]byte {
	p := hostileIP{src: e.src, dst: e.dst, proto: proto, id: fragmentID}
	a, b := p, p
	a.fragment, a.payload = ip4MF, payload[:first]
	b.fragment, b.payload = uint16(first/8), payload[first:]
	return [][]byte{a.bytes(), b.bytes()}
}

// extended is an IPv6 packet with a SYN behind extension headers.
func (e triggerEnv) extended(first byte, headers []byte) []byte {
	p := e.ip(protoTCP, e.syn())
	p.first, p.options = first, headers
	return p.bytes()
}

// tunnelled is an IPv4 packet for the tunnel's end, whose total length says less
// than what follows.
func (e triggerEnv) tunnelled(length uint16, headerWords byte, rest int) []byte {
	inner := e.udp(hostileUDP{})
	if length > 0 {
		binary.BigEndian.PutUint16(inner[2:], length)
	}
	if headerWords > 0 {
		inner[0] = 4<<4 | headerWords
	}
	binary.BigEndian.PutUint16(inner[10:], 0)
	binary.BigEndian.PutUint16(inner[10:], packet.SumBytes(inner[:ipv4Len]).Checksum())
	return append(inner, make([]byte, rest)...)
}

// isProtocol finds IPv4 packets of a protocol.
func isProtocol(proto layers.IPProtocol) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		return ok && ip.Protocol == proto
	}
}

// isICMP finds ICMPv4 messages of a type.
func isICMP(icmpType uint8) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && icmp.TypeCode.Type() == icmpType
	}
}

// shortMessage finds ICMP messages of less than 8 bytes.
func shortMessage(p gopacket.Packet) bool {
	switch icmp := p.Layer(layers.LayerTypeICMPv6).(type) {
	case *layers.ICMPv6:
		return len(icmp.Contents)+len(icmp.Payload) < 8
	}
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	return ok && ip.Protocol == layers.IPProtocolICMPv4 && len(ip.Payload) < 8
}

// lowMSS finds SYNs that announce an MSS below what leaves room for data beside
// options (88 is the least that Linux takes since CVE-2019-11479 is known).
func lowMSS(p gopacket.Packet) bool {
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return ok && slices.ContainsFunc(tcp.Options, func(o layers.TCPOption) bool {
		const least = 88
		return o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2 && binary.BigEndian.Uint16(o.OptionData) < least
	})
}

// anything finds every packet: none of these may arrive.
func anything(gopacket.Packet) bool { return true }
