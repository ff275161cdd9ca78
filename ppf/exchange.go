package ppf

import (
	"fmt"
	"net/netip"

	"github.com/promethos/promethos/packet"
)

// Device is a network interface as the hook saw it; the zero value means that
// the hook does not know it.
type Device struct {
	Index int32
	env   Env
}

// Name is the interface's name, "" where it is unknown.
func (d Device) Name() string {
	if d.Index == 0 {
		return ""
	}
	return d.env.DeviceName(d.Index)
}

// maxFindings is how many repairs of one packet are told apart; further ones
// are applied but not counted.
const maxFindings = 8

type finding struct {
	reason Reason
	value  uint64
	do     Do
}

// outcome is what the finding leads to where the packet is sent.
func (f *finding) outcome() Outcome {
	switch {
	case f.do == DoRepair:
		return OutcomeRepair
	case f.reason.Info().Class == packet.Refused:
		return OutcomeWouldDrop
	}
	return OutcomeWouldRepair
}

// Exchange is one received packet and the packet to send in its place, on its
// way through the user functions of a flow. It carries the seven values of
// thesis 4.1.2 (instance, direction, received packet, packet to send, in and
// out device, hook), and connection, time and route lookup. It is lent for one
// call of Process; nothing reached through it may be kept.
type Exchange struct {
	Instance *ProxyInstance
	Dir      Dir
	In       *packet.Packet // read-only
	Out      packet.Out     // nothing set: the packet is dropped at the end of the chain
	InDev    Device
	OutDev   Device
	Hook     Hook
	// Conn is the packet's connection, locked; nil while there is none. For an
	// ICMP error it is the connection that the error quotes.
	Conn *Conn
	// Now is when the packet was taken, in nanoseconds since 1970.
	Now int64
	// Quote is what an ICMP error quotes, nil for other packets. Dir is then
	// the flow in which the error travels: towards the sender of what is quoted.
	Quote *packet.Quote

	worker    *worker
	frame     *Frame
	flow      *flowRef
	key       Key
	hasKey    bool
	unchanged bool
	counted   bool // in the flow's In
	passes    bool // the function that runs now may call SendReceived
	failOpen  bool // the last Refuse lets the received packet pass
	running   int  // its place in the flow
	found     [maxFindings]finding
	foundN    int
	value     uint64 // of the last Refuse
	number    InstanceNumber
	dropped   bool // for cause, or would be
	held      bool // a fragment that is kept
	decided   bool // a function of a run has panicked
	merged    bool // In was put together from fragments
	longest   int  // of them, on layer 3
	wireLen   int  // of the frame, when it came
	parts     bool // the kernel makes a whole packet of this one, and of others
	cause     Cause
	quote     packet.Quote
	received  packet.Packet
}

// Env is the world around the engine.
func (x *Exchange) Env() Env { return x.worker.engine.env }

// CsumNotReady says that layer 4 checksums of In are not filled in yet and must
// not be verified.
func (x *Exchange) CsumNotReady() bool { return x.frame.CsumNotReady }

// Client is the address of the flow's client as the received packet shows it.
func (x *Exchange) Client() netip.Addr {
	if x.Conn != nil {
		return x.Conn.key[ClientToServer].SrcAddr()
	}
	if x.Dir == ClientToServer {
		return x.In.Src()
	}
	return x.In.Dst()
}

// Server is the address of the flow's server as the received packet shows it.
func (x *Exchange) Server() netip.Addr {
	if x.Conn != nil {
		return x.Conn.key[ClientToServer].DstAddr()
	}
	if x.Dir == ClientToServer {
		return x.In.Dst()
	}
	return x.In.Src()
}

// notRunning is the place of no function.
const notRunning = -1

// function names the user function that runs or ran last; "" for none.
func (x *Exchange) function() string {
	if x.flow == nil || x.running == notRunning {
		return ""
	}
	return x.flow.steps[x.running].name
}

// Reassembled reports that In came in fragments: no protocol is meant to be found
// in them that is spoken on one link only (RFC 6980 §5).
func (x *Exchange) Reassembled() bool { return x.merged }

// Create makes the packet's connection, locked as x.Conn, with the given
// limit of connections of this instance (0: none). Where a limit is reached a
// connection that gives way makes room; without one it fails with a reason. The packet must have ports and no connection yet, and must
// not be an ICMP error; for any other it panics, which costs the packet.
func (x *Exchange) Create(limit int) Reason {
	if x.Conn != nil || !x.hasKey || x.Quote != nil {
		panic("ppf: Create for a packet that has a connection, or that can have none of its own")
	}
	t := x.worker.engine.table
	c, r := t.create(x.Instance, limit, x.key, x.Dir, x.Now)
	if (r == ReasonTableFull || r == ReasonInstanceFull) && x.makeRoom(r) {
		c, r = t.create(x.Instance, limit, x.key, x.Dir, x.Now)
	}
	x.Conn = c
	return r
}

// Delete frees the packet's connection (thesis delete_connection_entry).
func (x *Exchange) Delete() {
	x.worker.engine.freed(x.Conn)
	x.worker.engine.table.remove(x.Conn)
	x.Conn = nil
}

// Rekey changes how packets of flow d of x.Conn look when they are received;
// see [Table.Rekey].
func (x *Exchange) Rekey(d Dir, k Key) bool { return x.worker.engine.table.Rekey(x.Conn, d, k) }

// SetDeadline lets x.Conn expire at the given time in nanoseconds since 1970.
func (x *Exchange) SetDeadline(at int64) { x.worker.engine.table.SetDeadline(x.Conn, at) }

// GiveWay lets x.Conn be freed from a time on where there is no room for a new
// connection; see [Table.GiveWay].
func (x *Exchange) GiveWay(from int64) { x.worker.engine.table.GiveWay(x.Conn, from) }

// Route looks up how this host sends a packet to dst that came in at InDev.
func (x *Exchange) Route(dst netip.Addr) (Route, error) {
	return x.worker.engine.env.Route(dst, x.InDev.Index)
}

// QuotedKey gives, for an ICMP error, the key of the flow that it quotes: as
// that flow's packets are received, or where there is no connection as quoted.
func (x *Exchange) QuotedKey() Key {
	if x.Conn != nil {
		return x.Conn.key[x.Dir.Other()]
	}
	return x.key.Reverse()
}

// Refuse ends the chain with a reason and the value seen in the field that the
// reason names. The instance's mode or an override may still let the received
// packet pass, counted as would-drop.
func (x *Exchange) Refuse(r Reason, value uint64) Verdict {
	x.value = value
	return Verdict{Action: Drop, Reason: r}
}

// CannotJudge ends the chain because the function itself is out of order. The
// instance's fail policy decides: with fail: closed it is a refusal, with fail:
// open the received packet passes, counted as would-drop.
func (x *Exchange) CannotJudge(r Reason, value uint64) Verdict {
	x.failOpen = x.Instance.Fail == FailOpen
	return x.Refuse(r, value)
}

// Worker is the index of the worker that runs the function, from 0 on; a worker
// does one thing at a time.
func (x *Exchange) Worker() int { return x.worker.id }

// Batch numbers the batches of a worker. What Out refers to must stay as it is
// until the batch is done.
func (x *Exchange) Batch() uint64 { return x.worker.batches }

// Finding reports something that has one safe meaning: a repair, or a refusal
// that may be overridden to one. When stop is true the function returns v; else
// it goes on and leaves the thing out or mends it.
func (x *Exchange) Finding(r Reason, value uint64) (v Verdict, stop bool) {
	do := x.Instance.do(r, x)
	info := r.Info()
	if do == DoRefuse || do == DoMonitor && info.Class == packet.Refused && !info.Repairable {
		return x.Refuse(r, value), true
	}
	if do == DoMonitor {
		x.unchanged = true
	}
	if x.foundN < maxFindings {
		x.found[x.foundN] = finding{r, value, do}
		x.foundN++
	}
	return Verdict{}, false
}

// SendReceived sends the received packet as it is (the thesis'
// skb_to_send = skb): no interception. Only a function with Passes may call it;
// in any other it panics, which costs the packet.
func (x *Exchange) SendReceived() {
	if !x.passes {
		panic("ppf: SendReceived in a user function that does not declare Passes")
	}
	x.unchanged = true
}

// Emit sends an extra packet through the source; it never comes back to a hook
// of ours. With a payload it allocates.
func (x *Exchange) Emit(out *packet.Out) error {
	from := x.Ingress()
	if err := x.worker.engine.emitFrom(&from, out, x.worker.extra[:]); err != nil {
		return err
	}
	x.worker.countersOf(x.Instance).flow[x.Dir].Emitted++
	return nil
}

// Drops says whether Refuse with this reason drops the packet. In monitor it
// passes, and an answer of ours would speak for a peer that answers itself.
func (x *Exchange) Drops(r Reason) bool { return x.Instance.do(r, x) != DoMonitor }

// MayAnswer says whether an answer of ours to this packet is within the
// instance's rate limit, and counts it.
func (x *Exchange) MayAnswer() bool { return x.Instance.answers.allow(x.Now) }

// Report says something of this packet in the event stream, limited in rate
// per instance. It allocates only while the limit is not reached.
func (x *Exchange) Report(format string, args ...any) {
	if x.Instance.events.allow(x.Now) {
		x.worker.engine.events.Add(Event{Kind: EventPacket, Instance: x.Instance.Name, Text: fmt.Sprintf(format, args...)})
	}
}
