package control

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestTrace: who traces sees each packet of an instance with what was sent; who is
// too slow is told, and delays nobody.
func TestTrace(t *testing.T) {
	b, c, _ := start(t)
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	send := func(n int) {
		for range n {
			b.engine.Handlers()[0].Handle([]ppf.Frame{{Hook: ppf.Forward, Data: syn, WireLen: len(syn)}})
		}
	}
	var got []Traced
	err := c.Trace(t.Context(), "-", 2, 30, func() { send(3) }, func(tr Traced) error { got = append(got, tr); return nil })
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	p := got[0].Pair
	if got[0].Instance != "-" || got[0].Action != "accept" || !slices.Equal(p.Received, syn[:30]) || p.ReceivedLen != len(syn) || p.SentLen != len(syn) || len(got[0].Causes) != 0 {
		t.Errorf("%+v", got[0])
	}
	const burst = 3 * traceQueue
	enough := errors.New("enough")
	seen, lost := 0, uint64(0)
	err = c.Trace(t.Context(), "-", 0, 2000, func() { send(1) }, func(tr Traced) error {
		seen++
		if lost += tr.Lost; lost > 0 {
			return enough
		}
		if seen == 1 {
			send(burst) // the reader stands still here
		}
		if seen > burst {
			return errors.New("nothing was lost")
		}
		send(1) // the next one that finds room tells
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("%v after %d packets", err, seen)
	}
}

func TestTraceComment(t *testing.T) {
	tr := Traced{Instance: "plc", Flow: "cs", Action: "drop", Causes: []TracedCause{{Reason: "a.b", Action: "drop", Field: "f", Value: 7, RFC: "9293 §3.1", CVE: []string{"CVE-1"}}}}
	if got := tr.Comment(); got != "instance plc, flow cs: drop; drop a.b: f = 7, RFC 9293 §3.1, CVE-1" || strings.Contains(got, "\n") {
		t.Error(got)
	}
}
