package ppf

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Record tells one drop or repair in full. Records are limited in rate per
// instance, reason, flow and worker; counters are exact, and Withheld says how
// many packets of the same kind came since the record before.
type Record struct {
	Flow     string   `json:"flow"` // cs or sc
	Reason   string   `json:"reason"`
	Action   string   `json:"action"`             // drop, repair, would-drop, would-repair
	Function string   `json:"function,omitempty"` // the user function that was running; empty before the chain
	Field    string   `json:"field,omitempty"`
	Value    uint64   `json:"value"` // of the field
	RFC      string   `json:"rfc,omitempty"`
	CVE      []string `json:"cve,omitempty"`
	Client   string   `json:"client,omitempty"`
	Packet   string   `json:"packet"` // the received packet in one line
	Withheld uint64   `json:"withheld,omitempty"`
	// Pair is the received packet and the one sent in its place; empty for what
	// was found in a stream.
	Pair Pair `json:"pair"`
}

// Comment is what a capture file says of the record's packet.
func (r *Record) Comment(instance string) string {
	text := fmt.Sprintf("%s %s: instance %s, flow %s: %s = %d", r.Action, r.Reason, instance, r.Flow, r.Field, r.Value)
	if r.RFC != "" {
		text += ", RFC " + r.RFC
	}
	for _, cve := range r.CVE {
		text += ", " + cve
	}
	return text
}

// Pair is a received packet and what was sent in its place, both from the IP
// header on, or with Ethernet from that one on, and cut to what was asked for.
type Pair struct {
	Ethernet    bool   `json:"ethernet,omitempty"`
	Received    []byte `json:"received"`
	ReceivedLen int    `json:"received_length"` // bytes before the cut
	Sent        []byte `json:"sent,omitempty"`
	SentLen     int    `json:"sent_length"` // 0: nothing was sent
}

// Limits of records.
const (
	// recordsPerSecond is for one instance, reason, flow and worker.
	recordsPerSecond = 5
	// recordBytes is how much of a packet a record keeps: all headers there are,
	// and some of what follows. With it the ring of events is bounded to 8 MiB.
	recordBytes = 1024
)

// NewPair copies at most limit bytes of each packet of a frame.
func NewPair(f *Frame, limit int) Pair {
	p := Pair{Ethernet: f.Link != 0, Received: slices.Clone(f.Data[:min(limit, len(f.Data))]), ReceivedLen: f.WireLen}
	switch {
	case f.Action == Drop:
	case f.Head == nil:
		p.Sent, p.SentLen = p.Received, p.ReceivedLen
	default:
		p.SentLen = len(f.Head) + len(f.Body)
		p.Sent = make([]byte, 0, min(limit, p.SentLen))
		p.Sent = append(p.Sent, f.Head[:min(limit, len(f.Head))]...)
		p.Sent = append(p.Sent, f.Body[:min(limit-len(p.Sent), len(f.Body))]...)
	}
	return p
}

// note counts what a reason led to, for the ledger too, and tells of it within
// its rate. The frame's action and packet are decided already.
func (w *worker) note(all *counters, r Reason, o Outcome, value uint64) {
	x := w.x
	c := all.count(x.Dir, r, o)
	if x.Instance != nil && o != OutcomeDrop {
		w.ledger.add(ledgerKey{x.Instance.Name, r, o, x.Client(), x.Server()}, x.Conn.goesOn())
	}
	if withheld, due := c.due(x.Now, w.eventLimit()); due {
		w.record(r, o, value, withheld)
	}
}

// due says whether a record may be made now, and how many were not since the last.
func (c *reasonCounter) due(now int64, limit *rateLimit) (withheld uint64, ok bool) {
	if s := now / int64(time.Second); s != c.second {
		c.second, c.told = s, 0
	}
	if c.told == recordsPerSecond || !limit.allow(now) {
		c.withheld++
		return 0, false
	}
	c.told++
	withheld, c.withheld = c.withheld, 0
	return withheld, true
}

// eventLimit is that of the packet's instance, or of all that have none.
func (w *worker) eventLimit() *rateLimit {
	if w.x.Instance != nil {
		return w.x.Instance.events
	}
	return w.engine.ownEvents
}

// record puts a record into the event stream. It allocates.
func (w *worker) record(r Reason, o Outcome, value, withheld uint64) {
	x := w.x
	instance := "-"
	if x.Instance != nil {
		instance = x.Instance.Name
	}
	rec := newRecord(r, o, x.Dir, value, x.Client(), withheld)
	rec.Function, rec.Packet, rec.Pair = x.function(), x.In.String(), NewPair(x.frame, recordBytes)
	w.engine.addRecord(instance, rec)
}

func newRecord(r Reason, o Outcome, d Dir, value uint64, client netip.Addr, withheld uint64) *Record {
	info := r.Info()
	rec := &Record{
		Flow: d.String(), Reason: info.Name, Action: o.String(), Field: info.Field, Value: value, RFC: info.RFC, CVE: info.CVE, Withheld: withheld,
	}
	if client.IsValid() {
		rec.Client = client.String()
	}
	return rec
}

// addRecord puts a record into the event stream, with a text for people.
func (e *Engine) addRecord(instance string, r *Record) {
	text := fmt.Sprintf("%s %s: %s: %s %d", r.Action, r.Reason, r.Flow, r.Field, r.Value)
	if r.RFC != "" {
		text += " (RFC " + r.RFC + ")"
	}
	text += ": " + r.Packet
	if r.Withheld > 0 {
		text += fmt.Sprintf(" (and %d before)", r.Withheld)
	}
	e.events.Add(Event{Kind: EventPacket, Instance: instance, Text: text, Record: r})
}
