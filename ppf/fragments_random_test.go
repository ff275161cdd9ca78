package ppf_test

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestRandomFragments: of any fragments whatever comes out is whole packets or good
// fragments, all is accounted for, and no more memory is taken than at the start.
func TestRandomFragments(t *testing.T) {
	c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 64"})
	r := rand.New(rand.NewPCG(1, 2))
	datagrams := [][]byte{fragmentFamilies[0].datagram(t, 4000), fragmentFamilies[1].datagram(t, 4000)}
	var good [][][]byte
	for i, d := range datagrams {
		for id := range uint32(4) {
			good = append(good, cut(d, 800, 10*uint32(i)+id))
		}
	}
	const rounds = 10
	batch := 4000
	if os.Getenv("PROMETHOS_SOAK") != "" {
		batch = 100000
	}
	var before, after runtime.MemStats
	var p packet.Packet
	for round := range rounds {
		for range batch {
			begin := r.IntN(1<<13) * 8 >> r.IntN(10) &^ 7
			var b []byte
			if r.IntN(4) > 0 { // a good one, of a few packets
				list := good[r.IntN(len(good))]
				b = list[r.IntN(len(list))]
			}
			part := fragment{begin: begin, end: begin + r.IntN(1480), last: r.IntN(4) == 0, change: byte(r.IntN(2))}
			if !part.last {
				part.end = begin + (part.end-begin)&^7
			}
			c.Env.Advance(r.Int64N(int64(20 * time.Millisecond)))
			if b == nil {
				b = part.of(datagrams[r.IntN(2)], uint32(100+r.IntN(300)))
			}
			for _, b := range c.in(b) {
				if reason := p.Parse(packet.LinkRawIP, b); reason != packet.ReasonNone || len(b) > 1500 || p.VerifyChecksums(true) != packet.ReasonNone {
					t.Fatalf("sent %x: %v", b, reason)
				}
			}
		}
		c.Engine.Handlers()[0].Tick(c.Env.Now())
		switch round {
		case rounds / 2:
			runtime.GC()
			runtime.ReadMemStats(&before)
		case rounds - 1:
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
	}
	// The ring of events fills up meanwhile; fragments alone would take 14 MB.
	if after.HeapAlloc > before.HeapAlloc+4<<20 {
		t.Errorf("%d bytes are in use after all fragments, %d after half of them", after.HeapAlloc, before.HeapAlloc)
	}
	c.Accounted()
	s := c.Engine.Stats().Packets
	if s.Dropped == 0 || s.Sent == 0 || s.Split == 0 || s.In != uint64(rounds*batch) {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
}

// FuzzFragments: a conversation of fragments that the fuzzer writes.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 100, 0, 100, 100, 1})
	f.Add([]byte{0, 100, 0, 100, 100, 0, 200, 51, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 4"})
		datagrams := [][]byte{fragmentFamilies[0].datagram(t, 2000), fragmentFamilies[1].datagram(t, 2000)}
		var p packet.Packet
		for ; len(script) >= 3; script = script[3:] {
			begin := int(script[0]) * 8
			part := fragment{begin: begin, end: begin + int(script[1])*8, last: script[2]&1 != 0, change: script[2] >> 1 & 1}
			for _, b := range c.in(part.of(datagrams[script[2]>>2&1], uint32(script[2]>>3))) {
				if reason := p.Parse(packet.LinkRawIP, b); reason != packet.ReasonNone || p.VerifyChecksums(true) != packet.ReasonNone {
					t.Fatalf("sent %x: %v", b, reason)
				}
			}
			c.Accounted()
		}
	})
}

// heldFragments are a worker with one fragment held, and a duplicate of it.
func heldFragments(t testing.TB) (ppf.Handler, []ppf.Frame) {
	b := ppftest.New(t, fragmented(ppf.Repair))
	f := b.Frame(ppf.Forward, fragment{begin: 0, end: 800}.of(fragmentFamilies[0].datagram(t, 2000), 7))
	f.MTU = 1500
	list := []ppf.Frame{f}
	h := b.Engine.Handlers()[0]
	for range 10 { // records of this second
		h.Handle(list)
	}
	return h, list
}

func TestNoAllocationsFragments(t *testing.T) {
	h, list := heldFragments(t)
	if n := testing.AllocsPerRun(50, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for a fragment, want 0", n)
	}
}

func BenchmarkFragment(b *testing.B) {
	h, list := heldFragments(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}
