package packet

import "encoding/binary"

// Offsets that ICMPv4 (RFC 792) and ICMPv6 (RFC 4443) share.
const (
	offICMPType     = 0
	offICMPCode     = 1
	offICMPChecksum = 2
	offICMPID       = 4
	offICMPSeq      = 6
	offICMPMTU4     = 6 // RFC 1191 §4
	offICMPMTU6     = 4 // RFC 4443 §3.2

	// ICMPLen is the length of an ICMP header in bytes.
	ICMPLen = 8
)

// ICMPv4 types and codes.
const (
	ICMPv4EchoReply      = 0
	ICMPv4Unreachable    = 3
	ICMPv4SourceQuench   = 4
	ICMPv4Redirect       = 5
	ICMPv4Echo           = 8
	ICMPv4TimeExceeded   = 11
	ICMPv4Parameter      = 12
	ICMPv4CodeFragNeeded = 4
)

// ICMPv6 types.
const (
	ICMPv6Unreachable  = 1
	ICMPv6PacketTooBig = 2
	ICMPv6TimeExceeded = 3
	ICMPv6Parameter    = 4
	ICMPv6Echo         = 128
	ICMPv6EchoReply    = 129
)

// icmpView holds what both versions have.
type icmpView struct{ b []byte }

// Type is the message type.
func (v icmpView) Type() uint8 { return v.b[offICMPType] }

// Code is the message code.
func (v icmpView) Code() uint8 { return v.b[offICMPCode] }

// EchoID is the identifier of an echo request or reply.
func (v icmpView) EchoID() uint16 { return binary.BigEndian.Uint16(v.b[offICMPID:]) }

// EchoSeq is the sequence number of an echo request or reply.
func (v icmpView) EchoSeq() uint16 { return binary.BigEndian.Uint16(v.b[offICMPSeq:]) }

// Body is what follows the 8 bytes of the header.
func (v icmpView) Body() []byte { return v.b[ICMPLen:] }

// ICMPv4View reads an ICMPv4 message in place. Only ParseICMPv4 makes a usable
// one.
type ICMPv4View struct{ icmpView }

// ParseICMPv4 checks that b holds a header.
func ParseICMPv4(b []byte) (ICMPv4View, Reason) {
	if len(b) < ICMPLen {
		return ICMPv4View{}, ReasonICMPTruncated
	}
	return ICMPv4View{icmpView{b[:len(b):len(b)]}}, ReasonNone
}

// IsError reports whether the message quotes a packet (RFC 1122 §3.2.2).
func (v ICMPv4View) IsError() bool {
	switch v.Type() {
	case ICMPv4Unreachable, ICMPv4SourceQuench, ICMPv4Redirect, ICMPv4TimeExceeded, ICMPv4Parameter:
		return true
	}
	return false
}

// MTU is the next hop's of a fragmentation-needed message, 0 where it is old.
func (v ICMPv4View) MTU() uint32 { return uint32(binary.BigEndian.Uint16(v.b[offICMPMTU4:])) }

// ChecksumOK reports whether the checksum is right.
func (v ICMPv4View) ChecksumOK() bool { return SumBytes(v.b).Fold() == 0xffff }

// Quoted reads what an error quotes.
func (v ICMPv4View) Quoted() (Quote, Reason) { return ParseQuote4(v.Body()) }

// ICMPv6View reads an ICMPv6 message in place. Only ParseICMPv6 makes a usable
// one.
type ICMPv6View struct{ icmpView }

// ParseICMPv6 checks that b holds a header.
func ParseICMPv6(b []byte) (ICMPv6View, Reason) {
	if len(b) < ICMPLen {
		return ICMPv6View{}, ReasonICMPTruncated
	}
	return ICMPv6View{icmpView{b[:len(b):len(b)]}}, ReasonNone
}

// IsError reports whether the message quotes a packet (RFC 4443 §2.1).
func (v ICMPv6View) IsError() bool { return v.Type() < 128 }

// MTU is that of a packet-too-big message.
func (v ICMPv6View) MTU() uint32 { return binary.BigEndian.Uint32(v.b[offICMPMTU6:]) }

// ChecksumOK reports whether the checksum is right.
func (v ICMPv6View) ChecksumOK(src, dst [16]byte) bool {
	return PseudoSum6(src, dst, ProtoICMPv6, len(v.b)).Add(SumBytes(v.b)).Fold() == 0xffff
}

// Quoted reads what an error quotes.
func (v ICMPv6View) Quoted() (Quote, Reason) { return ParseQuote6(v.Body()) }

// ICMPv4 holds the values of an ICMPv4 message to send: an echo (ID, Seq and
// payload) or an error (MTU and Quote).
type ICMPv4 struct {
	Type, Code uint8
	ID, Seq    uint16
	MTU        uint32 // of fragmentation needed; above 65535 it is cut
	HasQuote   bool
	Quote      Quote
}

// ICMPv6 holds the values of an ICMPv6 message to send, as ICMPv4 does.
type ICMPv6 ICMPv4

// len is the length of header and quote.
func (h *ICMPv4) len() int {
	if h.HasQuote {
		return ICMPLen + h.Quote.len()
	}
	return ICMPLen
}

// encode writes header and quote. sum is that of the payload and, for ICMPv6,
// of the pseudo header.
func (h *ICMPv4) encode(b []byte, v6 bool, sum Sum) {
	b[offICMPType], b[offICMPCode] = h.Type, h.Code
	binary.BigEndian.PutUint16(b[offICMPChecksum:], 0)
	binary.BigEndian.PutUint16(b[offICMPID:], h.ID)
	binary.BigEndian.PutUint16(b[offICMPSeq:], h.Seq)
	if h.HasQuote {
		if v6 {
			binary.BigEndian.PutUint32(b[offICMPMTU6:], h.MTU)
		} else {
			binary.BigEndian.PutUint16(b[offICMPID:], 0)
			binary.BigEndian.PutUint16(b[offICMPMTU4:], uint16(h.MTU))
		}
		h.Quote.encode(b[ICMPLen:])
	}
	binary.BigEndian.PutUint16(b[offICMPChecksum:], sum.Add(SumBytes(b[:h.len()])).Checksum())
}
