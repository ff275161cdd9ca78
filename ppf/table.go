package ppf

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
)

// A slab page holds so many connections. Pages are never freed: a table keeps
// the memory of its busiest moment.
const (
	pageBits = 10
	pageSize = 1 << pageBits
	noConn   = ^uint32(0)
)

type connPage struct {
	conns [pageSize]Conn
	// deadline is when each connection expires, in nanoseconds since 1970, 0
	// for a free cell. It stands apart so that a sweep reads 8 bytes a cell.
	deadline [pageSize]atomic.Int64
	// yields is from when on each gives way to a new one, 0: never; owner is its
	// proxy instance's id. They stand apart for the same reason.
	yields [pageSize]atomic.Int64
	owner  [pageSize]atomic.Uint32
}

// Table holds all connections of an engine: a slab of cells, an index from key
// to cell for both flows, further keys that modules bind, and a list per proxy
// instance. It is safe for concurrent use.
//
// Lock order: a connection, then an index shard, then the table's own lock, then
// that of its pressure.
type Table struct {
	seed  maphash.Seed
	limit int // connections, table-wide

	pages atomic.Pointer[[]*connPage]
	index index
	// journal has a place for each cell; see Engine.KeepJournal.
	journal []byte
	// overdue, if not nil, gives the time until which a connection stays whose time
	// is up, 0: it goes.
	overdue func(c *Conn, now int64) int64

	pressure pressure

	mu    sync.Mutex
	free  uint32 // head of the free list
	used  int
	lists map[uint32]*connList // by proxy instance id

	statesMu sync.RWMutex
	states   []stateColumn

	extraMu sync.Mutex
	extra   map[string]uint32   // cell by key
	extraOf map[uint32][]string // keys by cell
}

// connList is the list of one proxy instance's connections.
type connList struct {
	head  uint32
	count int
}

// NewTable makes a table for at most limit connections.
func NewTable(limit int) *Table {
	t := &Table{
		seed: maphash.MakeSeed(), limit: limit, free: noConn,
		lists: map[uint32]*connList{}, extra: map[string]uint32{}, extraOf: map[uint32][]string{},
	}
	t.pages.Store(&[]*connPage{})
	t.index.init(t)
	return t
}

func (t *Table) cell(i uint32) *Conn {
	return &(*t.pages.Load())[i>>pageBits].conns[i&(pageSize-1)]
}

func (t *Table) deadlineOf(i uint32) *atomic.Int64 {
	return &(*t.pages.Load())[i>>pageBits].deadline[i&(pageSize-1)]
}

func (t *Table) yieldsOf(i uint32) *atomic.Int64 {
	return &(*t.pages.Load())[i>>pageBits].yields[i&(pageSize-1)]
}

func (t *Table) hash(k *Key) uint64 {
	b := k.bytes()
	return maphash.Bytes(t.seed, b[:])
}

// find looks a received packet's key up and returns its connection locked and
// the flow the packet belongs to; nil where there is none. The caller unlocks.
func (t *Table) find(k *Key) (*Conn, Dir) {
	for {
		i, d, ok := t.index.lookup(t.hash(k), k)
		if !ok {
			return nil, 0
		}
		c := t.cell(i)
		c.mu.Lock()
		if c.live && c.key[d] == *k {
			return c, d
		}
		c.mu.Unlock() // freed or rekeyed since the lookup
	}
}

// create makes a connection for a proxy instance, locked. key is that of the
// first packet, d its flow; the other flow gets the reverse. It returns nil and
// a reason when the table or the instance (limit, 0: none) is full, or when the
// reverse key belongs to another connection.
func (t *Table) create(p *ProxyInstance, limit int, key Key, d Dir, now int64) (*Conn, Reason) {
	t.mu.Lock()
	if nearlyFull(t.used, t.limit) {
		t.pressure.want(0, t.limit)
	}
	if t.used >= t.limit {
		t.mu.Unlock()
		return nil, ReasonTableFull
	}
	list := t.lists[p.id]
	if list == nil {
		list = &connList{head: noConn}
		t.lists[p.id] = list
	}
	if limit > 0 && nearlyFull(list.count, limit) {
		t.pressure.want(p.id, limit)
	}
	if limit > 0 && list.count >= limit {
		t.mu.Unlock()
		return nil, ReasonInstanceFull
	}
	if t.free == noConn {
		t.growLocked()
	}
	i := t.free
	c := t.cell(i)
	t.free = c.next
	t.used++
	c.prev, c.next = noConn, list.head
	if list.head != noConn {
		t.cell(list.head).prev = i
	}
	list.head = i
	list.count++
	t.mu.Unlock()

	c.mu.Lock()
	c.Half = [2]Half{}
	c.Created, c.opened, c.proxy, c.hasExtra, c.Translated = now, d, p.id, false, false
	c.key[d], c.key[d.Other()] = key, key.Reverse()
	c.live = true
	t.deadlineOf(i).Store(now + int64(time.Minute))
	page := (*t.pages.Load())[i>>pageBits]
	page.yields[i&(pageSize-1)].Store(0)
	page.owner[i&(pageSize-1)].Store(p.id)
	if !t.index.insert(t.hash(&key), &key, i, d) {
		t.release(c)
		return nil, ReasonKeyTaken
	}
	reverse := key.Reverse()
	if reverse != key && !t.index.insert(t.hash(&reverse), &reverse, i, d.Other()) {
		t.index.remove(t.hash(&key), i, d)
		t.release(c)
		return nil, ReasonKeyTaken
	}
	return c, packet.ReasonNone
}

func (t *Table) growLocked() {
	old := *t.pages.Load()
	page := &connPage{}
	base := uint32(len(old)) << pageBits
	for i := range page.conns {
		page.conns[i].index = base + uint32(i)
		page.conns[i].next = base + uint32(i) + 1
	}
	page.conns[pageSize-1].next = t.free
	next := append(slices.Clip(old), page)
	t.pages.Store(&next)
	t.free = base
}

// release gives a cell back that is out of the index; the caller holds its
// lock, which release gives up.
func (t *Table) release(c *Conn) {
	c.live = false
	t.deadlineOf(c.index).Store(0)
	if c.Translated {
		t.forget(c.index)
	}
	t.mu.Lock()
	list := t.lists[c.proxy]
	if c.prev != noConn {
		t.cell(c.prev).next = c.next
	} else {
		list.head = c.next
	}
	if c.next != noConn {
		t.cell(c.next).prev = c.prev
	}
	list.count--
	if list.count == 0 {
		delete(t.lists, c.proxy)
	}
	c.next = t.free
	t.free = c.index
	t.used--
	t.mu.Unlock()
	c.mu.Unlock()
}

// remove frees a locked connection with everything modules added to it.
func (t *Table) remove(c *Conn) {
	for d := range c.key {
		t.index.remove(t.hash(&c.key[d]), c.index, Dir(d))
	}
	if c.hasExtra {
		t.extraMu.Lock()
		for _, k := range t.extraOf[c.index] {
			delete(t.extra, k)
		}
		delete(t.extraOf, c.index)
		t.extraMu.Unlock()
	}
	t.statesMu.RLock()
	for _, s := range t.states {
		s.clear(c.index)
	}
	t.statesMu.RUnlock()
	t.release(c)
}

// Rekey changes how packets of flow d of a locked connection look when they are
// received, for a function that exchanges addresses. It reports false, and
// changes nothing, when another connection has that key.
func (t *Table) Rekey(c *Conn, d Dir, k Key) bool {
	if k == c.key[d] {
		return true
	}
	old := c.key[d]
	// A key is written only while no entry of the index leads to it.
	t.index.remove(t.hash(&old), c.index, d)
	c.key[d] = k
	if t.index.insert(t.hash(&k), &k, c.index, d) {
		return true
	}
	c.key[d] = old
	t.index.insert(t.hash(&old), &old, c.index, d)
	return false
}

// regroup moves a locked connection to another group. It reports false when one
// of its keys belongs to another connection there; the other key may have moved.
func (t *Table) regroup(c *Conn, group Hook) bool {
	for d := range c.key {
		k := c.key[d]
		k.Group = group
		if !t.Rekey(c, Dir(d), k) {
			return false
		}
	}
	return true
}

// BindKey lets FindKey find a locked connection by any bytes, for example an
// identifier inside the protocol (thesis 6.1.1). The key goes with the
// connection. It reports false when another connection has that key. Binding
// allocates; it is meant for once per connection.
func (t *Table) BindKey(c *Conn, key []byte) bool {
	t.extraMu.Lock()
	defer t.extraMu.Unlock()
	if i, taken := t.extra[string(key)]; taken {
		return i == c.index
	}
	k := string(key)
	t.extra[k] = c.index
	t.extraOf[c.index] = append(t.extraOf[c.index], k)
	c.hasExtra = true
	return true
}

// FindKey finds a connection by a key that BindKey gave it. It must not be
// called while another connection is locked, as in a user function that has
// x.Conn. The connection is locked; the caller calls Unlock.
func (t *Table) FindKey(key []byte) *Conn {
	t.extraMu.Lock()
	i, ok := t.extra[string(key)]
	t.extraMu.Unlock()
	if !ok {
		return nil
	}
	c := t.cell(i)
	c.mu.Lock()
	t.extraMu.Lock()
	j, still := t.extra[string(key)]
	t.extraMu.Unlock()
	if c.live && still && i == j {
		return c
	}
	c.mu.Unlock()
	return nil
}

// Unlock gives a connection back that FindKey returned.
func (t *Table) Unlock(c *Conn) { c.mu.Unlock() }

// SetDeadline sets when a locked connection expires, in nanoseconds since 1970.
// The sweep runs once a second.
func (t *Table) SetDeadline(c *Conn, at int64) {
	t.deadlineOf(c.index).Store(max(at, 1)) // 0 marks a free cell
}

// Deadline is when the connection expires, in nanoseconds since 1970.
func (t *Table) Deadline(c *Conn) int64 { return t.deadlineOf(c.index).Load() }

// expire frees every connection whose deadline lies before now, unless overdue
// lets it stay, and calls freed for each while it is still locked.
func (t *Table) expire(now int64, freed func(*Conn)) (count int) {
	for _, page := range *t.pages.Load() {
		for i := range page.deadline {
			if at := page.deadline[i].Load(); at == 0 || at > now {
				continue
			}
			c := &page.conns[i]
			c.mu.Lock()
			if at := page.deadline[i].Load(); !c.live || at == 0 || at > now {
				c.mu.Unlock()
				continue
			}
			if t.overdue != nil {
				if until := t.overdue(c, now); until > now {
					page.deadline[i].Store(until)
					c.mu.Unlock()
					continue
				}
			}
			freed(c)
			t.remove(c)
			count++
		}
	}
	return count
}

// each calls f for every live connection, locked; when f returns false the
// connection is freed.
func (t *Table) each(f func(*Conn) (keep bool)) {
	for _, page := range *t.pages.Load() {
		for i := range page.conns {
			if page.deadline[i].Load() == 0 {
				continue
			}
			c := &page.conns[i]
			c.mu.Lock()
			switch {
			case !c.live:
				c.mu.Unlock()
			case f(c):
				c.mu.Unlock()
			default:
				t.remove(c)
			}
		}
	}
}

// setLimit changes how many connections the table takes.
func (t *Table) setLimit(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = n
}

// Limit is how many connections the table takes.
func (t *Table) Limit() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit
}

// Len is the number of connections.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// Count is the number of connections of one proxy instance.
func (t *Table) Count(p *ProxyInstance) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if list := t.lists[p.id]; list != nil {
		return list.count
	}
	return 0
}
