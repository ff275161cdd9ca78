package ppf

import "github.com/promethos/promethos/packet"

// The least lengths of the packets that a packet is cut into, where the way out
// takes more: what every host takes (RFC 791 §3.1, RFC 8200 §5). Fragments that
// came shorter need not go on so.
const (
	leastPiece4 = 576
	leastPiece6 = 1280
)

// fit cuts what is to be sent where it is longer than the way out takes. What came
// whole and must not be cut has a reason, and its sender is told; what came in
// fragments is cut again into such as came.
func (w *worker) fit() Reason {
	x := w.x
	f := x.frame
	w.pieces = w.pieces[:0]
	if f.MTU == 0 || f.GSO || x.unchanged && !x.merged {
		return packet.ReasonNone
	}
	link, ok := w.shape()
	total := len(f.Head) + len(f.Body) - link
	if !ok || total <= f.MTU {
		return packet.ReasonNone
	}
	v6 := w.piece.Has(packet.HasIPv6)
	limit := f.MTU
	if whole := v6 || w.piece.IPv4().DF; whole && (!x.merged || x.longest > f.MTU) {
		w.tellTooBig()
		return ReasonTooBig
	}
	if x.merged {
		least := leastPiece4
		if v6 {
			least = leastPiece6
		}
		limit = min(limit, max(x.longest, least))
	}
	return w.cut(link, limit)
}

// shape sets w.piece to the link and IP header of what is to be sent, and tells the
// length of the former; ok is false where that is no IP packet.
func (w *worker) shape() (link int, ok bool) {
	x := w.x
	p := &w.piece
	p.Reset()
	if x.unchanged { // a whole packet that nobody built: its header is built here
		in := x.In
		if in.Has(packet.HasEthernet) {
			p.SetEthernet(x.LinkHeader(0))
			x.CopyVLANs(p)
		}
		if in.Has(packet.HasIPv4) {
			h := in.IPv4()
			p.SetIPv4(packet.IPv4{TOS: h.TOS(), TTL: h.TTL(), DF: h.DF(), Src: h.Src(), Dst: h.Dst()})
		} else {
			h := in.IPv6()
			p.SetIPv6(packet.IPv6{TrafficClass: h.TrafficClass(), FlowLabel: h.FlowLabel(), HopLimit: h.HopLimit(), Src: h.Src(), Dst: h.Dst()})
		}
	} else {
		if eth := x.Out.Ethernet(); eth != nil {
			p.SetEthernet(*eth)
			p.SetVLANs(x.Out.VLANs()...)
		}
		if h := x.Out.IPv4(); h != nil {
			p.SetIPv4(*h)
		} else if h := x.Out.IPv6(); h != nil {
			p.SetIPv6(*h)
		}
	}
	if p.Has(packet.HasEthernet) {
		link = packet.EthernetLen + len(p.VLANs())*packet.VLANLen
	}
	return link, p.Has(packet.HasIPv4 | packet.HasIPv6)
}

// cut makes fragments of at most limit bytes of what is to be sent, in w.pieces.
func (w *worker) cut(link, limit int) Reason {
	x, f, p := w.x, w.x.frame, &w.piece
	upper := x.In.Proto()
	header := packet.IPv4MinLen
	if p.Has(packet.HasIPv6) {
		header = packet.IPv6Len
	}
	if x.unchanged {
		w.scratch = append(w.scratch[:0], x.In.L4()...)
	} else {
		var at int
		upper, at = x.Out.UpperAt(f.Head)
		header = at - link
		w.scratch = append(append(w.scratch[:0], f.Head[at:]...), f.Body...)
	}
	room := limit - header
	id := x.Env().Uint32()
	if p.Has(packet.HasIPv6) {
		room -= packet.IPv6FragmentLen
		w.pieceHeaders(p.IPv6())
	}
	room &^= 7
	for at := 0; at < len(w.scratch); at += room {
		chunk := w.scratch[at:min(at+room, len(w.scratch))]
		more := at+len(chunk) < len(w.scratch)
		if h := p.IPv4(); h != nil {
			h.Protocol, h.ID, h.FragOffset, h.MF = upper, uint16(id), uint16(at), more
		} else {
			h := p.IPv6()
			h.NextHeader, h.HasFragment = upper, true
			h.Fragment = packet.IPv6Fragment{Offset: uint16(at), More: more, ID: id}
		}
		p.SetPayload(chunk)
		head, err := p.Encode(w.pieceHead[:])
		if err != nil {
			w.pieces = w.pieces[:0]
			return ReasonEncode
		}
		w.pieces = append(w.pieces, w.pad(append(head[:len(head):len(head)], chunk...)))
	}
	return packet.ReasonNone
}

// pieceHeaders lets every piece repeat the extension headers in front of a fragment
// header; destination options behind it are cut with the packet (RFC 8200 §4.5).
func (w *worker) pieceHeaders(h *packet.IPv6) {
	if h.Headers == nil || h.Headers.Destination.Len() == 0 {
		return
	}
	w.headers = *h.Headers
	w.headers.Destination = packet.IPv6Options{}
	h.Headers, h.CutOptions = &w.headers, true
}

// pad gives a frame on a wire the length of the shortest one.
func (w *worker) pad(frame []byte) []byte {
	if w.x.frame.Link == packet.LinkEthernet && len(frame) < minFrame {
		frame = append(frame, zeros[len(frame):]...)
	}
	return frame
}

// sendPieces sends what cut has made, in order, where the frame came from a wire;
// elsewhere the follower has it from the fate.
func (w *worker) sendPieces(c *FlowCounters) {
	x := w.x
	if len(w.pieces) == 0 {
		return
	}
	x.frame.Done = true
	c.Split += uint64(len(w.pieces) - 1)
	if x.frame.Wire == nil {
		return
	}
	for _, p := range w.pieces {
		// A piece that the kernel does not take is lost, as a frame is; the source
		// counts it.
		_ = x.frame.Wire.Emit(p, InlineClient+InlineServer-x.Hook)
	}
}

// tellTooBig tells the sender of a packet how long it may be (RFC 1191 §4, RFC
// 4443 §3.2), in the name of whom it is for: a wire has no address.
func (w *worker) tellTooBig() {
	x := w.x
	quote, ok := x.In.Quotation()
	if !ok || !x.Drops(ReasonTooBig) || x.In.Dst().IsMulticast() || !x.MayAnswer() {
		return
	}
	var out packet.Out
	const ttl = 64
	if src, dst := x.In.Dst(), x.In.Src(); x.In.Has(packet.HasIPv4) {
		out.SetIPv4(packet.IPv4{TTL: ttl, DF: true, Src: src, Dst: dst})
		out.SetICMPv4(packet.ICMPv4{
			Type: packet.ICMPv4Unreachable, Code: packet.ICMPv4CodeFragNeeded, MTU: uint16(x.frame.MTU), Quote: quote, HasQuote: true,
		})
	} else {
		out.SetIPv6(packet.IPv6{HopLimit: ttl, Src: src, Dst: dst})
		out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6PacketTooBig, MTU: uint32(x.frame.MTU), Quote: quote, HasQuote: true})
	}
	_ = x.Emit(&out) // an answer that cannot be sent is one that got lost
}
