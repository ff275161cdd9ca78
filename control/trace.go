package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/ppf"
)

const (
	// traceQueue is how many packets wait for a reader of a trace.
	traceQueue = 4096
	// traceBytes is how much of a packet is kept where the request does not say.
	traceBytes = 512
)

// TracedCause is one reason that played a part in what became of a packet.
type TracedCause struct {
	Reason string   `json:"reason"`
	Action string   `json:"action"`
	Field  string   `json:"field"`
	Value  uint64   `json:"value"`
	RFC    string   `json:"rfc,omitempty"`
	CVE    []string `json:"cve,omitempty"`
}

// Traced is one packet of a trace.
type Traced struct {
	Time     time.Time     `json:"time"`
	Instance string        `json:"instance"`
	Flow     string        `json:"flow"`
	Action   string        `json:"action"` // what became of it: accept, drop, queue, repeat
	Causes   []TracedCause `json:"causes"`
	Pair     ppf.Pair      `json:"pair"`
	// Lost is how many packets before it came faster than they were read.
	Lost uint64 `json:"lost,omitempty"`
}

// Comment is what a capture file says of the packet.
func (t *Traced) Comment() string {
	text := fmt.Sprintf("instance %s, flow %s: %s", t.Instance, t.Flow, t.Action)
	for _, c := range t.Causes {
		text += fmt.Sprintf("; %s %s: %s = %d", c.Action, c.Reason, c.Field, c.Value)
		if c.RFC != "" {
			text += ", RFC " + c.RFC
		}
		for _, cve := range c.CVE {
			text += ", " + cve
		}
	}
	return text
}

// tracer is one reader of packets.
type tracer struct {
	instance string
	bytes    int
	out      chan Traced
	lost     atomic.Uint64
}

// offer gives a packet to the reader unless it is too slow. It runs on a worker.
func (t *tracer) offer(f *ppf.Fate) {
	instance := f.Instance
	if instance == "" {
		instance = "-"
	}
	if instance != t.instance || f.Again { // what it was has been traced
		return
	}
	if len(t.out) == cap(t.out) {
		t.lost.Add(1)
		return
	}
	traced := Traced{
		Time: time.Unix(0, f.Frame.Time), Instance: instance, Flow: f.Dir.String(), Action: f.Frame.Action.String(),
		Causes: []TracedCause{}, Pair: ppf.NewPair(f.Frame, t.bytes), Lost: t.lost.Swap(0),
	}
	if f.Held {
		traced.Action = "held"
	}
	for _, c := range f.Causes {
		info := c.Reason.Info()
		traced.Causes = append(traced.Causes, TracedCause{info.Name, c.Outcome.String(), info.Field, c.Value, info.RFC, info.CVE})
	}
	select {
	case t.out <- traced:
	default:
		t.lost.Add(traced.Lost + 1)
	}
}

// tracers shares the engine's one follower among readers. Without one the engine
// is not followed, and a trace costs nothing.
type tracers struct {
	engine *ppf.Engine
	mu     sync.Mutex
	all    map[*tracer]bool
}

func (t *tracers) set(one *tracer, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[*tracer]bool{}
	}
	if on {
		t.all[one] = true
	} else {
		delete(t.all, one)
	}
	if len(t.all) == 0 {
		t.engine.Follow(nil)
		return
	}
	list := slices.Collect(maps.Keys(t.all))
	t.engine.Follow(func(f *ppf.Fate) {
		for _, one := range list {
			one.offer(f)
		}
	})
}

// trace writes packets of an instance as JSON lines, until there were as many as
// asked for or the client leaves.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	one := &tracer{instance: r.FormValue("instance"), out: make(chan Traced, traceQueue)}
	known := one.instance == "-" || slices.ContainsFunc(s.backend.Engine().Instances(), func(i ppf.InstanceInfo) bool { return i.Name == one.instance })
	count, err := number(r, "count", 0)
	if err == nil {
		one.bytes, err = number(r, "bytes", traceBytes)
	}
	if err == nil && !known {
		err = fmt.Errorf("trace: instance %q: there is none (`promethos instances` lists them; - is traffic of none)", one.instance)
	}
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	s.tracers.set(one, true)
	defer s.tracers.set(one, false)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.(http.Flusher).Flush() // the client knows that it will miss nothing from now on
	out := json.NewEncoder(w)
	for n := 0; count == 0 || n < count; n++ {
		select {
		case traced := <-one.out:
			if out.Encode(traced) != nil {
				return
			}
			if len(one.out) == 0 {
				w.(http.Flusher).Flush()
			}
		case <-r.Context().Done():
			return
		}
	}
}
