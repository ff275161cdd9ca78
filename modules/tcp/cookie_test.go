package tcp_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// cookies is an instance that answers SYNs itself, always unless from says else.
func cookies(hook ppf.Hook, settings ...string) ppf.InstanceSpec {
	in := translating(hook, append([]string{"cookie_from", "0"}, settings...)...)
	in.Handshake = ppf.HandshakeCookie
	return in
}

// told gives what is known of the cookies of the one instance.
func told(t *testing.T, b *ppftest.Bench) ppf.CookieInfo {
	t.Helper()
	list := b.Engine.Instances()
	if len(list) != 1 || list[0].Cookies == nil {
		t.Fatalf("instances %+v", list)
	}
	return *list[0].Cookies
}

// full are the offers of a usual host.
func full(scale uint8) packet.TCPOptions {
	return packet.TCPOptions{Has: packet.OptMSS | packet.OptSACKPermitted | packet.OptTimestamps | packet.OptWScale, MSS: 1460, WScale: scale, TSVal: 700}
}

// learn lets the instance see how the server answers SYNs, by a connection of
// another client, which is not answered with a cookie.
func learn(t *testing.T, b *ppftest.Bench, hooks [2]ppf.Hook, client, server netip.AddrPort, o packet.TCPOptions) {
	t.Helper()
	other := netip.AddrPortFrom(client.Addr(), client.Port()+1000)
	s := ppftest.Segment{Src: other, Dst: server, TCP: ppftest.Header(syn, 7000, 0)}
	s.Options = full(7)
	first := pass(t, b, hooks[0], s)
	o.TSEcr = 700
	var sent packet.TCPOptions
	if first.ParseOptions(&sent); sent.Has&packet.OptTimestamps != 0 {
		o.TSEcr = sent.TSVal
	}
	a := ppftest.Segment{Src: server, Dst: other, TCP: ppftest.Header(syn|ack, 100, first.Seq())}
	a.Options = o
	pass(t, b, hooks[1], a)
}

// TestCookieConversations: over a bad network, at all hooks and in both IP versions,
// connections that a cookie opened come to their end byte for byte, with whatever
// both ends offer.
func TestCookieConversations(t *testing.T) {
	hooks := map[ppf.Hook][2]ppf.Hook{ppf.Forward: flowHooks[ppf.Forward], ppf.Input: flowHooks[ppf.Input], ppf.InlineClient: {ppf.InlineClient, ppf.InlineServer}}
	for hook, at := range hooks {
		for seed := range uint64(16) {
			in := cookies(hook)
			if hook.Inline() {
				in.Source = ppf.SourceInline
			}
			b := translated(t, in)
			r := rand.New(rand.NewPCG(seed, uint64(hook)))
			c, s := ppftest.Client4, ppftest.Server4
			if seed%2 == 1 {
				c, s = ppftest.Client6, ppftest.Server6
			}
			client, server := ppftest.NewEnd(t, c, s, b.Env.Now), ppftest.NewEnd(t, s, c, b.Env.Now)
			for i, e := range []*ppftest.End{client, server} {
				e.ISS = packet.Seq(r.Uint32())
				e.Data = make([]byte, r.IntN(60_000))
				for j := range e.Data {
					e.Data[j] = byte(r.Uint32())
				}
				e.SACK, e.Stamps, e.Scale, e.Window = r.IntN(3) > 0, r.IntN(3) > 0, uint8(r.IntN(5))*3, 20_000<<i
			}
			o := packet.TCPOptions{Has: packet.OptMSS, MSS: server.MSS, TSVal: 5}
			if server.SACK {
				o.Has |= packet.OptSACKPermitted
			}
			if server.Stamps {
				o.Has |= packet.OptTimestamps
			}
			if server.Scale > 0 {
				o.Has, o.WScale = o.Has|packet.OptWScale, server.Scale
			}
			learn(t, b, at, c, s, o)
			p := &ppftest.Path{Bench: b, Hooks: at, Faults: int(seed % 4), Pick: func(n int, _ string) int { return r.IntN(n) }}
			if err := p.Converse(client, server); err != nil {
				t.Fatalf("%v, seed %d: %v", hook, seed, err)
			}
			if n := told(t, b); n.Opened == 0 || n.Sent < n.Opened {
				t.Fatalf("%v, seed %d: %+v", hook, seed, n)
			}
			b.Accounted()
		}
	}
}

// TestCookieFlood: from the mark on nothing of a SYN reaches the server or is kept,
// and a client that completes its handshake gets through.
func TestCookieFlood(t *testing.T) {
	const from, flood = 10, 500
	b := translated(t, cookies(ppf.Forward, "cookie_from", "10"))
	learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, full(7))
	forwarded := 0
	for i := range flood {
		s := cs(syn)
		s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 1024)
		if action, _ := b.Send(ppf.Prerouting, s.Bytes(t)); action == ppf.Accept {
			forwarded++
		}
	}
	if n := told(t, b); forwarded >= from || len(b.Emitted) != flood-forwarded || !n.Active || n.Sent != uint64(flood-forwarded) {
		t.Errorf("%d of %d SYNs went on, %d were answered: %+v", forwarded, flood, len(b.Emitted), n)
	}
	if n := b.Engine.Stats().Connections; n > from {
		t.Errorf("%d connections are kept, want %d at most", n, from)
	}
	b.Emitted = nil
	complete(t, b, cs(syn))
	if n := told(t, b); n.Opened != 1 {
		t.Errorf("after a whole handshake: %+v", n)
	}
	// What the flood left behind runs out, and then SYNs go to the server again.
	b.Env.Advance(int64(2 * time.Minute))
	b.Send(ppf.Prerouting, cs(ack).Bytes(t))
	b.Env.Advance(int64(2 * time.Minute))
	b.Send(ppf.Prerouting, cs(ack).Bytes(t))
	again := cs(syn)
	again.Src = netip.MustParseAddrPort("192.0.2.9:40000")
	pass(t, b, ppf.Prerouting, again)
	if n := told(t, b); n.Active {
		t.Errorf("four minutes later: %+v", n)
	}
	b.Accounted()
}

// complete sends a SYN that gets a cookie, brings the cookie back, and gives the SYN-ACK
// and the SYN that the server gets.
func complete(t *testing.T, b *ppftest.Bench, first ppftest.Segment) (answer, opened packet.TCPView) {
	t.Helper()
	b.Emitted = nil
	if action, _ := b.Send(ppf.Prerouting, first.Bytes(t)); action != ppf.Drop || len(b.Emitted) != 1 {
		t.Fatalf("a SYN: %v, %d answers; %+v", action, len(b.Emitted), b.Engine.ReasonCounts())
	}
	answer = view(t, bytes.Clone(b.Emitted[0]))
	if answer.Flags() != syn|ack || answer.Ack() != first.Seq.Add(1) || answer.Window() != 0 {
		t.Errorf("the answer is %v, acknowledges %d, window %d", answer.Flags(), answer.Ack(), answer.Window())
	}
	opened = pass(t, b, ppf.Prerouting, third(first, answer))
	if opened.Flags()&(syn|ack) != syn || len(opened.Payload()) > 0 {
		t.Errorf("the server gets %v with %d bytes", opened.Flags(), len(opened.Payload()))
	}
	b.Emitted = nil
	return answer, opened
}

// third is the segment that completes a handshake.
func third(first ppftest.Segment, answer packet.TCPView) ppftest.Segment {
	var o packet.TCPOptions
	answer.ParseOptions(&o)
	s := ppftest.Segment{Src: first.Src, Dst: first.Dst, TCP: ppftest.Header(ack, first.Seq, answer.Seq())}
	if o.Has&packet.OptTimestamps != 0 {
		s.Options = packet.TCPOptions{Has: packet.OptTimestamps, TSVal: first.Options.TSVal + 1, TSEcr: o.TSVal}
	}
	return s
}

// TestCookieOffers: a SYN-ACK offers what the server does and the client asked for,
// and the server gets those offers of the client.
func TestCookieOffers(t *testing.T) {
	only := func(has packet.TCPOptionSet) packet.TCPOptions {
		o := full(7)
		o.Has &= has
		return o
	}
	all := full(0).Has
	for name, c := range map[string]struct {
		server, client, answer, opened packet.TCPOptions
	}{
		"all":                    {full(5), full(9), full(5), full(9)},
		"no scale at the server": {only(all &^ packet.OptWScale), full(9), only(all &^ packet.OptWScale), only(all &^ packet.OptWScale)},
		"no SACK at the client":  {full(7), only(all &^ packet.OptSACKPermitted), only(all &^ packet.OptSACKPermitted), only(all &^ packet.OptSACKPermitted)},
		// The client does not echo what it could be told in.
		"no timestamps at the client": {full(7), only(all &^ packet.OptTimestamps), only(packet.OptMSS), only(packet.OptMSS)},
		"no timestamps at the server": {only(all &^ packet.OptTimestamps), full(7), only(packet.OptMSS), only(packet.OptMSS)},
	} {
		t.Run(name, func(t *testing.T) {
			b := translated(t, cookies(ppf.Forward))
			learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, c.server)
			first := cs(syn)
			first.Options = c.client
			answer, opened := complete(t, b, first)
			for what, got := range map[string]struct {
				seen packet.TCPView
				want packet.TCPOptions
			}{"the client": {answer, c.answer}, "the server": {opened, c.opened}} {
				var o packet.TCPOptions
				got.seen.ParseOptions(&o)
				if o.Has != got.want.Has || o.MSS != got.want.MSS || o.Has&packet.OptWScale != 0 && o.WScale != got.want.WScale {
					t.Errorf("%s gets %v, want %v", what, o, got.want)
				}
			}
		})
	}
}

// TestCookieMSS: a cookie tells the client's MSS, rounded down.
func TestCookieMSS(t *testing.T) {
	for mss, want := range map[uint16]uint16{48: 48, 87: 48, 88: 88, 535: 412, 536: 536, 1440: 1440, 1459: 1452, 1460: 1460, 8939: 1460, 65535: 8940} {
		b := translated(t, cookies(ppf.Forward, "mss_min", "0"))
		learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, full(7))
		first := cs(syn)
		first.Options = packet.TCPOptions{Has: packet.OptMSS, MSS: mss}
		_, opened := complete(t, b, first)
		var o packet.TCPOptions
		if opened.ParseOptions(&o); o.MSS != want {
			t.Errorf("of MSS %d the server is told %d, want %d", mss, o.MSS, want)
		}
	}
	b := translated(t, cookies(ppf.Forward, "mss_min", "0"))
	learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, full(7))
	first := cs(syn)
	first.Options = packet.TCPOptions{Has: packet.OptMSS, MSS: 47}
	if action, _ := b.Send(ppf.Prerouting, first.Bytes(t)); action != ppf.Drop || b.Count("tcp.mss", ppf.OutcomeDrop) != 1 {
		t.Errorf("MSS 47: %v; %+v", action, b.Engine.ReasonCounts())
	}
}

// TestCookieForged: nobody opens a connection with a number that was not given to
// him, for what was not offered to him, or too late.
func TestCookieForged(t *testing.T) {
	first := cs(syn)
	first.Options = full(7)
	for name, c := range map[string]struct {
		change func(*ppftest.Segment)
		later  time.Duration
		opens  bool
	}{
		"as it was given":       {change: func(*ppftest.Segment) {}, opens: true},
		"a minute later":        {change: func(*ppftest.Segment) {}, later: 59 * time.Second, opens: true},
		"a probe of the window": {change: func(s *ppftest.Segment) { s.Seq-- }, opens: true},
		"two minutes later":     {change: func(*ppftest.Segment) {}, later: 121 * time.Second},
		"another port":          {change: func(s *ppftest.Segment) { s.Src = netip.AddrPortFrom(s.Src.Addr(), s.Src.Port()+1) }},
		"another address":       {change: func(s *ppftest.Segment) { s.Src = netip.MustParseAddrPort("192.0.2.77:40000") }},
		"another number":        {change: func(s *ppftest.Segment) { s.Seq += 2 }},
		"another cookie":        {change: func(s *ppftest.Segment) { s.Ack += 1 << 5 }},
		"another MSS":           {change: func(s *ppftest.Segment) { s.Ack ^= 1 }},
		"the other key":         {change: func(s *ppftest.Segment) { s.Ack = (s.Ack - 1 ^ 1<<4) + 1 }},
		"another scale":         {change: func(s *ppftest.Segment) { s.Options.TSEcr ^= 1 << 6 }},
		"without timestamp":     {change: func(s *ppftest.Segment) { s.Options = packet.TCPOptions{} }},
	} {
		t.Run(name, func(t *testing.T) {
			b := translated(t, cookies(ppf.Input))
			learn(t, b, flowHooks[ppf.Input], ppftest.Client4, ppftest.Server4, full(7))
			b.Emitted = nil
			b.Send(ppf.Input, first.Bytes(t))
			s := third(first, view(t, b.Emitted[0]))
			c.change(&s)
			b.Env.Advance(int64(c.later))
			if action, _ := b.Send(ppf.Input, s.Bytes(t)); (action == ppf.Accept) != c.opens {
				t.Errorf("%v; %+v", action, b.Engine.ReasonCounts())
			}
			late := c.later > 2*time.Minute
			if n := b.Count("tcp.cookie", ppf.OutcomeDrop) + b.Count("tcp.midstream", ppf.OutcomeDrop); (n == 1) == c.opens {
				t.Errorf("late %v: %+v", late, b.Engine.ReasonCounts())
			}
			b.Accounted()
		})
	}
}
