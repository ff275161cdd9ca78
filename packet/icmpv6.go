package packet

import (
	"encoding/binary"
	"fmt"
)

// offICMP6MTU is where packet too big has the MTU (RFC 4443 §3.2).
const offICMP6MTU = 4

// ICMPv6 types (IANA "ICMPv6 Parameters"). Those below 128 are errors.
const (
	ICMPv6Unreachable           uint8 = 1
	ICMPv6PacketTooBig          uint8 = 2
	ICMPv6TimeExceeded          uint8 = 3
	ICMPv6Parameter             uint8 = 4
	ICMPv6Echo                  uint8 = 128
	ICMPv6EchoReply             uint8 = 129
	ICMPv6RouterSolicitation    uint8 = 133
	ICMPv6RouterAdvertisement   uint8 = 134
	ICMPv6NeighborSolicitation  uint8 = 135
	ICMPv6NeighborAdvertisement uint8 = 136
	ICMPv6Redirect              uint8 = 137

	icmp6FirstInformational uint8 = 128
)

// ICMPv6View reads an ICMPv6 message in place. Only ParseICMPv6 makes a usable
// one.
type ICMPv6View struct{ b []byte }

// ParseICMPv6 checks that b, cut at the length that the IPv6 header declares,
// holds a header.
func ParseICMPv6(b []byte) (ICMPv6View, Reason) {
	if len(b) < ICMPLen {
		return ICMPv6View{}, ReasonICMP6Truncated
	}
	return ICMPv6View{b[:len(b):len(b)]}, ReasonNone
}

// Type is the message type.
func (v ICMPv6View) Type() uint8 { return v.b[offICMPType] }

// Code is the message code.
func (v ICMPv6View) Code() uint8 { return v.b[offICMPCode] }

// Checksum is the checksum field.
func (v ICMPv6View) Checksum() uint16 { return binary.BigEndian.Uint16(v.b[offICMPChecksum:]) }

// ChecksumOK reports whether the checksum is right for a message between these
// addresses.
func (v ICMPv6View) ChecksumOK(src, dst [16]byte) bool {
	return PseudoSum6(src, dst, ProtoICMPv6, len(v.b)).Add(SumBytes(v.b)).Fold() == 0xffff
}

// IsEcho reports whether the message is an echo request or reply.
func (v ICMPv6View) IsEcho() bool { return v.Type() == ICMPv6Echo || v.Type() == ICMPv6EchoReply }

// EchoID is the identifier of an echo request or reply.
func (v ICMPv6View) EchoID() uint16 { return binary.BigEndian.Uint16(v.b[offICMPID:]) }

// EchoSeq is the sequence number of an echo request or reply.
func (v ICMPv6View) EchoSeq() uint16 { return binary.BigEndian.Uint16(v.b[offICMPSeq:]) }

// MTU is that of a packet-too-big message.
func (v ICMPv6View) MTU() uint32 { return binary.BigEndian.Uint32(v.b[offICMP6MTU:]) }

// IsError reports whether the message quotes a packet (RFC 4443 §2.1).
func (v ICMPv6View) IsError() bool { return v.Type() < icmp6FirstInformational }

// Body is what follows the 8 bytes of the header: the data of an echo, the
// packet that an error quotes.
func (v ICMPv6View) Body() []byte { return v.b[ICMPLen:] }

// Quoted reads what an error quotes.
func (v ICMPv6View) Quoted() (Quote, Reason) { return ParseQuote6(v.Body()) }

// ICMPv6 holds the values of an ICMPv6 message to send: ID, Seq and payload, as
// an echo has them, an error with its quotation, or a message of neighbour
// discovery with its values. An error type needs a quotation and takes no
// payload; other types take none. The same holds for the types with values in ND.
type ICMPv6 struct {
	Type, Code uint8
	ID, Seq    uint16 // of messages that are not errors
	HasQuote   bool
	MTU        uint32 // of packet too big
	Quote      Quote
	HasND      bool
	ND         ND
}

// check reports whether the message can be sent with length bytes of payload.
func (h *ICMPv6) check(length int) error {
	switch {
	case h.Type < icmp6FirstInformational != h.HasQuote || isND(h.Type) != h.HasND || (h.HasQuote || h.HasND) && length > 0:
		return ErrLayers
	case h.HasND:
		return h.ND.check(h.Type)
	case h.HasQuote:
		return h.Quote.check(true)
	}
	return nil
}

// len is the length of header and quotation, or of the whole message of
// neighbour discovery, in bytes.
func (h *ICMPv6) len() int {
	switch {
	case h.HasQuote:
		return ICMPLen + h.Quote.len()
	case h.HasND:
		return h.ND.len(h.Type)
	}
	return ICMPLen
}

// encode writes header and quotation. sum is that of payload and pseudo header.
func (h *ICMPv6) encode(b []byte, sum Sum) {
	rest := uint32(h.ID)<<16 | uint32(h.Seq)
	if h.HasQuote {
		rest = 0
		if h.Type == ICMPv6PacketTooBig {
			rest = h.MTU
		}
		h.Quote.encode(b[ICMPLen:])
	}
	if h.HasND {
		rest = h.ND.encode(b[:h.len()], h.Type)
	}
	encodeICMP(b[:h.len()], h.Type, h.Code, rest, sum)
}

// String gives "ICMPv6 type=128 code=0 id=1 seq=1" or "ICMPv6 type=2 code=0
// mtu=1400 about (…)".
func (h ICMPv6) String() string {
	s := fmt.Sprintf("ICMPv6 type=%d code=%d", h.Type, h.Code)
	if h.HasND {
		return s + " " + h.ND.String()
	}
	if !h.HasQuote {
		return s + fmt.Sprintf(" id=%d seq=%d", h.ID, h.Seq)
	}
	if h.MTU != 0 {
		s += fmt.Sprintf(" mtu=%d", h.MTU)
	}
	return s + " about (" + h.Quote.String() + ")"
}
