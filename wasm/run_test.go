package wasm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// askAll sends packets of one flow in one batch, and gives the payloads that are
// sent on, "-" for a packet that is not.
func askAll(t *testing.T, b *ppftest.Bench, payloads ...string) (got []string) {
	t.Helper()
	var frames []ppf.Frame
	for _, payload := range payloads {
		frames = append(frames, b.Frame(ppf.Forward, segment(t, payload)))
	}
	b.Engine.Handlers()[0].Handle(frames)
	for i := range frames {
		switch f := &frames[i]; {
		case f.Action != ppf.Accept:
			got = append(got, "-")
		case f.Head == nil:
			got = append(got, string(f.Data[40:]))
		default:
			var p packet.Packet
			if r := p.Parse(packet.LinkRawIP, slices.Concat(f.Head, f.Body)); r != packet.ReasonNone || p.VerifyChecksums(true) != packet.ReasonNone {
				t.Errorf("packet %d: %x%x: %v", i, f.Head, f.Body, r)
			}
			got = append(got, string(p.Payload()))
		}
	}
	return got
}

// TestRun: a guest judges packets of a batch in one call. What it keeps with their
// connection, which the first of them makes, goes from one to the next, and each has
// its own verdict.
func TestRun(t *testing.T) {
	b, _ := keeperBench(t, "guest")
	for _, tt := range []struct{ payloads, want []string }{
		{[]string{"count", "count", "refuse", "settings", "count"}, []string{"1 1", "2 2", "-", "hello ", "3 3"}},
		{[]string{"bytes abc", "count", "part of it", "nothing", "count", "count", "count", "count", "count", "count"},
			[]string{"abc", "4 4", "of it", "nothing", "5 5", "6 6", "7 7", "8 8", "9 9", "10 10"}},
		// Of what there is for one packet, each has as much.
		{[]string{"turn 50000", "turn 50000", "turn 50000", "turn 50000", "count"}, []string{"turn 50000", "turn 50000", "turn 50000", "turn 50000", "11 11"}},
		{[]string{"log ten times.", "log ten times.", "count"}, []string{"log ten times.", "log ten times.", "12 12"}},
	} {
		if got := askAll(t, b, tt.payloads...); !slices.Equal(got, tt.want) {
			t.Errorf("%q gives %q, want %q: %q", tt.payloads, got, tt.want, events(b, "fault"))
		}
	}
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
	b.Accounted()
}

// TestRunInC: the kit in C takes several packets in a call, too.
func TestRunInC(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "beat", buildC(t, "testdata/c/beat.c"), `{"abi":1,"name":"beat","version":"1","doc":"for tests","functions":[{"name":"beat","doc":"for tests","level":"packet","layer":4}],
"capabilities":["connection-storage","timers","emit"],"storage":{"schema":1,"connection":8,"instance":0}}`)
	b := ppftest.New(t)
	apply(b, dir, ppftest.Instance("a", "beat"))
	want := []string{"\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07", "\x08", "\x09", "\x0a"}
	if got := askAll(t, b, make([]string, 10)...); !slices.Equal(got, want) {
		t.Errorf("%q, want %q: %q", got, want, events(b, "fault"))
	}
	b.Accounted()
}

// TestRunFaults: a fault in the middle of a call costs its packet and those behind
// it, under the fail policy of their instance; those before keep their verdicts, and
// what they have written.
func TestRunFaults(t *testing.T) {
	binary := buildGuest(t, "./testdata/keeper/guest")
	for _, fail := range []ppf.Fail{ppf.FailClosed, ppf.FailOpen} {
		for _, wrong := range []string{"trap", "turn -1", "log " + strings.Repeat("x", 16*6+1)} {
			t.Run(fmt.Sprint(fail, " ", wrong), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir := t.TempDir()
					install(t, dir, "keeper", binary, keeperManifest("keeper", 1, 16))
					b := ppftest.New(t)
					in := ppftest.Instance("a", "keeper")
					in.Fail = fail
					apply(b, dir, in)
					outcome, left := ppf.OutcomeDrop, []string{"-", "-", "-"}
					payloads := []string{"count", "refuse", "count", wrong, "count", "count"}
					if fail == ppf.FailOpen {
						outcome, left = ppf.OutcomeWouldDrop, payloads[3:]
					}
					want := append([]string{"1 1", "-", "2 2"}, left...)
					got := askAll(t, b, payloads...)
					if !slices.Equal(got, want) {
						t.Errorf("%q, want %q: %q", got, want, events(b, "fault"))
					}
					if f, r := b.Count("wasm.fault", outcome), b.Count("wasm.restarting", outcome); f != 1 || r != 2 {
						t.Errorf("%d faults, %d while it starts again: %+v", f, r, b.Engine.ReasonCounts())
					}
					synctest.Wait() // the guest is started again
					if got := ask(t, b, "count"); got != "3 3" {
						t.Errorf("then %q", got)
					}
					b.Accounted()
				})
			})
		}
	}
}

// TestRunContainment: what a guest does wrong with several packets.
func TestRunContainment(t *testing.T) {
	rebuild := []assembledImport{{"rebuild", []byte{typeI32}, []byte{typeI32}}}
	build := func(n int32) []byte { return cat(i32Const(n), []byte{opCall, 0, opDrop}) }
	verdict := func(n, v int32) []byte {
		return cat(i32Const(areaAt+areaDescriptor+n*descriptorSize+dVerdict), i32Const(v), []byte{0x3a, 0, 0})
	}
	for _, tt := range []struct {
		name    string
		process []byte
		sent    []string
		want    string // in the event
	}{
		{"all well", cat(build(0), verdict(0, 1), build(1), verdict(1, 1), build(2), verdict(2, 1)), []string{"a", "b", "c"}, ""},
		{"no verdict for one", cat(build(0), verdict(0, 1)), []string{"a", "-", "-"}, "wrong verdict: it gave none"},
		{"a verdict that does not exist", cat(build(0), verdict(0, 1), verdict(1, 9), verdict(2, 1)), []string{"a", "-", "-"}, "wrong verdict: 9"},
		{"a call before its time", cat(build(0), build(1)), []string{"-", "-", "-"}, "a call about packet 1, and packet 0 has no answer"},
		{"a call after its time", cat(build(0), verdict(0, 1), build(1), build(0)), []string{"a", "-", "-"}, "a call about packet 0, which is not there"},
		{"a call about one too many", cat(build(0), verdict(0, 1), build(1), verdict(1, 1), build(2), verdict(2, 1), build(3)),
			[]string{"a", "b", "-"}, "a call about packet 3, which is not there"},
		{"a trap behind all answers", cat(build(0), verdict(0, 1), build(1), verdict(1, 1), build(2), verdict(2, 1), []byte{opUnreachable}),
			[]string{"a", "b", "-"}, "wasm error: unreachable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := assembly{imports: rebuild, process: tt.process}
				// That of the area gives a number, too, which is large enough.
				a.more = [][]byte{cat(text(exportBatch), []byte{externFunc}, putU32(nil, uint32(len(rebuild)+1)))}
				dir := t.TempDir()
				install(t, dir, "nasty", a.bytes(), nastyManifest)
				b := ppftest.New(t)
				apply(b, dir, ppftest.Instance("a", "nasty"))
				if got := askAll(t, b, "a", "b", "c"); !slices.Equal(got, tt.sent) {
					t.Errorf("sent %q, want %q", got, tt.sent)
				}
				faults := events(b, "module nasty: fault")
				if tt.want == "" && len(faults) > 0 || tt.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], tt.want)) {
					t.Errorf("events %q, want %q", faults, tt.want)
				}
				synctest.Wait()
				b.Accounted()
			})
		})
	}
}

// TestRunAllocations: packets in one call allocate nothing either.
func TestRunAllocations(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "count", buildGuest(t, "../examples/count/guest"), countManifest(t))
	b := ppftest.New(t)
	apply(b, dir, ppftest.Instance("a", "tcp", "count"))
	frames := make([]ppf.Frame, 16)
	for i := range frames {
		frames[i] = b.Frame(ppf.Forward, segment(t, "hello"))
	}
	h := b.Engine.Handlers()[0]
	if h.Handle(frames); frames[15].Action != ppf.Accept {
		t.Fatalf("%+v", b.Engine.ReasonCounts())
	}
	if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations per batch, want 0", n)
	}
}
