package ppf_test

import (
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// ended is an instance whose connections end here.
func ended(name string, chain ...string) ppf.InstanceSpec {
	in := ppftest.Instance(name, chain...)
	in.Match.Port = []ppf.PortRange{{Lo: 80, Hi: 80}}
	return in
}

// TestLegs gives both legs of a connection the same addresses: each is a connection
// of its own, told by where its packets are taken.
func TestLegs(t *testing.T) {
	const client, ours, proxy, server packet.Seq = 1000, 2000, 3000, 4000 // initial numbers
	for _, ends := range [][2]ppftest.Segment{
		{{Src: ppftest.Client4, Dst: ppftest.Server4}, {Src: ppftest.Server4, Dst: ppftest.Client4}},
		{{Src: ppftest.Client6, Dst: ppftest.Server6}, {Src: ppftest.Server6, Dst: ppftest.Client6}},
	} {
		segment := func(d ppf.Dir, f packet.TCPFlags, iss, irs packet.Seq) []byte {
			s := ends[d]
			s.TCP = ppftest.Header(f, iss, irs)
			return s.Bytes(t)
		}
		b := ppftest.New(t, ended("a", "relay"))
		from, to := ends[0].Src, ends[0].Dst
		if got := b.Engine.Accepting(from, to); got != nil {
			t.Errorf("Accepting before the SYN: got %+v", got)
		}
		for _, step := range []struct {
			hook ppf.Hook
			data []byte
			want ppf.Action
		}{
			{ppf.Prerouting, segment(ppf.ClientToServer, packet.SYN, client, 0), ppf.Accept},
			{ppf.Postrouting, segment(ppf.ClientToServer, packet.SYN, proxy, 0), ppf.Accept},
			// What belongs to one leg is a contradiction on the other.
			{ppf.Prerouting, segment(ppf.ServerToClient, packet.SYN|packet.ACK, ours, client), ppf.Drop},
			{ppf.Prerouting, segment(ppf.ServerToClient, packet.SYN|packet.ACK, server, proxy), ppf.Accept},
			{ppf.Postrouting, segment(ppf.ServerToClient, packet.SYN|packet.ACK, ours, client), ppf.Accept},
			{ppf.Postrouting, segment(ppf.ClientToServer, packet.ACK, proxy, server), ppf.Accept},
			{ppf.Prerouting, segment(ppf.ClientToServer, packet.ACK, client, ours), ppf.Accept},
			{ppf.Forward, segment(ppf.ClientToServer, packet.ACK, client, ours), ppf.Accept}, // no instance is there
		} {
			if got, _ := b.Send(step.hook, step.data); got != step.want {
				t.Errorf("at %v: got %v, want %v, of %x", step.hook, got, step.want, step.data)
			}
		}
		if got := b.Engine.Accepting(from, to); got == nil || got.Instance != "a" || !got.Honest || !got.KeepsClient() || got.Pending != ppf.DefaultPending {
			t.Errorf("Accepting: got %+v, want instance a, honest, the client's address", got)
		}
		legs := map[string]string{}
		for _, c := range b.Engine.Connections("", 0) {
			legs[c.Leg] = c.State
		}
		if len(legs) != 2 || legs["client"] != "ESTABLISHED" || legs["server"] != "ESTABLISHED" {
			t.Errorf("connections: got %v, want both legs ESTABLISHED", legs)
		}
		b.Accounted()
		// Packets are all that is left of it: the connection ends with its sockets.
		b.Apply(ended("a", "tcp"))
		if got, list := b.Engine.Accepting(from, to), b.Engine.Connections("", 0); got != nil || len(list) > 0 {
			t.Errorf("after the chain has changed: got %+v, %+v", got, list)
		}
	}
}

// TestLegsAllocate: a packet of a leg costs no memory.
func TestLegsAllocate(t *testing.T) {
	b := ppftest.New(t, ended("a", "http"))
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 0)}.Bytes(t)
	frames := []ppf.Frame{b.Frame(ppf.Prerouting, syn)}
	h := b.Engine.Handlers()[0]
	h.Handle(frames)
	if frames[0].Action != ppf.Accept {
		t.Fatalf("the SYN: got %v, want accept", frames[0].Action)
	}
	if n := testing.AllocsPerRun(1000, func() { h.Handle(frames) }); n > 0 {
		t.Errorf("%v allocations a packet, want 0", n)
	}
}

// TestLegFunctions: ip and tcp run on the packets of a stream chain, named or not,
// and each once.
func TestLegFunctions(t *testing.T) {
	spoofed := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 0), IP: packet.IPv4{TTL: 64}}
	spoofed.EditIP = func(ip []byte) []byte { copy(ip[12:], []byte{127, 0, 0, 1}); return ip }
	for _, chain := range [][]string{{"http"}, {"tcp", "http"}, {"ip", "relay"}, {"ip", "tcp", "relay"}} {
		b := ppftest.New(t, ended("a", chain...))
		if got, _ := b.Send(ppf.Prerouting, spoofed.Bytes(t)); got != ppf.Drop || b.Count("ip.martian-source", ppf.OutcomeDrop) != 1 {
			t.Errorf("%v: from a loopback address: got %v", chain, got)
		}
		stray := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN|packet.FIN, 1, 0)}
		if got, _ := b.Send(ppf.Prerouting, stray.Bytes(t)); got != ppf.Drop {
			t.Errorf("%v: SYN and FIN: got %v", chain, got)
		}
		if n := b.Engine.Stats().Packets.Dropped; n != 2 {
			t.Errorf("%v: %d packets were dropped, want 2", chain, n)
		}
	}
}
