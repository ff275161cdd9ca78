package tcp

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/promethos/promethos/packet"
)

func newStore() *Store {
	s := &Store{}
	s.rings.Store(&[]*[ringPage]ring{})
	return s
}

// inUse counts the rings that connections hold, and the chunks in them.
func (s *Store) inUse() (rings, chunks int) {
	free := map[uint32]bool{}
	for n := s.freeRing; n != 0; n = s.ring(n).next {
		free[n] = true
	}
	for n := range uint32(len(*s.rings.Load()) * ringPage) {
		for _, c := range s.ring(n + 1).chunks {
			if c != nil {
				chunks++
			}
		}
		if !free[n+1] {
			rings++
		}
	}
	return rings, chunks
}

// TestRing compares a ring with a map from numbers to bytes.
func TestRing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, b := newStore(), &budget{}
		start := packet.Seq(rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0xffff0000, 0xffffffff), rapid.Uint32Range(0, 20000)).Draw(r, "start"))
		n := s.newRing(start, b)
		ring := s.ring(n)
		model := map[packet.Seq]byte{}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			if rapid.IntRange(0, 3).Draw(r, "cut") == 0 && ring.lo != ring.hi {
				ring.cut(s, ring.lo.Add(uint32(rapid.IntRange(0, int(ring.hi.Diff(ring.lo))).Draw(r, "at"))))
				continue
			}
			at := ring.lo.Add(uint32(rapid.IntRange(0, 5*chunkLen).Draw(r, "offset")))
			data := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(r, "data"), rapid.SampledFrom([]int{1, 30, 700, 3000}).Draw(r, "times"))
			lo, hi := ring.lo, later(ring.hi, at.Add(uint32(len(data))))
			if ring.lo == ring.hi && rapid.Bool().Draw(r, "downwards") {
				lo = lo - packet.Seq(rapid.IntRange(0, chunkLen).Draw(r, "more"))
			}
			want := bytes.Clone(data)
			for i := range data {
				if v, ok := model[at.Add(uint32(i))]; ok && !at.Add(uint32(i)).Before(ring.lo) {
					want[i] = v
				}
			}
			seq, known := ring.clip(at, data)
			if got := ring.same(seq, known); got != bytes.Equal(want, data) {
				r.Fatalf("same at %d: %v, want %v", at, got, !got)
			}
			ring.correct(ring.clip(at, data))
			if !bytes.Equal(data, want) {
				r.Fatalf("corrected at %d: %x, want %x", at, data, want)
			}
			b.used.Add(int64(spans(lo, hi) - spans(ring.lo, ring.hi)))
			ring.widen(lo, hi)
			ring.put(s, at, data)
			for i, v := range data {
				model[at.Add(uint32(i))] = v
			}
		}
		if got, want := b.used.Load(), int64(spans(ring.lo, ring.hi)); got != want {
			r.Errorf("%d chunks are paid for, the ring spans %d", got, want)
		}
		for seq := ring.lo; seq != ring.hi; seq++ {
			got, _ := ring.known(seq, 1)
			if want, ok := model[seq]; (got != nil) != ok || ok && got[0] != want {
				r.Fatalf("at %d: %v, want %v, known: %v", seq, got, want, ok)
			}
		}
		s.drop(&n)
		if rings, chunks := s.inUse(); n != 0 || rings != 0 || chunks != 0 || b.used.Load() != 0 {
			r.Errorf("afterwards: number %d, %d rings, %d chunks, %d paid for", n, rings, chunks, b.used.Load())
		}
	})
}

// TestBudget: a connection gets what is free for all, and beyond a super-packet in
// each direction no more than is left for the others.
func TestBudget(t *testing.T) {
	b := &budget{limit: 1000, perConn: 600}
	for i, want := range []struct {
		n, own int
		ok     bool
	}{
		{601, 0, false}, // more than a connection may have
		{501, 0, false}, // more than would be left
		{400, 0, true},
		{300, 400, false},
		{300, 0, true}, // another one: as much as is left
		{301, 0, false},
		{freeShare, 0, true}, {freeShare, 0, true}, {freeShare, 0, true}, {freeShare, 0, true}, {freeShare, 0, true},
		{freeShare, 0, true}, {freeShare, 0, true}, {freeShare, 0, true}, {freeShare, 0, true},
		{13, 0, false}, // nothing is left
		{12, 0, true},
	} {
		if got := b.take(want.n, want.own); got != want.ok {
			t.Fatalf("%d: %d chunks for one that has %d: %v, want %v; %d are used", i, want.n, want.own, got, want.ok, b.used.Load())
		}
	}
	b.give(1000)
	if n := b.used.Load(); n != 0 {
		t.Errorf("%d are used at the end", n)
	}
}

func BenchmarkRing(b *testing.B) {
	s, spent := newStore(), &budget{}
	data := make([]byte, 1448)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	n := s.newRing(0, spent)
	r := s.ring(n)
	for b.Loop() {
		hi := r.hi.Add(uint32(len(data)))
		seq := r.hi
		r.widen(r.lo, hi)
		r.put(s, seq, data)
		r.cut(s, hi-20_000)
	}
}
