package ppf_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestFollow wants the fate of every packet, whoever decided it.
func TestFollow(t *testing.T) {
	elsewhere := ppftest.Segment{Src: ppftest.Client4, Dst: netip.MustParseAddrPort("203.0.113.9:80"), TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t)
	segment := to(t, 99)
	short := ppftest.Join(segment[:20:20], segment[20:30], nil)
	back := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t)
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	var got []string
	b.Engine.Follow(func(f *ppf.Fate) {
		line := fmt.Sprintf("%q %d %v %v", f.Instance, f.Number, f.Dir, f.Frame.Action)
		for _, c := range f.Causes {
			line += fmt.Sprintf(" %v %v %d", c.Outcome, c.Reason, c.Value)
		}
		got = append(got, line)
	})
	for _, data := range [][]byte{to(t, 99), to(t, portRepair), to(t, portRefuse), to(t, portPanic), short, elsewhere, back} {
		b.Send(ppf.Forward, data)
	}
	monitored := ppftest.Instance("a", "odd")
	monitored.Mode = ppf.Monitor
	b.Apply(monitored)
	b.Send(ppf.Forward, to(t, portRefuse))
	b.Send(ppf.Forward, to(t, portRepair))
	b.Engine.Follow(nil)
	b.Send(ppf.Forward, to(t, 99))
	want := []string{
		`"a" 1 cs accept`,
		`"a" 1 cs accept repair odd.mended 9`,
		`"a" 1 cs drop drop odd.refused 5`,
		`"a" 1 cs drop drop chain.panic 0`,
		`"a" 1 cs drop drop tcp.truncated 30`,
		`"" 0 cs accept`,
		`"a" 2 sc accept`,
		`"a" 1 cs accept would-drop odd.refused 5`,
		`"a" 1 cs accept would-repair odd.mended 9`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("fates:\n%q\nwant\n%q", got, want)
	}
}

// TestNoAllocationsFollowed: whoever follows costs what he does himself, once the
// records of this second are made.
func TestNoAllocationsFollowed(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	seen := 0
	b.Engine.Follow(func(f *ppf.Fate) { seen += len(f.Causes) })
	frames := []ppf.Frame{b.Frame(ppf.Forward, to(t, portRepair))}
	h := b.Engine.Handlers()[0]
	for range 10 {
		h.Handle(frames)
	}
	if n := testing.AllocsPerRun(50, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations for a packet that is followed, want 0", n)
	}
	if seen == 0 {
		t.Error("nobody followed")
	}
}
