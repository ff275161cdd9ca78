package tcp_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// successor is a bench that starts when another one's time is over, with what it
// left: a file of connections, or only a journal.
func successor(t *testing.T, b *ppftest.Bench, journal []byte, in ppf.InstanceSpec) *ppftest.Bench {
	t.Helper()
	if journal == nil {
		return b.Successor(nil, in)
	}
	next := translated(t, in)
	next.Env.Advance(b.Env.Now() - next.Env.Now())
	if taken, want := next.Engine.RecoverConnections(journal), len(b.Engine.Connections("", 0)); taken != want {
		t.Fatalf("%d connections are taken up of %d", taken, want)
	}
	return next
}

// TestTakenUp: a conversation under way goes on behind a program that was started
// anew, after a stop and after a crash, and ends with all data.
func TestTakenUp(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for seed := range uint64(8) {
			in := translating(ppf.Forward)
			b := translated(t, in)
			journal := make([]byte, b.Engine.JournalSize())
			b.Engine.KeepJournal(journal)
			r := rand.New(rand.NewPCG(seed, 1))
			now := func() int64 { return b.Env.Now() }
			client := ppftest.NewEnd(t, ppftest.Client4, ppftest.Server4, now)
			server := ppftest.NewEnd(t, ppftest.Server4, ppftest.Client4, now)
			for _, e := range []*ppftest.End{client, server} {
				e.ISS, e.SACK, e.Stamps, e.Scale = packet.Seq(r.Uint32()), seed%2 == 0, seed%3 != 0, uint8(seed%8)
				e.Data = make([]byte, 60_000)
			}
			p := &ppftest.Path{Bench: b, Hooks: flowHooks[ppf.Forward], Faults: int(seed % 3)}
			taken := false
			p.Pick = func(n int, label string) int {
				if label == "who" && !taken && len(client.Received) > 20_000 && len(server.Received) > 20_000 {
					taken = true
					left := journal
					if !crash {
						left = nil
					}
					b = successor(t, b, left, in)
					p.Bench = b
				}
				return r.IntN(n)
			}
			if err := p.Converse(client, server); err != nil || !taken {
				t.Fatalf("crash %v, seed %d: taken up %v: %v", crash, seed, taken, err)
			}
			if c, s := offsets(t, b); c == 0 || s == 0 {
				t.Errorf("offsets %d and %d", c, s)
			}
			b.Accounted()
		}
	}
}

// TestTakenUpAndAdoption: an instance whose connections are there adopts no others;
// after a crash it does, for a while.
func TestTakenUpAndAdoption(t *testing.T) {
	in := ppftest.Instance("a", "tcp")
	b := translated(t, in)
	journal := make([]byte, b.Engine.JournalSize())
	b.Engine.KeepJournal(journal)
	handshake(t, b)
	stranger := cs(ack)
	stranger.Src, stranger.Dst = ppftest.Client6, ppftest.Server6
	for _, c := range []struct {
		journal []byte
		want    ppf.Action
	}{{nil, ppf.Drop}, {journal, ppf.Accept}} {
		next := successor(t, b, c.journal, in)
		if action, _ := next.Send(ppf.Forward, stranger.Bytes(t)); action != c.want {
			t.Errorf("journal %v: an unknown connection: %v, want %v", c.journal != nil, action, c.want)
		}
	}
}

// TestTakenUpAndLimits: a connection that a stop or a crash left counts for its
// client, and gives way when it would have, before anything more comes of it.
func TestTakenUpAndLimits(t *testing.T) {
	const idle = 2*time.Hour + 4*time.Minute
	in := translating(ppf.Forward, "connections", "1", "client_connections", "1")
	b := translated(t, in)
	journal := make([]byte, b.Engine.JournalSize())
	b.Engine.KeepJournal(journal)
	handshake(t, b)
	for _, left := range [][]byte{nil, journal} {
		next := successor(t, b, left, in)
		step(t, next, from(cs(syn), "192.0.2.1:2"), "tcp.limit.client")
		other, evicted := from(cs(syn), "192.0.2.2:1").Bytes(t), func() uint64 { return next.Count("conn.evicted", ppf.OutcomeRepair) }
		for _, wait := range []time.Duration{idle - 2*time.Second, 2 * time.Second} {
			if evicted() != 0 {
				t.Errorf("after a crash %v: it gave way before %v", left != nil, idle)
			}
			next.Env.Advance(int64(wait))
			next.Engine.Handlers()[0].Tick(next.Env.Now())
			next.Send(ppf.Prerouting, other)
		}
		if evicted() != 1 {
			t.Errorf("after a crash %v: it did not give way: %+v", left != nil, next.Engine.ReasonCounts())
		}
	}
}

// TestJournal: it has what is translated and goes on, and an entry counts as a
// whole only.
func TestJournal(t *testing.T) {
	in := translating(ppf.Forward)
	b := translated(t, in)
	journal := make([]byte, b.Engine.JournalSize())
	b.Engine.KeepJournal(journal)
	recovered := func(from []byte, in ppf.InstanceSpec) int {
		return translated(t, in).Engine.RecoverConnections(from)
	}
	if n := recovered(journal, in); n != 0 {
		t.Errorf("%d connections in an empty journal", n)
	}
	handshake(t, b)
	if n := recovered(journal, in); n != 1 {
		t.Errorf("%d connections in the journal, want 1", n)
	}
	other := in
	other.Match.Port = []ppf.PortRange{{Lo: 80, Hi: 80}}
	if n := recovered(journal, other); n != 0 {
		t.Errorf("%d connections are taken up by an instance with another match", n)
	}
	used := bytes.IndexFunc(journal, func(r rune) bool { return r != 0 })
	for i := used; i < used+60; i++ {
		torn := bytes.Clone(journal[:used+200])
		torn[i] ^= 0x40
		if n := recovered(torn, in); n != 0 {
			t.Errorf("byte %d changed: %d connections", i, n)
		}
	}
	b.Env.Advance(int64(200 * time.Hour))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	if n := recovered(journal, in); n != 0 {
		t.Errorf("%d connections in the journal after their end", n)
	}
}

// TestSilentAfterCrash: a client that has given its connection up opens a new one
// on the same ports.
func TestSilentAfterCrash(t *testing.T) {
	in := translating(ppf.Forward)
	b := translated(t, in)
	journal := make([]byte, b.Engine.JournalSize())
	b.Engine.KeepJournal(journal)
	handshake(t, b)
	next := successor(t, b, journal, in)
	pass(t, next, ppf.Prerouting, cs(syn))
	wantState(t, next, "SYN-SENT")
}

// TestRestore: what becomes of connections that are over by now, or whose instance
// is another one.
func TestRestore(t *testing.T) {
	change := func(f func(*ppf.InstanceSpec)) ppf.InstanceSpec {
		in := translating(ppf.Forward)
		f(&in)
		return in
	}
	b := translated(t, translating(ppf.Forward))
	handshake(t, b)
	var file bytes.Buffer
	if n, err := b.Engine.SaveConnections(&file); n != 1 || err != nil {
		t.Fatalf("%d connections are saved, %v", n, err)
	}
	for name, c := range map[string]struct {
		in    ppf.InstanceSpec
		later time.Duration
		want  ppf.Restored
	}{
		"same":     {translating(ppf.Forward), time.Hour, ppf.Restored{Restored: 1}},
		"over":     {translating(ppf.Forward), 121 * time.Hour, ppf.Restored{Ended: 1}},
		"settings": {translating(ppf.Forward, "established", "1h"), 0, ppf.Restored{Restored: 1}},
		"match":    {change(func(in *ppf.InstanceSpec) { in.Match.Port = []ppf.PortRange{{Lo: 80, Hi: 80}} }), 0, ppf.Restored{Changed: 1}},
		"name":     {change(func(in *ppf.InstanceSpec) { in.Name = "b" }), 0, ppf.Restored{Changed: 1}},
		"hook":     {translating(ppf.Input), 0, ppf.Restored{Changed: 1}},
		"keep":     {instance("sequence", "keep"), 0, ppf.Restored{Changed: 1}},
		"monitor":  {change(func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor }), 0, ppf.Restored{Changed: 1}},
	} {
		next := translated(t, c.in)
		next.Env.Advance(b.Env.Now() - next.Env.Now() + int64(c.later))
		got, err := next.Engine.RestoreConnections(bytes.NewReader(file.Bytes()))
		if err != nil || got != c.want || len(next.Engine.Connections("", 0)) != c.want.Restored {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

// TestRestoreDamaged: no part of a file that is damaged is taken up.
func TestRestoreDamaged(t *testing.T) {
	in := translating(ppf.Forward)
	b := translated(t, in)
	handshake(t, b)
	var file bytes.Buffer
	if _, err := b.Engine.SaveConnections(&file); err != nil {
		t.Fatal(err)
	}
	next := translated(t, in)
	refused := func(what string, i int, data []byte) {
		t.Helper()
		sum, err := next.Engine.RestoreConnections(bytes.NewReader(data))
		if !errors.Is(err, ppf.ErrSaved) || sum != (ppf.Restored{}) || next.Engine.Stats().Connections != 0 {
			t.Fatalf("%s %d: %+v, %v", what, i, sum, err)
		}
	}
	for i := range file.Len() {
		refused("cut at", i, file.Bytes()[:i])
		changed := bytes.Clone(file.Bytes())
		changed[i] ^= 1
		refused("changed at", i, changed)
	}
	refused("longer by", 1, append(bytes.Clone(file.Bytes()), 0))
}

// FuzzRestore reads files whose checksum is right, whatever they say.
func FuzzRestore(f *testing.F) {
	b := ppftest.New(f, translating(ppf.Forward))
	var file bytes.Buffer
	b.Send(ppf.Prerouting, cs(syn).Bytes(f))
	if _, err := b.Engine.SaveConnections(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes()[:file.Len()-sha256.Size])
	next := ppftest.New(f, translating(ppf.Forward))
	f.Fuzz(func(t *testing.T, data []byte) {
		sum := sha256.Sum256(data)
		got, err := next.Engine.RestoreConnections(bytes.NewReader(append(data, sum[:]...)))
		if err != nil && !errors.Is(err, ppf.ErrSaved) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

// TestEndTranslated: both sides get a RST with the number that they wait for.
func TestEndTranslated(t *testing.T) {
	b := translated(t, translating(ppf.Forward))
	cOff, sOff := handshake(t, b)
	b.Emitted = nil
	if n, err := b.Engine.EndTranslated(); n != 1 || err != nil || len(b.Emitted) != 2 {
		t.Fatalf("%d connections ended with %d packets, %v", n, len(b.Emitted), err)
	}
	for _, data := range b.Emitted {
		v, want := view(t, data), 1001+cOff
		if v.DstPort() == ppftest.Client4.Port() {
			want = 5001 + sOff
		}
		if v.Flags() != rst || v.Seq() != want {
			t.Errorf("port %d is sent %v with %d, want %d", v.DstPort(), v.Flags(), v.Seq(), want)
		}
	}
}
