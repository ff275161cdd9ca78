package ppftest

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
)

// End is one end of a TCP connection, as a plain host is one (RFC 9293): it sends
// its data within the other's window, again what is not acknowledged, and keeps
// what comes out of order. What it may send next is the caller's choice. It does
// no congestion control. It reads the packets that it gets, so whatever a chain
// makes of sequence numbers, both ends see one connection.
type End struct {
	Local, Remote netip.AddrPort
	Opens         bool   // it is the client
	Data          []byte // to send
	Received      []byte // in order
	MSS           uint16
	// Window is how many bytes it takes at a time; the field that is sent is Window
	// shifted right by Scale.
	Window uint32
	Scale  uint8 // 0: not offered
	SACK   bool
	Stamps bool // timestamps
	ISS    packet.Seq

	t             testing.TB
	now           func() int64
	open          bool // the other's SYN came
	acked         bool // our SYN is acknowledged
	next, una     int  // in Data, with the FIN as a last byte
	irs           packet.Seq
	peerMSS       uint16
	peerWindow    uint32
	peerScale     uint8
	scaled, sacks bool // agreed
	stamps        bool
	recent        uint32 // the other's latest timestamp
	early         map[int]byte
	finAt         int // where the other's data ends, -1: not known yet
	finTaken      bool
}

// NewEnd makes an end; now tells the time in nanoseconds.
func NewEnd(t testing.TB, local, remote netip.AddrPort, now func() int64) *End {
	return &End{Local: local, Remote: remote, MSS: 1460, Window: 65535, t: t, now: now, early: map[int]byte{}, finAt: -1}
}

// segment builds a packet with what every segment of the connection has.
func (e *End) segment(flags packet.TCPFlags, seq packet.Seq, options packet.TCPOptions, payload []byte) []byte {
	h := packet.TCP{Seq: seq, Flags: flags, Options: options, Window: uint16(min(e.Window>>e.shift(flags), 0xffff))}
	if flags&packet.ACK != 0 {
		h.Ack = e.rcvNxt()
	}
	if e.stamps || e.Stamps && !e.open {
		h.Options.Has |= packet.OptTimestamps
		h.Options.TSVal, h.Options.TSEcr = uint32(e.now()/1e6), e.recent
		if flags&packet.ACK == 0 {
			h.Options.TSEcr = 0
		}
	}
	return Segment{Src: e.Local, Dst: e.Remote, TCP: h, Payload: payload, IP: packet.IPv4{DF: true}}.Bytes(e.t)
}

func (e *End) shift(flags packet.TCPFlags) uint8 {
	if e.scaled && flags&packet.SYN == 0 {
		return e.Scale
	}
	return 0
}

// rcvNxt is the next sequence number it expects.
func (e *End) rcvNxt() packet.Seq {
	n := uint32(1 + len(e.Received))
	if e.finTaken {
		n++
	}
	return e.irs.Add(n)
}

// SYN is the segment that opens the connection, or with the other's SYN known
// answers it.
func (e *End) SYN() []byte {
	flags := packet.SYN
	o := packet.TCPOptions{Has: packet.OptMSS, MSS: e.MSS}
	if e.open {
		flags |= packet.ACK
	}
	if e.Scale > 0 && (!e.open || e.scaled) {
		o.Has, o.WScale = o.Has|packet.OptWScale, e.Scale
	}
	if e.SACK && (!e.open || e.sacks) {
		o.Has |= packet.OptSACKPermitted
	}
	return e.segment(flags, e.ISS, o, nil)
}

// ACK acknowledges what came so far.
func (e *End) ACK() []byte { return e.segment(packet.ACK, e.seqAt(e.next), e.sackBlocks(), nil) }

// sackBlocks tells what came out of order, the lowest first.
func (e *End) sackBlocks() (o packet.TCPOptions) {
	if !e.sacks || len(e.early) == 0 {
		return o
	}
	var at []int
	for n := range e.early {
		at = append(at, n)
	}
	slices.Sort(at)
	const most = 3 // beside timestamps
	for i := 0; i < len(at) && o.NumSACK < most; {
		j := i + 1
		for j < len(at) && at[j] == at[j-1]+1 {
			j++
		}
		o.SACK[o.NumSACK] = packet.SACKBlock{Left: e.irs.Add(uint32(1 + at[i])), Right: e.irs.Add(uint32(2 + at[j-1]))}
		o.NumSACK++
		i = j
	}
	o.Has |= packet.OptSACK
	return o
}

// seqAt is the sequence number of a byte of Data.
func (e *End) seqAt(n int) packet.Seq { return e.ISS.Add(uint32(1 + n)) }

// Transmit gives the next new segment of at most limit bytes, nil where window
// or data is used up. The last carries the FIN, or it comes alone.
func (e *End) Transmit(limit int) []byte {
	if !e.open || !e.acked || e.next > len(e.Data) {
		return nil
	}
	room := int(e.peerWindow) - (e.next - e.una)
	if room <= 0 {
		return nil
	}
	return e.at(e.next, min(limit, room))
}

// at builds the segment with the data from n on, and moves next behind it.
func (e *End) at(n, limit int) []byte {
	overhead := 0
	if e.stamps {
		overhead = 12
	}
	size := max(1, min(limit, int(e.peerMSS)-overhead, len(e.Data)-n))
	flags := packet.ACK
	if n+size >= len(e.Data) {
		size = len(e.Data) - n
		flags |= packet.PSH
		if size < limit || n == len(e.Data) {
			flags |= packet.FIN
		}
	}
	end := n + size
	if flags&packet.FIN != 0 {
		end++
	}
	e.next = max(e.next, end)
	return e.segment(flags, e.seqAt(n), packet.TCPOptions{}, e.Data[n:n+size])
}

// Retransmit gives the oldest segment that is not acknowledged, nil for none.
func (e *End) Retransmit(limit int) []byte {
	switch {
	case !e.acked && (e.open || e.Opens):
		return e.SYN()
	case !e.acked:
		return nil
	case e.una < e.next:
		return e.at(e.una, max(1, min(limit, e.next-e.una)))
	}
	return nil
}

// Probe asks for a new window where there is none.
func (e *End) Probe() []byte {
	return e.segment(packet.ACK, e.seqAt(e.una).Add(^uint32(0)), packet.TCPOptions{}, nil)
}

// Done says whether both directions have ended and are acknowledged.
func (e *End) Done() bool { return e.finTaken && e.una == len(e.Data)+1 }

// Receive takes a packet and gives what is to be answered, nil for nothing.
func (e *End) Receive(pkt []byte) []byte {
	var p packet.Packet
	if p.Parse(packet.LinkRawIP, pkt) != packet.ReasonNone || !p.Has(packet.HasTCP) {
		return nil
	}
	t := p.TCP()
	var o packet.TCPOptions
	if t.ParseOptions(&o) != packet.ReasonNone {
		return nil
	}
	if t.Flags()&packet.RST != 0 {
		return nil
	}
	if t.Flags()&packet.SYN != 0 {
		return e.synchronize(t, &o)
	}
	if !e.open {
		return nil
	}
	if o.Has&packet.OptTimestamps != 0 && !t.Seq().After(e.rcvNxt()) {
		e.recent = o.TSVal
	}
	e.acknowledge(t)
	return e.take(t)
}

// synchronize takes the other's SYN.
func (e *End) synchronize(t packet.TCPView, o *packet.TCPOptions) []byte {
	if !e.open {
		e.open, e.irs, e.peerMSS = true, t.Seq(), 536
		if o.Has&packet.OptMSS != 0 {
			e.peerMSS = o.MSS
		}
		if o.Has&packet.OptWScale != 0 && e.Scale > 0 {
			e.scaled, e.peerScale = true, o.WScale
		}
		e.sacks = e.SACK && o.Has&packet.OptSACKPermitted != 0
		e.stamps = e.Stamps && o.Has&packet.OptTimestamps != 0
		e.peerWindow = uint32(t.Window())
	}
	if e.stamps {
		e.recent = max(e.recent, o.TSVal)
	}
	if t.Flags()&packet.ACK == 0 {
		return e.SYN()
	}
	if t.Ack() == e.ISS.Add(1) {
		e.acked = true
	}
	return e.ACK()
}

func (e *End) acknowledge(t packet.TCPView) {
	if t.Flags()&packet.ACK == 0 {
		return
	}
	n := int(t.Ack().Diff(e.seqAt(0)))
	if n < 0 || n > e.next {
		return
	}
	e.acked = true
	if n >= e.una {
		e.una = n
		e.peerWindow = uint32(t.Window())
		if e.scaled {
			e.peerWindow <<= e.peerScale
		}
	}
}

// take keeps a segment's data and acknowledges it.
func (e *End) take(t packet.TCPView) []byte {
	at := int(t.Seq().Diff(e.irs.Add(1)))
	payload := t.Payload()
	for i, b := range payload {
		if n := at + i; n >= len(e.Received) && n < len(e.Received)+int(e.Window) {
			e.early[n] = b
		}
	}
	fin := t.Flags()&packet.FIN != 0
	if fin {
		e.finAt = at + len(payload)
	}
	for {
		b, ok := e.early[len(e.Received)]
		if !ok {
			break
		}
		delete(e.early, len(e.Received))
		e.Received = append(e.Received, b)
	}
	if e.finAt >= 0 && len(e.Received) == e.finAt {
		e.finTaken = true
	}
	if len(payload) == 0 && !fin && at >= len(e.Received) {
		return nil // a plain ACK; an old number asks for an answer
	}
	if len(payload) == 0 && !fin && t.Seq() == e.rcvNxt() {
		return nil
	}
	return e.ACK()
}
