package test_test

import (
	"slices"
	"strings"
	"testing"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// texts are the events that packets caused.
func texts(b *ppftest.Bench) (list []string) {
	events, _ := b.Engine.Events().Since(0)
	for _, e := range events {
		if e.Kind == ppf.EventPacket {
			list = append(list, e.Text)
		}
	}
	return list
}

// TestReports: each call is reported with the line of appendix A.1.2 and what
// the function was given, and since it builds nothing the packet is dropped.
func TestReports(t *testing.T) {
	in := ppftest.Instance("a", "test")
	in.Match.Protocol = ppf.ProtocolAny
	b := ppftest.New(t, in)
	for _, tt := range []struct {
		seg  ppftest.Segment
		want string // what it was given
		line string // of the thesis, when nothing was built
	}{
		{ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}},
			"TEST_FUNCTION: cs forward in=eth0 out=eth1: ", "Proxy: Unable to process c2p packet"},
		{ppftest.Segment{Src: ppftest.Server6, Dst: ppftest.Client6, TCP: packet.TCP{Flags: packet.ACK}},
			"TEST_FUNCTION: sc forward in=eth0 out=eth1: ", "Proxy: Unable to process s2p packet"},
	} {
		before := len(texts(b))
		if action, _ := b.Send(ppf.Forward, tt.seg.Bytes(t)); action != ppf.Drop {
			t.Errorf("%v: %v, want drop", tt.seg.Flags, action)
		}
		said := texts(b)[before:]
		if len(said) < 3 || said[0] != "TEST_FUNCTION called" || !strings.HasPrefix(said[1], tt.want) || !slices.Contains(said, tt.line) {
			t.Errorf("reported %q", said)
		}
	}
	if n := b.Count("chain.unhandled", ppf.OutcomeDrop); n != 2 {
		t.Errorf("%d drops as unhandled, want 2", n)
	}
	b.Accounted()
}

// TestReportsAreLimited: a flood is dropped and counted, and only the first
// lines of each second are told.
func TestReportsAreLimited(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "test"))
	data := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	for range 500 {
		b.Send(ppf.Forward, data)
	}
	if n := len(texts(b)); n != 50 {
		t.Errorf("%d lines in a second, want 50", n)
	}
	if n := b.Count("chain.unhandled", ppf.OutcomeDrop); n != 500 {
		t.Errorf("%d drops are counted, want 500", n)
	}
	b.Env.Advance(1e9)
	b.Send(ppf.Forward, data)
	if n := len(texts(b)); n <= 50 {
		t.Error("nothing is told in the next second")
	}
}
