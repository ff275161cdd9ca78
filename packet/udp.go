package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets of the UDP header (RFC 768).
const (
	offUDPSrcPort  = 0
	offUDPDstPort  = 2
	offUDPLength   = 4
	offUDPChecksum = 6

	// UDPLen is the length of a UDP header in bytes.
	UDPLen = 8
	// udpMaxLen is the greatest length of a datagram in bytes.
	udpMaxLen = 65535
)

// UDPView reads a datagram in place. Only ParseUDP makes a usable one.
type UDPView struct{ b []byte }

// ParseUDP checks that the UDP length is what the caller cut b at: the length
// that the IP header leaves.
func ParseUDP(b []byte) (UDPView, Reason) {
	if len(b) < UDPLen {
		return UDPView{}, ReasonUDPTruncated
	}
	if int(binary.BigEndian.Uint16(b[offUDPLength:])) != len(b) {
		return UDPView{}, ReasonUDPLength
	}
	return UDPView{b[:len(b):len(b)]}, ReasonNone
}

// SrcPort is the source port.
func (v UDPView) SrcPort() uint16 { return binary.BigEndian.Uint16(v.b[offUDPSrcPort:]) }

// DstPort is the destination port.
func (v UDPView) DstPort() uint16 { return binary.BigEndian.Uint16(v.b[offUDPDstPort:]) }

// Length is the datagram's length in bytes with its header.
func (v UDPView) Length() int { return len(v.b) }

// Checksum is the checksum field; 0 means none on IPv4.
func (v UDPView) Checksum() uint16 { return binary.BigEndian.Uint16(v.b[offUDPChecksum:]) }

// Payload is what follows the header.
func (v UDPView) Payload() []byte { return v.b[UDPLen:] }

// UDP holds the values of a UDP header to send. It always goes out with a
// checksum.
type UDP struct{ SrcPort, DstPort uint16 }

// encode writes the header of a datagram with length bytes of payload. sum is
// that of payload and pseudo header.
func (h *UDP) encode(b []byte, length int, sum Sum) {
	b = b[:UDPLen]
	binary.BigEndian.PutUint16(b[offUDPSrcPort:], h.SrcPort)
	binary.BigEndian.PutUint16(b[offUDPDstPort:], h.DstPort)
	binary.BigEndian.PutUint16(b[offUDPLength:], uint16(UDPLen+length))
	binary.BigEndian.PutUint16(b[offUDPChecksum:], 0)
	check := sum.Add(SumBytes(b)).Checksum()
	if check == 0 {
		check = 0xffff // RFC 768: zero means no checksum
	}
	binary.BigEndian.PutUint16(b[offUDPChecksum:], check)
}

// String gives "UDP 40000 > 53".
func (h UDP) String() string { return fmt.Sprintf("UDP %d > %d", h.SrcPort, h.DstPort) }
