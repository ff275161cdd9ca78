package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets of the TCP header (RFC 9293 §3.1).
const (
	offTCPSrcPort  = 0
	offTCPDstPort  = 2
	offTCPSeq      = 4
	offTCPAck      = 8
	offTCPOffset   = 12
	offTCPFlags    = 13
	offTCPWindow   = 14
	offTCPChecksum = 16
	offTCPUrgent   = 18

	// TCPMinLen is the length of a TCP header without options in bytes.
	TCPMinLen = 20
	// TCPMaxOptions is how many bytes the options may take.
	TCPMaxOptions = 40
)

// TCPFlags are the control bits of a segment.
type TCPFlags uint8

// The control bits (RFC 9293 §3.1).
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// String gives "SYN|ACK", or "none".
func (f TCPFlags) String() string { return setString(uint64(f), flagNames[:]) }

// TCPView reads a TCP segment in place (RFC 9293 §3.1). Only ParseTCP makes a
// usable one.
type TCPView struct{ b []byte }

// ParseTCP checks that the header lies inside the segment, which the caller
// has cut at the length the IP header declares.
func ParseTCP(seg []byte) (TCPView, Reason) {
	if len(seg) < TCPMinLen {
		return TCPView{}, ReasonTCPTruncated
	}
	if n := int(seg[offTCPOffset]>>4) * 4; n < TCPMinLen || n > len(seg) {
		return TCPView{}, ReasonTCPDataOffset
	}
	return TCPView{seg[:len(seg):len(seg)]}, ReasonNone
}

// SrcPort is the source port.
func (v TCPView) SrcPort() uint16 { return binary.BigEndian.Uint16(v.b[offTCPSrcPort:]) }

// DstPort is the destination port.
func (v TCPView) DstPort() uint16 { return binary.BigEndian.Uint16(v.b[offTCPDstPort:]) }

// Seq is the sequence number.
func (v TCPView) Seq() Seq { return Seq(binary.BigEndian.Uint32(v.b[offTCPSeq:])) }

// Ack is the acknowledgement number; it means nothing without ACK.
func (v TCPView) Ack() Seq { return Seq(binary.BigEndian.Uint32(v.b[offTCPAck:])) }

// HeaderLen is the header's length in bytes, 20 to 60.
func (v TCPView) HeaderLen() int { return int(v.b[offTCPOffset]>>4) * 4 }

// Reserved are the four bits between data offset and flags; the lowest is AE.
func (v TCPView) Reserved() uint8 { return v.b[offTCPOffset] & 0x0f }

// Flags are the control bits.
func (v TCPView) Flags() TCPFlags { return TCPFlags(v.b[offTCPFlags]) }

// Window is the window field, unscaled.
func (v TCPView) Window() uint16 { return binary.BigEndian.Uint16(v.b[offTCPWindow:]) }

// Checksum is the checksum field.
func (v TCPView) Checksum() uint16 { return binary.BigEndian.Uint16(v.b[offTCPChecksum:]) }

// Urgent is the urgent pointer.
func (v TCPView) Urgent() uint16 { return binary.BigEndian.Uint16(v.b[offTCPUrgent:]) }

// Options are the bytes of the options, 0 to 40.
func (v TCPView) Options() []byte { return v.b[TCPMinLen:v.HeaderLen()] }

// Payload is what follows the header.
func (v TCPView) Payload() []byte { return v.b[v.HeaderLen():] }

// TCP holds the values of a TCP header to send. Reserved bits and the urgent
// pointer have no field, and URG without one means nothing: it is refused.
type TCP struct {
	SrcPort, DstPort uint16
	Seq, Ack         Seq
	Flags            TCPFlags
	Window           uint16 // unscaled
	// OptionLimit is how many bytes the options should take at most, 1 to 40; 0
	// means 40. With the received header's length here, a full segment stays
	// within the path MTU: where the aligned layout is longer than the limit,
	// options are packed, which is never longer than what was received.
	OptionLimit int
	// OptionLen is how many bytes the options take, a multiple of 4 up to 40, for a
	// header whose length is signed; 0: as many as they need. Where they need
	// more the header cannot be sent.
	OptionLen int
	Options   TCPOptions
}

// check reports whether the header can be sent, and how its options are laid
// out.
func (h *TCP) check() (l optionLayout, err error) {
	if h.Flags&URG != 0 {
		return optionLayout{}, ErrValue
	}
	if h.OptionLen == 0 {
		return h.Options.layout(h.OptionLimit)
	}
	if l, err = h.Options.layout(h.OptionLen); err == nil && (l.n > h.OptionLen || h.OptionLen > TCPMaxOptions || h.OptionLen%4 != 0) {
		err = ErrTooLong
	}
	l.n = h.OptionLen
	return l, err
}

// encode writes the header. sum is that of payload and pseudo header.
func (h *TCP) encode(b []byte, l optionLayout, sum Sum) {
	b = b[:TCPMinLen+l.n]
	binary.BigEndian.PutUint16(b[offTCPSrcPort:], h.SrcPort)
	binary.BigEndian.PutUint16(b[offTCPDstPort:], h.DstPort)
	binary.BigEndian.PutUint32(b[offTCPSeq:], uint32(h.Seq))
	binary.BigEndian.PutUint32(b[offTCPAck:], uint32(h.Ack))
	b[offTCPOffset] = uint8(len(b)/4) << 4
	b[offTCPFlags] = uint8(h.Flags)
	binary.BigEndian.PutUint16(b[offTCPWindow:], h.Window)
	binary.BigEndian.PutUint16(b[offTCPChecksum:], 0)
	binary.BigEndian.PutUint16(b[offTCPUrgent:], 0)
	if l.n > 0 {
		h.Options.encode(b[TCPMinLen:], l.packed)
	}
	binary.BigEndian.PutUint16(b[offTCPChecksum:], sum.Add(SumBytes(b)).Checksum())
}

// String gives "TCP 40000 > 80 SYN seq=1 ack=0 win=64240 options=[mss 1460]".
func (h TCP) String() string {
	s := fmt.Sprintf("TCP %d > %d %v seq=%d ack=%d win=%d", h.SrcPort, h.DstPort, h.Flags, h.Seq, h.Ack, h.Window)
	if h.Options.Has != 0 {
		s += " options=[" + h.Options.String() + "]"
	}
	return s
}
