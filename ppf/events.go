package ppf

import (
	"slices"
	"sync"
	"time"
)

// EventKind groups events.
type EventKind string

// The kinds of event.
const (
	EventModule   EventKind = "module"   // modules and functions come and go
	EventInstance EventKind = "instance" // plugins, rules and proxy instances
	EventPacket   EventKind = "packet"   // what modules report of packets, and drops; rate-limited
	EventDaemon   EventKind = "daemon"   // start, reload, stop, sources
	EventLost     EventKind = "lost"     // what a follower was too slow to get; not in the ring
)

// Event is one line of what happened.
type Event struct {
	Seq      uint64    `json:"seq"` // from 1, without gaps
	Time     time.Time `json:"time"`
	Kind     EventKind `json:"kind"`
	Instance string    `json:"instance,omitempty"`
	Text     string    `json:"text"`
	// Record is set for drops and repairs.
	Record *Record `json:"record,omitempty"`
}

const (
	// eventsKept is how many events the ring holds; at most about 10 MiB.
	eventsKept = 4096
	// eventsAtOnce is how many Since gives: whoever adds waits for no longer.
	eventsAtOnce = 256
)

// Events is a ring of the last events with followers. It is safe for
// concurrent use; adding never blocks.
type Events struct {
	now  func() int64
	mu   sync.Mutex
	ring [eventsKept]Event
	next uint64        // Seq of the next event
	wake chan struct{} // closed and renewed at each Add
}

// NewEvents makes an empty ring; now is the clock in nanoseconds since 1970.
func NewEvents(now func() int64) *Events {
	return &Events{now: now, next: 1, wake: make(chan struct{})}
}

// Add appends an event and fills in Seq and Time.
func (e *Events) Add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.Seq, ev.Time = e.next, time.Unix(0, e.now())
	e.ring[e.next%eventsKept] = ev
	e.next++
	close(e.wake)
	e.wake = make(chan struct{})
}

// Since returns events with a Seq above after that are still kept, at most
// eventsAtOnce of them, and a channel that is closed when there are more. Nothing
// waits for a reader: who is slow finds a gap in the numbers.
func (e *Events) Since(after uint64) ([]Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := after + 1
	if e.next > eventsKept && first < e.next-eventsKept {
		first = e.next - eventsKept
	}
	first = max(first, 1)
	var list []Event
	for seq := first; seq < min(e.next, first+eventsAtOnce); seq++ {
		list = append(list, e.ring[seq%eventsKept])
	}
	if first+eventsAtOnce < e.next {
		return list, ready
	}
	return list, e.wake
}

// LastRecords gives the last events that have a record, at most n, oldest first.
func (e *Events) LastRecords(n int) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Event
	for seq := e.next - 1; seq > 0 && seq+eventsKept >= e.next && len(list) < n; seq-- {
		if ev := &e.ring[seq%eventsKept]; ev.Record != nil {
			list = append(list, *ev)
		}
	}
	slices.Reverse(list)
	return list
}

// ready is a channel that is closed already.
var ready = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// rateLimit lets at most perSecond things happen in each second.
type rateLimit struct {
	perSecond int
	mu        sync.Mutex
	second    int64
	count     int
}

// What each instance may do per second: say something of packets, and answer
// them itself.
const (
	packetEventsPerSecond = 50
	answersPerSecond      = 100
)

func newEventLimit() *rateLimit  { return &rateLimit{perSecond: packetEventsPerSecond} }
func newAnswerLimit() *rateLimit { return &rateLimit{perSecond: answersPerSecond} }

func (r *rateLimit) allow(now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now / int64(time.Second); s != r.second {
		r.second, r.count = s, 0
	}
	r.count++
	return r.count <= r.perSecond
}
