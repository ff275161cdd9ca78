package tcp

import (
	"context"
	"math"
	"time"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "tcp", Aliases: []string{"module_tcp"}, Version: "1.0.0",
		Doc:       "tracks TCP connections and builds every segment anew",
		Functions: []string{"tcp"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{ store *Store }

var _ ppf.Module = (*module)(nil)

func (m *module) Start(_ context.Context, host *ppf.ModuleHost) error {
	var before *Store
	if old, ok := host.Predecessor().(*module); ok {
		before = old.store
	}
	m.store = NewStore(host, before)
	return host.Register(ppf.UserFunction{
		Name: "tcp", Doc: "tracks TCP connections and builds every segment anew",
		Level: ppf.LevelPacket, Layer: 4, Apart: true,
		Settings: func() any { return DefaultConfig() },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			t, err := NewTracker(host, b, m.store, nil)
			if err != nil || b.Instance.Handshake() != ppf.HandshakeCookie {
				return t, err
			}
			return t, t.useCookies(b.Settings.(*Config), b.Before)
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// Translator exchanges addresses of a tracker's connections.
type Translator interface {
	// Open is called once for a new connection, which is x.Conn with the
	// opener's SYN in x.In; it rekeys the flow that comes back, or gives a
	// reason to refuse the connection.
	Open(x *ppf.Exchange) ppf.Reason
	// Closed is called when the connection goes.
	Closed(c *ppf.Conn)
}

// History is what a tracker remembers of one connection beside the states in
// the Received and Sent fields of its halves.
type History struct {
	counts  counted
	side    [2]side // by who sent
	offset  [2]offset
	kept    [2]kept // by who sent
	opening awaiting
	// fromStart says that both know all of each other: the connection was seen
	// from its first SYN on.
	fromStart bool
	// signed says that the segments of both are.
	signed bool
}

// Tracker is the processor of tcp and of functions built on it.
type Tracker struct {
	timeout        [numPhases]int64 // ns
	evictIdle      [numPhases]int64 // ns
	adoptUntil     int64            // ns since 1970
	limit          int
	limits         *limits // nil: none
	flood          *flood  // nil: SYNs get no cookies
	mssMin, mssMax uint16  // bytes; 0: any
	mssClamp       bool
	refuseUrgent   bool
	sequence       Sequence
	signed         Signed
	carried        packet.TCPOptionSet // beside those of every TCP
	retransmit     Retransmit
	budget         *budget
	store          *Store
	translator     Translator
	host           *ppf.ModuleHost
	clients        *ppf.ClientLists // nil: everybody
}

var (
	_ ppf.SentObserver     = (*Tracker)(nil)
	_ ppf.ConnObserver     = (*Tracker)(nil)
	_ ppf.StateNamer       = (*Tracker)(nil)
	_ ppf.NumberTranslator = (*Tracker)(nil)
)

// NewTracker makes a tracker for an instance, with settings that are a Config. store is
// the module's, whose host is host; translator may be nil.
func NewTracker(host *ppf.ModuleHost, b ppf.Binding, store *Store, translator Translator) (*Tracker, error) {
	c, since := b.Settings.(*Config), b.Instance.Since // the start of the grace period
	clients, err := host.ClientLists(c.Clients, c.RefuseClients)
	if err != nil {
		return nil, err
	}
	t := &Tracker{
		host: host, clients: clients,
		limit: c.Connections, limits: newLimits(c), mssMin: uint16(c.MSSMin), mssMax: uint16(c.MSSMax), mssClamp: c.MSSClamp,
		refuseUrgent: c.Urgent == UrgentRefuse, sequence: c.Sequence, signed: c.Signed, carried: optionBits(c.Options), store: store, translator: translator,
		retransmit: c.Retransmit, budget: newBudget(c),
	}
	for p, d := range [numPhases]time.Duration{
		phaseSynSent: c.HalfOpen, phaseSynReceived: c.HalfOpen, phaseEstablished: c.Established,
		phaseFinWait: c.Closing, phaseCloseWait: c.Closing, phaseTimeWait: c.Closed, phaseClosed: c.Closed,
	} {
		t.timeout[p] = int64(d)
	}
	t.evictIdle = evictIdle(c)
	switch { // an exchanged address cannot be guessed, so only tcp itself adopts
	case translator != nil:
	case c.Midstream == MidstreamAdopt:
		t.adoptUntil = math.MaxInt64
	default:
		t.adoptUntil = since + int64(c.Adopt)
	}
	return t, nil
}

// Process handles TCP segments, fragments of them, and ICMP errors about them;
// other packets it hands on.
func (t *Tracker) Process(x *ppf.Exchange) ppf.Verdict {
	switch {
	case x.In.Has(packet.HasTCP):
		return t.segment(x)
	case x.In.IsICMPError():
		return t.icmpError(x)
	case x.In.Has(packet.HasFragment) && (x.In.Proto() == packet.ProtoTCP || x.In.Has(packet.HasIPv6)):
		return x.Refuse(packet.ReasonIPFragment, uint64(x.In.Proto()))
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// segment is the way of one TCP segment: check, classify, look up, commit,
// build.
func (t *Tracker) segment(x *ppf.Exchange) ppf.Verdict {
	in := x.In.TCP()
	if v, stop := ip.Verify(x); stop {
		return v
	}
	flags := in.Flags()
	if r := flagReasons[flags&0x3f]; r != packet.ReasonNone {
		return x.Refuse(r, uint64(flags))
	}
	out := packet.TCP{
		SrcPort: in.SrcPort(), DstPort: in.DstPort(), Seq: in.Seq(), Window: in.Window(),
		Flags: flags &^ packet.URG, OptionLimit: in.HeaderLen() - packet.TCPMinLen,
	}
	if flags&packet.ACK != 0 {
		out.Ack = in.Ack()
	}
	if v, stop := t.options(x, in, &out); stop {
		return v
	}
	payload, v, stop := t.cleanup(x, in, &out.Options)
	if stop {
		return v
	}
	seg := segment{
		ev: classify(flags), seq: out.Seq, ack: out.Ack, hasAck: flags&packet.ACK != 0,
		length: uint32(len(payload)), header: &out,
	}
	if seg.ev == evFin {
		seg.length++
	}
	x.Out.SetPayload(payload)
	if len(payload) > 0 && !x.CsumNotReady() {
		x.Out.SetPayloadSum(x.In.PayloadSum()) // known from its verification
	}
	if v, stop := t.track(x, flags, &seg); stop {
		return v
	}
	if isSigned(&out.Options) && !asSigned(in, &out, x.Out.Payload()) {
		return x.Refuse(ReasonSignedChanged, uint64(flags))
	}
	return t.build(x, &out)
}

// cleanup finds what has one safe meaning outside the options, and gives the
// payload that goes on.
func (t *Tracker) cleanup(x *ppf.Exchange, in packet.TCPView, o *packet.TCPOptions) (payload []byte, v ppf.Verdict, stop bool) {
	flags := in.Flags()
	payload = x.In.Payload()
	// The AE bit on a SYN is an AccECN offer (RFC 9768), which a peer may ignore.
	if reserved := in.Reserved(); reserved != 0 && (flags&packet.SYN == 0 || reserved != 1) {
		if v, stop = x.Finding(ReasonReserved, uint64(reserved)); stop {
			return nil, v, true
		}
	}
	if flags&packet.URG != 0 || in.Urgent() != 0 {
		if t.refuseUrgent {
			return nil, x.Refuse(ReasonUrgentRefused, uint64(in.Urgent())), true
		}
		if v, stop = x.Finding(ReasonUrgent, uint64(in.Urgent())); stop {
			return nil, v, true
		}
	}
	// With a cookie that is carried over a client's SYN may bring data (RFC 7413
	// §4.2.1).
	fastOpen := flags&(packet.SYN|packet.ACK) == packet.SYN && o.Has&packet.OptFastOpen != 0 && o.FastOpenLen > 0
	if len(payload) > 0 && flags&(packet.SYN|packet.RST) != 0 && !fastOpen {
		r := ReasonSynData
		if flags&packet.RST != 0 {
			r = ReasonRstData
		}
		if v, stop = x.Finding(r, uint64(len(payload))); stop {
			return nil, v, true
		}
		payload = nil
	}
	return payload, v, false
}

// track finds or makes the connection, checks the segment's numbers and moves
// the state on.
func (t *Tracker) track(x *ppf.Exchange, flags packet.TCPFlags, seg *segment) (ppf.Verdict, bool) {
	if t.flood != nil {
		t.flood.settle(x)
	}
	var back *cookie
	if c, ok := t.bringsBack(x, seg); ok {
		back = &c
	}
	begins := x.Conn == nil || back != nil || seg.ev == evSyn && t.finished(x)
	if begins {
		if v, stop := t.begin(x, flags, seg, back); stop {
			return v, true
		}
	}
	own, peer := &x.Conn.Half[x.Dir], &x.Conn.Half[x.Dir.Other()]
	from, to := State(own.Received), State(peer.Received)
	h := t.store.histories.Of(x.Conn)
	if begins {
		h.signed = isSigned(&seg.header.Options)
	} else if h.signed && !isSigned(&seg.header.Options) {
		return x.Refuse(ReasonUnsigned, uint64(flags)), true
	}
	h.read(x.Dir, x.Behind(), seg)
	if h.opening.on && !begins {
		if v, stop := t.waits(x, h, seg, to); stop {
			return v, true
		}
	}
	state := next(seg.ev, from, to, x.Instance.Half())
	if state == Invalid {
		if seg.ev == evSyn {
			challenge(x, ReasonState, h)
		}
		return h.refuse(x, ReasonState, uint64(flags), seg, to), true
	}
	if state == Silent {
		return h.aboutEarlier(x, seg, to)
	}
	if !x.Instance.Half() {
		if r, n := h.check(x.Dir, seg, from, to); r != packet.ReasonNone {
			if r == ReasonReset && h.challenged(x.Dir, n) || seg.ev == evSyn {
				challenge(x, r, h)
			}
			return h.refuse(x, r, uint64(n), seg, to), true
		}
		if v, stop := h.agree(x, seg); stop {
			return v, true
		}
		if r, n := h.checkOptions(x.Dir, seg, x.Now); r != packet.ReasonNone {
			return h.refuse(x, r, uint64(n), seg, to), true
		}
		if v, stop := t.retain(x, h, seg, to); stop {
			return v, true
		}
		h.commit(x.Dir, seg, to, x.Now)
		if (t.flood != nil || h.opening.on) && x.Dir == ppf.ServerToClient {
			if v, stop := t.answered(x, h, seg); stop {
				return v, true
			}
		}
		h.write(x.Dir, seg)
		t.release(h, x.Dir.Other())
	}
	own.Received = uint8(state)
	own.Copy(x.In, ppf.CopyAll)
	p := t.phase(x.Conn)
	if t.limits != nil {
		t.limits.moved(&h.counts, x.Conn, p)
	}
	wait := t.timeout[p]
	if h.opening.on {
		wait = int64(firstWait)
	}
	x.SetDeadline(x.Now + wait)
	x.GiveWay(x.Now + t.evictIdle[p])
	return ppf.Verdict{}, false
}

// aboutEarlier lets the answer to a SYN pass that is about an earlier connection on the
// same ports, which its sender still has: the one who opens the new connection
// resets the old one by the number that is acknowledged, and its next SYN finds
// the ports free (RFC 9293 §3.5.1, RFC 5961 §4.2). Nothing else in it is of use.
func (h *History) aboutEarlier(x *ppf.Exchange, seg *segment, peer State) (ppf.Verdict, bool) {
	if seg.length > 0 {
		return h.refuse(x, ReasonState, uint64(seg.header.Flags), seg, peer), true
	}
	seg.header.Options = packet.TCPOptions{}
	from := &h.side[x.Dir]
	from.acked, from.edge, from.acks = seg.ack, seg.ack, true // until its SYN
	h.write(x.Dir, seg)
	return ppf.Verdict{}, false
}

// refuse refuses a segment. Where it passes all the same its receiver knows more
// than we do, and what it says is taken as it comes.
func (h *History) refuse(x *ppf.Exchange, r ppf.Reason, value uint64, seg *segment, peer State) ppf.Verdict {
	if !x.Drops(r) {
		h.fromStart = false
		h.commit(x.Dir, seg, peer, x.Now)
	}
	return x.Refuse(r, value)
}

// UsesData reports whether a data module says who may open connections.
func (t *Tracker) UsesData(name string) bool { return t.clients.UsesData(name) }

// begin makes the connection of a segment that belongs to none, or whose SYN
// begins a new one on ports that the client uses again (RFC 6191). back is the
// cookie that the segment brought, which makes it the SYN; nil for none.
func (t *Tracker) begin(x *ppf.Exchange, flags packet.TCPFlags, seg *segment, back *cookie) (ppf.Verdict, bool) {
	if may, known := t.clients.Judge(t.host, x.Client()); !may {
		r := ReasonClient
		if !known {
			r = ReasonNoData
		}
		return x.Refuse(r, uint64(flags)), true
	}
	if back != nil {
		back.toSYN(x, seg)
	} else if seg.ev == evSyn {
		if v, stop := t.answerSYN(x, seg); stop {
			return v, true
		}
	}
	var before History
	if x.Conn != nil {
		before = *t.store.histories.Of(x.Conn)
		x.Delete()
	}
	if v, stop := t.open(x, seg.ev, flags); stop {
		if back != nil { // its client believes it open
			answer(x, v.Reason, packet.TCP{Seq: back.seq.Add(1), Flags: packet.RST})
		}
		return v, true
	}
	if seg.ev != evSyn {
		return ppf.Verdict{}, false
	}
	h := t.store.histories.Of(x.Conn)
	h.translate(x, seg, &before)
	switch {
	case back != nil:
		h.expect(back)
		t.flood.completed()
	case x.Conn.Translated:
		x.Remember(h.note())
	}
	return ppf.Verdict{}, false
}

// open makes the connection of a SYN, or within the grace period that of a
// segment in full swing.
func (t *Tracker) open(x *ppf.Exchange, ev event, flags packet.TCPFlags) (ppf.Verdict, bool) {
	initial := Silent
	switch {
	case ev == evSyn:
		if !x.Instance.MayOpen(x.Dir) {
			refuseSyn(x, ReasonInitiate)
			return x.Refuse(ReasonInitiate, uint64(flags)), true
		}
	case ev == evAck && t.adopts(x), ev == evFin && t.adopts(x):
		initial = Established
	case t.flood != nil && ev == evAck && t.store.secrets.live(x.Now):
		t.flood.refused.Add(1)
		refuseMidstream(x, ReasonCookie, ev)
		return x.Refuse(ReasonCookie, uint64(x.In.TCP().Ack())), true
	default:
		refuseMidstream(x, ReasonMidstream, ev)
		return x.Refuse(ReasonMidstream, uint64(flags)), true
	}
	if t.limits != nil {
		if r := t.limits.room(x.Client(), initial == Silent); r != packet.ReasonNone {
			return x.Refuse(r, uint64(t.limits.of(r))), true
		}
	}
	if r := x.Create(t.limit); r != packet.ReasonNone {
		return x.Refuse(r, uint64(t.limit)), true
	}
	t.store.histories.Of(x.Conn).fromStart = initial == Silent
	for d := range x.Conn.Half {
		x.Conn.Half[d].Received, x.Conn.Half[d].Sent = uint8(initial), uint8(initial)
	}
	if t.translator != nil {
		if r := t.translator.Open(x); r != packet.ReasonNone {
			x.Delete()
			refuseSyn(x, r)
			return x.Refuse(r, uint64(flags)), true
		}
	}
	return ppf.Verdict{}, false
}

// adopts says whether connections in full swing are taken over: at any time by
// setting, else for some time after the instance was made without knowing what
// was there before.
func (t *Tracker) adopts(x *ppf.Exchange) bool {
	return x.Now < t.adoptUntil && (t.adoptUntil == math.MaxInt64 || !x.Instance.Restored())
}

// finished reports whether a SYN may start x.Conn's tuple anew.
func (t *Tracker) finished(x *ppf.Exchange) bool {
	h := t.store.histories.Of(x.Conn)
	if h.opening.on {
		return x.Dir == ppf.ClientToServer && x.In.TCP().Seq() != h.side[x.Dir].iss // its client has begun anew
	}
	// After a crash nothing may be left of a connection that was taken up.
	silent := x.Conn.Translated && !h.side[0].seen && !h.side[1].seen
	return silent || t.phase(x.Conn).over()
}

func (t *Tracker) phase(c *ppf.Conn) phase {
	d := c.OpenedBy()
	return phaseOf(State(c.Half[d].Received), State(c.Half[d.Other()].Received))
}

// build sets the headers of the segment to send, with the addresses and ports under which the
// receiver knows the connection: those of the flow that comes back, reversed.
func (t *Tracker) build(x *ppf.Exchange, out *packet.TCP) ppf.Verdict {
	src, dst := x.In.Src(), x.In.Dst()
	if t.translator != nil {
		back := x.Conn.Key(x.Dir.Other())
		src, dst = back.DstAddr(), back.SrcAddr()
		out.SrcPort, out.DstPort = back.DstPort, back.SrcPort
	}
	if v, stop := ip.Build(x, src, dst); stop {
		return v
	}
	x.Out.SetTCP(*out)
	return ppf.Verdict{Action: ppf.Accept}
}

// Sent notes in the receiver's half what was sent on: it moves only when the
// segment really went out.
func (t *Tracker) Sent(x *ppf.Exchange) {
	if x.Conn != nil && x.Quote == nil {
		x.Conn.Half[x.Dir.Other()].Sent = x.Conn.Half[x.Dir].Received
	}
}

// Freed gives back what store, limits and translator hold for the connection.
func (t *Tracker) Freed(c *ppf.Conn) {
	h := t.store.histories.Of(c)
	t.forget(h)
	if t.limits != nil {
		t.limits.freed(&h.counts, c)
	}
	if t.translator != nil {
		t.translator.Closed(c)
	}
}

// StateName names the connection's state; "" for one that is not of TCP.
func (t *Tracker) StateName(c *ppf.Conn) string {
	if key := c.Key(ppf.ClientToServer); key.Protocol != packet.ProtoTCP {
		return ""
	}
	return t.phase(c).String()
}

// HalfStateName names a side's state.
func (t *Tracker) HalfStateName(s uint8) string { return State(s).String() }
