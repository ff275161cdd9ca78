package tcp_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// translating is an instance at a hook that translates where the hook allows it.
func translating(hook ppf.Hook, settings ...string) ppf.InstanceSpec {
	in := instance(append([]string{"sequence", "translate"}, settings...)...)
	in.Hook = hook
	return in
}

// far lets offsets reach around the number space.
const far = 0x9e3779b9

func translated(t *testing.T, instances ...ppf.InstanceSpec) *ppftest.Bench {
	t.Helper()
	b := ppftest.New(t, instances...)
	b.Env.Step = far
	return b
}

// pass sends a segment at a hook, wants it sent on, and gives what was sent.
func pass(t *testing.T, b *ppftest.Bench, hook ppf.Hook, s ppftest.Segment) packet.TCPView {
	t.Helper()
	action, out := b.Send(hook, s.Bytes(t))
	if action != ppf.Accept {
		t.Fatalf("%v %v at %v: %v; %+v", s.Src, s.Flags, hook, action, b.Engine.ReasonCounts())
	}
	return view(t, out)
}

func view(t *testing.T, data []byte) packet.TCPView {
	t.Helper()
	var p packet.Packet
	if r := p.Parse(packet.LinkRawIP, data); r != packet.ReasonNone || !p.Has(packet.HasTCP) {
		t.Fatalf("%x: %v", data, r)
	}
	if r := p.VerifyChecksums(true); r != packet.ReasonNone {
		t.Fatalf("%x: %v", data, r)
	}
	return p.TCP()
}

// offsets are what the list of connections says.
func offsets(t *testing.T, b *ppftest.Bench) (client, server packet.Seq) {
	t.Helper()
	list := b.Engine.Connections("", 0)
	if len(list) != 1 {
		t.Fatalf("%d connections, want 1", len(list))
	}
	return packet.Seq(list[0].CS.Translation), packet.Seq(list[0].SC.Translation)
}

// flowHooks are where client and server are heard by an instance that translates.
var flowHooks = map[ppf.Hook][2]ppf.Hook{
	ppf.Forward: {ppf.Prerouting, ppf.Forward},
	ppf.Input:   {ppf.Input, ppf.Output},
}

// TestTranslatedConversations: two ends that lose, repeat and mix up packets talk
// to the end, with all options, and neither sees a number of the other.
func TestTranslatedConversations(t *testing.T) {
	for hook, hooks := range flowHooks {
		for seed := range uint64(8) {
			b := translated(t, translating(hook))
			r := rand.New(rand.NewPCG(seed, uint64(hook)))
			client := ppftest.NewEnd(t, ppftest.Client4, ppftest.Server4, b.Env.Now)
			server := ppftest.NewEnd(t, ppftest.Server4, ppftest.Client4, b.Env.Now)
			for i, e := range []*ppftest.End{client, server} {
				e.ISS = packet.Seq(r.Uint32())
				e.Data = make([]byte, 50_000)
				for j := range e.Data {
					e.Data[j] = byte(r.Uint32())
				}
				e.SACK, e.Stamps, e.Scale, e.Window = seed%2 == 0, seed%3 != 0, uint8(seed%4)*3, 20_000<<i
			}
			p := &ppftest.Path{Bench: b, Hooks: hooks, Faults: int(seed % 4), Pick: func(n int, _ string) int { return r.IntN(n) }}
			if err := p.Converse(client, server); err != nil {
				t.Fatalf("%v, seed %d: %v", hook, seed, err)
			}
			if c, s := offsets(t, b); c == 0 || s == 0 {
				t.Fatalf("%v, seed %d: offsets %d and %d", hook, seed, c, s)
			}
			for _, out := range p.Passed {
				if v := view(t, out); v.Flags()&syn != 0 && (v.Seq() == client.ISS || v.Seq() == server.ISS) {
					t.Fatalf("%v, seed %d: a SYN with the number that its sender chose", hook, seed)
				}
			}
			b.Accounted()
		}
	}
}

// TestTranslatedOptions: SACK blocks, also of what came twice, and timestamps.
func TestTranslatedOptions(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	offer := func(s ppftest.Segment, val, ecr uint32) ppftest.Segment {
		s.Options = packet.TCPOptions{Has: packet.OptSACKPermitted | packet.OptTimestamps, TSVal: val, TSEcr: ecr}
		return s
	}
	first := pass(t, b, ppf.Prerouting, offer(cs(syn), 100, 0))
	var o packet.TCPOptions
	first.ParseOptions(&o)
	clock := o.TSVal - 100
	if o.TSEcr != 0 || clock == 0 {
		t.Errorf("the SYN says %d of its clock and echoes %d", o.TSVal, o.TSEcr)
	}
	cOff, sOff := offsets(t, b)
	if first.Seq() != 1000+cOff {
		t.Errorf("the SYN has number %d, want %d", first.Seq(), 1000+cOff)
	}
	answer := offer(sc(syn|ack), 900, 100+clock)
	answer.Ack += cOff
	if v := pass(t, b, ppf.Forward, answer); v.Ack() != 1001 || v.Seq() != 5000+sOff {
		t.Errorf("the SYN-ACK has numbers %d and %d", v.Seq(), v.Ack())
	} else if v.ParseOptions(&o); o.TSEcr != 100 || o.TSVal == 900 {
		t.Errorf("the SYN-ACK says %d and echoes %d", o.TSVal, o.TSEcr)
	}
	data := cs(ack)
	data.Payload, data.Ack = make([]byte, 300), 5001+sOff
	data.Options = packet.TCPOptions{Has: packet.OptTimestamps, TSVal: 101, TSEcr: o.TSVal}
	if v := pass(t, b, ppf.Prerouting, data); v.Seq() != 1001+cOff || v.Ack() != 5001 {
		t.Errorf("data has numbers %d and %d", v.Seq(), v.Ack())
	} else if v.ParseOptions(&o); o.TSEcr != 900 {
		t.Errorf("data echoes %d", o.TSEcr)
	}
	for _, block := range []packet.SACKBlock{{Left: 1101, Right: 1201}, {Left: 950, Right: 1000}} {
		sack := sc(ack)
		sack.Ack = 1001 + cOff
		sack.Options = packet.TCPOptions{Has: packet.OptSACK | packet.OptTimestamps, TSVal: 901, TSEcr: 101 + clock, NumSACK: 1}
		sack.Options.SACK[0] = packet.SACKBlock{Left: block.Left + cOff, Right: block.Right + cOff}
		v := pass(t, b, ppf.Forward, sack)
		if v.ParseOptions(&o); o.NumSACK != 1 || o.SACK[0] != block || o.TSEcr != 101 {
			t.Errorf("SACK %+v, echo %d, want %+v", o.SACK[:o.NumSACK], o.TSEcr, block)
		}
	}
}

// handshake opens a connection at the hooks of an instance at FORWARD.
func handshake(t *testing.T, b *ppftest.Bench) (client, server packet.Seq) {
	t.Helper()
	pass(t, b, ppf.Prerouting, cs(syn))
	client, server = offsets(t, b)
	answer := sc(syn | ack)
	answer.Ack += client
	pass(t, b, ppf.Forward, answer)
	third := cs(ack)
	third.Ack += server
	pass(t, b, ppf.Prerouting, third)
	return client, server
}

// TestTranslatedAnswers: a challenge ACK of ours has the numbers that its receiver
// knows, and so has a RST that this machine makes itself for the server.
func TestTranslatedAnswers(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	cOff, sOff := handshake(t, b)
	if action, _ := b.Send(ppf.Prerouting, cs(syn).Bytes(t)); action != ppf.Drop || len(b.Emitted) != 1 {
		t.Fatalf("a SYN in the middle: %v, %d answers", action, len(b.Emitted))
	}
	if v := view(t, b.Emitted[0]); v.Seq() != 5001+sOff || v.Ack() != 1001 {
		t.Errorf("the client is challenged with %d and %d", v.Seq(), v.Ack())
	}
	reset := sc(rst | ack)
	reset.Seq, reset.Ack = 5010, 1001+cOff
	if action, _ := b.Send(ppf.Forward, reset.Bytes(t)); action != ppf.Drop || len(b.Emitted) != 2 {
		t.Fatalf("a RST within the window: %v, %d answers", action, len(b.Emitted))
	}
	if v := view(t, b.Emitted[1]); v.Seq() != 1001+cOff || v.Ack() != 5001 {
		t.Errorf("the server is challenged with %d and %d", v.Seq(), v.Ack())
	}
	reset.Seq = 5001
	if v := pass(t, b, ppf.Output, reset); v.Seq() != 5001+sOff || v.Ack() != 1001 {
		t.Errorf("the RST has numbers %d and %d", v.Seq(), v.Ack())
	}
}

// TestTranslatedQuotes: an ICMP error quotes the number that its receiver sent.
func TestTranslatedQuotes(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	cOff, sOff := handshake(t, b)
	router := netip.MustParseAddr("198.51.100.9")
	for _, c := range []struct {
		hook     ppf.Hook
		src, dst netip.AddrPort
		seq, off packet.Seq
	}{
		{ppf.Forward, ppftest.Client4, ppftest.Server4, 1001, cOff},
		{ppf.Output, ppftest.Client4, ppftest.Server4, 1001, cOff}, // this machine's own
		{ppf.Forward, ppftest.Server4, ppftest.Client4, 5001, sOff},
		{ppf.Output, ppftest.Server4, ppftest.Client4, 5001, 0}, // about what was not translated yet
	} {
		var out packet.Out
		out.SetIPv4(packet.IPv4{TTL: 60, Src: router, Dst: c.src.Addr()})
		out.SetICMPv4(packet.ICMPv4{Type: packet.ICMPv4Unreachable, Code: packet.ICMPv4CodeFragNeeded, MTU: 1400, HasQuote: true, Quote: packet.Quote{
			Proto: packet.ProtoTCP, L4Len: 1480, SrcPort: c.src.Port(), DstPort: c.dst.Port(), Seq: c.seq + c.off,
			IP4: packet.IPv4{TTL: 60, DF: true, Src: c.src.Addr(), Dst: c.dst.Addr(), Protocol: packet.ProtoTCP},
		}})
		head, err := out.Encode(make([]byte, packet.MaxHeaders))
		if err != nil {
			t.Fatal(err)
		}
		_, got := b.Send(c.hook, head)
		var p packet.Packet
		if r := p.Parse(packet.LinkRawIP, got); r != packet.ReasonNone || !p.Has(packet.HasICMPv4) {
			t.Fatalf("%v: %x: %v; %+v", c.hook, got, r, b.Engine.ReasonCounts())
		}
		icmp := p.ICMPv4()
		if q, _ := icmp.Quoted(); q.Seq != c.seq {
			t.Errorf("%v: the error quotes %d, want %d", c.hook, q.Seq, c.seq)
		}
	}
}

// TestQuotedNumbers: an ICMP error passes when it quotes a segment that is on its
// way, in whatever numbers, and no other one: who does not see the connection has
// to guess one.
func TestQuotedNumbers(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.9")
	for _, in := range []ppf.InstanceSpec{translating(ppf.Forward), instance("sequence", "keep")} {
		b := translated(t, in)
		opens := ppf.Forward
		if in.Modules["tcp"].Map[len(in.Modules["tcp"].Map)-1].Value.Scalar == "translate" {
			opens = ppf.Prerouting
		}
		quote := func(s ppftest.Segment, seq packet.Seq) (ppf.Action, packet.Seq) {
			s.Seq = seq
			action, out := b.Send(ppf.Forward, icmp4(t, 3, 1, 0, router, s.Bytes(t)))
			if action != ppf.Accept {
				return action, 0
			}
			var p packet.Packet
			p.Parse(packet.LinkRawIP, out)
			q, _ := p.ICMPv4().Quoted()
			return action, q.Seq
		}
		wants := func(when string, s ppftest.Segment, off, seq packet.Seq, pass bool) {
			t.Helper()
			before := b.Count("icmp.sequence", ppf.OutcomeDrop)
			action, got := quote(s, seq+off)
			switch {
			case pass && (action != ppf.Accept || got != seq):
				t.Errorf("%s, %v quotes %d: %v with %d; %+v", when, s.Src, seq, action, got, b.Engine.ReasonCounts())
			case !pass && (action != ppf.Drop || b.Count("icmp.sequence", ppf.OutcomeDrop) != before+1):
				t.Errorf("%s, %v quotes %d: %v; %+v", when, s.Src, seq, action, b.Engine.ReasonCounts())
			}
		}
		first := pass(t, b, opens, cs(syn))
		cOff := first.Seq() - 1000
		wants("SYN", cs(syn), cOff, 1000, true)
		wants("SYN", cs(syn), cOff, 999, false)
		wants("SYN", cs(syn), cOff, 1002, false)
		wants("SYN", sc(syn|ack), 0, 5000, false) // the server said nothing yet
		answer := sc(syn | ack)
		answer.Ack += cOff
		sOff := pass(t, b, ppf.Forward, answer).Seq() - 5000
		wants("SYN-ACK", sc(syn|ack), sOff, 5000, true)
		data := cs(ack | psh)
		data.Ack, data.Payload = 5001+sOff, []byte("0123456789")
		pass(t, b, opens, data)
		wants("data", cs(ack), cOff, 1001, true)
		wants("data", cs(ack), cOff, 1011, true) // an acknowledgment behind it
		wants("data", cs(ack), cOff, 1012, false)
		wants("data", cs(ack), cOff, 1000, true) // a keep-alive
		wants("data", cs(ack), cOff, 999, false)
		acknowledged := sc(ack)
		acknowledged.Ack = 1006 + cOff
		pass(t, b, ppf.Forward, acknowledged)
		wants("half is acknowledged", cs(ack), cOff, 1005, true)
		wants("half is acknowledged", cs(ack), cOff, 1001, false)
		wants("half is acknowledged", sc(ack), sOff, 5001, true)
		wants("half is acknowledged", sc(ack), sOff, 5002, false)
		if opens == ppf.Prerouting { // numbers of the other space are a guess like any
			wants("half is acknowledged", cs(ack), 0, 1006, false)
		}
		b.Accounted()
	}
}

// TestBehind: a packet that comes to the instance's own hook once more, because
// it lost the mark that spares it that, goes on as it is; one that went past the
// first hook is judged by what its receiver expects.
func TestBehind(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	cOff, sOff := handshake(t, b)
	data := cs(ack | psh)
	data.Ack, data.Payload = 5001+sOff, []byte("hello")
	frames := []ppf.Frame{b.Frame(ppf.Prerouting, data.Bytes(t))}
	b.Engine.Handlers()[0].Handle(frames)
	f := &frames[0]
	if f.Action != ppf.Accept || !f.Judged {
		t.Fatalf("at the first hook: %v, judged %v", f.Action, f.Judged)
	}
	built := slices.Concat(f.Head, f.Body)
	frames = []ppf.Frame{b.Frame(ppf.Forward, built)}
	b.Engine.Handlers()[0].Handle(frames)
	if f := &frames[0]; f.Action != ppf.Accept || f.Judged || !bytes.Equal(slices.Concat(f.Head, f.Body), built) {
		t.Errorf("at the second: %v, judged %v, %x, want %x", f.Action, f.Judged, slices.Concat(f.Head, f.Body), built)
	}
	data.Seq = 1001 // what the client uses, and the server does not
	if action, _ := b.Send(ppf.Forward, data.Bytes(t)); (action == ppf.Accept) != (cOff < 1<<16) {
		t.Errorf("past the first hook, untranslated: %v", action)
	}
	b.Accounted()
}

// TestBesides: what is of no translated connection goes on from the hook beside
// as it came, to the instance's own.
func TestBesides(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	for _, s := range []ppftest.Segment{cs(ack), cs(rst), cs(syn | ack), cs(syn | fin)} {
		data := s.Bytes(t)
		if action, out := b.Send(ppf.Prerouting, data); action != ppf.Accept || !bytes.Equal(out, data) {
			t.Errorf("%v at prerouting: %v", s.Flags, action)
		}
		if action, _ := b.Send(ppf.Forward, data); action != ppf.Drop {
			t.Errorf("%v at forward: %v", s.Flags, action)
		}
	}
	data := sc(syn | ack).Bytes(t)
	if action, out := b.Send(ppf.Output, data); action != ppf.Accept || !bytes.Equal(out, data) {
		t.Errorf("what this machine sends from a port of the server: %v", action)
	}
	b.Accounted()
}

// TestTranslatedNetwork: servers that are a network, the clients in it too: each
// packet is judged once, the client's before conntrack and the server's behind it.
func TestTranslatedNetwork(t *testing.T) {
	in := translating(ppf.Forward)
	in.Match.Server = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	b := translated(t, in)
	cOff, sOff := handshake(t, b)
	if cOff == 0 || sOff == 0 {
		t.Errorf("offsets %d and %d", cOff, sOff)
	}
	answer := sc(ack | psh)
	answer.Ack, answer.Payload = 1001+cOff, []byte("answer")
	data := answer.Bytes(t)
	if action, out := b.Send(ppf.Prerouting, data); action != ppf.Accept || !bytes.Equal(out, data) {
		t.Errorf("the server's, before conntrack: %v", action)
	}
	if v := pass(t, b, ppf.Forward, answer); v.Seq() != 5001+sOff || v.Ack() != 1001 {
		t.Errorf("the server's has numbers %d and %d", v.Seq(), v.Ack())
	}
	b.Accounted()
}

// TestOpenedByBoth: the SYN of a client whose server has sent one already, or whose
// earlier connection kept its numbers, is of that connection and begins no
// translated one beside it.
func TestOpenedByBoth(t *testing.T) {
	for name, before := range map[string][]ppftest.Segment{
		"simultaneous open": {sc(syn)},
		"ports used again":  {sc(syn), sc(rst)},
	} {
		b := translated(t, translating(ppf.Forward))
		for _, s := range before {
			pass(t, b, ppf.Forward, s)
		}
		data := cs(syn).Bytes(t)
		if action, out := b.Send(ppf.Prerouting, data); action != ppf.Accept || !bytes.Equal(out, data) {
			t.Errorf("%s, before conntrack: %v; %+v", name, action, b.Engine.ReasonCounts())
		}
		if v := pass(t, b, ppf.Forward, cs(syn)); v.Seq() != 1000 {
			t.Errorf("%s: the SYN has number %d", name, v.Seq())
		}
		b.Accounted()
	}
}

// TestUntranslated: connections whose numbers are carried over.
func TestUntranslated(t *testing.T) {
	change := func(f func(*ppf.InstanceSpec)) ppf.InstanceSpec {
		in := translating(ppf.Forward)
		f(&in)
		return in
	}
	for name, c := range map[string]struct {
		in    ppf.InstanceSpec
		hook  ppf.Hook
		local bool
	}{
		"keep":            {in: instance("sequence", "keep"), hook: ppf.Forward},
		"monitor":         {in: change(func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor }), hook: ppf.Forward},
		"fail open":       {in: change(func(in *ppf.InstanceSpec) { in.Fail = ppf.FailOpen }), hook: ppf.Forward},
		"no server":       {in: change(func(in *ppf.InstanceSpec) { in.Match.Server = nil }), hook: ppf.Forward},
		"interface":       {in: change(func(in *ppf.InstanceSpec) { in.Match.Out = "eth1" }), hook: ppf.Forward},
		"pass":            {in: change(func(in *ppf.InstanceSpec) { in.Chain = [2][]string{{"tcp", "pass"}, {"tcp", "pass"}} }), hook: ppf.Forward},
		"half":            {in: change(func(in *ppf.InstanceSpec) { in.Chain[1] = nil }), hook: ppf.Forward},
		"override":        {in: change(func(in *ppf.InstanceSpec) { in.Reasons = []ppf.Override{{Reason: "tcp.ack", Do: ppf.DoMonitor}} }), hook: ppf.Forward},
		"behind NAT":      {in: translating(ppf.Forward), hook: ppf.Forward}, // the address of the server was another one at PREROUTING
		"of this machine": {in: translating(ppf.Forward), hook: ppf.Forward, local: true},
		"prerouting":      {in: translating(ppf.Prerouting), hook: ppf.Prerouting},
		"output":          {in: translating(ppf.Output), hook: ppf.Output},
		"postrouting":     {in: translating(ppf.Postrouting), hook: ppf.Postrouting},
	} {
		t.Run(name, func(t *testing.T) {
			b := translated(t, c.in)
			b.Env.Local = c.local
			data := cs(syn).Bytes(t)
			if name != "behind NAT" && c.hook == ppf.Forward {
				if action, out := b.Send(ppf.Prerouting, data); action != ppf.Accept || !bytes.Equal(out, data) {
					t.Errorf("at prerouting: %v", action)
				}
			}
			if v := pass(t, b, c.hook, cs(syn)); v.Seq() != 1000 {
				t.Errorf("the SYN has number %d", v.Seq())
			}
			b.Accounted()
		})
	}
}

// TestOverrideLater: of a connection that is translated nothing goes on as it was
// received, whatever an override says.
func TestOverrideLater(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	_, sOff := handshake(t, b)
	for _, r := range []string{"tcp.ack", "tcp.urgent-removed"} {
		if err := b.Engine.Override("a", ppf.Override{Reason: r, Do: ppf.DoMonitor}); err != nil {
			t.Fatal(err)
		}
	}
	wrong := cs(ack)
	wrong.Ack = 5001 + sOff + 100_000
	if action, _ := b.Send(ppf.Prerouting, wrong.Bytes(t)); action != ppf.Drop {
		t.Errorf("an ACK of what was never sent: %v", action)
	}
	urgent := cs(ack | urg)
	urgent.Ack, urgent.Payload = 5001+sOff, []byte("x")
	if v := pass(t, b, ppf.Prerouting, urgent); v.Flags()&urg != 0 || v.Seq() == 1001 {
		t.Errorf("an urgent segment goes on with %v and number %d", v.Flags(), v.Seq())
	}
	other := cs(syn)
	other.Src = netip.MustParseAddrPort("192.0.2.9:40000")
	if action, out := b.Send(ppf.Prerouting, other.Bytes(t)); action != ppf.Accept || view(t, out).Seq() != 1000 {
		t.Errorf("a connection begun under the override: %v, %x", action, out)
	}
}

// TestTranslatedReuse: the next connection on the same ports begins behind the
// last one, and its clock goes on, so that a server in TIME-WAIT takes it.
func TestTranslatedReuse(t *testing.T) {
	for range 20 {
		b := translated(t, translating(ppf.Forward))
		offer := func(s ppftest.Segment, val uint32) ppftest.Segment {
			s.Options = packet.TCPOptions{Has: packet.OptTimestamps, TSVal: val}
			return s
		}
		var o packet.TCPOptions
		first := pass(t, b, ppf.Prerouting, offer(cs(syn), 100))
		first.ParseOptions(&o)
		seq, clock := first.Seq(), o.TSVal
		cOff, _ := offsets(t, b)
		reset := sc(rst | ack)
		reset.Seq, reset.Ack = 0, 1001+cOff
		pass(t, b, ppf.Forward, reset)
		again := cs(syn)
		again.Seq = packet.Seq(rand.Uint32())
		next := pass(t, b, ppf.Prerouting, offer(again, 200))
		if next.ParseOptions(&o); o.TSVal != clock+100 {
			t.Errorf("the clock goes from %d to %d", clock, o.TSVal)
		}
		if !next.Seq().After(seq) {
			t.Errorf("the number goes from %d to %d", seq, next.Seq())
		}
	}
}

func TestTranslatedAllocations(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	cOff, sOff := handshake(t, b)
	there, back := cs(ack), sc(ack)
	there.Ack, back.Ack = 5001+sOff, 1001+cOff
	list := []ppf.Frame{b.Frame(ppf.Prerouting, there.Bytes(t)), b.Frame(ppf.Forward, back.Bytes(t))}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for two segments, want 0", n)
	}
	for i := range list {
		if list[i].Action != ppf.Accept {
			t.Errorf("%d: %v; %+v", i, list[i].Action, b.Engine.ReasonCounts())
		}
	}
}

// BenchmarkNumbers is the way of a segment there and back through the engine.
func BenchmarkNumbers(b *testing.B) {
	for _, sequence := range []string{"keep", "translate"} {
		b.Run(sequence, func(b *testing.B) {
			bench := ppftest.New(b, instance("sequence", sequence, "retransmit", "trust"))
			h := bench.Engine.Handlers()[0]
			send := func(hook ppf.Hook, s ppftest.Segment) []ppf.Frame {
				list := []ppf.Frame{bench.Frame(hook, s.Bytes(b))}
				h.Handle(list)
				return list
			}
			at := ppf.Forward
			if sequence == "translate" {
				at = ppf.Prerouting
			}
			send(at, cs(syn))
			c := bench.Engine.Connections("", 0)[0]
			answer, there, back := sc(syn|ack), cs(ack), sc(ack)
			answer.Ack += packet.Seq(c.CS.Translation)
			there.Ack += packet.Seq(c.SC.Translation)
			back.Ack += packet.Seq(c.CS.Translation)
			send(ppf.Forward, answer)
			list := append(send(at, there), send(ppf.Forward, back)...)
			b.ReportAllocs()
			for b.Loop() {
				h.Handle(list)
			}
		})
	}
}
