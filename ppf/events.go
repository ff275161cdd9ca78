package ppf

import (
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
)

// Event is one line of what happened.
type Event struct {
	Seq      uint64    `json:"seq"` // from 1, without gaps
	Time     time.Time `json:"time"`
	Kind     EventKind `json:"kind"`
	Instance string    `json:"instance,omitempty"`
	Text     string    `json:"text"`
}

// eventsKept is how many events the ring holds; about 1 MiB.
const eventsKept = 4096

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

// Since returns the events with a Seq above after that are still kept, and a
// channel that is closed when there are more.
func (e *Events) Since(after uint64) ([]Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := after + 1
	if e.next > eventsKept && first < e.next-eventsKept {
		first = e.next - eventsKept
	}
	var list []Event
	for seq := max(first, 1); seq < e.next; seq++ {
		list = append(list, e.ring[seq%eventsKept])
	}
	return list, e.wake
}

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
