package ppf

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/promethos/promethos/packet"
)

// worker decides the packets of one source worker. Its lock is held for a batch
// at a time: it guards the counters, and taking it proves that no packet is
// inside the engine on this worker.
type worker struct {
	engine *Engine
	id     int

	mu sync.Mutex
	// x is of the packet that is being decided: the first of run, but while a run
	// is decided. The others are made when they are needed first.
	x         *Exchange
	run       [MaxRun]*Exchange
	verdicts  [MaxRun]Verdict
	tuple     Tuple
	batches   uint64
	engineOwn counters // packets that no instance matches
	ledger    ledger
	spent     TimeHistogram
	timing    *Timing // nil: not measured
	fate      Fate    // of the last frame, where somebody follows
	arena     Arena

	fragments *fragments // nil: none has come yet
	// What a packet that is cut is made of: headers, layer 4, and the result.
	piece     packet.Out
	pieceHead [packet.MaxHeaders]byte
	headers   packet.IPv6Headers      // of pieces
	extra     [packet.MaxHeaders]byte // of an extra packet
	scratch   []byte
	pieces    [][]byte
}

func newWorker(e *Engine, id int) *worker {
	w := &worker{engine: e, id: id}
	w.run[0] = w.newExchange()
	w.x = w.run[0]
	return w
}

func (w *worker) newExchange() *Exchange {
	x := &Exchange{worker: w}
	x.In = &x.received
	return x
}

// Handle decides a batch; see Handler.
func (w *worker) Handle(batch []Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches++
	if w.timing == nil {
		begin := w.engine.env.Now()
		defer func() { w.spent.observe(len(batch), w.engine.env.Now()-begin) }()
	}
	s := w.engine.snap.Load()
	follower := w.engine.follower.Load()
	if w.timing == nil && follower == nil {
		for rest := batch; len(rest) > 0; {
			rest = rest[w.decide(s, rest):]
		}
		return
	}
	// Somebody wants to know of each packet: none is decided together with others.
	for i := range batch {
		start := w.engine.env.Now()
		w.decide(s, batch[i:i+1])
		if w.timing != nil {
			w.timing.add(w.engine.env.Now() - start)
		}
		if follower != nil {
			w.tell(&batch[i], *follower)
		}
	}
}

// clear forgets what was decided of another packet in the same place.
func (f *Frame) clear() {
	f.Action, f.Head, f.Body, f.CsumStart, f.CsumField, f.Judged, f.Done = Drop, nil, nil, 0, 0, false, false
}

// barrier waits for the end of the batch that the worker is in, and tells how
// many there were.
func (w *worker) barrier() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.batches
}

// Tick does what is due without a packet; see Handler.
func (w *worker) Tick(now int64) {
	w.engine.sweep(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fragments != nil {
		w.fragments.expire(now, nil)
	}
	if w.id != 0 {
		return
	}
	for _, tick := range *w.engine.ticks.Load() {
		tick(now)
	}
}

// reset makes the Exchange ready for a frame.
func (x *Exchange) reset(f *Frame) {
	x.Instance, x.flow, x.Conn, x.Quote = nil, nil, nil, nil
	x.Dir, x.Hook, x.Now = ClientToServer, f.Hook, f.Time
	x.InDev = Device{f.In, x.worker.engine.env}
	x.OutDev = Device{f.Out, x.worker.engine.env}
	x.frame, x.hasKey, x.unchanged, x.counted, x.failOpen, x.foundN, x.value, x.running = f, false, false, false, false, 0, 0, notRunning
	x.number, x.dropped, x.held, x.merged, x.decided, x.wireLen = 0, false, false, false, false, f.WireLen
	x.Out.Reset()
}

// decide gives the first packet its one verdict, and those behind it that are
// decided in one run with it; it tells how many they were. A panic in a user
// function costs that packet only.
func (w *worker) decide(s *snapshot, rest []Frame) (n int) {
	x, f := w.run[0], &rest[0]
	w.x, n = x, 1
	f.clear()
	x.reset(f)
	defer func() {
		x := w.x
		if fault := recover(); fault != nil {
			w.panicked(fault)
		}
		if x.Conn != nil {
			x.Conn.mu.Unlock()
			x.Conn = nil
		}
	}()
	if f.Wire != nil {
		w.engine.wires.note(f.Wire)
	}
	reason := x.In.Parse(f.Link, f.Data)
	if f.WireLen > len(f.Data) {
		reason = ReasonCut // whatever else seems wrong with it may come from that
	}
	x.parts = reason == packet.ReasonNone && x.forKernel()
	number, plugin := w.find(s, reason)
	x.number = number
	if number != 0 && (x.parts || reason == packet.ReasonNone && x.In.Has(packet.HasFragment)) {
		switch w.reassemble(number) {
		case partDone:
			return 1
		case partWhole:
			x.parts = false
			if reason = x.In.Parse(f.Link, f.Data); reason == packet.ReasonNone && (x.In.Has(packet.HasFragment) || x.In.Ext().HasFragment) {
				reason = packet.ReasonIP6ExtOrder // a fragment within fragments
			}
			number, plugin = w.find(s, reason)
			x.number = number
		}
	}
	switch {
	case number == 0:
		w.noInstance(s, reason)
	case reason != packet.ReasonNone:
		w.refuseEarly(number, reason)
	case plugin == w.engine.proxy:
		if flow := (*w.engine.proxy.refs.Load())[number]; flow.run >= 0 {
			return w.decideRun(flow, rest)
		}
		w.finish(plugin.Target(x, number))
	default:
		w.finish(plugin.Target(x, number))
	}
	return 1
}

// find tells which instance number a packet belongs to, 0 for none, and what
// runs there: by its connection, or for the first packet of one by the first
// rule that matches.
func (w *worker) find(s *snapshot, reason Reason) (InstanceNumber, Plugin) {
	x := w.x
	hr := &s.byHook[x.Hook]
	rules := &hr.rules
	in := x.In
	quoted := reason == packet.ReasonNone && in.IsICMPError()
	switch {
	case quoted:
		if !w.quoteKey() {
			quoted = false
		}
	case x.parts:
		rules = &s.all // whatever the hook of the instance
	case reason == packet.ReasonNone && x.ports():
		if in.Has(packet.HasIPv4) {
			ip := in.IPv4()
			src, dst := ip.Src4(), ip.Dst4()
			copy(x.key.Src[12:], src[:])
			copy(x.key.Dst[12:], dst[:])
		} else {
			ip := in.IPv6()
			x.key.Src, x.key.Dst, x.key.V6 = ip.Src16(), ip.Dst16(), true
		}
		x.hasKey = true
	case !x.Hook.Inline():
		// A fragment is taken at PREROUTING for the instances of every hook.
		rules = &s.all
	}
	elsewhere := false // its connection is judged at another hook
	if x.hasKey {
		x.place(&x.key)
		for _, group := range hr.groups {
			x.key.Group = group
			if c, d := w.engine.table.find(&x.key); c != nil {
				x.Conn, x.Dir = c, d
				p := w.engine.proxy.proxyOf(c.proxy)
				if n := p.Number[d]; n != 0 && p.takes(x, c, d) {
					return n, w.engine.proxy
				}
				c.mu.Unlock()
				x.Conn, elsewhere = nil, true
			}
		}
	}
	w.fillTuple(reason, quoted)
	r := rules.match(&w.tuple)
	if r == nil && quoted {
		w.fillTuple(reason, false)
		r = rules.match(&w.tuple)
	}
	if r == nil && x.hasKey && hr.beside && !elsewhere {
		if r = s.besides(x, &w.tuple); r != nil && !w.opensBeside(r) {
			r = nil
		}
	}
	if r == nil {
		return 0, nil
	}
	if proxy := w.engine.proxy.find(r.Number); proxy != nil {
		x.key.Group = proxy.groupAt(x.Hook)
	}
	return r.Number, r.plugin
}

// quoteKey makes the key of an ICMP error from what it quotes: the flow that
// travels against the quoted packet. It reports false for a quotation that
// cannot be read; the packet then counts as hiding what it is.
func (w *worker) quoteKey() bool {
	x := w.x
	var r Reason
	if x.In.Has(packet.HasICMPv4) {
		icmp := x.In.ICMPv4()
		x.quote, r = icmp.Quoted()
	} else {
		icmp := x.In.ICMPv6()
		x.quote, r = icmp.Quoted()
	}
	if r != packet.ReasonNone {
		return false
	}
	q := &x.quote
	x.Quote = q
	src, dst := q.SrcPort, q.DstPort
	if q.Proto == packet.ProtoICMP || q.Proto == packet.ProtoICMPv6 {
		src, dst = q.ID, q.ID
	}
	x.key = MakeKey(HookNone, q.Proto, netip.AddrPortFrom(q.Dst(), dst), netip.AddrPortFrom(q.Src(), src))
	x.hasKey = true
	return true
}

// ports begins the key of a packet that can be of a connection: with its ports,
// or with the identifier of an echo in place of both. It reports false for other
// packets.
func (x *Exchange) ports() bool {
	in := x.In
	x.key = Key{SrcPort: in.SrcPort(), DstPort: in.DstPort(), Protocol: in.Proto()}
	switch {
	case in.Has(packet.HasTCP), in.Has(packet.HasUDP):
		return true
	case in.Has(packet.HasICMPv4):
		icmp := in.ICMPv4()
		x.key.SrcPort, x.key.DstPort = icmp.EchoID(), icmp.EchoID()
		return icmp.IsEcho()
	case in.Has(packet.HasICMPv6):
		icmp := in.ICMPv6()
		x.key.SrcPort, x.key.DstPort = icmp.EchoID(), icmp.EchoID()
		return icmp.IsEcho()
	}
	return false
}

// fillTuple collects what criteria look at. For a quoted packet it is the flow
// against it.
func (w *worker) fillTuple(reason Reason, quoted bool) {
	x, t := w.x, &w.tuple
	in := x.In
	*t = Tuple{In: x.InDev.Name(), Out: x.OutDev.Name()}
	if quoted {
		q := x.Quote
		t.Src, t.Dst, t.Protocol, t.HasProtocol = q.Dst(), q.Src(), q.Proto, true
		t.SrcPort, t.DstPort = q.DstPort, q.SrcPort
		t.HasPorts = q.Proto == packet.ProtoTCP || q.Proto == packet.ProtoUDP
		return
	}
	t.Src, t.Dst = in.Src(), in.Dst()
	if in.Has(packet.HasARP) {
		arp := in.ARP()
		t.Src, t.Dst = arp.SenderIP(), arp.TargetIP()
	}
	t.ARP = in.EtherType() == packet.EtherTypeARP || in.EtherType() == packet.EtherTypeRARP
	t.Protocol = in.Proto()
	// A later fragment may name an extension header that stands in the first one.
	hides := in.IsICMPError() && x.Quote == nil || in.Has(packet.HasFragment) && in.Proto().IsExtension()
	t.HasProtocol = reason == packet.ReasonNone && !hides ||
		in.Has(packet.HasIPv4) && !in.IsICMPError()
	if x.hasKey && (in.Has(packet.HasTCP) || in.Has(packet.HasUDP)) {
		t.SrcPort, t.DstPort, t.HasPorts = x.key.SrcPort, x.key.DstPort, true
	}
}

// noInstance decides a packet that no rule matches: the kernel's selection is
// coarser than ours, and what it did not have to hand over goes on as it is,
// unless its server refuses all other traffic.
func (w *worker) noInstance(s *snapshot, reason Reason) {
	f := w.x.frame
	c := &w.engineOwn.flow[ClientToServer]
	c.In++
	c.InBytes += uint64(f.WireLen)
	src, dst := w.x.In.Src(), w.x.In.Dst()
	if f.Hook.Inline() {
		c.Dropped++
		if reason == packet.ReasonNone {
			reason = ReasonUnmatched
			w.x.value = uint64(w.x.In.EtherType())
		} else {
			w.x.value = uint64(len(f.Data))
		}
		w.countDrop(&w.engineOwn, reason, OutcomeDrop)
		return
	}
	if !src.IsValid() {
		c.Dropped++
		w.x.value = uint64(len(f.Data))
		w.countDrop(&w.engineOwn, reason, OutcomeDrop)
		return
	}
	// Where packets are taken for instances of other hooks, theirs will see the rest,
	// and behind routing they have seen it.
	hr := &s.byHook[f.Hook]
	here := hr.refuse || f.Hook != Postrouting && (!hr.beside || !w.x.hasKey)
	if len(s.refuse) > 0 && here && (s.refuses(src) || s.refuses(dst)) {
		c.Dropped++
		w.x.value = uint64(w.x.In.Proto())
		w.countDrop(&w.engineOwn, ReasonOthers, OutcomeDrop)
		return
	}
	if x := w.x; x.merged {
		x.unchanged = true
		f.Head, f.Body = f.Data, nil
		if r := w.fit(); r != packet.ReasonNone {
			c.Dropped++
			w.countDrop(&w.engineOwn, r, OutcomeDrop)
			return
		}
	}
	c.Unchanged++
	f.Action = Accept
	w.sendPieces(c)
}

// refuseEarly handles a packet that the parse gates refused: its instance's
// mode and overrides decide, but no user function sees it.
func (w *worker) refuseEarly(n InstanceNumber, reason Reason) {
	x := w.x
	if refs := *w.engine.proxy.refs.Load(); int(n) < len(refs) && refs[n] != nil {
		ref := refs[n]
		x.flow, x.Instance, x.Dir = ref, ref.proxy, ref.dir
		w.finish(x.Refuse(reason, uint64(len(x.frame.Data))))
		return
	}
	c := &w.engineOwn.flow[ClientToServer]
	c.In++
	c.InBytes += uint64(x.wireLen)
	c.Dropped++
	x.value = uint64(len(x.frame.Data))
	w.countDrop(&w.engineOwn, reason, OutcomeDrop)
}

// countDrop counts why the packet is dropped, or would be. What becomes of the
// frame is decided already.
func (w *worker) countDrop(all *counters, r Reason, o Outcome) {
	w.note(all, r, o, w.x.value)
	w.x.cause, w.x.dropped = Cause{r, o, w.x.value}, true
}

func (w *worker) countersOf(p *ProxyInstance) *counters {
	if w.id < len(p.counters) {
		return &p.counters[w.id]
	}
	return &w.engineOwn
}

// finish carries a verdict out: modes and overrides, encoding, counters.
func (w *worker) finish(v Verdict) {
	x := w.x
	f := x.frame
	all := w.countersOf(x.Instance)
	c := &all.flow[x.Dir]
	c.In++
	c.InBytes += uint64(x.wireLen)
	x.counted = true
	if x.Conn != nil && x.Quote == nil {
		half := &x.Conn.Half[x.Dir]
		half.Timestamp = x.Now
		half.Packets++
		half.Bytes += uint64(f.WireLen)
	}
	if v.Action == Accept || v.Action == Repeat {
		switch {
		case !x.unchanged:
			x.setLink(&x.Out)
			x.Out.SetPartialSum(f.PartialCsum)
			head, err := x.Out.Encode(f.Buf[:])
			if err != nil {
				v = x.Refuse(ReasonEncode, uint64(len(x.Out.Payload())))
			} else {
				f.Head, f.Body = head, x.Out.Payload()
				f.CsumStart, f.CsumField = x.Out.PartialSumAt(head)
			}
		case x.merged:
			f.Head = f.Data
		}
	}
	if v.Action == Accept || v.Action == Repeat {
		if r := w.fit(); r != packet.ReasonNone {
			v = x.Refuse(r, uint64(len(f.Head)+len(f.Body)))
		}
	}
	switch v.Action {
	case Accept, Repeat, Queue:
	case Stolen:
		f.Action = Drop
		c.Stolen++
		w.countFindings(all, c)
		return
	default: // what is no action at all drops too
		w.drop(v, all, c)
		return
	}
	// An observer that panics costs the packet: it is counted when they are done.
	f.Action, f.Queue = v.Action, v.Queue
	f.Judged = v.Action == Accept && x.judged()
	if x.flow != nil {
		for _, o := range x.flow.observers {
			o.Sent(x)
		}
	}
	switch {
	case v.Action == Queue:
		c.Queued++
	case x.unchanged:
		c.Unchanged++
	default:
		c.Sent++
	}
	w.countFindings(all, c)
	w.sendPieces(c)
}

// drop carries out a drop, or in monitor sends the received packet unchanged.
func (w *worker) drop(v Verdict, all *counters, c *FlowCounters) {
	x := w.x
	f := x.frame
	r := v.Reason
	if r == packet.ReasonNone {
		r = ReasonUnset
	}
	f.Head, f.Body = nil, nil
	w.countFindings(all, c)
	if x.failOpen || x.Instance.do(r, x) == DoMonitor {
		c.Unchanged++
		f.Action = Accept
		if x.merged { // what came in pieces goes on so
			x.unchanged = true
			f.Head = f.Data
			w.fit()
			w.sendPieces(c)
		}
		w.countDrop(all, r, OutcomeWouldDrop)
		return
	}
	c.Dropped++
	f.Action = Drop
	if name := x.function(); name != "" {
		all.end(x.Dir, name)
	}
	w.countDrop(all, r, OutcomeDrop)
}

// countFindings counts the repairs that were found before the verdict.
func (w *worker) countFindings(all *counters, c *FlowCounters) {
	x := w.x
	repaired := false
	for _, found := range x.found[:x.foundN] {
		o := found.outcome()
		w.note(all, found.reason, o, found.value)
		repaired = repaired || o == OutcomeRepair
	}
	if repaired && x.frame.Action == Accept {
		c.Repaired++
	}
}

// panicked turns a fault in a user function into a drop of its packet.
func (w *worker) panicked(fault any) {
	x := w.x
	x.decided = true
	x.frame.Head, x.frame.Body, x.frame.Action = nil, nil, Drop
	all := &w.engineOwn
	if x.Instance != nil {
		all = w.countersOf(x.Instance)
	}
	c := &all.flow[x.Dir]
	if !x.counted {
		c.In++
		c.InBytes += uint64(x.wireLen)
	}
	c.Dropped++
	x.value = uint64(max(x.running, 0))
	w.countDrop(all, ReasonPanic, OutcomeDrop)
	if !w.eventLimit().allow(x.Now) {
		return
	}
	w.engine.events.Add(Event{Kind: EventPacket, Text: fmt.Sprintf("panic in a user function: %v\n%s", fault, debug.Stack())})
}
