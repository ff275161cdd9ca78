package ppf

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pressure knows which connections give way where the table or an instance is
// full. They are looked for between batches, and only while little room is left: a
// packet takes the next one, and never looks for it.
type pressure struct {
	some atomic.Bool // there are lists
	last atomic.Int64

	mu    sync.Mutex
	lists map[uint32]*waiting // by proxy instance id, 0: the table's
}

// waiting are connections that give way, those whose time is over first at the
// end.
type waiting struct {
	limit int   // of connections
	at    int64 // when they were looked for
	list  []victim
}

// victim is a connection as it was found: one with another deadline has been used
// since.
type victim struct {
	deadline int64
	cell     uint32
}

const (
	// gatherEvery is how often connections are looked for at most, and gatherStale
	// how old a list may be that is not used up.
	gatherEvery = int64(100 * time.Millisecond)
	gatherStale = int64(time.Second)
	// gatherMost is how many connections a list holds.
	gatherMost = 4096
	// evictTries is how many of them a packet looks at: some have been used since
	// they were found.
	evictTries = 64
)

// nearlyFull says that the next connections may find no room.
func nearlyFull(count, limit int) bool { return count >= limit-max(1, limit/16) }

// want asks for a list, as long as limit is nearly reached.
func (p *pressure) want(id uint32, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.lists[id]; w != nil {
		w.limit = limit
		return
	}
	if p.lists == nil {
		p.lists = map[uint32]*waiting{}
	}
	p.lists[id] = &waiting{limit: limit}
	p.some.Store(true)
}

// next takes the connection that gives way next.
func (p *pressure) next(id uint32) (v victim, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.lists[id]
	if w == nil || len(w.list) == 0 {
		return v, false
	}
	last := len(w.list) - 1
	v, w.list = w.list[last], w.list[:last]
	return v, true
}

// due gives the lists that are to be made, and forgets those for which there is
// room again.
func (t *Table) due(now int64) map[uint32]*oldest {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.pressure
	p.mu.Lock()
	defer p.mu.Unlock()
	due := map[uint32]*oldest{}
	for id, w := range p.lists {
		count := t.used
		if id != 0 {
			count = 0
			if l := t.lists[id]; l != nil {
				count = l.count
			}
		}
		switch {
		case !nearlyFull(count, w.limit):
			delete(p.lists, id)
		case len(w.list) == 0, now-w.at > gatherStale:
			due[id] = &oldest{}
		}
	}
	p.some.Store(len(p.lists) > 0)
	return due
}

// gather looks for connections that give way where they may be needed.
func (t *Table) gather(now int64) {
	p := &t.pressure
	last := p.last.Load()
	if !p.some.Load() || now-last < gatherEvery || !p.last.CompareAndSwap(last, now) {
		return
	}
	due := t.due(now)
	if len(due) == 0 {
		return
	}
	all := due[0]
	of, id := (*oldest)(nil), uint32(0) // the list of the last owner
	for n, page := range *t.pages.Load() {
		for i := range page.deadline {
			v := victim{page.deadline[i].Load(), uint32(n<<pageBits + i)}
			from := page.yields[i].Load()
			if v.deadline == 0 || from == 0 || from > now {
				continue
			}
			if all != nil {
				all.add(v)
			}
			if owner := page.owner[i].Load(); owner != id {
				of, id = due[owner], owner
			}
			if of != nil {
				of.add(v)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, o := range due {
		if w := p.lists[id]; w != nil {
			w.at, w.list = now, o.sorted()
		}
	}
}

// oldest collects the gatherMost victims with the earliest deadlines.
type oldest struct {
	list  []victim
	bound int64 // of a full list: later ones are not among them
}

func (o *oldest) add(v victim) {
	if o.bound != 0 && v.deadline >= o.bound {
		return
	}
	if o.list = append(o.list, v); len(o.list) == 2*gatherMost {
		o.cut()
		o.bound = o.list[gatherMost-1].deadline
	}
}

func (o *oldest) cut() {
	slices.SortFunc(o.list, func(a, b victim) int { return cmp.Compare(a.deadline, b.deadline) })
	o.list = o.list[:min(len(o.list), gatherMost)]
}

// sorted gives them, the earliest last.
func (o *oldest) sorted() []victim {
	o.cut()
	slices.Reverse(o.list)
	return o.list
}

// GiveWay lets a locked connection be freed from a time on, in nanoseconds since
// 1970, where there is no room for a new one; those whose deadline is next go
// first. 0, as for every new connection: never.
func (t *Table) GiveWay(c *Conn, from int64) { t.yieldsOf(c.index).Store(from) }

// yields is the time from which a connection gives way, 0 for never.
func (t *Table) yields(c *Conn) int64 { return t.yieldsOf(c.index).Load() }

// evict frees the connection that gives way next, of an instance or with 0 of all,
// and tells how long it was silent. The caller has no connection locked.
func (e *Engine) evict(id uint32, now int64) (silent time.Duration, ok bool) {
	t := e.table
	for range evictTries {
		v, ok := t.pressure.next(id)
		if !ok {
			return 0, false
		}
		c := t.cell(v.cell)
		if !c.mu.TryLock() {
			continue // it is being used
		}
		if !c.live || t.Deadline(c) != v.deadline || id != 0 && c.proxy != id {
			c.mu.Unlock()
			continue
		}
		silent = time.Duration(now - max(c.Half[0].Timestamp, c.Half[1].Timestamp))
		e.freed(c)
		t.remove(c)
		return silent, true
	}
	return 0, false
}

// makeRoom frees a connection for a new one that the limit r keeps out, where the
// instance lets old ones go.
func (x *Exchange) makeRoom(r Reason) bool {
	if x.Instance.do(ReasonEvicted, x) != DoRepair {
		return false
	}
	id := uint32(0)
	if r == ReasonInstanceFull {
		id = x.Instance.id
	}
	silent, ok := x.worker.engine.evict(id, x.Now)
	if !ok {
		return false
	}
	_, stop := x.Finding(ReasonEvicted, uint64(silent/time.Second))
	return !stop
}
