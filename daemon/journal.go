package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/promethos/promethos/pcapng"
	"github.com/promethos/promethos/ppf"
)

// journal carries events on: to a log, and records of drops and repairs to a
// capture file. It reads the ring like every follower, so that no worker waits for
// a slow disk.
type journal struct {
	log     *slog.Logger // nil: none
	capture *captureFile // nil: none
}

// newJournal writes to w as kind says, and records to a capture file at path
// where it is not empty.
func newJournal(w io.Writer, kind ppf.LogKind, path string) *journal {
	j := &journal{}
	switch {
	case w == nil:
	case kind == ppf.LogText:
		j.log = slog.New(slog.NewTextHandler(w, nil))
	case kind == ppf.LogJSON:
		j.log = slog.New(slog.NewJSONHandler(w, nil))
	}
	if path != "" {
		j.capture = &captureFile{path: path, max: captureMax}
	}
	return j
}

// run follows events until ctx ends, and then writes what is left.
func (j *journal) run(ctx context.Context, events *ppf.Events) {
	ended := false
	for seq := uint64(0); ; {
		list, more := events.Since(seq)
		if len(list) > 0 && list[0].Seq > seq+1 {
			j.write(ctx, ppf.Event{Time: list[0].Time, Kind: ppf.EventLost, Text: fmt.Sprintf("%d events are lost to the log: they came faster than it was written", list[0].Seq-1-seq)})
		}
		for _, e := range list {
			j.write(ctx, e)
			if j.capture != nil && e.Record != nil && e.Record.Pair.ReceivedLen > 0 {
				if said := j.capture.add(e); said != "" {
					events.Add(ppf.Event{Kind: ppf.EventDaemon, Text: said})
				}
			}
			seq = e.Seq
		}
		if ended && len(list) == 0 {
			break
		}
		if ended {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			ended = true // what came last is still written
		}
	}
	if j.capture != nil {
		j.capture.close()
	}
}

// write logs one event at the time when it happened.
func (j *journal) write(ctx context.Context, e ppf.Event) {
	if j.log == nil {
		return
	}
	level, text := slog.LevelInfo, e.Text
	attrs := []slog.Attr{slog.String("kind", string(e.Kind))}
	if e.Instance != "" {
		attrs = append(attrs, slog.String("instance", e.Instance))
	}
	if r := e.Record; r != nil {
		level, text = slog.LevelWarn, r.Action+" "+r.Reason
		attrs = append(attrs, slog.String("flow", r.Flow), slog.String("reason", r.Reason), slog.String("action", r.Action),
			slog.String("field", r.Field), slog.Uint64("value", r.Value))
		for _, optional := range []struct{ key, value string }{{"function", r.Function}, {"rfc", r.RFC}, {"client", r.Client}} {
			if optional.value != "" {
				attrs = append(attrs, slog.String(optional.key, optional.value))
			}
		}
		if len(r.CVE) > 0 {
			attrs = append(attrs, slog.Any("cve", r.CVE))
		}
		if r.Withheld > 0 {
			attrs = append(attrs, slog.Uint64("withheld", r.Withheld))
		}
		attrs = append(attrs, slog.String("packet", r.Packet))
	}
	if e.Kind == ppf.EventLost {
		level = slog.LevelWarn
	}
	record := slog.NewRecord(e.Time, level, text, 0)
	record.AddAttrs(attrs...)
	// There is nobody to tell when the log cannot be written; counters and the
	// event stream have the same.
	_ = j.log.Handler().Handle(ctx, record)
}

const (
	// captureMax is the size in bytes at which a capture file becomes FILE.1, in
	// place of an older one: two files are all that the disk has to hold.
	captureMax = 64 << 20
	// captureRetry is how long a capture rests after an error.
	captureRetry = time.Minute
)

// captureFile holds the packets of records as a pcapng file, with why as their
// comments.
type captureFile struct {
	path  string
	max   int64
	out   *outFile
	w     *pcapng.Writer
	rest  time.Time // no write before
	count uint64    // records not written since it rests
}

// add writes the received packet of a record and, where one was sent in its
// place, that too. What it returns is to be said of the file itself, once for
// each time that it fails or works again.
func (c *captureFile) add(e ppf.Event) (said string) {
	if e.Time.Before(c.rest) && c.rest.Sub(e.Time) <= captureRetry {
		c.count++
		return ""
	}
	resting := !c.rest.IsZero()
	if err := c.write(e); err != nil {
		c.close()
		c.rest = e.Time.Add(captureRetry)
		c.count++
		return fmt.Sprintf("capture of drops: %v (free some space, or set `drops:` to another path; it is tried again in %v)", err, captureRetry)
	}
	if resting {
		said = fmt.Sprintf("capture of drops: %s is written again; %d records are not in it", c.path, c.count)
		c.rest, c.count = time.Time{}, 0
	}
	return said
}

func (c *captureFile) write(e ppf.Event) (err error) {
	if c.out != nil && c.out.size >= c.max {
		c.close()
		if err := rotate(c.path); err != nil {
			return err
		}
	}
	if c.out == nil {
		if c.out, err = openCapture(c.path); err != nil {
			return err
		}
		if c.w, err = pcapng.NewWriter(c.out, "promethos "+Version); err != nil {
			return err
		}
	}
	p := &e.Record.Pair
	packet := pcapng.Packet{
		Time: e.Time.UnixNano(), Ethernet: p.Ethernet, Data: p.Received, Length: p.ReceivedLen,
		Direction: pcapng.Received, Comment: e.Record.Comment(e.Instance),
	}
	if err := c.w.Write(packet); err != nil || p.SentLen == 0 {
		return err
	}
	packet.Data, packet.Length, packet.Direction, packet.Comment = p.Sent, p.SentLen, pcapng.Sent, "sent in its place"
	return c.w.Write(packet)
}

func (c *captureFile) close() {
	if c.out != nil {
		c.out.close()
		c.out, c.w = nil, nil
	}
}
