package tcp

import (
	"errors"
	"time"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var _ ppf.ConnExpirer = (*Tracker)(nil)

// awaiting is what a connection that a cookie opened needs until its server has
// answered. Its client believes it open and has been told a window of 0. Until then
// the numbers in offset of the server's side are those of the cookie themselves.
type awaiting struct {
	on    bool
	mss   uint8 // of the client, place in cookieMSSes
	scale uint8 // of the server, as the client was told
	tries uint8 // SYNs sent, but for the first
}

// firstWait is how long the server has for its answer before the SYN is sent again;
// each further time it is twice as long (RFC 6298 §2.1, §5.5).
const firstWait = time.Second

// toSYN makes of the segment that brought a cookie the SYN that its client sent: from
// here on it goes the way of one.
func (c *cookie) toSYN(x *ppf.Exchange, s *segment) {
	h := s.header
	window := uint32(h.Window)
	if c.serverScale != noScale {
		window <<= c.clientScale
	}
	h.Seq, h.Ack, h.Flags, h.Window = c.iss, 0, packet.SYN, uint16(min(window, 0xffff))
	h.OptionLimit = 0
	h.Options = packet.TCPOptions{Has: packet.OptMSS, MSS: cookieMSSes[c.mss], TSVal: h.Options.TSVal}
	if c.stamped {
		h.Options.Has |= packet.OptTimestamps
	}
	if c.sack {
		h.Options.Has |= packet.OptSACKPermitted
	}
	if c.ecn {
		h.Flags |= packet.ECE | packet.CWR
	}
	if c.serverScale != noScale {
		h.Options.Has, h.Options.WScale = h.Options.Has|packet.OptWScale, c.clientScale
	}
	x.Out.SetPayload(nil)
	s.ev, s.seq, s.ack, s.hasAck, s.length = evSyn, c.iss, 0, false, 0
}

// expect lets the connection of a cookie wait for its server.
func (h *History) expect(c *cookie) {
	h.opening = awaiting{on: true, mss: c.mss, scale: c.serverScale}
	h.offset[ppf.ServerToClient] = offset{seq: c.seq, stamp: c.stamp}
}

// waits handles what comes while the server has not answered; ok is false for what
// goes the way of every segment.
func (t *Tracker) waits(x *ppf.Exchange, h *History, s *segment, peer State) (v ppf.Verdict, stop bool) {
	switch {
	case x.Dir == ppf.ServerToClient && s.ev == evAck:
		// It is about an earlier connection: whoever opens one resets that (RFC 9293
		// §3.5.1), and the SYN is sent again.
		answer(x, ReasonState, packet.TCP{Seq: x.In.TCP().Ack(), Flags: packet.RST})
		return x.Refuse(ReasonState, uint64(s.header.Flags)), true
	case x.Dir == ppf.ServerToClient:
		return ppf.Verdict{}, false
	case s.ev == evRst:
		s.header.Flags, s.header.Ack, s.hasAck = packet.RST, 0, false // the server has no number yet
		return ppf.Verdict{}, false
	case s.ev == evSyn:
		return ppf.Verdict{Action: ppf.Stolen}, true // sent twice
	case s.ev == evAck && s.length == 0 && s.ack == 1:
		x.Conn.Half[x.Dir].Copy(x.In, ppf.CopyLayer4) // the window that the server will be told
		return ppf.Verdict{Action: ppf.Stolen}, true
	}
	return h.refuse(x, ReasonCookieEarly, uint64(s.length), s, peer), true
}

// answered handles what the server says after it was judged: of its SYN-ACKs it
// learns, and where a cookie opened the connection its answer to the SYN joins both
// sides.
func (t *Tracker) answered(x *ppf.Exchange, h *History, s *segment) (ppf.Verdict, bool) {
	client, server := &h.side[ppf.ClientToServer], &h.side[ppf.ServerToClient]
	if !h.opening.on {
		if s.ev == evSynAck {
			t.store.manners.learn(x, client, s)
		}
		return ppf.Verdict{}, false
	}
	told := h.offset[ppf.ServerToClient]
	switch s.ev {
	case evRst:
		// The client has to get it with the number that it waits for.
		h.opening.on = false
		s.seq, s.header.Options = 1, packet.TCPOptions{}
		return ppf.Verdict{}, false
	case evSynAck:
	default:
		return ppf.Verdict{}, false
	}
	before := t.store.manners.learn(x, client, s)
	o := &s.header.Options
	h.opening.on = false
	if client.offers&offerStamps&^server.offers != 0 || client.scales && (!server.scales || server.scale != h.opening.scale) ||
		o.Has&packet.OptMSS != 0 && o.MSS < before.mss {
		return t.changed(x, h, s, told), true
	}
	h.offset[ppf.ServerToClient] = offset{seq: told.seq - s.seq}
	if client.offers&offerStamps != 0 {
		h.offset[ppf.ServerToClient].stamp = told.stamp - o.TSVal
	}
	x.Remember(h.note())
	t.acknowledge(x, h, s)
	// The client gets the window, and the SYN-ACK is what brings it.
	s.header.Flags, s.header.Window = packet.ACK, s.header.Window>>h.shift(server, client)
	s.header.Options = packet.TCPOptions{Has: o.Has & packet.OptTimestamps, TSVal: o.TSVal, TSEcr: o.TSEcr}
	s.seq++
	return ppf.Verdict{}, false
}

// acknowledge tells the server in the client's place that its SYN-ACK has come.
func (t *Tracker) acknowledge(x *ppf.Exchange, h *History, s *segment) {
	client, half := &h.side[ppf.ClientToServer], &x.Conn.Half[ppf.ClientToServer]
	ack := segment{ev: evAck, seq: client.end, ack: s.seq.Add(1), hasAck: true}
	ack.header = &packet.TCP{Ack: ack.ack, Flags: packet.ACK, Window: half.L4.Window}
	if client.offers&offerStamps != 0 {
		ack.header.Options = packet.TCPOptions{Has: packet.OptTimestamps, TSVal: client.stamps.latest, TSEcr: s.header.Options.TSVal}
	}
	h.commit(ppf.ClientToServer, &ack, SynReceived, x.Now)
	h.write(ppf.ClientToServer, &ack)
	half.Received, x.Conn.Half[ppf.ServerToClient].Sent = uint8(Established), uint8(Established)
	if err := reply(x, *ack.header); err != nil { // the server sends its SYN-ACK again
		x.Report("tcp: answer %v: %v", ack.header.Flags, err)
	}
}

// changed ends a connection whose server answers in another way than its client was
// told in its place. The next one will be told right.
func (t *Tracker) changed(x *ppf.Exchange, h *History, s *segment, told offset) ppf.Verdict {
	x.Conn.Half[ppf.ClientToServer].Received, x.Conn.Half[ppf.ServerToClient].Received = uint8(Reset), uint8(Reset)
	err := reply(x, packet.TCP{Seq: h.side[ppf.ClientToServer].end + h.offset[ppf.ClientToServer].seq, Flags: packet.RST})
	if err = errors.Join(err, x.Emit(h.farewell(x.Conn, told))); err != nil {
		x.Report("tcp: reset: %v", err)
	}
	x.SetDeadline(x.Now + t.timeout[phaseClosed])
	return x.Refuse(ReasonCookieChanged, uint64(s.header.Options.Has))
}

// farewell builds the RST that a client gets whose connection a cookie opened and no
// server takes.
func (h *History) farewell(c *ppf.Conn, told offset) *packet.Out {
	key := c.Key(ppf.ServerToClient)
	var out packet.Out
	ip.SetHeader(&out, key.SrcAddr(), key.DstAddr())
	out.SetTCP(packet.TCP{
		SrcPort: key.SrcPort, DstPort: key.DstPort, Seq: told.seq.Add(1),
		Ack: h.side[ppf.ClientToServer].end, Flags: packet.RST | packet.ACK,
	})
	return &out
}

// Expired sends the SYN of a connection that a cookie opened again until the server
// has had the time of a handshake; then its client gets a RST.
func (t *Tracker) Expired(c *ppf.Conn, now int64, emit func(ppf.Dir, *packet.Out)) time.Duration {
	h := t.store.histories.Of(c)
	if !h.opening.on || t.phase(c).over() {
		return 0
	}
	if now-c.Created >= t.timeout[phaseSynSent] {
		emit(ppf.ServerToClient, h.farewell(c, h.offset[ppf.ServerToClient]))
		return 0
	}
	h.opening.tries++
	key := c.Key(ppf.ClientToServer)
	var out packet.Out
	ip.SetHeader(&out, key.SrcAddr(), key.DstAddr())
	out.SetTCP(h.synAgain(key))
	emit(ppf.ClientToServer, &out)
	return firstWait << min(h.opening.tries, 6)
}

// synAgain builds the SYN of a connection that a cookie opened once more.
func (h *History) synAgain(key ppf.Key) packet.TCP {
	client := &h.side[ppf.ClientToServer]
	s := packet.TCP{SrcPort: key.SrcPort, DstPort: key.DstPort, Flags: packet.SYN, Window: uint16(client.maxWin)}
	s.Options = packet.TCPOptions{Has: packet.OptMSS, MSS: cookieMSSes[h.opening.mss], TSVal: client.stamps.latest, WScale: client.scale}
	if client.offers&offerStamps != 0 {
		s.Options.Has |= packet.OptTimestamps
	}
	if client.offers&offerSACK != 0 {
		s.Options.Has |= packet.OptSACKPermitted
	}
	if client.offers&offerECN != 0 {
		s.Flags |= packet.ECE | packet.CWR
	}
	if client.scales {
		s.Options.Has |= packet.OptWScale
	}
	h.write(ppf.ClientToServer, &segment{seq: client.iss, header: &s})
	return s
}
