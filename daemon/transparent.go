package daemon

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/source/nfqueue"
	"github.com/promethos/promethos/stream"
)

// transparent is what connections need that end on this host: listeners, and
// policy routing that brings their packets here. Its zero value has neither; the
// daemon's mu guards it.
type transparent struct {
	listeners *stream.Transparent
	diversion *host.Diversion
	diverted  bool
	held      *nfqueue.Source // the queue in which SYNs wait
	streams   []rules.Stream  // whose connections end here by the rules in place
}

// streamsOf lists the connections of an engine's rules that end here.
func streamsOf(e *ppf.Engine) (list []rules.Stream) {
	for _, r := range e.AllRules() {
		if r.Ends != nil && r.Dir() == ppf.ClientToServer {
			list = append(list, rules.Stream{Criteria: r.Criteria, KeepsClient: r.Ends.KeepsClient(), Honest: r.Ends.Honest})
		}
	}
	return list
}

// openTransparent makes ready what the plan's connections need, before rules lead
// to it.
func (d *Daemon) openTransparent(p *rules.Plan) error {
	if len(p.Streams) == 0 {
		return nil
	}
	if d.transparent.listeners == nil {
		if err := d.kernel.ProbeStreams(); err != nil {
			return err
		}
		l, err := stream.OpenTransparent(d.engine, stream.Marks{Zoned: rules.ZonedMark, Plain: rules.SocketMark}, d.closed.Workers())
		if err != nil {
			return err
		}
		l.Run()
		d.transparent.listeners = l
	}
	p.Zoned, p.Plain = d.transparent.listeners.Ports()
	if d.transparent.held == nil && slices.ContainsFunc(p.Streams, func(s rules.Stream) bool { return s.Honest }) {
		held, err := nfqueue.Open(nfqueue.Config{Queues: []uint16{p.Hold}, MaxLen: maxHeld, Mark: rules.Mark, Now: d.host.Now})
		if err != nil {
			return err
		}
		d.transparent.held = held
		d.running.Go(func() { d.fail(held.Hold(d.ctx, d.ask)) })
	}
	if d.transparent.diverted {
		return nil
	}
	if err := d.transparent.diversion.Add(rules.DivertMark, rules.Mark); err != nil {
		return err
	}
	d.transparent.diverted = true
	return nil
}

// maxHeld is how many SYNs wait at most: the kernel drops more, and clients send
// them again.
const maxHeld = 16 << 10

// answerMarks are what a SYN bears that waited in vain.
var answerMarks = map[stream.Answer]uint32{stream.Reset: rules.RefusedMark, stream.NoHost: rules.NoHostMark, stream.NoNetwork: rules.NoNetworkMark}

// ask lets a client's SYN wait until its server has answered.
func (d *Daemon) ask(h nfqueue.Held) {
	var p packet.Packet
	if p.Parse(packet.LinkRawIP, h.Data) != packet.ReasonNone || !p.Has(packet.HasTCP) {
		h.Drop() // what user functions have built is well-formed
		return
	}
	client, server := netip.AddrPortFrom(p.Src(), p.SrcPort()), netip.AddrPortFrom(p.Dst(), p.DstPort())
	zoned := h.Mark&rules.Mark == rules.ZonedMark
	d.transparent.listeners.Ask(client, server, zoned, func(a stream.Answer) {
		switch mark, refused := answerMarks[a]; {
		case refused, a == stream.Admit:
			h.Accept(mark, rules.Mark)
		default:
			h.Drop()
		}
	})
}

// trimTransparent ends what the plan does not need any more, once its rules are in
// place.
func (d *Daemon) trimTransparent(p *rules.Plan) error {
	if p == nil {
		return nil
	}
	t := &d.transparent
	if t.listeners != nil {
		all := d.engine.AllRules()
		t.listeners.Keep(func(name string) bool {
			return slices.ContainsFunc(all, func(r *ppf.Rule) bool { return r.Ends != nil && r.Name == name })
		})
	}
	before := t.streams
	t.streams = p.Streams
	if !reflect.DeepEqual(before, p.Streams) {
		d.forget(before)
	}
	if len(p.Streams) > 0 || t.diversion == nil {
		return nil
	}
	// What a killed predecessor left goes too.
	_, err := t.diversion.Remove()
	t.diverted = false
	return err
}

// forget lets what clients of streams that ended here send next be forwarded. It
// ends what is left of their connections; where the kernel cannot, that goes by
// itself within a minute.
func (d *Daemon) forget(streams []rules.Stream) {
	if len(streams) == 0 || d.transparent.diversion == nil {
		return
	}
	err := d.transparent.diversion.Forget(func(local, remote netip.AddrPort) bool {
		return slices.ContainsFunc(streams, func(s rules.Stream) bool {
			return matches(&s.Criteria, remote, local) || matches(&s.Criteria, local, remote)
		})
	})
	if err != nil {
		d.say("ports of clients stay taken for a minute: %v", err)
	}
}

func matches(c *ppf.Criteria, client, server netip.AddrPort) bool {
	return c.Match(&ppf.Tuple{
		Src: client.Addr(), Dst: server.Addr(), Protocol: packet.ProtoTCP, HasProtocol: true,
		SrcPort: client.Port(), DstPort: server.Port(), HasPorts: true,
	})
}

// endTransparent ends connections and listeners: what clients send is dropped by
// the rules until these go.
func (d *Daemon) endTransparent() {
	if d.transparent.listeners != nil {
		d.transparent.listeners.Close()
	}
}

// closeTransparent takes policy routing away, after the rules that need it.
func (d *Daemon) closeTransparent() error {
	d.endTransparent()
	if d.transparent.diversion == nil {
		return nil
	}
	d.forget(d.transparent.streams)
	d.transparent.streams = nil
	var err error
	if d.transparent.diverted {
		_, err = d.transparent.diversion.Remove()
	}
	d.transparent.diversion.Close()
	d.transparent.diversion = nil
	return err
}
