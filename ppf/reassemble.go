package ppf

import "github.com/promethos/promethos/packet"

// part is what becomes of a fragment.
type part uint8

const (
	partLeft  part = iota // for the chain to judge as it is
	partDone              // held, dropped, or left to the kernel
	partWhole             // the last that was missing: In is the whole packet now
)

// reassemble takes a fragment where the source wants them put together, or looks at
// it where the kernel will do that. Instances that let fragments pass, as in monitor, get them as they are.
func (w *worker) reassemble(n InstanceNumber) part {
	x := w.x
	if x.frame.MTU == 0 && !x.parts {
		return partLeft
	}
	refs := *w.engine.proxy.refs.Load()
	limit := int(w.engine.fragments.Load())
	if limit == 0 && x.In.Has(packet.HasFragment) || int(n) >= len(refs) || refs[n] == nil {
		return partLeft
	}
	ref := refs[n]
	x.Instance, x.Dir = ref.proxy, ref.dir
	monitored := x.Instance.do(packet.ReasonIPFragment, x) == DoMonitor
	if monitored && !x.parts {
		x.Instance, x.Dir = nil, ClientToServer
		return partLeft
	}
	x.flow = ref
	if monitored || !x.In.Has(packet.HasFragment) {
		w.passWhole(monitored)
		return partDone
	}
	if w.fragments == nil || len(w.fragments.list) != limit {
		w.forgetFragments(nil)
		w.fragments = newFragments(limit, w.lost)
	}
	d, r := w.addPart(n)
	switch {
	case r != packet.ReasonNone:
		w.finish(x.Refuse(r, uint64(x.In.Proto())))
		return partDone
	case x.parts:
		d.passed = true
		if d.complete() {
			w.fragments.free(d)
		}
		w.pass()
		return partDone
	case !d.complete():
		c := &d.all.flow[d.dir]
		c.In++
		c.InBytes += uint64(x.frame.WireLen)
		c.Held++
		x.held = true
		return partDone
	}
	// The frame that completes it stands for the packet; the others are in it.
	d.n--
	c := &d.all.flow[d.dir]
	c.Held -= uint64(d.n)
	c.Merged += uint64(d.n)
	w.tellAgain(d, packet.ReasonNone)
	b, r := d.whole()
	w.fragments.free(d)
	if r != packet.ReasonNone {
		w.finish(x.Refuse(r, uint64(d.end)))
		return partDone
	}
	x.Instance, x.flow, x.Dir = nil, nil, ClientToServer
	f := x.frame
	f.Data, f.WireLen, f.CsumNotReady, f.PartialCsum = b, len(b), false, false
	x.merged, x.longest = true, d.longest
	return partWhole
}

// forKernel reports a packet with a fragment header at the first hook, where the
// kernel takes such headers away behind it.
func (x *Exchange) forKernel() bool {
	return x.Hook == Prerouting && x.frame.MTU == 0 && (x.In.Has(packet.HasFragment) || x.In.Ext().HasFragment) && x.worker.engine.defragments.Load()
}

// pass lets a packet go on to the kernel, which makes the packet of it that comes to
// the instance's hook. What is wrong with a later fragment spoils the packet: the
// kernel waits for it in vain.
func (w *worker) pass() {
	x := w.x
	all := w.countersOf(x.Instance)
	c := &all.flow[x.Dir]
	c.In++
	c.InBytes += uint64(x.wireLen)
	c.Merged++
	x.frame.Action = Accept
	w.countFindings(all, c)
}

// passWhole lets a packet go on whose fragment header stands on the whole (RFC
// 6946), and in monitor any: what is wrong with it is found when it is whole.
func (w *worker) passWhole(monitored bool) {
	x := w.x
	if !monitored {
		if v, stop := x.Finding(ReasonExtension, uint64(packet.ProtoFragment)); stop {
			w.finish(v)
			return
		}
	}
	w.pass()
}

// addPart finds the packet of the fragment x.In and adds it.
func (w *worker) addPart(n InstanceNumber) (*datagram, Reason) {
	x := w.x
	if r := x.In.VerifyChecksums(false); r != packet.ReasonNone {
		return nil, r
	}
	p, r := x.In.Part()
	if r != packet.ReasonNone {
		return nil, r
	}
	key := fragmentKey{id: p.ID, hook: x.Hook, vlan: x.VLAN()}
	length := 0
	if x.frame.Wire != nil {
		key.wire = x.frame.Wire.Number()
	}
	if x.In.Has(packet.HasIPv4) {
		in := x.In.IPv4()
		src, dst := in.Src4(), in.Dst4()
		copy(key.src[:], src[:])
		copy(key.dst[:], dst[:])
		key.proto, length = in.Protocol(), in.TotalLen()
	} else {
		in := x.In.IPv6()
		key.src, key.dst, key.v6 = in.Src16(), in.Dst16(), true
		length = packet.IPv6Len + in.PayloadLen()
	}
	d := w.fragments.find(x.Now, &key)
	if d.n == 0 {
		d.all, d.dir, d.name, d.number = w.countersOf(x.Instance), x.Dir, x.Instance.Name, n
	}
	return d, d.add(w.fragments, &p, length, x.frame.ID)
}

// lost counts the fragments of a packet that is given up.
func (w *worker) lost(d *datagram, r Reason) {
	if d.passed { // counted when they went on
		return
	}
	c := &d.all.flow[d.dir]
	c.Held -= uint64(d.n)
	c.Dropped += uint64(d.n)
	d.all.count(d.dir, r, OutcomeDrop).n[OutcomeDrop] += uint64(d.n - 1) // count has counted one
	w.tellAgain(d, r)
}

// forgetFragments gives up what is held for an instance's counters, or for nil all
// there is. The worker's lock is held.
func (w *worker) forgetFragments(of *counters) {
	switch {
	case w.fragments == nil:
	case of == nil:
		for i, k := range w.fragments.keys {
			if k != (fragmentKey{}) {
				w.fragments.giveUp(i, ReasonFragmentMissing)
			}
		}
	default:
		w.fragments.expire(0, of)
	}
}
