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

// FlowCounters counts the packets of one flow. Every packet that came in is
// also counted in exactly one of Sent, Unchanged, Dropped, Queued and Stolen.
type FlowCounters struct {
	In        uint64 `json:"in"`
	InBytes   uint64 `json:"in_bytes"` // on layer 3
	Sent      uint64 `json:"sent"`     // built anew
	Unchanged uint64 `json:"unchanged"`
	Dropped   uint64 `json:"dropped"`
	Queued    uint64 `json:"queued"`
	Stolen    uint64 `json:"stolen"`
	Repaired  uint64 `json:"repaired"` // of Sent: those with a repair
	Emitted   uint64 `json:"emitted"`  // extra packets
}

func (c *FlowCounters) add(o *FlowCounters) {
	c.In += o.In
	c.InBytes += o.InBytes
	c.Sent += o.Sent
	c.Unchanged += o.Unchanged
	c.Dropped += o.Dropped
	c.Queued += o.Queued
	c.Stolen += o.Stolen
	c.Repaired += o.Repaired
	c.Emitted += o.Emitted
}

// counters belong to one worker and one instance; the worker's lock guards
// them, which it holds for a batch at a time.
type counters struct {
	flow    [2]FlowCounters
	reasons [][numOutcomes]uint64 // by Reason.Index
}

func (c *counters) count(r Reason, o Outcome) {
	i := r.Index()
	if i >= len(c.reasons) {
		grown := make([][numOutcomes]uint64, packet.ReasonCount())
		copy(grown, c.reasons)
		c.reasons = grown
	}
	c.reasons[i][o]++
}

func (c *counters) addTo(sum *counters) {
	for d := range c.flow {
		sum.flow[d].add(&c.flow[d])
	}
	if len(sum.reasons) < len(c.reasons) {
		grown := make([][numOutcomes]uint64, len(c.reasons))
		copy(grown, sum.reasons)
		sum.reasons = grown
	}
	for i := range c.reasons {
		for o := range c.reasons[i] {
			sum.reasons[i][o] += c.reasons[i][o]
		}
	}
}
