package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	arpHardwareLen      = 6
	arpProtocolLen      = 4
)

// ARPOp is the operation of an ARP packet.
type ARPOp uint16

// The operations of RFC 826. Others may be received, but not sent.
const (
	ARPRequest ARPOp = 1
	ARPReply   ARPOp = 2
)

// String gives "request", "reply" or "operation 3".
func (o ARPOp) String() string {
	switch o {
	case ARPRequest:
		return "request"
	case ARPReply:
		return "reply"
	}
	return fmt.Sprintf("operation %d", uint16(o))
}

// ARPView reads an ARP packet in place. Only ParseARP makes a usable one.
type ARPView struct {
	b        []byte
	trailing int
}

// ParseARP checks that b holds an ARP packet for IPv4 over Ethernet. The
// operation is for the caller to judge.
func ParseARP(b []byte) (ARPView, Reason) {
	if len(b) < ARPLen {
		return ARPView{}, ReasonARPTruncated
	}
	if binary.BigEndian.Uint16(b[offARPHardware:]) != arpHardwareEthernet || b[offARPHardwareLen] != arpHardwareLen {
		return ARPView{}, ReasonARPHardware
	}
	if EtherType(binary.BigEndian.Uint16(b[offARPProtocol:])) != EtherTypeIPv4 || b[offARPProtocolLen] != arpProtocolLen {
		return ARPView{}, ReasonARPProtocol
	}
	return ARPView{b[:ARPLen:ARPLen], len(b) - ARPLen}, ReasonNone
}

// Op is the operation.
func (v ARPView) Op() ARPOp { return ARPOp(binary.BigEndian.Uint16(v.b[offARPOp:])) }

// SenderMAC is the sender's link-layer address.
func (v ARPView) SenderMAC() MAC { return MAC(v.b[offARPSenderMAC:offARPSenderIP]) }

// SenderIP is the sender's IPv4 address.
func (v ARPView) SenderIP() netip.Addr {
	return netip.AddrFrom4([4]byte(v.b[offARPSenderIP:offARPTargetMAC]))
}

// TargetMAC is the target's link-layer address; in a request it means nothing.
func (v ARPView) TargetMAC() MAC { return MAC(v.b[offARPTargetMAC:offARPTargetIP]) }

// TargetIP is the target's IPv4 address.
func (v ARPView) TargetIP() netip.Addr {
	return netip.AddrFrom4([4]byte(v.b[offARPTargetIP:ARPLen]))
}

// Trailing is how many bytes stood behind the packet: padding.
func (v ARPView) Trailing() int { return v.trailing }

// ARP holds the values of an ARP packet to send. The addresses must be IPv4.
type ARP struct {
	Op                   ARPOp // ARPRequest or ARPReply
	SenderMAC, TargetMAC MAC
	SenderIP, TargetIP   netip.Addr
}

func (h *ARP) valid() bool {
	return (h.Op == ARPRequest || h.Op == ARPReply) && h.SenderIP.Is4() && h.TargetIP.Is4()
}

func (h *ARP) encode(b []byte) {
	sender, target := h.SenderIP.As4(), h.TargetIP.As4()
	binary.BigEndian.PutUint16(b[offARPHardware:], arpHardwareEthernet)
	binary.BigEndian.PutUint16(b[offARPProtocol:], uint16(EtherTypeIPv4))
	b[offARPHardwareLen], b[offARPProtocolLen] = arpHardwareLen, arpProtocolLen
	binary.BigEndian.PutUint16(b[offARPOp:], uint16(h.Op))
	copy(b[offARPSenderMAC:], h.SenderMAC[:])
	copy(b[offARPSenderIP:], sender[:])
	copy(b[offARPTargetMAC:], h.TargetMAC[:])
	copy(b[offARPTargetIP:], target[:])
}

// String gives "ARP request 192.0.2.1 (02:00:00:00:00:01) > 192.0.2.2
// (00:00:00:00:00:00)", sender first.
func (h ARP) String() string {
	return fmt.Sprintf("ARP %v %v (%v) > %v (%v)", h.Op, h.SenderIP, h.SenderMAC, h.TargetIP, h.TargetMAC)
}
