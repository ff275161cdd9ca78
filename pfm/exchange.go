package pfm

import (
	"encoding/binary"
	"net/netip"
)

// Layout of the exchange area; docs/abi.md describes it.
const (
	AreaDescriptor = 16
	DescriptorSize = 512

	offHandle     = 0
	offDir        = 4
	offHook       = 5
	offLayers     = 6
	offNow        = 8
	offInDev      = 16
	offOutDev     = 20
	offVersion    = 24
	offProtocol   = 25
	offTTL        = 26
	offTOS        = 27
	offFlowLabel  = 28
	offID         = 32
	offFlags      = 34
	offTCPFlags   = 35
	offPayloadLen = 36
	offSrc        = 40
	offDst        = 56
	offSrcPort    = 72
	offDstPort    = 74
	offSeq        = 76
	offAck        = 80
	offWindow     = 84
	offICMPType   = 86
	offICMPCode   = 87
	offOptions    = 88
	offMSS        = 90
	offWScale     = 92
	offNumSACK    = 93
	offTSVal      = 96
	offTSEcr      = 100
	offSACK       = 104
	offStorageLen = 136
	offVerdict    = 160
	offReason     = 164
	offValue      = 168
	offStorage    = 192

	flagDF        = 1
	flagFragment  = 2
	flagConn      = 4
	flagICMPError = 8
	flagOut       = 16
)

// Dir is a flow.
type Dir uint8

// The flows.
const (
	ClientToServer Dir = iota
	ServerToClient
)

// Layers is a set of headers.
type Layers uint16

// The headers.
const (
	HasEthernet Layers = 1 << iota
	HasVLAN
	HasARP
	HasIPv4
	HasIPv6
	HasFragment
	HasTCP
	HasUDP
	HasICMPv4
	HasICMPv6
)

// Flags are the control bits of a TCP segment.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Options are TCP options that a module may see and send.
type Options uint16

// The options.
const (
	OptMSS Options = 1 << iota
	OptWScale
	OptSACKPermitted
	OptSACK
	OptTimestamps
)

// IP holds the values of an IP header. What does not exist in a version is
// ignored.
type IP struct {
	Src, Dst  netip.Addr // of one version
	TTL, TOS  uint8      // hop limit, traffic class
	DF        bool
	ID        uint16
	FlowLabel uint32
	Protocol  uint8 // of a payload that has no layer 4 header here
}

// TCP holds the values of a TCP header.
type TCP struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            Flags
	Window           uint16
	Options          Options
	MSS              uint16
	WScale, NumSACK  uint8
	TSVal, TSEcr     uint32
	SACK             [4][2]uint32 // left and right edge
}

// Exchange is one received packet and the packet to send in its place. It is
// lent for one call.
type Exchange struct {
	host Host
	n    uint32 // of the descriptor
	d    []byte
	// payload is room for the received payload; read is what was copied.
	payload []byte
	read    bool
}

// NewExchange is for hosts: d is a descriptor.
func NewExchange(h Host, d []byte) *Exchange { return &Exchange{host: h, d: d} }

// At makes the Exchange ready for the packet that descriptor n has now.
func (x *Exchange) At(n uint32, d []byte) { x.n, x.d, x.read = n, d, false }

func (x *Exchange) u16(at int) uint16 { return binary.LittleEndian.Uint16(x.d[at:]) }
func (x *Exchange) u32(at int) uint32 { return binary.LittleEndian.Uint32(x.d[at:]) }

// Handle is the binding that the packet came for.
func (x *Exchange) Handle() uint32 { return x.u32(offHandle) }

// Dir is the flow that the packet belongs to.
func (x *Exchange) Dir() Dir { return Dir(x.d[offDir]) }

// Hook is where the packet was taken: 1 to 5 as in netfilter, from PREROUTING on.
func (x *Exchange) Hook() uint8 { return x.d[offHook] }

// Devices are the indices of the interfaces, 0 where they are not known.
func (x *Exchange) Devices() (in, out uint32) { return x.u32(offInDev), x.u32(offOutDev) }

// Has reports whether one of the headers was received.
func (x *Exchange) Has(l Layers) bool { return Layers(x.u16(offLayers))&l != 0 }

// Now is when the packet was taken, in nanoseconds since 1970.
func (x *Exchange) Now() int64 { return int64(binary.LittleEndian.Uint64(x.d[offNow:])) }

// Protocol is the upper-layer protocol.
func (x *Exchange) Protocol() uint8 { return x.d[offProtocol] }

// IsFragment reports a part of a packet, of which no layer 4 header was read.
func (x *Exchange) IsFragment() bool { return x.d[offFlags]&flagFragment != 0 }

// IsICMPError reports an ICMP error of either version.
func (x *Exchange) IsICMPError() bool { return x.d[offFlags]&flagICMPError != 0 }

// HasConn reports whether the packet belongs to a connection.
func (x *Exchange) HasConn() bool { return x.d[offFlags]&flagConn != 0 }

// IsBuilt reports whether an earlier function of the chain has built the packet.
func (x *Exchange) IsBuilt() bool { return x.d[offFlags]&flagOut != 0 }

func (x *Exchange) addr(at int) netip.Addr {
	switch x.d[offVersion] {
	case 4:
		return netip.AddrFrom4([4]byte(x.d[at+12 : at+16]))
	case 6:
		return netip.AddrFrom16([16]byte(x.d[at : at+16]))
	}
	return netip.Addr{}
}

// Src is the source address, the zero Addr without an IP header.
func (x *Exchange) Src() netip.Addr { return x.addr(offSrc) }

// Dst is the destination address.
func (x *Exchange) Dst() netip.Addr { return x.addr(offDst) }

// SrcPort is the source port of TCP and UDP, else 0.
func (x *Exchange) SrcPort() uint16 { return x.u16(offSrcPort) }

// DstPort is the destination port of TCP and UDP, else 0.
func (x *Exchange) DstPort() uint16 { return x.u16(offDstPort) }

// IP gives the values of the received IP header.
func (x *Exchange) IP() IP {
	return IP{
		Src: x.Src(), Dst: x.Dst(), TTL: x.d[offTTL], TOS: x.d[offTOS], DF: x.d[offFlags]&flagDF != 0,
		ID: x.u16(offID), FlowLabel: x.u32(offFlowLabel), Protocol: x.Protocol(),
	}
}

// TCP gives the values of the received TCP header.
func (x *Exchange) TCP() TCP {
	h := TCP{
		SrcPort: x.SrcPort(), DstPort: x.DstPort(), Seq: x.u32(offSeq), Ack: x.u32(offAck), Flags: Flags(x.d[offTCPFlags]),
		Window: x.u16(offWindow), Options: Options(x.u16(offOptions)), MSS: x.u16(offMSS), WScale: x.d[offWScale],
		NumSACK: x.d[offNumSACK], TSVal: x.u32(offTSVal), TSEcr: x.u32(offTSEcr),
	}
	for i := range h.SACK {
		h.SACK[i] = [2]uint32{x.u32(offSACK + 8*i), x.u32(offSACK + 8*i + 4)}
	}
	return h
}

// ICMP gives type and code of the received ICMP message of either version.
func (x *Exchange) ICMP() (icmpType, code uint8) { return x.d[offICMPType], x.d[offICMPCode] }

// PayloadLen is how many bytes follow the innermost header.
func (x *Exchange) PayloadLen() int { return int(x.u32(offPayloadLen)) }

// Payload gives what follows the innermost header. It is copied once, and must
// not be changed.
func (x *Exchange) Payload() []byte {
	if !x.read {
		if n := x.PayloadLen(); cap(x.payload) < n {
			x.payload = make([]byte, n, max(n, 2048))
		}
		x.payload = x.payload[:x.PayloadLen()]
		x.host.Payload(x.n, 0, x.payload)
		x.read = true
	}
	return x.payload
}

// ReadPayload copies a part of the payload, without the rest, and tells how many
// bytes there were.
func (x *Exchange) ReadPayload(from int, to []byte) int { return x.host.Payload(x.n, from, to) }

// Rebuild builds a TCP or UDP packet anew, every header from its typed values,
// with the received payload. stop is true when the received packet is refused;
// then answer Stopped. ok is false for other packets and for fragments.
func (x *Exchange) Rebuild() (ok, stop bool) {
	switch x.host.Rebuild(x.n) {
	case 0:
		return true, false
	case 1:
		return false, true
	}
	return false, false
}

// SetIP sets the IP header of the packet to send.
func (x *Exchange) SetIP(h IP) { x.host.OutIP(x.n, &h) }

// SetTCP sets the layer 4 header of the packet to send.
func (x *Exchange) SetTCP(h TCP) { x.host.OutTCP(x.n, &h) }

// SetUDP sets the layer 4 header of the packet to send.
func (x *Exchange) SetUDP(src, dst uint16) { x.host.OutUDP(x.n, src, dst) }

// SetPayload sets the payload to a copy of b.
func (x *Exchange) SetPayload(b []byte) { x.host.OutPayload(x.n, b) }

// KeepPayload sets the payload to a part of the received one, without a copy.
func (x *Exchange) KeepPayload(from, length int) { x.host.OutReceived(x.n, from, length) }

// Refuse ends the chain with a reason and the value seen in its field.
func (x *Exchange) Refuse(r Reason, value uint64) Verdict { return Verdict{reason: r, value: value} }

// Finding tells of something that has one safe meaning: it is mended, unless
// stop is true; then answer Stopped.
func (x *Exchange) Finding(r Reason, value uint64) (stop bool) {
	return x.host.Finding(x.n, r, value) != 0
}

// Storage is the bytes that are kept with the connection, nil without one. They
// are zero at first.
func (x *Exchange) Storage() []byte { return storage(x.d) }

func storage(d []byte) []byte {
	n := binary.LittleEndian.Uint32(d[offStorageLen:])
	if n == 0 {
		return nil
	}
	return d[offStorage : offStorage+n]
}

// Connect makes the packet's connection, at most limit of them in the instance
// (0: no limit), which ends when idle nanoseconds pass without Touch. stop is
// true when the limit is reached; then answer Stopped.
func (x *Exchange) Connect(limit uint32, idle int64) (stop bool) {
	return x.host.Connection(x.n, limit, idle) == 1
}

// Touch lets the packet's connection go on for idle nanoseconds.
func (x *Exchange) Touch(idle int64) { x.host.Deadline(x.n, idle) }

// Extra is a packet to send beside: one of TCP, UDP and Echo.
type Extra struct {
	IP      IP
	TCP     *TCP
	UDP     *[2]uint16 // source and destination port
	Echo    *Echo
	Payload []byte
}

// Echo is an ICMP echo message of the IP header's version.
type Echo struct {
	Request bool
	ID, Seq uint16
}

// Emit sends an extra packet beside the one that is judged. It reports false where
// it cannot be built or the instance's limit of answers is reached.
func (x *Exchange) Emit(e Extra) bool { return e.send(x.host) }

// Emit sends an extra packet, from Timer or beside the packet that is judged. One of
// a timer goes where those went that the timer was set with. It reports false where it
// cannot be built, where the instance's limit of answers is reached, and in an inline
// instance for a timer that no packet has set.
func (b *Binding) Emit(e Extra) bool { return e.send(b.host) }

func (e *Extra) send(h Host) bool {
	h.OutIP(ExtraPacket, &e.IP)
	switch {
	case e.TCP != nil:
		h.OutTCP(ExtraPacket, e.TCP)
	case e.UDP != nil:
		h.OutUDP(ExtraPacket, e.UDP[0], e.UDP[1])
	case e.Echo != nil:
		version := uint8(4)
		if e.IP.Dst.Is6() {
			version = 6
		}
		h.OutEcho(ExtraPacket, version, e.Echo.Request, e.Echo.ID, e.Echo.Seq)
	}
	h.OutPayload(ExtraPacket, e.Payload)
	return h.Emit(ExtraPacket) == 0
}

// Answer writes a verdict into the descriptor; it is for hosts.
func (x *Exchange) Answer(v Verdict, reason uint32) { answer(x.d, v, reason) }

func answer(d []byte, v Verdict, reason uint32) {
	d[offVerdict] = v.action
	binary.LittleEndian.PutUint32(d[offReason:], reason)
	binary.LittleEndian.PutUint64(d[offValue:], v.value)
}

// Reason is the reason of a drop; it is for hosts.
func (v Verdict) Reason() Reason { return v.reason }

// Value is what was seen in the reason's field; it is for hosts.
func (v Verdict) Value() uint64 { return v.value }
