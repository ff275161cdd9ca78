package ppf

import "github.com/promethos/promethos/packet"

// Outcome is what happened to a packet because of a reason.
type Outcome uint8

// The outcomes.
const (
	OutcomeDrop Outcome = iota
	OutcomeRepair
	OutcomeWouldDrop
	OutcomeWouldRepair
	numOutcomes
)

var outcomeNames = [numOutcomes]string{"drop", "repair", "would-drop", "would-repair"}

// String names the outcome.
func (o Outcome) String() string { return outcomeNames[o] }

// FlowCounters counts the packets of one flow; of a listener's instance it counts
// messages, or streams where a function carries bytes, and octets of payload.
// Every packet that came in is also counted in exactly one of Sent, Unchanged,
// Dropped, Queued, Stolen, Merged and Held.
type FlowCounters struct {
	In        uint64 `json:"in"`
	InBytes   uint64 `json:"in_bytes"` // on layer 3
	Sent      uint64 `json:"sent"`     // built anew
	Unchanged uint64 `json:"unchanged"`
	Dropped   uint64 `json:"dropped"`
	Queued    uint64 `json:"queued"`
	Stolen    uint64 `json:"stolen"`
	Merged    uint64 `json:"merged"`   // fragments that became part of a packet counted elsewhere
	Held      uint64 `json:"held"`     // fragments kept now, until the others are there
	Repaired  uint64 `json:"repaired"` // of Sent: those with a repair
	Emitted   uint64 `json:"emitted"`  // extra packets
	Split     uint64 `json:"split"`    // packets that one was cut into, but for the first
}

func (c *FlowCounters) add(o *FlowCounters) {
	c.In += o.In
	c.InBytes += o.InBytes
	c.Sent += o.Sent
	c.Unchanged += o.Unchanged
	c.Dropped += o.Dropped
	c.Queued += o.Queued
	c.Stolen += o.Stolen
	c.Merged += o.Merged
	c.Held += o.Held
	c.Repaired += o.Repaired
	c.Emitted += o.Emitted
	c.Split += o.Split
}

// counters belong to one worker and one instance; the worker's lock guards
// them, which it holds for a batch at a time.
type counters struct {
	flow    [2]FlowCounters
	reasons [2][]reasonCounter // by flow and Reason.Index
	ended   [2]map[string]uint64
}

// reasonCounter counts what one reason led to in one flow, and what of it was
// told.
type reasonCounter struct {
	n        [numOutcomes]uint64
	second   int64  // of the last record
	told     int    // records in that second
	withheld uint64 // packets since the last record
}

// count counts a reason; the counter is good until the next call.
func (c *counters) count(d Dir, r Reason, o Outcome) *reasonCounter {
	i := r.Index()
	if i >= len(c.reasons[d]) {
		grown := make([]reasonCounter, packet.ReasonCount())
		copy(grown, c.reasons[d])
		c.reasons[d] = grown
	}
	c.reasons[d][i].n[o]++
	return &c.reasons[d][i]
}

// end counts a packet whose way ended in a user function.
func (c *counters) end(d Dir, function string) {
	if c.ended[d] == nil {
		c.ended[d] = map[string]uint64{}
	}
	c.ended[d][function]++
}

func (c *counters) addTo(sum *counters) {
	for d := range c.flow {
		sum.flow[d].add(&c.flow[d])
	}
	for d := range c.reasons {
		if len(sum.reasons[d]) < len(c.reasons[d]) {
			grown := make([]reasonCounter, len(c.reasons[d]))
			copy(grown, sum.reasons[d])
			sum.reasons[d] = grown
		}
		for i := range c.reasons[d] {
			for o, n := range c.reasons[d][i].n {
				sum.reasons[d][i].n[o] += n
			}
		}
		for name, n := range c.ended[d] {
			if sum.ended[d] == nil {
				sum.ended[d] = map[string]uint64{}
			}
			sum.ended[d][name] += n
		}
	}
}

// Result is one of the things that become of a packet that came in.
type Result struct {
	Name  string
	Count uint64
}

// Results lists what became of the packets that came in; together with Held they
// are In.
func (c *FlowCounters) Results() []Result {
	return []Result{
		{"sent", c.Sent}, {"unchanged", c.Unchanged}, {"dropped", c.Dropped}, {"queued", c.Queued}, {"stolen", c.Stolen},
		{"merged", c.Merged},
	}
}

// Accounted says whether all that came in is somewhere.
func (c *FlowCounters) Accounted() bool {
	sum := c.Held
	for _, r := range c.Results() {
		sum += r.Count
	}
	return c.In == sum
}
