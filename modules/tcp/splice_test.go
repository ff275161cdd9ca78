package tcp_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// awaiting gives a connection that a cookie opened and whose server has not
// answered, with the SYN-ACK that its client got and the SYN that went on.
func awaiting(t *testing.T, settings ...string) (b *ppftest.Bench, first ppftest.Segment, answer, opened packet.TCPView) {
	t.Helper()
	b = translated(t, cookies(ppf.Forward, settings...))
	learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, full(5))
	first = cs(syn)
	first.Options = full(9)
	answer, opened = complete(t, b, first)
	return b, first, answer, opened
}

// fromServer is an answer of the server to what it got.
func fromServer(flags packet.TCPFlags, opened packet.TCPView, o packet.TCPOptions) ppftest.Segment {
	s := sc(flags)
	s.Ack, s.Options = opened.Seq().Add(1), o
	var asked packet.TCPOptions
	if opened.ParseOptions(&asked); o.Has&packet.OptTimestamps != 0 {
		s.Options.TSEcr = asked.TSVal
	}
	return s
}

// TestCookieJoined: when the server has answered, it gets its acknowledgment and the
// client its window, each in numbers that it knows.
func TestCookieJoined(t *testing.T) {
	b, first, answer, opened := awaiting(t)
	s := fromServer(syn|ack, opened, full(5))
	s.Window = 64000
	open := pass(t, b, ppf.Forward, s)
	var said, told packet.TCPOptions
	open.ParseOptions(&said)
	answer.ParseOptions(&told)
	if open.Flags() != ack || open.Seq() != answer.Seq().Add(1) || open.Ack() != first.Seq.Add(1) || open.Window() != 64000>>5 {
		t.Errorf("the client gets %v %d, acknowledging %d, window %d", open.Flags(), open.Seq(), open.Ack(), open.Window())
	}
	if said.Has != packet.OptTimestamps || int32(said.TSVal-told.TSVal) < 0 || said.TSEcr != first.Options.TSVal+1 {
		t.Errorf("with %v after %v", said, told)
	}
	if len(b.Emitted) != 1 {
		t.Fatalf("%d extra packets", len(b.Emitted))
	}
	if v := view(t, b.Emitted[0]); v.Flags() != ack || v.Seq() != opened.Seq().Add(1) || v.Ack() != 5001 {
		t.Errorf("the server gets %v %d, acknowledging %d", v.Flags(), v.Seq(), v.Ack())
	} else if v.ParseOptions(&said); said.TSEcr != 700 {
		t.Errorf("the server's clock is echoed as %d", said.TSEcr)
	}
	if list := b.Engine.Connections("", 0); len(list) != 2 || list[1].State != "ESTABLISHED" {
		t.Errorf("connections %+v", list)
	}
	b.Accounted()
}

// TestCookieRefused: a server that refuses has the client get a RST with the number
// that it waits for.
func TestCookieRefused(t *testing.T) {
	b, _, answer, opened := awaiting(t)
	s := fromServer(rst|ack, opened, packet.TCPOptions{})
	s.Seq = 0
	if v := pass(t, b, ppf.Forward, s); v.Flags()&rst == 0 || v.Seq() != answer.Seq().Add(1) {
		t.Errorf("the client gets %v %d", v.Flags(), v.Seq())
	}
	b.Accounted()
}

// TestCookieSilent: the SYN comes again, later each time, and after half_open the
// client gets a RST.
func TestCookieSilent(t *testing.T) {
	b, first, answer, opened := awaiting(t, "half_open", "20s")
	var at []time.Duration
	for elapsed := time.Duration(0); elapsed < 40*time.Second; elapsed += 250 * time.Millisecond {
		b.Emitted = nil
		b.Env.Advance(int64(250 * time.Millisecond))
		b.Engine.Handlers()[0].Tick(b.Env.Now())
		for _, data := range b.Emitted {
			switch v := view(t, data); {
			case v.Flags() == syn && v.Seq() == opened.Seq():
				var again, once packet.TCPOptions
				v.ParseOptions(&again)
				if opened.ParseOptions(&once); again != once || v.Window() != opened.Window() {
					t.Errorf("the SYN comes again with %v and window %d, first %v and %d", again, v.Window(), once, opened.Window())
				}
				at = append(at, elapsed)
			case v.Flags() == rst|ack && v.Seq() == answer.Seq().Add(1) && v.Ack() == first.Seq.Add(1):
				if len(at) < 4 || elapsed < 19*time.Second {
					t.Errorf("the client gets a RST after %v and SYNs at %v", elapsed, at)
				}
				b.Accounted()
				return
			default:
				t.Errorf("after %v: %v %d", elapsed, v.Flags(), v.Seq())
			}
		}
	}
	t.Errorf("the client is not told; SYNs at %v", at)
}

// TestCookieTakenUp: a connection whose server has not answered goes on behind a
// program that was started anew: its SYN is sent again where that was due meanwhile, and
// its client is told where the time is over.
func TestCookieTakenUp(t *testing.T) {
	for _, later := range []time.Duration{0, 5 * time.Second, time.Hour} {
		t.Run(later.String(), func(t *testing.T) {
			b, first, answer, opened := awaiting(t)
			var file bytes.Buffer
			if n, err := b.Engine.SaveConnections(&file); n != 2 || err != nil {
				t.Fatalf("%d connections are saved, %v", n, err)
			}
			next := translated(t, cookies(ppf.Forward))
			journal := make([]byte, next.Engine.JournalSize())
			next.Engine.KeepJournal(journal)
			next.Env.Advance(b.Env.Now() - next.Env.Now() + int64(later))
			want := ppf.Restored{Restored: 2}
			if later == time.Hour {
				want = ppf.Restored{Ended: 2}
			}
			if sum, err := next.Engine.RestoreConnections(bytes.NewReader(file.Bytes())); err != nil || sum != want {
				t.Fatalf("%+v, %v, want %+v", sum, err, want)
			}
			sent := next.Emitted
			switch next.Emitted = nil; {
			case later == 0 && len(sent) == 0:
			case later == 0 || len(sent) != 1:
				t.Fatalf("%d packets are sent", len(sent))
			case later == time.Hour:
				if v := view(t, sent[0]); v.Flags() != rst|ack || v.Seq() != answer.Seq().Add(1) || v.Ack() != first.Seq.Add(1) {
					t.Errorf("the client gets %v %d, acknowledging %d", v.Flags(), v.Seq(), v.Ack())
				}
				return
			default:
				if v := view(t, sent[0]); v.Flags() != syn || v.Seq() != opened.Seq() {
					t.Errorf("the server gets %v %d", v.Flags(), v.Seq())
				}
			}
			if n := translated(t, cookies(ppf.Forward)).Engine.RecoverConnections(journal); n != 1 {
				t.Errorf("%d connections in the journal, want that of the other client", n)
			}
			open := pass(t, next, ppf.Forward, fromServer(syn|ack, opened, full(5)))
			if open.Flags() != ack || open.Seq() != answer.Seq().Add(1) || len(next.Emitted) != 1 {
				t.Errorf("the client gets %v %d, the server %d packets", open.Flags(), open.Seq(), len(next.Emitted))
			}
			data := third(first, answer)
			data.Payload = []byte("hello")
			if v := pass(t, next, ppf.Prerouting, data); v.Seq() != opened.Seq().Add(1) || string(v.Payload()) != "hello" {
				t.Errorf("the server gets %q at %d", v.Payload(), v.Seq())
			}
			next.Accounted()
		})
	}
}

// TestCookieStopped: where a stop ends what is translated, a client whose server has not
// answered gets a RST with the number that it waits for, and so does its server.
func TestCookieStopped(t *testing.T) {
	b, _, answer, opened := awaiting(t)
	if n, err := b.Engine.EndTranslated(); n != 2 || err != nil {
		t.Fatalf("%d connections ended, %v", n, err)
	}
	told := map[packet.Seq]bool{}
	for _, data := range b.Emitted {
		v := view(t, data)
		told[v.Seq()] = v.Flags()&rst != 0
	}
	if !told[answer.Seq().Add(1)] || !told[opened.Seq().Add(1)] {
		t.Errorf("RSTs with %v, want %d and %d", told, answer.Seq().Add(1), opened.Seq().Add(1))
	}
}

// TestCookieReload: settings that change while SYNs are answered leave it at that.
func TestCookieReload(t *testing.T) {
	b := translated(t, cookies(ppf.Forward, "cookie_from", "1"))
	learn(t, b, flowHooks[ppf.Forward], ppftest.Client4, ppftest.Server4, full(7))
	complete(t, b, cs(syn))
	for i, setting := range []string{"closing", "closed"} {
		before := told(t, b)
		b.Apply(cookies(ppf.Forward, "cookie_from", "1", setting, "9m"))
		if n := told(t, b); n != before || !n.Active {
			t.Errorf("%+v behind a change, %+v before", n, before)
		}
		complete(t, b, from(cs(syn), fmt.Sprintf("192.0.2.3:%d", 1+i)))
	}
	b.Accounted()
}

// TestCookieChanged: a server that answers in another way than its client was told
// has both get a RST, and the next client is told what is right.
func TestCookieChanged(t *testing.T) {
	without := func(o packet.TCPOptionSet) packet.TCPOptions {
		all := full(5)
		all.Has &^= o
		return all
	}
	for name, now := range map[string]packet.TCPOptions{
		"another scale": full(6), "no scale": without(packet.OptWScale), "no timestamps": without(packet.OptTimestamps),
		"a smaller MSS": {Has: full(5).Has, MSS: 1200, WScale: 5, TSVal: 9},
	} {
		t.Run(name, func(t *testing.T) {
			b, _, answer, opened := awaiting(t)
			if action, _ := b.Send(ppf.Forward, fromServer(syn|ack, opened, now).Bytes(t)); action != ppf.Drop || b.Count("tcp.cookie-changed", ppf.OutcomeDrop) != 1 || len(b.Emitted) != 2 {
				t.Fatalf("%v, %d extra packets: %+v", action, len(b.Emitted), b.Engine.ReasonCounts())
			}
			server, client := view(t, b.Emitted[0]), view(t, b.Emitted[1])
			if server.Flags() != rst || server.Seq() != opened.Seq().Add(1) || client.Flags() != rst|ack || client.Seq() != answer.Seq().Add(1) {
				t.Errorf("the server gets %v %d, the client %v %d", server.Flags(), server.Seq(), client.Flags(), client.Seq())
			}
			next := cs(syn)
			next.Src, next.Options = ppftest.Client4, full(9)
			next.Seq = 90000
			again, _ := complete(t, b, next)
			var told packet.TCPOptions
			if again.ParseOptions(&told); told.MSS != now.MSS || now.Has&packet.OptTimestamps != 0 && (told.Has != now.Has || told.Has&packet.OptWScale != 0 && told.WScale != now.WScale) {
				t.Errorf("the next client is told %v, want %v", told, now)
			}
			b.Accounted()
		})
	}
}

// TestCookieEarly: until the server has answered nothing of the client goes on but
// its RST, and its SYN-ACK is the first thing that does.
func TestCookieEarly(t *testing.T) {
	b, first, answer, opened := awaiting(t)
	data := third(first, answer)
	data.Payload = []byte("too early")
	fin := third(first, answer)
	fin.Flags |= packet.FIN
	for name, c := range map[string]struct {
		s      ppftest.Segment
		reason string
	}{"data": {data, "tcp.cookie-early"}, "a FIN": {fin, "tcp.cookie-early"}, "an ACK": {third(first, answer), ""}, "the SYN": {first, ""}} {
		before := b.Count("tcp.cookie-early", ppf.OutcomeDrop)
		if action, _ := b.Send(ppf.Prerouting, c.s.Bytes(t)); action != ppf.Drop || (b.Count("tcp.cookie-early", ppf.OutcomeDrop) > before) != (c.reason != "") {
			t.Errorf("%s: %v; %+v", name, action, b.Engine.ReasonCounts())
		}
	}
	// A server that has an earlier connection says so, and is told that it is over.
	b.Emitted = nil
	old := fromServer(ack, opened, packet.TCPOptions{})
	old.Ack = 777
	if action, _ := b.Send(ppf.Forward, old.Bytes(t)); action != ppf.Drop || len(b.Emitted) != 1 || view(t, b.Emitted[0]).Seq() != 777 {
		t.Errorf("an ACK about an earlier connection: %v, %d extra packets", action, len(b.Emitted))
	}
	reset := third(first, answer)
	reset.Flags = rst
	if v := pass(t, b, ppf.Prerouting, reset); v.Flags() != rst || v.Seq() != opened.Seq().Add(1) {
		t.Errorf("the client's RST goes on as %v %d", v.Flags(), v.Seq())
	}
	b.Accounted()
}

// TestCookieSettings: where cookies cannot work the configuration is refused.
func TestCookieSettings(t *testing.T) {
	for name, change := range map[string]func(*ppf.InstanceSpec){
		"prerouting":  func(in *ppf.InstanceSpec) { in.Hook = ppf.Prerouting },
		"output":      func(in *ppf.InstanceSpec) { in.Hook = ppf.Output },
		"postrouting": func(in *ppf.InstanceSpec) { in.Hook = ppf.Postrouting },
		"monitor":     func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor },
		"fail open":   func(in *ppf.InstanceSpec) { in.Fail = ppf.FailOpen },
		"half":        func(in *ppf.InstanceSpec) { in.Chain[1] = nil },
		"keep":        func(in *ppf.InstanceSpec) { in.Modules = instance("sequence", "keep").Modules },
		"half-open":   func(in *ppf.InstanceSpec) { in.Modules = instance("half_open_connections", "128").Modules },
		"fast open": func(in *ppf.InstanceSpec) {
			list := ppf.Value{Kind: ppf.ValueList, List: []ppf.Value{{Kind: ppf.ValueScalar, Scalar: "fast-open"}}}
			in.Modules = map[string]ppf.Value{"tcp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "options", Value: list}}}}
		},
	} {
		in := ppftest.Instance("a", "tcp")
		in.Handshake = ppf.HandshakeCookie
		if p := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); len(p) > 0 {
			t.Fatalf("as it is: %+v", p)
		}
		change(&in)
		if p := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); len(p) != 1 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// BenchmarkCookie is a SYN of a flood and its answer.
func BenchmarkCookie(b *testing.B) {
	h, frames := flooded(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(frames)
	}
}

// flooded gives an instance that answers with cookies, and a SYN.
func flooded(tb testing.TB) (ppf.Handler, []ppf.Frame) {
	in := cookies(ppf.Input)
	b := ppftest.New(tb, in)
	e, err := ppf.New(ppf.Options{Env: b.Env, Workers: 1, Emit: func([]byte) error { return nil }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(tb.Context()); err != nil {
			tb.Error(err)
		}
	})
	if _, err := e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); err != nil {
		tb.Fatal(err)
	}
	e.Handlers()[0].Handle([]ppf.Frame{b.Frame(ppf.Input, cs(syn).Bytes(tb))}) // goes on, to learn
	s := cs(syn)
	s.Src = netip.AddrPortFrom(s.Src.Addr(), 1)
	return e.Handlers()[0], []ppf.Frame{b.Frame(ppf.Input, s.Bytes(tb))}
}

func TestCookieAllocations(t *testing.T) {
	h, frames := flooded(t)
	if n := testing.AllocsPerRun(100, func() {
		if h.Handle(frames); frames[0].Action != ppf.Drop {
			t.Error(frames[0].Action)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a SYN, want 0", n)
	}
}
