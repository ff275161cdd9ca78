package packet

import (
	"encoding/binary"
	"fmt"
)

// Offsets of an ARP packet for IPv4 over Ethernet (RFC 826).
const (
	offARPHardware    = 0
	offARPProtocol    = 2
	offARPHardwareLen = 4
	offARPProtocolLen = 5
	offARPOp          = 6
	offARPSenderMAC   = 8
	offARPSenderIP    = 14
	offARPTargetMAC   = 18
	offARPTargetIP    = 24

	// ARPLen is the length of an ARP packet for IPv4 over Ethernet in bytes.
	ARPLen = 28

	arpHardwareEthernet = 1
)

// ARPOp is the operation of an ARP packet.
type ARPOp uint16

// The operations of RFC 826.
const (
	ARPRequest ARPOp = 1
	ARPReply   ARPOp = 2
)

// ARPView reads an ARP packet in place. Only ParseARP makes a usable one.
type ARPView struct{ b []byte }

// ParseARP checks that b holds an ARP packet for IPv4 over Ethernet.
func ParseARP(b []byte) (ARPView, Reason) {
	if len(b) < ARPLen {
		return ARPView{}, ReasonARPTruncated
	}
	if binary.BigEndian.Uint16(b[offARPHardware:]) != arpHardwareEthernet ||
		EtherType(binary.BigEndian.Uint16(b[offARPProtocol:])) != EtherTypeIPv4 ||
		b[offARPHardwareLen] != 6 || b[offARPProtocolLen] != 4 {
		return ARPView{}, ReasonARPFormat
	}
	return ARPView{b[:ARPLen:ARPLen]}, ReasonNone
}

// Op is the operation.
func (v ARPView) Op() ARPOp { return ARPOp(binary.BigEndian.Uint16(v.b[offARPOp:])) }

// SenderMAC is the sender's link-layer address.
func (v ARPView) SenderMAC() MAC { return MAC(v.b[offARPSenderMAC:offARPSenderIP]) }

// SenderIP is the sender's IPv4 address.
func (v ARPView) SenderIP() [4]byte { return [4]byte(v.b[offARPSenderIP:offARPTargetMAC]) }

// TargetMAC is the target's link-layer address, zero in a request.
func (v ARPView) TargetMAC() MAC { return MAC(v.b[offARPTargetMAC:offARPTargetIP]) }

// TargetIP is the target's IPv4 address.
func (v ARPView) TargetIP() [4]byte { return [4]byte(v.b[offARPTargetIP:ARPLen]) }

// ARP holds the values of an ARP packet to send.
type ARP struct {
	Op                   ARPOp
	SenderMAC, TargetMAC MAC
	SenderIP, TargetIP   [4]byte
}

func (h *ARP) encode(b []byte) {
	binary.BigEndian.PutUint16(b[offARPHardware:], arpHardwareEthernet)
	binary.BigEndian.PutUint16(b[offARPProtocol:], uint16(EtherTypeIPv4))
	b[offARPHardwareLen], b[offARPProtocolLen] = 6, 4
	binary.BigEndian.PutUint16(b[offARPOp:], uint16(h.Op))
	copy(b[offARPSenderMAC:], h.SenderMAC[:])
	copy(b[offARPSenderIP:], h.SenderIP[:])
	copy(b[offARPTargetMAC:], h.TargetMAC[:])
	copy(b[offARPTargetIP:], h.TargetIP[:])
}

// String gives "op 1 192.0.2.1 (02:…) > 192.0.2.2".
func (h ARP) String() string {
	return fmt.Sprintf("ARP op %d %v (%v) > %v (%v)", h.Op, h.SenderIP, h.SenderMAC, h.TargetIP, h.TargetMAC)
}
