package ppf_test

import (
	"net/netip"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestNoAllocationsElsewhere: what an attacker can send as fast as he likes
// costs no memory either, once the events of this second are told.
func TestNoAllocationsElsewhere(t *testing.T) {
	v6 := ppftest.Segment{Src: ppftest.Client6, Dst: ppftest.Server6, TCP: ppftest.Header(packet.ACK, 1, 1), Payload: make([]byte, 100)}
	mend := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.ACK, 1, 1),
		EditIP: func(ip []byte) []byte { return append(ip, 7, 3, 4, 0) }}
	null := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}
	stranger := ppftest.Segment{Src: ppftest.Server4, Dst: netip.AddrPortFrom(ppftest.Client4.Addr(), 7), TCP: ppftest.Header(packet.RST, 1, 1)}
	fragment := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.ACK, 1, 1),
		EditIP: func(ip []byte) []byte { ip[7] = 9; return ip }}
	for _, tt := range []struct {
		name   string
		data   []byte
		action ppf.Action
	}{
		{"IPv6", v6.Bytes(t), ppf.Accept},
		{"mended", mend.Bytes(t), ppf.Accept},
		{"refused flags", null.Bytes(t), ppf.Drop},
		{"of no connection", stranger.Bytes(t), ppf.Drop},
		{"a fragment", fragment.Bytes(t), ppf.Drop},
		{"a parse error", null.Bytes(t)[:25], ppf.Drop},
		{"an ICMP error", errorAbout(t, ppftest.Client4, ppftest.Server4), ppf.Accept},
		{"an unrelated ICMP error", errorAbout(t, ppftest.Server4, ppftest.Client4), ppf.Drop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := ppftest.Instance("a", "tcp")
			b := ppftest.New(t, in)
			for _, s := range []ppftest.Segment{mend, v6} {
				b.Send(ppf.Forward, s.Bytes(t)) // adopted
			}
			if tt.name == "an unrelated ICMP error" {
				b.Apply()
				b.Apply(in)
			}
			frames := make([]ppf.Frame, 64)
			for i := range frames {
				frames[i] = b.Frame(ppf.Forward, tt.data)
			}
			h := b.Engine.Handlers()[0]
			if h.Handle(frames); frames[0].Action != tt.action {
				t.Fatalf("%v, want %v; %+v", frames[0].Action, tt.action, b.Engine.ReasonCounts())
			}
			if n := testing.AllocsPerRun(50, func() { h.Handle(frames) }); n != 0 {
				t.Errorf("%v allocations for %d packets, want 0", n, len(frames))
			}
			b.Accounted()
		})
	}
}

// BenchmarkRefuse is the way of a packet that an attacker sends.
func BenchmarkRefuse(b *testing.B) {
	bench := ppftest.New(b, ppftest.Instance("a", "tcp"))
	data := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(b)
	frames := make([]ppf.Frame, 64)
	for i := range frames {
		frames[i] = bench.Frame(ppf.Forward, data)
	}
	h := bench.Engine.Handlers()[0]
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
}
