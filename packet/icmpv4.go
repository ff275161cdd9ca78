package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets that ICMPv4 (RFC 792) and ICMPv6 (RFC 4443) share.
const (
	offICMPType     = 0
	offICMPCode     = 1
	offICMPChecksum = 2
	offICMPRest     = 4 // four bytes that depend on the type
	offICMPID       = 4
	offICMPSeq      = 6

	// ICMPLen is the length of an ICMPv4 or ICMPv6 header in bytes.
	ICMPLen = 8
)

// offICMP4MTU is where fragmentation needed has the next hop's MTU (RFC 1191 §4).
const offICMP4MTU = 6

// ICMPv4 types and codes (IANA "ICMP Parameters").
const (
	ICMPv4EchoReply        uint8 = 0
	ICMPv4Unreachable      uint8 = 3
	ICMPv4SourceQuench     uint8 = 4
	ICMPv4Redirect         uint8 = 5
	ICMPv4Echo             uint8 = 8
	ICMPv4TimeExceeded     uint8 = 11
	ICMPv4Parameter        uint8 = 12
	ICMPv4Timestamp        uint8 = 13
	ICMPv4TimestampReply   uint8 = 14
	ICMPv4AddressMaskReply uint8 = 18

	// ICMPv4CodeFragNeeded is the code of ICMPv4Unreachable that carries an MTU.
	ICMPv4CodeFragNeeded uint8 = 4
)

// ICMPv4View reads an ICMPv4 message in place. Only ParseICMPv4 makes a usable
// one.
type ICMPv4View struct{ b []byte }

// ParseICMPv4 checks that b, cut at the length that the IP header declares,
// holds a header.
func ParseICMPv4(b []byte) (ICMPv4View, Reason) {
	if len(b) < ICMPLen {
		return ICMPv4View{}, ReasonICMPTruncated
	}
	return ICMPv4View{b[:len(b):len(b)]}, ReasonNone
}

// Type is the message type.
func (v ICMPv4View) Type() uint8 { return v.b[offICMPType] }

// Code is the message code.
func (v ICMPv4View) Code() uint8 { return v.b[offICMPCode] }

// Checksum is the checksum field.
func (v ICMPv4View) Checksum() uint16 { return binary.BigEndian.Uint16(v.b[offICMPChecksum:]) }

// ChecksumOK reports whether the checksum is right.
func (v ICMPv4View) ChecksumOK() bool { return SumBytes(v.b).Fold() == 0xffff }

// IsEcho reports whether the message is an echo request or reply.
func (v ICMPv4View) IsEcho() bool { return v.Type() == ICMPv4Echo || v.Type() == ICMPv4EchoReply }

// EchoID is the identifier of an echo request or reply.
func (v ICMPv4View) EchoID() uint16 { return binary.BigEndian.Uint16(v.b[offICMPID:]) }

// EchoSeq is the sequence number of an echo request or reply.
func (v ICMPv4View) EchoSeq() uint16 { return binary.BigEndian.Uint16(v.b[offICMPSeq:]) }

// MTU is the next hop's in a fragmentation-needed message; 0 from routers older
// than RFC 1191.
func (v ICMPv4View) MTU() uint16 { return binary.BigEndian.Uint16(v.b[offICMP4MTU:]) }

// IsError reports whether the message quotes a packet (RFC 1122 §3.2.2).
func (v ICMPv4View) IsError() bool { return isICMPv4Error(v.Type()) }

func isICMPv4Error(t uint8) bool {
	switch t {
	case ICMPv4Unreachable, ICMPv4SourceQuench, ICMPv4Redirect, ICMPv4TimeExceeded, ICMPv4Parameter:
		return true
	}
	return false
}

// Body is what follows the 8 bytes of the header: the data of an echo, the
// packet that an error quotes.
func (v ICMPv4View) Body() []byte { return v.b[ICMPLen:] }

// Quoted reads what an error quotes.
func (v ICMPv4View) Quoted() (Quote, Reason) { return ParseQuote4(v.Body()) }

// ICMPv4 holds the values of an ICMPv4 message to send: ID, Seq and payload, as
// an echo has them, or an error with its quotation. An error type needs a
// quotation and takes no payload; other types take none.
type ICMPv4 struct {
	Type, Code uint8
	ID, Seq    uint16 // of messages that are not errors
	MTU        uint16 // of fragmentation needed
	HasQuote   bool
	Quote      Quote
}

// check reports whether the message can be sent with length bytes of payload.
func (h *ICMPv4) check(length int) error {
	switch {
	case isICMPv4Error(h.Type) != h.HasQuote || h.HasQuote && length > 0:
		return ErrLayers
	case h.HasQuote:
		return h.Quote.check(false)
	}
	return nil
}

// len is the length of header and quotation in bytes.
func (h *ICMPv4) len() int {
	if h.HasQuote {
		return ICMPLen + h.Quote.len()
	}
	return ICMPLen
}

// encode writes header and quotation. sum is that of the payload.
func (h *ICMPv4) encode(b []byte, sum Sum) {
	rest := uint32(h.ID)<<16 | uint32(h.Seq)
	if h.HasQuote {
		rest = 0
		if h.Type == ICMPv4Unreachable && h.Code == ICMPv4CodeFragNeeded {
			rest = uint32(h.MTU)
		}
		h.Quote.encode(b[ICMPLen:])
	}
	encodeICMP(b[:h.len()], h.Type, h.Code, rest, sum)
}

// encodeICMP writes the header before b's quotation, and the checksum.
func encodeICMP(b []byte, typ, code uint8, rest uint32, sum Sum) {
	b[offICMPType], b[offICMPCode] = typ, code
	binary.BigEndian.PutUint16(b[offICMPChecksum:], 0)
	binary.BigEndian.PutUint32(b[offICMPRest:], rest)
	binary.BigEndian.PutUint16(b[offICMPChecksum:], sum.Add(SumBytes(b)).Checksum())
}

// String gives "ICMP type=8 code=0 id=1 seq=1" or "ICMP type=3 code=4 mtu=1400
// about (…)".
func (h ICMPv4) String() string {
	s := fmt.Sprintf("ICMP type=%d code=%d", h.Type, h.Code)
	if !h.HasQuote {
		return s + fmt.Sprintf(" id=%d seq=%d", h.ID, h.Seq)
	}
	if h.MTU != 0 {
		s += fmt.Sprintf(" mtu=%d", h.MTU)
	}
	return s + " about (" + h.Quote.String() + ")"
}
