package wasm

import (
	"encoding/binary"
	"net/netip"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The exchange area is where host and guest hand over packets: the guest owns
// it, at the address that promethos_area gives, and the host writes descriptors
// into it before promethos_process and reads verdicts after it. Numbers are
// little-endian. docs/abi.md has the same table for authors, and a test compares
// them.
const (
	areaCount      = 0 // u32: how many descriptors there are
	areaStride     = 4 // u32: bytes from one to the next
	areaDescriptor = 16
	descriptorSize = 512

	// What the host writes.
	dHandle     = 0   // u32: what promethos_configure was called with
	dDir        = 4   // u8: 0 client to server, 1 server to client
	dHook       = 5   // u8: 1 to 5 as in netfilter, from PREROUTING on
	dLayers     = 6   // u16: headers that were read
	dNow        = 8   // u64: ns since 1970
	dInDev      = 16  // u32
	dOutDev     = 20  // u32
	dVersion    = 24  // u8: 4, 6, or 0 without an IP header
	dProtocol   = 25  // u8
	dTTL        = 26  // u8: or hop limit
	dTOS        = 27  // u8: or traffic class
	dFlowLabel  = 28  // u32
	dID         = 32  // u16
	dFlags      = 34  // u8
	dTCPFlags   = 35  // u8
	dPayloadLen = 36  // u32
	dSrc        = 40  // 16 bytes; IPv4 in the last four
	dDst        = 56  // 16 bytes
	dSrcPort    = 72  // u16
	dDstPort    = 74  // u16
	dSeq        = 76  // u32
	dAck        = 80  // u32
	dWindow     = 84  // u16
	dICMPType   = 86  // u8
	dICMPCode   = 87  // u8
	dOptions    = 88  // u16: TCP options that are there
	dMSS        = 90  // u16
	dWScale     = 92  // u8
	dNumSACK    = 93  // u8
	dTSVal      = 96  // u32
	dTSEcr      = 100 // u32
	dSACK       = 104 // 4 times u32 left, u32 right
	dStorageLen = 136 // u32: bytes at dStorage

	// What the guest writes.
	dVerdict = 160 // u8
	dReason  = 164 // u32: what reason gave
	dValue   = 168 // u64: the value seen in the reason's field

	// What both write.
	dStorage = 192 // the connection's bytes
)

// Bits of dFlags.
const (
	flagDF = 1 << iota
	flagFragment
	flagConn      // the packet has a connection
	flagICMPError // of either version; addresses and ports are the error's own
	flagOut       // an earlier function of the chain has built the packet
)

// verdictUnset stands in dVerdict before the guest writes its own.
const verdictUnset = 0xff

var le = binary.LittleEndian

// putDescriptor writes what was received. b has descriptorSize bytes.
func putDescriptor(b []byte, handle uint32, x *ppf.Exchange, options *packet.TCPOptions) {
	_ = b[descriptorSize-1]
	in := x.In
	clear(b[dVersion:dVerdict])
	le.PutUint32(b[dHandle:], handle)
	b[dDir], b[dHook] = byte(x.Dir), byte(x.Hook)
	le.PutUint16(b[dLayers:], uint16(in.Layers()))
	le.PutUint64(b[dNow:], uint64(x.Now))
	le.PutUint32(b[dInDev:], uint32(x.InDev.Index))
	le.PutUint32(b[dOutDev:], uint32(x.OutDev.Index))
	le.PutUint32(b[dPayloadLen:], uint32(len(in.Payload())))
	flags := byte(0)
	switch {
	case in.Has(packet.HasIPv4):
		ip := in.IPv4()
		b[dVersion], b[dTTL], b[dTOS] = 4, ip.TTL(), ip.TOS()
		le.PutUint16(b[dID:], ip.ID())
		src, dst := ip.Src4(), ip.Dst4()
		copy(b[dSrc+12:], src[:])
		copy(b[dDst+12:], dst[:])
		if ip.DF() {
			flags |= flagDF
		}
	case in.Has(packet.HasIPv6):
		ip := in.IPv6()
		b[dVersion], b[dTTL], b[dTOS] = 6, ip.HopLimit(), ip.TrafficClass()
		le.PutUint32(b[dFlowLabel:], ip.FlowLabel())
		src, dst := ip.Src16(), ip.Dst16()
		copy(b[dSrc:], src[:])
		copy(b[dDst:], dst[:])
	}
	b[dProtocol] = byte(in.Proto())
	le.PutUint16(b[dSrcPort:], in.SrcPort())
	le.PutUint16(b[dDstPort:], in.DstPort())
	switch {
	case in.Has(packet.HasTCP):
		putTCP(b, in.TCP(), options)
	case in.Has(packet.HasICMPv4):
		icmp := in.ICMPv4()
		b[dICMPType], b[dICMPCode] = icmp.Type(), icmp.Code()
	case in.Has(packet.HasICMPv6):
		icmp := in.ICMPv6()
		b[dICMPType], b[dICMPCode] = icmp.Type(), icmp.Code()
	}
	if in.Has(packet.HasFragment) {
		flags |= flagFragment
	}
	if x.Conn != nil {
		flags |= flagConn
	}
	if in.IsICMPError() {
		flags |= flagICMPError
	}
	if x.Out.IsComplete() {
		flags |= flagOut
	}
	b[dFlags] = flags
	b[dVerdict] = verdictUnset
	le.PutUint32(b[dReason:], 0)
	le.PutUint64(b[dValue:], 0)
}

// putTCP writes a TCP header. Options that are malformed are left out: the
// rebuilding of the header refuses them.
func putTCP(b []byte, tcp packet.TCPView, options *packet.TCPOptions) {
	le.PutUint32(b[dSeq:], uint32(tcp.Seq()))
	le.PutUint32(b[dAck:], uint32(tcp.Ack()))
	le.PutUint16(b[dWindow:], tcp.Window())
	b[dTCPFlags] = byte(tcp.Flags())
	if tcp.HeaderLen() == packet.TCPMinLen || tcp.ParseOptions(options) != packet.ReasonNone {
		return
	}
	le.PutUint16(b[dOptions:], uint16(options.Has))
	if options.Has&packet.OptMSS != 0 {
		le.PutUint16(b[dMSS:], options.MSS)
	}
	if options.Has&packet.OptWScale != 0 {
		b[dWScale] = options.WScale
	}
	if options.Has&packet.OptTimestamps != 0 {
		le.PutUint32(b[dTSVal:], options.TSVal)
		le.PutUint32(b[dTSEcr:], options.TSEcr)
	}
	if options.Has&packet.OptSACK != 0 {
		b[dNumSACK] = options.NumSACK
		for i, block := range options.SACK[:options.NumSACK] {
			le.PutUint32(b[dSACK+8*i:], uint32(block.Left))
			le.PutUint32(b[dSACK+8*i+4:], uint32(block.Right))
		}
	}
}

// putAddress writes 16 bytes, with an IPv4 address in the last four.
func putAddress(b []byte, a netip.Addr) {
	if a = a.Unmap(); a.Is4() {
		v4 := a.As4()
		copy(b[12:16], v4[:])
		return
	}
	v6 := a.As16()
	copy(b[:16], v6[:])
}
