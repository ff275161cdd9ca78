package ppf

import (
	"errors"
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// Ingress is where a packet came in: what an extra packet has to be sent by, also
// when the packet itself is gone. It is a value that may be kept. The zero value
// but for Instance is for what no packet has led to.
type Ingress struct {
	Instance InstanceNumber
	dir      Dir
	// Of a frame of a wire; nil for an IP packet, whose way the kernel knows.
	wire Wire
	hook Hook
	eth  packet.Ethernet
	tags [packet.MaxVLANs]packet.VLANTag
	tagN int
	dst  netip.Addr
}

// Ingress is where the packet came in.
func (x *Exchange) Ingress() Ingress {
	i := Ingress{Instance: x.Instance.Number[ClientToServer], dir: x.Dir}
	if x.frame.Wire != nil {
		i.wire, i.hook, i.eth, i.dst = x.frame.Wire, x.Hook, x.LinkHeader(0), x.In.Dst()
		i.tags, i.tagN = x.tags()
	}
	return i
}

// errNoWire reports an extra packet for an inline pair, while no frame has told
// yet who is at which of its ports.
var errNoWire = errors.New("emit packet: no frame has come from the inline pair yet")

// errAnswers reports that an instance has sent as many extra packets in this
// second as it may.
var errAnswers = errors.New("emit packet: the instance's limit of a second is reached")

// Emit sends an extra packet while no packet is judged, for the instance of i and
// within its limit of answers; it never comes back to a hook of ours. It
// allocates. Only what OnTick has called may call it.
func (h *ModuleHost) Emit(i *Ingress, out *packet.Out) error {
	proxy := h.engine.proxy.find(i.Instance)
	switch {
	case proxy == nil:
		return errors.New("emit packet: the instance is gone")
	case i.wire == nil && proxy.source() == SourceInline:
		return errNoWire
	case !proxy.answers.allow(h.engine.env.Now()):
		return errAnswers
	}
	if err := h.engine.emitFrom(i, out, make([]byte, packet.MaxHeaders)); err != nil {
		return err
	}
	// The first worker ticks, and holds its lock.
	h.engine.workers[0].countersOf(proxy).flow[i.dir].Emitted++
	return nil
}

// emitFrom encodes an extra packet in buf, which has room for MaxHeaders, and sends
// it by the way that i tells.
func (e *Engine) emitFrom(i *Ingress, out *packet.Out, buf []byte) error {
	if i.wire != nil {
		return i.emitFrame(out, buf)
	}
	head, err := out.Encode(buf)
	if err != nil {
		return err
	}
	return e.emit(append(head, out.Payload()...))
}

// emitFrame sends an extra packet on the wire: onwards where it is for the host
// that the packet of i was for, else back.
func (i *Ingress) emitFrame(out *packet.Out, buf []byte) error {
	back := out.Has(packet.HasEthernet) && out.Ethernet().Dst == i.eth.Src
	if !out.Has(packet.HasEthernet) {
		eth := i.eth
		if back = outDst(out) != i.dst; back {
			eth.Src, eth.Dst = eth.Dst, eth.Src
		}
		out.SetEthernet(eth)
		if !out.Has(packet.HasVLAN) {
			out.SetVLANs(i.tags[:i.tagN]...)
		}
	}
	head, err := out.Encode(buf)
	if err != nil {
		return err
	}
	frame := append(head, out.Payload()...)
	if len(frame) < minFrame {
		frame = append(frame, zeros[len(frame):]...)
	}
	port := i.hook
	if !back {
		port = InlineClient + InlineServer - i.hook
	}
	return i.wire.Emit(frame, port)
}
