package tcp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var _ ppf.HandshakeTaker = (*Tracker)(nil)

// flood tells whether an instance answers SYNs with cookies: from a mark of half-open
// connections on, for as long as most of its answers stay without one of their own.
type flood struct {
	from   int // half-open connections; 0: always
	limits *limits
	*answering
}

// answering is how an instance answers SYNs now, and has so far. It outlives a change of
// the instance's settings.
type answering struct {
	on    atomic.Bool
	until atomic.Int64 // the end of the span, in nanoseconds since 1970

	sent, opened, refused atomic.Uint64

	mu sync.Mutex
	// open is how many cookies of this span of time have opened no connection.
	open int
}

// floodSpan is how long what becomes of cookies is counted before it is judged
// whether the flood is over.
const floodSpan = int64(10 * time.Second)

// useCookies makes the tracker answer SYNs itself when there are many. before is what it
// takes the place of.
func (t *Tracker) useCookies(c *Config, before ppf.Processor) error {
	if slices.Contains(c.Options, OptionFastOpen) {
		return errors.New("handshake: cookie: options: fast-open: a cookie of ours acknowledges no data of a SYN (leave one of both out)")
	}
	if c.HalfOpenConnections > 0 && c.CookieFrom >= c.HalfOpenConnections {
		return fmt.Errorf("handshake: cookie: cookie_from: %d is not less than half_open_connections, %d, at which SYNs are refused", c.CookieFrom, c.HalfOpenConnections)
	}
	if t.limits == nil {
		t.limits = newCounts()
	}
	t.flood = &flood{from: c.CookieFrom, limits: t.limits}
	if old, ok := before.(*Tracker); ok && old.flood != nil {
		t.flood.answering = old.flood.answering
	} else {
		t.flood.answering = &answering{}
	}
	return nil
}

// answers says whether the SYN of the packet gets a cookie.
func (f *flood) answers(x *ppf.Exchange) bool {
	if f.on.Load() {
		return true
	}
	half := f.limits.halfOpen()
	if half < f.from {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on.Load() {
		f.open = 0
		f.until.Store(x.Now + floodSpan)
		f.on.Store(true)
		x.Report("tcp: SYNs are answered with cookies: %d connections are half-open", half)
	}
	return true
}

// settle ends the cookies when few connections are half-open and few cookies stay
// without an answer.
func (f *flood) settle(x *ppf.Exchange) {
	if !f.on.Load() || x.Now < f.until.Load() {
		return
	}
	half := f.limits.halfOpen()
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.Now < f.until.Load() {
		return
	}
	if 2*half < f.from && 2*f.open < f.from {
		f.on.Store(false)
		x.Report("tcp: SYNs go to the server again: %d cookies were sent, %d connections opened with them", f.sent.Load(), f.opened.Load())
	}
	f.open = 0
	f.until.Store(x.Now + floodSpan)
}

// answered counts a cookie that is sent.
func (f *flood) answered() {
	f.sent.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
}

// completed counts one that came back.
func (f *flood) completed() {
	f.opened.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// Cookies tells how many there were.
func (t *Tracker) Cookies() *ppf.CookieInfo {
	if t.flood == nil {
		return nil
	}
	return &ppf.CookieInfo{
		Active: t.flood.on.Load(), Sent: t.flood.sent.Load(), Opened: t.flood.opened.Load(), Refused: t.flood.refused.Load(),
	}
}

// Completes says whether a packet that belongs to no connection brings a cookie back.
func (t *Tracker) Completes(x *ppf.Exchange) bool {
	if t.flood == nil || !t.store.secrets.live(x.Now) {
		return false
	}
	in := x.In.TCP()
	var o packet.TCPOptions
	if in.ParseOptions(&o) != packet.ReasonNone {
		return false
	}
	seg := segment{ev: classify(in.Flags()), seq: in.Seq(), ack: in.Ack(), header: &packet.TCP{Options: o}}
	var c cookie
	return t.completes(x, &seg, &c)
}

// bringsBack reads the cookie of a segment that opens a connection with it.
func (t *Tracker) bringsBack(x *ppf.Exchange, s *segment) (c cookie, ok bool) {
	if t.flood == nil || s.ev != evAck && s.ev != evFin || !t.store.secrets.live(x.Now) {
		return c, false
	}
	if x.Conn != nil {
		h := t.store.histories.Of(x.Conn)
		iss, shown := h.side[ppf.ClientToServer].iss, h.side[ppf.ServerToClient].iss+h.offset[ppf.ServerToClient].seq
		own := h.opening.on && (s.seq == iss || s.seq == iss.Add(1)) || s.ack == shown.Add(1) // what comes again
		if own || !t.finished(x) {
			return c, false
		}
	}
	ok = t.completes(x, s, &c)
	return c, ok
}

// completes is Completes for a segment whose numbers are as they came. The number
// before the first is that of the SYN, and of a probe of a closed window. More than
// the byte of a probe nobody can send before the window opens.
func (t *Tracker) completes(x *ppf.Exchange, s *segment, c *cookie) (ok bool) {
	if s.ev != evAck && s.ev != evFin || x.Dir != ppf.ClientToServer || len(x.In.Payload()) > slack || !x.MayTranslate() {
		return false
	}
	if *c, ok = t.store.secrets.check(x, s.seq-1, s.ack, &s.header.Options); !ok && len(x.In.Payload()) == 0 {
		*c, ok = t.store.secrets.check(x, s.seq, s.ack, &s.header.Options)
	}
	return ok
}

// answerSYN answers the SYN of the packet with a cookie where that is due, and keeps
// nothing of it. What the SYN-ACK offers is what the server does.
func (t *Tracker) answerSYN(x *ppf.Exchange, s *segment) (ppf.Verdict, bool) {
	f := t.flood
	if f == nil || isSigned(&s.header.Options) || x.Dir != ppf.ClientToServer || !x.Instance.MayOpen(x.Dir) || !x.MayTranslate() || !f.answers(x) {
		return ppf.Verdict{}, false
	}
	v6 := x.In.Has(packet.HasIPv6)
	server := serverKey{x.In.Dst().As16(), x.In.DstPort(), x.VLAN()}
	if t.store.manners.asks(server, v6, x.Now) {
		return ppf.Verdict{}, false
	}
	m := t.store.manners.of(server, v6)
	asked := &s.header.Options
	mss := plain(v6).mss
	if asked.Has&packet.OptMSS != 0 {
		mss = asked.MSS
	}
	c := cookie{iss: s.seq, clientScale: noScale, serverScale: noScale}
	var ok bool
	if c.mss, ok = mssIndex(mss); !ok {
		return x.Refuse(ReasonMSS, uint64(mss)), true
	}
	both := offersOf(s.header) & m.offers
	if c.stamped = both&offerStamps != 0; c.stamped {
		c.sack = both&offerSACK != 0
		c.ecn = both&offerECN != 0 && s.header.Flags&packet.CWR != 0
		if m.scales && asked.Has&packet.OptWScale != 0 {
			c.clientScale, c.serverScale = min(asked.WScale, maxScale), m.scale
		}
	}
	t.store.secrets.issue(x, &c)
	h := packet.TCP{Seq: c.seq, Ack: s.seq.Add(1), Flags: packet.SYN | packet.ACK}
	h.Options.Has, h.Options.MSS = packet.OptMSS, m.mss
	if c.stamped {
		h.Options.Has |= packet.OptTimestamps
		h.Options.TSVal, h.Options.TSEcr = c.stamp, asked.TSVal
	}
	if c.sack {
		h.Options.Has |= packet.OptSACKPermitted
	}
	if c.ecn {
		h.Flags |= packet.ECE
	}
	if c.serverScale != noScale {
		h.Options.Has, h.Options.WScale = h.Options.Has|packet.OptWScale, c.serverScale
	}
	f.answered()
	_ = reply(x, h) // most addresses of a flood have no way to them; a client sends its SYN again
	return ppf.Verdict{Action: ppf.Stolen}, true
}
