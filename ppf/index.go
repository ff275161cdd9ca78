package ppf

import "sync"

// indexShards is how many locks the index is split into; a power of two.
const indexShards = 256

// index maps keys to cells of the slab. Each shard is an open-addressing table
// with linear probing whose entries hold no key, only part of its hash: keys
// stand in the connections. A connection's key may be read under the shard's
// lock while its entry is there, because it is written before the entry goes in
// and changed only after it is out.
type index struct {
	table  *Table
	shards [indexShards]indexShard
}

type indexShard struct {
	mu      sync.Mutex
	entries []indexEntry // a power of two long
	used    int
	_       [24]byte // one shard per cache line
}

// indexEntry is free when hash is 0; hashes get their lowest bit set.
type indexEntry struct {
	hash uint32
	ref  uint32 // cell<<1 | flow
}

func (x *index) init(t *Table) { x.table = t }

func split(hash uint64) (shard uint8, short uint32) {
	return uint8(hash >> 56), uint32(hash) | 1
}

func makeRef(cell uint32, d Dir) uint32 { return cell<<1 | uint32(d) }

// lookup finds the cell and flow of a key.
func (x *index) lookup(hash uint64, k *Key) (cell uint32, d Dir, ok bool) {
	n, short := split(hash)
	s := &x.shards[n]
	s.mu.Lock()
	ref, ok := s.probe(x.table, short, k)
	s.mu.Unlock()
	return ref >> 1, Dir(ref & 1), ok
}

func (s *indexShard) probe(t *Table, short uint32, k *Key) (uint32, bool) {
	if len(s.entries) == 0 {
		return 0, false
	}
	mask := uint32(len(s.entries) - 1)
	for i := slot(short) & mask; s.entries[i].hash != 0; i = (i + 1) & mask {
		if e := s.entries[i]; e.hash == short && t.cell(e.ref >> 1).key[e.ref&1] == *k {
			return e.ref, true
		}
	}
	return 0, false
}

// slot is where probing starts; the lowest bit says "used", so it carries no
// information.
func slot(short uint32) uint32 { return short >> 1 }

// insert adds an entry; it reports false when the key is there already. The
// key must stand in the cell.
func (x *index) insert(hash uint64, k *Key, cell uint32, d Dir) bool {
	n, short := split(hash)
	s := &x.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.probe(x.table, short, k); taken {
		return false
	}
	if s.used*4 >= len(s.entries)*3 {
		s.grow()
	}
	s.put(indexEntry{short, makeRef(cell, d)})
	return true
}

func (s *indexShard) put(e indexEntry) {
	mask := uint32(len(s.entries) - 1)
	i := slot(e.hash) & mask
	for s.entries[i].hash != 0 {
		i = (i + 1) & mask
	}
	s.entries[i] = e
	s.used++
}

func (s *indexShard) grow() {
	old := s.entries
	s.entries = make([]indexEntry, max(8, 2*len(old)))
	s.used = 0
	for _, e := range old {
		if e.hash != 0 {
			s.put(e)
		}
	}
}

// remove takes the entry of a cell's flow out; it does nothing where there is
// none (both flows may share one key).
func (x *index) remove(hash uint64, cell uint32, d Dir) {
	n, short := split(hash)
	s := &x.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) == 0 {
		return
	}
	mask := uint32(len(s.entries) - 1)
	ref := makeRef(cell, d)
	for i := slot(short) & mask; s.entries[i].hash != 0; i = (i + 1) & mask {
		if s.entries[i] == (indexEntry{short, ref}) {
			s.closeGap(i, mask)
			s.used--
			return
		}
	}
}

// closeGap empties entry i and moves later ones of its run back, so that
// probing never needs tombstones (Knuth, TAOCP 6.4, algorithm R).
func (s *indexShard) closeGap(i, mask uint32) {
	for {
		s.entries[i] = indexEntry{}
		j := i
		for {
			j = (j + 1) & mask
			if s.entries[j].hash == 0 {
				return
			}
			home := slot(s.entries[j].hash) & mask
			if (j-home)&mask >= (j-i)&mask {
				break
			}
		}
		s.entries[i] = s.entries[j]
		i = j
	}
}
