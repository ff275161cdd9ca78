package ppf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/promethos/promethos/packet"
)

// Key names one flow of one connection as its packets show it when they are
// received. It has no pointers and is comparable.
type Key struct {
	Src, Dst         [16]byte // IPv4 in the last four bytes
	SrcPort, DstPort uint16
	Protocol         packet.Protocol
	V6               bool
	// Group is the hook at which the instance's client-to-server flow is taken:
	// instances at different hooks see the same packet one after the other and
	// each track it as its own connection. On the legs of a transparent stream
	// chain it says whether the flow's packets arrive or leave.
	Group Hook
	// Wire is the inline pair's number, 0 elsewhere; VLAN has the identifiers of
	// the packet's tags, the inner one in the lower 12 bits.
	Wire uint8
	VLAN uint32
}

// keyBytes is the length of a key's canonical form.
const keyBytes = 44

func (k *Key) bytes() (b [keyBytes]byte) {
	copy(b[0:], k.Src[:])
	copy(b[16:], k.Dst[:])
	binary.BigEndian.PutUint16(b[32:], k.SrcPort)
	binary.BigEndian.PutUint16(b[34:], k.DstPort)
	b[36], b[38], b[39] = byte(k.Protocol), byte(k.Group), k.Wire
	binary.BigEndian.PutUint32(b[40:], k.VLAN)
	if k.V6 {
		b[37] = 1
	}
	return b
}

// Reverse is the key that replies show as long as nobody exchanges addresses.
func (k Key) Reverse() Key {
	k.Src, k.Dst = k.Dst, k.Src
	k.SrcPort, k.DstPort = k.DstPort, k.SrcPort
	switch k.Group {
	case arriving:
		k.Group = leaving
	case leaving:
		k.Group = arriving
	}
	return k
}

// SrcAddr is the source address.
func (k *Key) SrcAddr() netip.Addr { return keyAddr(k.Src, k.V6) }

// DstAddr is the destination address.
func (k *Key) DstAddr() netip.Addr { return keyAddr(k.Dst, k.V6) }

// SetSrc replaces the source.
func (k *Key) SetSrc(a netip.Addr, port uint16) { k.Src, k.SrcPort = addrBytes(a), port }

// SetDst replaces the destination.
func (k *Key) SetDst(a netip.Addr, port uint16) { k.Dst, k.DstPort = addrBytes(a), port }

func keyAddr(b [16]byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[12:]))
}

func addrBytes(a netip.Addr) (b [16]byte) {
	if a.Is4() {
		v4 := a.As4()
		copy(b[12:], v4[:])
		return b
	}
	return a.As16()
}

// MakeKey builds a key from addresses of one family.
func MakeKey(group Hook, proto packet.Protocol, src, dst netip.AddrPort) Key {
	return Key{
		Src: addrBytes(src.Addr()), Dst: addrBytes(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(),
		Protocol: proto, V6: !src.Addr().Is4(), Group: group,
	}
}

// Layer2 holds what connection data keep of a link layer header.
type Layer2 struct{ Src, Dst packet.MAC }

// Layer3 holds what connection data keep of an IP header; addresses stand in
// the connection's keys.
type Layer3 struct {
	TTL, TOS uint8 // hop limit and traffic class in IPv6
	ID       uint16
	Length   uint16 // bytes after the IP header
}

// Layer4 holds what connection data keep of a TCP or UDP header; ports stand in
// the connection's keys.
type Layer4 struct {
	Seq, Ack packet.Seq
	Window   uint16
	Flags    packet.TCPFlags
}

// CopyMode says which layers Half.Copy takes over (thesis 4.1.4,
// copy_data_from_skb).
type CopyMode uint8

// The layers, to be combined.
const (
	CopyLayer2 CopyMode = 1 << iota
	CopyLayer3
	CopyLayer4

	CopyAll = CopyLayer2 | CopyLayer3 | CopyLayer4
)

// Half is the connection data of one side, client or server (thesis 4.1.1,
// connection_data). Received and Sent are kept apart because a packet that was
// received may not be sent on: the meaning of the numbers belongs to the module
// that tracks the protocol.
type Half struct {
	Received, Sent uint8
	L2             Layer2
	L3             Layer3
	L4             Layer4
	// Timestamp is when this side's last packet came, in nanoseconds since 1970.
	Timestamp      int64
	Packets, Bytes uint64 // received from this side; bytes on layer 3
}

// Copy takes over values of the layers in mode that p has; others keep theirs.
func (h *Half) Copy(p *packet.Packet, mode CopyMode) {
	if mode&CopyLayer2 != 0 && p.Has(packet.HasEthernet) {
		eth := p.Ethernet()
		h.L2 = Layer2{Src: eth.Src(), Dst: eth.Dst()}
	}
	if mode&CopyLayer3 != 0 {
		switch {
		case p.Has(packet.HasIPv4):
			ip := p.IPv4()
			h.L3 = Layer3{TTL: ip.TTL(), TOS: ip.TOS(), ID: ip.ID(), Length: uint16(len(ip.Payload()))}
		case p.Has(packet.HasIPv6):
			ip := p.IPv6()
			h.L3 = Layer3{TTL: ip.HopLimit(), TOS: ip.TrafficClass(), Length: uint16(len(ip.Payload()))}
		}
	}
	if mode&CopyLayer4 != 0 && p.Has(packet.HasTCP) {
		tcp := p.TCP()
		h.L4 = Layer4{Seq: tcp.Seq(), Ack: tcp.Ack(), Window: tcp.Window(), Flags: tcp.Flags()}
	}
}

// Conn is one connection: two linked halves and the keys of both flows. It
// lives in a slab and has no pointers, so that a large table costs the garbage
// collector nothing. While a user function runs, x.Conn is locked; whoever
// reaches a Conn otherwise gets it locked from the table.
type Conn struct {
	mu sync.Mutex
	// Half is indexed by side: Half[ClientToServer] is the client's, since that
	// is the flow whose packets come from there.
	Half [2]Half
	// Created is when the connection was made, in nanoseconds since 1970.
	Created int64
	// Translated says that a function exchanges the numbers of the connection: no
	// packet of it may be sent as it was received.
	Translated bool

	key      [2]Key // as received, per flow
	proxy    uint32 // ProxyInstance.id
	index    uint32 // own place in the slab
	next     uint32 // per-instance list, or free list
	prev     uint32
	live     bool
	opened   Dir  // the flow of the first packet
	hasExtra bool // Table.extra has keys of this connection
}

// Key gives the key of one flow as its packets are received.
func (c *Conn) Key(d Dir) Key { return c.key[d] }

// OpenedBy is the flow of the connection's first packet.
func (c *Conn) OpenedBy() Dir { return c.opened }

// goesOn says whether the client has sent more than once and the server has answered,
// which a client does not see whose address was made up.
func (c *Conn) goesOn() bool {
	return c != nil && c.Half[ClientToServer].Packets > 1 && c.Half[ServerToClient].Packets > 0
}

// String gives "client > server protocol", for messages.
func (c *Conn) String() string {
	k := &c.key[ClientToServer]
	return fmt.Sprintf("%s > %s %v",
		netip.AddrPortFrom(k.SrcAddr(), k.SrcPort), netip.AddrPortFrom(k.DstAddr(), k.DstPort), k.Protocol)
}
