package ppftest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Path is what lies between two ends: a chain, and before and behind it a network
// that loses, repeats and mixes up packets as Pick says.
type Path struct {
	Bench *Bench
	Hook  ppf.Hook
	// Hooks are those of what client and server send, where they differ from Hook.
	Hooks [2]ppf.Hook
	// Pick draws a number from 0 to n-1; label says for what.
	Pick func(n int, label string) int
	// Faults is how many of 16 packets meet a fault, on each side of the chain.
	Faults int
	// Mutate, if not nil, may send packets of its own besides one that is sent.
	Mutate func(pkt []byte) [][]byte
	// Passed are the packets that left the chain, in order.
	Passed [][]byte
	// Steps bounds the conversation; 0 means 20,000.
	Steps int

	ends   [2]*End // client and server
	flight [2][][]byte
}

// Converse lets two ends talk until both are done. It fails where they do not come
// to an end, and where one gets other data than the other sent.
func (p *Path) Converse(client, server *End) error {
	p.ends = [2]*End{client, server}
	client.Opens = true
	p.send(client, client.SYN())
	steps := p.Steps
	if steps == 0 {
		steps = 20_000
	}
	for range steps {
		if client.Done() && server.Done() {
			return p.compare()
		}
		p.step()
	}
	return fmt.Errorf("after %d steps the client has %d of %d bytes, the server %d of %d: %+v", steps,
		len(client.Received), len(server.Data), len(server.Received), len(client.Data), p.Bench.Engine.ReasonCounts())
}

func (p *Path) compare() error {
	for i, e := range p.ends {
		if want := p.ends[1-i].Data; !bytes.Equal(e.Received, want) {
			return fmt.Errorf("end %v got %d bytes and not the %d that were sent", e.Local, len(e.Received), len(want))
		}
	}
	return nil
}

// step does one thing: an end sends, or a packet arrives. Where nothing is on its
// way and nobody may send, time goes on and what is missing is sent again.
func (p *Path) step() {
	p.Bench.Env.Advance(1_000_000)
	who := p.Pick(2, "who")
	e := p.ends[who]
	if p.Pick(3, "send or deliver") == 0 {
		if pkt := e.Transmit(1 + p.Pick(2000, "size")); pkt != nil {
			p.send(e, pkt)
			return
		}
	}
	for _, at := range []int{who, 1 - who} {
		if n := len(p.flight[at]); n > 0 {
			i := 0
			if p.faulty("order") {
				i = p.Pick(n, "place")
			}
			pkt := p.flight[at][i]
			p.flight[at] = slices.Delete(p.flight[at], i, i+1)
			p.send(p.ends[at], p.ends[at].Receive(pkt))
			return
		}
	}
	if len(p.flight[0])+len(p.flight[1]) > 0 {
		return
	}
	const timeout = 300_000_000
	sent := false
	for _, e := range p.ends {
		if pkt := e.Transmit(1000); pkt != nil {
			p.send(e, pkt)
			sent = true
		}
	}
	if sent {
		return
	}
	p.Bench.Env.Advance(timeout)
	for _, e := range p.ends {
		pkt := e.Retransmit(1 + p.Pick(2000, "size"))
		if pkt == nil && e.open && e.acked {
			pkt = e.Probe()
		}
		p.send(e, pkt)
	}
}

func (p *Path) faulty(label string) bool { return p.Pick(16, label) < p.Faults }

// send puts a packet of an end through the chain and on its way.
func (p *Path) send(from *End, pkt []byte) {
	if pkt == nil || p.faulty("lost before") {
		return
	}
	list := [][]byte{pkt}
	if p.faulty("twice") {
		list = append(list, pkt)
	}
	if p.Mutate != nil {
		list = append(p.Mutate(pkt), list...)
	}
	for _, one := range list {
		p.pass(from, one)
	}
}

// pass gives one packet to the chain; what leaves it is on its way, extra packets
// too.
func (p *Path) pass(from *End, pkt []byte) {
	p.Bench.Emitted = p.Bench.Emitted[:0]
	hook := p.Hooks[0]
	if from == p.ends[1] {
		hook = p.Hooks[1]
	}
	if hook == ppf.HookNone {
		hook = p.Hook
	}
	if _, out := p.Bench.Send(hook, pkt); out != nil {
		p.deliver(out)
	}
	for _, out := range p.Bench.Emitted {
		p.deliver(out)
	}
}

func (p *Path) deliver(pkt []byte) {
	pkt = slices.Clone(pkt)
	p.Passed = append(p.Passed, pkt)
	if p.faulty("lost behind") {
		return
	}
	var in packet.Packet
	in.Parse(packet.LinkRawIP, pkt)
	for i, e := range p.ends {
		if in.Dst() == e.Local.Addr() {
			p.flight[i] = append(p.flight[i], pkt)
		}
	}
}
