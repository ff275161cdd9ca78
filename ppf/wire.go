package ppf

import (
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// minFrame is the length of the shortest Ethernet frame, without its checksum
// (IEEE 802.3 §4.4.2).
const minFrame = 60

var zeros [minFrame]byte

// Wire is an inline pair, from which a frame came. Its methods are safe for
// concurrent use.
type Wire interface {
	// Number tells the pair from others; it is never 0 and stays the same while
	// the program runs, also when an interface goes and comes back.
	Number() uint8
	// Emit sends an extra frame out of one of the pair's ports: InlineClient
	// towards the client, InlineServer towards the server.
	Emit(frame []byte, port Hook) error
}

// Padding is what has to follow Head and Body, or where Head is nil Data, so that
// the frame has the length of the shortest one: zeros, never received bytes (RFC
// 894; CVE-2003-0001).
func (f *Frame) Padding() []byte {
	n := len(f.Head) + len(f.Body)
	if f.Head == nil {
		n = len(f.Data)
	}
	if f.Link != packet.LinkEthernet || n >= minFrame {
		return nil
	}
	return zeros[n:]
}

// place adds to a key where the packet was taken: the same addresses on two wires
// or in two VLANs are not the same hosts.
func (x *Exchange) place(k *Key) {
	if x.frame.Wire != nil {
		k.Wire = x.frame.Wire.Number()
	}
	k.VLAN = x.VLAN()
}

// VLAN has the identifiers of the received frame's tags, the inner one in the
// lower 12 bits; 0 without tags.
func (x *Exchange) VLAN() (id uint32) {
	for _, tag := range x.In.VLANs() {
		id = id<<vlanBits | uint32(tag.VID())
	}
	return id
}

// vlanBits is the length of a VLAN identifier.
const vlanBits = 12

// LinkHeader gives the Ethernet header to send for the received frame: the same
// addresses, and t for a payload that has no typed value.
func (x *Exchange) LinkHeader(t packet.EtherType) packet.Ethernet {
	eth := x.In.Ethernet()
	return packet.Ethernet{Dst: eth.Dst(), Src: eth.Src(), Type: t}
}

// setLink sets the Ethernet header and tags of out from those of the received
// frame, unless a function has set a header: tags are its business then.
func (x *Exchange) setLink(out *packet.Out) {
	if x.frame.Link != packet.LinkEthernet || out.Has(packet.HasEthernet) {
		return
	}
	out.SetEthernet(x.LinkHeader(0))
	if !out.Has(packet.HasVLAN) {
		x.CopyVLANs(out)
	}
}

// CopyVLANs sets the tags of the received frame.
func (x *Exchange) CopyVLANs(out *packet.Out) {
	tags, n := x.tags()
	out.SetVLANs(tags[:n]...)
}

func (x *Exchange) tags() (tags [packet.MaxVLANs]packet.VLANTag, n int) {
	for i, in := range x.In.VLANs() {
		tags[i] = packet.VLANTag{TPID: in.TPID(), PCP: in.PCP(), DEI: in.DEI(), VID: in.VID()}
	}
	return tags, len(x.In.VLANs())
}

// outDst is the IP destination of a packet that is being built.
func outDst(out *packet.Out) netip.Addr {
	switch {
	case out.Has(packet.HasIPv4):
		return out.IPv4().Dst
	case out.Has(packet.HasIPv6):
		return out.IPv6().Dst
	}
	return netip.Addr{}
}
