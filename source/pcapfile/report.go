package pcapfile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Action is what became of a packet, in the words of the report.
type Action string

// The actions.
const (
	ActionSent      Action = "sent"      // built anew, or in monitor let go as it was
	ActionRepaired  Action = "repaired"  // built anew without what was wrong
	ActionDropped   Action = "dropped"   //
	ActionEmitted   Action = "emitted"   // an extra packet of ours, because of packet n
	ActionMerged    Action = "merged"    // it became part of another packet
	ActionSplit     Action = "split"     // a further packet that n was cut into
	ActionHeld      Action = "held"      // kept, and not sent up to the end
	ActionUnmatched Action = "unmatched" // of no instance: copied
)

// Line is what the report says of one packet.
type Line struct {
	N        int      `json:"n"` // in the file that was read, from 1
	Time     string   `json:"time"`
	Instance string   `json:"instance"`
	Flow     string   `json:"flow"`
	Action   Action   `json:"action"`
	Reasons  []string `json:"reasons"`
	Out      int      `json:"out,omitempty"` // in the file that was written, from 1
}

// Sums are a report's totals: In + Emitted + Split = Out + Dropped + Merged + Held.
type Sums struct {
	In        uint64            `json:"in"`
	Out       uint64            `json:"out"`
	Dropped   uint64            `json:"dropped"`
	Repaired  uint64            `json:"repaired"`  // of Out
	Unmatched uint64            `json:"unmatched"` // of Out
	Emitted   uint64            `json:"emitted"`
	Split     uint64            `json:"split"`
	Merged    uint64            `json:"merged"`
	Held      uint64            `json:"held"`
	Reasons   map[string]uint64 `json:"reasons"`
}

// Accounted says whether every packet is somewhere.
func (s *Sums) Accounted() bool { return s.In+s.Emitted+s.Split == s.Out+s.Dropped+s.Merged+s.Held }

// Report writes what became of every packet, as JSON, while it goes. Sums are
// there also where nothing is written.
type Report struct {
	Sums Sums

	w     *bufio.Writer // nil: only sums
	lines int
}

func newReport(w io.Writer) *Report {
	r := &Report{Sums: Sums{Reasons: map[string]uint64{}}}
	if w != nil {
		r.w = bufio.NewWriter(w)
	}
	return r
}

func (r *Report) add(n int, at int64, a Action, instance, flow string, causes []ppf.Cause, out int) error {
	r.Sums.count(a, out)
	line := Line{
		N: n, Time: time.Unix(0, at).UTC().Format(time.RFC3339Nano), Instance: instance, Flow: flow, Action: a, Reasons: []string{}, Out: out,
	}
	for _, c := range causes {
		name := c.Reason.String()
		line.Reasons = append(line.Reasons, name)
		r.Sums.Reasons[name]++
	}
	if r.w == nil {
		return nil
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	before := ",\n"
	if r.lines == 0 {
		before = "{\"packets\":[\n"
	}
	r.lines++
	return r.write(before + string(b))
}

func (s *Sums) count(a Action, out int) {
	if a != ActionEmitted && a != ActionSplit {
		s.In++
	}
	if out > 0 {
		s.Out++
	}
	switch a {
	case ActionRepaired:
		s.Repaired++
	case ActionDropped:
		s.Dropped++
	case ActionEmitted:
		s.Emitted++
	case ActionMerged:
		s.Merged++
	case ActionSplit:
		s.Split++
	case ActionHeld:
		s.Held++
	case ActionUnmatched:
		s.Unmatched++
	}
}

// close completes the JSON.
func (r *Report) close() error {
	if r.w == nil {
		return nil
	}
	b, err := json.Marshal(r.Sums)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	before := "\n],"
	if r.lines == 0 {
		before = "{\"packets\":[],"
	}
	if err := r.write(before + string(b[1:]) + "\n"); err != nil {
		return err
	}
	if err := r.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *Report) write(s string) error {
	if _, err := r.w.WriteString(s); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
