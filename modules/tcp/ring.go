package tcp

import (
	"bytes"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// chunkLen is how many bytes of a stream a chunk holds, a power of two.
const (
	chunkBits = 12
	chunkLen  = 1 << chunkBits
)

// chunk holds bytes of a stream, from a sequence number on that is a multiple of
// chunkLen, and which of them are known.
type chunk struct {
	data [chunkLen]byte
	// from and to bound the known bytes while they lie side by side; sparse says
	// that known tells of each byte instead.
	from, to uint16
	sparse   bool
	known    [chunkLen / 64]uint64
	next     *chunk // in a list
}

// run gives the end of a run of bytes from i on, at most end, that are all known
// or all unknown.
func (c *chunk) run(i, end int) (to int, known bool) {
	if !c.sparse {
		switch {
		case i < int(c.from):
			return min(end, int(c.from)), false
		case i < int(c.to):
			return min(end, int(c.to)), true
		}
		return end, false
	}
	word := c.known[i/64] >> (i % 64)
	if known = word&1 != 0; known {
		word = ^word
	}
	return min(end, i+bits.TrailingZeros64(word), i|63+1), known
}

// mark notes that the bytes from i to end are known.
func (c *chunk) mark(i, end int) {
	from, to := int(c.from), int(c.to)
	switch {
	case c.sparse:
		c.set(i, end)
	case from == to:
		c.from, c.to = uint16(i), uint16(end)
	case i <= to && end >= from:
		c.from, c.to = uint16(min(i, from)), uint16(max(end, to))
	default:
		c.sparse, c.known = true, [chunkLen / 64]uint64{}
		c.set(from, to)
		c.set(i, end)
	}
}

func (c *chunk) set(i, end int) {
	for i < end {
		n := min(end-i, 64-i%64)
		c.known[i/64] |= ^uint64(0) >> (64 - n) << (i % 64)
		i += n
	}
}

// ring holds what one side of a connection sent and the other has not yet
// acknowledged: the bytes from lo to hi, of which those that never came are not
// known. It belongs to a connection and is guarded by its lock.
type ring struct {
	lo, hi packet.Seq
	// chunks is a power of two long, the chunk of a sequence number is at its
	// number modulo that; nil: nothing of it is known.
	chunks []*chunk
	budget *budget // that counts the chunks from lo to hi, whether they are there or not
	next   uint32  // in the free list
}

func number(s packet.Seq) uint32 { return uint32(s) >> chunkBits }

// spans is how many chunks lie between two sequence numbers.
func spans(lo, hi packet.Seq) int {
	if lo == hi {
		return 0
	}
	return int((number(hi-1)-number(lo))&(1<<(32-chunkBits)-1)) + 1
}

func (r *ring) slot(s packet.Seq) **chunk { return &r.chunks[int(number(s))&(len(r.chunks)-1)] }

// widen moves the bounds outwards.
func (r *ring) widen(lo, hi packet.Seq) {
	if n := spans(lo, hi); n > len(r.chunks) {
		old := *r
		r.chunks = make([]*chunk, max(minChunks, 1<<bits.Len(uint(n-1))))
		for s, i := old.lo, spans(old.lo, old.hi); i > 0; s, i = s.Add(chunkLen), i-1 {
			*r.slot(s) = *old.slot(s)
		}
	}
	r.lo, r.hi = lo, hi
}

// clip gives the part of b, which begins at seq, that lies between lo and hi.
func (r *ring) clip(seq packet.Seq, b []byte) (packet.Seq, []byte) {
	if n := r.lo.Diff(seq); n > 0 {
		n = min(n, int32(len(b)))
		seq, b = seq.Add(uint32(n)), b[n:]
	}
	return seq, b[:max(0, min(len(b), int(r.hi.Diff(seq))))]
}

// minChunks is how many places for chunks a ring has at least.
const minChunks = 8

// same says whether the bytes of b, which begins at seq and lies between lo and
// hi, are what is known.
func (r *ring) same(seq packet.Seq, b []byte) bool {
	for len(b) > 0 {
		known, n := r.known(seq, len(b))
		if known != nil && !bytes.Equal(known, b[:n]) {
			return false
		}
		seq, b = seq.Add(uint32(n)), b[n:]
	}
	return true
}

// correct writes what is known over b, which begins at seq and lies between lo
// and hi.
func (r *ring) correct(seq packet.Seq, b []byte) {
	for len(b) > 0 {
		known, n := r.known(seq, len(b))
		copy(b, known)
		seq, b = seq.Add(uint32(n)), b[n:]
	}
}

// known gives the known bytes from seq on, or nil and how many are not, at most
// limit.
func (r *ring) known(seq packet.Seq, limit int) ([]byte, int) {
	c, i := *r.slot(seq), int(seq)&(chunkLen-1)
	end := min(i+limit, chunkLen)
	if c == nil {
		return nil, end - i
	}
	end, known := c.run(i, end)
	if !known {
		return nil, end - i
	}
	return c.data[i:end], end - i
}

// put keeps b, which lies between lo and hi.
func (r *ring) put(s *Store, seq packet.Seq, b []byte) {
	for len(b) > 0 {
		at, i := r.slot(seq), int(seq)&(chunkLen-1)
		if *at == nil {
			*at = s.newChunk()
		}
		n := copy((*at).data[i:], b)
		(*at).mark(i, i+n)
		seq, b = seq.Add(uint32(n)), b[n:]
	}
}

// cut forgets the chunks that lie before seq, which is at most hi.
func (r *ring) cut(s *Store, seq packet.Seq) {
	if edge := seq &^ (chunkLen - 1); edge.After(r.lo) {
		r.forget(s, edge)
	}
}

// forget empties the chunks up to edge, the end or a multiple of chunkLen.
func (r *ring) forget(s *Store, edge packet.Seq) {
	var gone *chunk
	n := spans(r.lo, edge)
	for seq, i := r.lo, n; i > 0; seq, i = seq.Add(chunkLen), i-1 {
		at := r.slot(seq)
		if c := *at; c != nil {
			*at, c.next, gone = nil, gone, c
		}
	}
	r.lo = edge
	r.budget.give(n)
	s.freeChunks(gone)
}

// budget bounds what rings hold.
type budget struct {
	limit, perConn int64 // chunks
	used           atomic.Int64
}

func newBudget(c *Config) *budget {
	return &budget{limit: c.RetransmitMemory / chunkLen, perConn: c.RetransmitConnectionMemory / chunkLen}
}

// freeShare is how many chunks a connection may have however much others hold: a
// super-packet in each direction.
const freeShare = 32

// take counts n chunks more of a connection that has own. Beyond freeShare one
// may have as much as is left for all others, so that a few do not take all.
func (b *budget) take(n, own int) bool {
	has := int64(own + n)
	if has > b.perConn {
		return false
	}
	used := b.used.Add(int64(n))
	if used <= b.limit && (has <= freeShare || has <= b.limit-used) {
		return true
	}
	b.give(n)
	return false
}

// resume counts n chunks that a connection had before a stop, which had their share
// then.
func (b *budget) resume(n, own int) bool {
	used := b.used.Add(int64(n))
	if int64(own+n) <= b.perConn && used <= b.limit {
		return true
	}
	b.give(n)
	return false
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// ringPage is how many rings are made at a time, chunksKept how many chunks are
// kept for later that nobody needs now, and placesKept how many places a ring that
// is not used keeps.
const (
	ringPageBits = 8
	ringPage     = 1 << ringPageBits
	chunksKept   = 4096
	placesKept   = 64
)

// Store is what the trackers of a module have in common. Connections have no
// pointers, so they name a ring by its number, from 1 on.
type Store struct {
	histories *ppf.State[History]
	secrets   secrets
	manners   manners
	rings     atomic.Pointer[[]*[ringPage]ring]

	mu       sync.Mutex
	freeRing uint32 // number
	chunks   *chunk
	kept     int
}

// NewStore makes the store of a module in Start. old is that of the module whose
// place it takes, nil for none: what connections hold goes on.
func NewStore(host *ppf.ModuleHost, old *Store) *Store {
	if old != nil {
		ppf.NewState[History](host) // hands the column over
		return old
	}
	s := &Store{histories: ppf.NewState[History](host)}
	s.rings.Store(&[]*[ringPage]ring{})
	return s
}

// ring gives a ring by its number, nil for 0.
func (s *Store) ring(n uint32) *ring {
	if n == 0 {
		return nil
	}
	return &(*s.rings.Load())[(n-1)>>ringPageBits][(n-1)&(ringPage-1)]
}

// newRing gives the number of an empty ring that begins at seq.
func (s *Store) newRing(seq packet.Seq, b *budget) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freeRing == 0 {
		old := *s.rings.Load()
		next := append(slices.Clip(old), &[ringPage]ring{})
		s.rings.Store(&next)
		first := uint32(len(old)) << ringPageBits
		for n := first + ringPage; n > first; n-- {
			s.ring(n).next, s.freeRing = s.freeRing, n
		}
	}
	n := s.freeRing
	r := s.ring(n)
	s.freeRing = r.next
	r.lo, r.hi, r.budget = seq, seq, b
	return n
}

// drop gives a ring back with all that it holds, and sets its number to 0.
func (s *Store) drop(n *uint32) {
	if *n == 0 {
		return
	}
	r := s.ring(*n)
	r.forget(s, r.hi)
	if len(r.chunks) > placesKept {
		r.chunks = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.next, s.freeRing, *n = s.freeRing, *n, 0
}

// newChunk gives a chunk of which nothing is known.
func (s *Store) newChunk() *chunk {
	s.mu.Lock()
	c := s.chunks
	if c == nil {
		s.mu.Unlock()
		return &chunk{}
	}
	s.chunks = c.next
	s.kept--
	s.mu.Unlock()
	c.from, c.to, c.sparse, c.next = 0, 0, false, nil
	return c
}

// freeChunks takes a list of chunks back.
func (s *Store) freeChunks(list *chunk) {
	if list == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for list != nil && s.kept < chunksKept {
		c := list
		list, c.next, s.chunks = c.next, s.chunks, c
		s.kept++
	}
}
