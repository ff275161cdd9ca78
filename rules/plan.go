package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Mark is the packet mark of what we emit or send once more through a hook: a
// packet with all of these bits set is ours, and the first rule of every chain
// lets it go on. The operator's own marks must leave at least one of them clear.
const Mark = 0x5046_0000

// What bears some of the bits of Mark is not ours to skip everywhere.
const (
	// DivertMark is on a received packet that a socket of ours gets: policy routing
	// delivers it here, whatever its address.
	DivertMark = 0x5042_0000
	// SocketMark is on what our sockets send, ZonedMark on that of it which goes to
	// clients and belongs into Zone, and on SYNs that wait and do.
	SocketMark = 0x5006_0000
	ZonedMark  = 0x5044_0000
	// JudgedMark is on a packet that was built before conntrack and has its
	// instance's own hook still before it, which lets it go on.
	JudgedMark = 0x4046_0000
	// RefusedMark, NoHostMark and NoNetworkMark are on a SYN that waited in vain:
	// the client gets a reset, or an ICMP error that says so.
	RefusedMark   = 0x5040_0000
	NoHostMark    = 0x5004_0000
	NoNetworkMark = 0x5002_0000
)

// Zone is the conntrack zone of the client's side of a connection whose server
// sees the client's own address and port: both sides show the same addresses.
const Zone = 0x5046

// ErrPlan reports a plan that no ruleset can express; it comes wrapped with what
// is wrong.
var ErrPlan = errors.New("impossible plan")

// Selector asks the kernel to hand over the packets of one flow at one hook.
type Selector struct {
	Instance string // for messages
	Dir      ppf.Dir
	Hook     ppf.Hook
	// Early takes packets at PREROUTING or OUTPUT before conntrack and routing, for
	// an instance that exchanges addresses or sequence numbers; at other hooks it
	// means nothing.
	Early bool
	// Beside says that the hook is not the instance's own, where the packets that
	// nobody wants here are taken all the same; ICMP errors at PREROUTING, too.
	Beside   bool
	Criteria ppf.Criteria
	Fail     ppf.Fail
}

// Stream asks the kernel to give the connections of one instance to listeners of
// this host.
type Stream struct {
	Criteria ppf.Criteria // of the flow from client to server
	// KeepsClient says that the server sees the client's own address and port.
	KeepsClient bool
	// Honest lets SYNs wait in the queue Hold.
	Honest bool
}

// Ports are those of the listeners on the loopback addresses, for IPv4 and IPv6. 0
// is an IP version that the host does not have; two of them stand for ports that
// are not known yet, in a plan that is only shown.
type Ports [2]uint16

// Queues is a range of queue numbers, balanced by the hash of both addresses.
type Queues struct{ First, Count uint16 }

func (q Queues) last() uint16 { return q.First + q.Count - 1 }

// judgesEarly says that packets which were judged before conntrack come to the
// instance's own hook, too.
func (s Selector) judgesEarly() bool { return s.Beside && s.Early }

// sparesOwn says that what this machine itself receives and sends is left alone: of
// servers that are a network it may be one.
func (s Selector) sparesOwn() bool {
	servers := s.Criteria.Dst
	if s.Dir == ppf.ServerToClient {
		servers = s.Criteria.Src
	}
	return s.Beside && slices.ContainsFunc(servers, func(p netip.Prefix) bool { return !p.IsSingleIP() })
}

// valid reports whether the range has a number and ends at 65,535 or before.
func (q Queues) valid() bool { return q.Count > 0 && uint32(q.First)+uint32(q.Count)-1 <= 0xffff }

// Plan is what the kernel shall select.
type Plan struct {
	Selectors []Selector
	// Refuse holds, for servers with `others: refuse`, the criteria of all
	// their traffic at the hooks of their instances.
	Refuse []Selector
	// Hidden holds the flows whose extra packets conntrack must not see, at OUTPUT.
	Hidden []Selector
	// Streams lists whose connections end here. Zoned are the listeners for
	// connections whose client's side is in Zone, Plain those for others.
	Streams      []Stream
	Zoned, Plain Ports
	// Closed and Open are the queues for instances that fail closed and open;
	// Open is not looked at where no instance fails open.
	Closed, Open Queues
	// Opening is the queue for segments that may open a connection, of what fails
	// closed; without a count they go where the others go. With Flood they do so as
	// long as no more than that many come in a second.
	Opening Queues
	Flood   uint32
	// Hold is the queue in which SYNs wait.
	Hold uint16
}

// check reports what no ruleset can express, wrapping ErrPlan.
func (p *Plan) check() error {
	open := false
	for _, s := range slices.Concat(p.Selectors, p.Refuse) {
		if s.Hook == ppf.HookNone || int(s.Hook) >= ppf.NumHooks {
			return fmt.Errorf("rules: compile instance %q: %w: there is no hook %v", s.Instance, ErrPlan, s.Hook)
		}
		for _, name := range []string{s.Criteria.In, s.Criteria.Out} {
			if len(name) >= unix.IFNAMSIZ {
				return fmt.Errorf("rules: compile instance %q: %w: interface name %q is longer than %d bytes", s.Instance, ErrPlan, name, unix.IFNAMSIZ-1)
			}
		}
		open = open || s.Fail == ppf.FailOpen
	}
	for _, s := range p.Streams {
		if s.Criteria.Protocol != packet.ProtoTCP {
			return fmt.Errorf("rules: compile: %w: connections end here, and the protocol is %v", ErrPlan, s.Criteria.Protocol)
		}
	}
	if !p.Closed.valid() {
		return fmt.Errorf("rules: compile: %w: no queues from %d on for %d workers", ErrPlan, p.Closed.First, p.Closed.Count)
	}
	for _, s := range p.Streams {
		if s.Honest && p.Closed.First <= p.Hold && p.Hold <= p.Closed.last() {
			return fmt.Errorf("rules: compile: %w: SYNs wait in queue %d, which is one of %d-%d", ErrPlan, p.Hold, p.Closed.First, p.Closed.last())
		}
	}
	if o := p.Opening; o.Count > 0 && o.First <= p.Closed.last() && p.Closed.First <= o.last() {
		return fmt.Errorf("rules: compile: %w: queues %d-%d are for all segments, %d-%d for the first, and they overlap",
			ErrPlan, p.Closed.First, p.Closed.last(), o.First, o.last())
	}
	if !open {
		return nil
	}
	if !p.Open.valid() {
		return fmt.Errorf("rules: compile: %w: no queues from %d on for instances that fail open", ErrPlan, p.Open.First)
	}
	if p.Open.First <= p.Closed.last() && p.Closed.First <= p.Open.last() {
		return fmt.Errorf("rules: compile: %w: queues %d-%d fail closed, %d-%d open, and they overlap",
			ErrPlan, p.Closed.First, p.Closed.last(), p.Open.First, p.Open.last())
	}
	return nil
}

// visible gives the selector's criteria without the keys that a packet does not
// show at its hook. What is left selects more, never less; user space applies
// the criteria again with what it knows of the connection.
func (s *Selector) visible() ppf.Criteria {
	c := s.Criteria
	not := c.Not
	c.Not = nil
	for _, n := range not {
		// A key that is hidden never counts as a match of Not.
		if !s.hides(&n) {
			c.Not = append(c.Not, n)
		}
	}
	if s.hidesIn() {
		c.In = ""
	}
	if s.hidesOut() {
		c.Out = ""
	}
	if s.exchanged() {
		c.Dst, c.DstPorts = nil, nil
	}
	return c
}

// hides reports whether an item names a key that is hidden.
func (s *Selector) hides(n *ppf.Criteria) bool {
	return n.In != "" && s.hidesIn() || n.Out != "" && s.hidesOut() ||
		s.exchanged() && len(n.Dst)+len(n.DstPorts) > 0
}

// hidesIn: a packet of this host came in nowhere.
func (s *Selector) hidesIn() bool { return s.Hook == ppf.Output }

// hidesOut: where a packet goes is not decided, or it goes nowhere.
func (s *Selector) hidesOut() bool { return s.Hook == ppf.Prerouting || s.Hook == ppf.Input }

// exchanged: an answer that is still addressed to the proxy does not show the
// client it belongs to.
func (s *Selector) exchanged() bool {
	return s.Early && s.Hook == ppf.Prerouting && s.Dir == ppf.ServerToClient
}
