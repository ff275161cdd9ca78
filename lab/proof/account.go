package proof

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// Accounts checks P5 on what a daemon counted. Nothing may be on its way.
func Accounts(s control.StatsReply, reasons []ppf.ReasonCountInfo) (list []Violation) {
	wrong := func(format string, args ...any) {
		list = append(list, Violation{Accounted, fmt.Sprintf(format, args...)})
	}
	var in, out, merged, dropped, received, sent uint64
	for _, f := range []struct {
		name string
		ppf.FlowCounters
	}{{"instances", s.Packets}, {"no instance", s.Unmatched}} {
		if !f.Accounted() {
			wrong("%s: %d packets came in, and are not accounted for: %+v", f.name, f.In, f.FlowCounters)
		}
		in, merged, dropped = in+f.In, merged+f.Merged, dropped+f.Dropped
		out += f.Sent + f.Unchanged + f.Queued + f.Emitted + f.Split
	}
	for _, q := range s.Sources {
		received, sent = received+q.Received, sent+q.Sent+q.Emitted
		if q.KernelDropped > 0 || q.SocketDropped > 0 {
			wrong("%s: the kernel dropped %d packets, %d did not fit into the socket buffer", q.Name, q.KernelDropped, q.SocketDropped)
		}
		if q.VerdictErrors > 0 {
			wrong("%s: the kernel did not take %d verdicts or frames", q.Name, q.VerdictErrors)
		}
	}
	// At netfilter's hooks fragments go on to the kernel, which merges them.
	if sent < out || sent > out+merged {
		wrong("the engine let %d packets go out, and %d fragments; the sources sent %d", out, merged, sent)
	}
	if received != in {
		wrong("the sources received %d packets, the engine judged %d", received, in)
	}
	var explained uint64
	for _, r := range reasons {
		if r.Action == ppf.OutcomeDrop.String() {
			explained += r.Count
		}
	}
	if explained != dropped {
		wrong("%d packets were dropped, %d with a reason", dropped, explained)
	}
	return list
}

// Vitals are what tells a healthy daemon from one that leaks or hangs.
type Vitals struct {
	PID     int
	Files   int    // open
	Waiting uint64 // packets without a verdict
	Panics  uint64 // in user functions
}

// TakeVitals looks at a running daemon.
func TakeVitals(ctx context.Context, p *lab.Proxy) (Vitals, error) {
	client := control.NewClient(p.Control)
	defer client.Close()
	_, _, v, err := look(ctx, client)
	return v, err
}

// look asks a running daemon for what it counted, and how it is.
func look(ctx context.Context, client *control.Client) (stats control.StatsReply, reasons []ppf.ReasonCountInfo, v Vitals, err error) {
	status, err := client.Status(ctx)
	if err != nil {
		return stats, nil, v, err
	}
	if stats, err = client.Stats(ctx); err != nil {
		return stats, nil, v, err
	}
	if reasons, err = client.Reasons(ctx); err != nil {
		return stats, nil, v, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", status.PID))
	if err != nil {
		return stats, nil, v, err
	}
	v = Vitals{PID: status.PID, Files: len(files)}
	for _, s := range stats.Sources {
		v.Waiting += s.Depth
	}
	for _, r := range reasons {
		if r.Reason == ppf.ReasonPanic.String() {
			v.Panics += r.Count
		}
	}
	return stats, reasons, v, nil
}

// Survived checks P6: between two looks the daemon neither ended nor faulted nor
// kept what it opened, and no packet waits.
func Survived(before, after Vitals) (list []Violation) {
	wrong := func(format string, args ...any) {
		list = append(list, Violation{Survives, fmt.Sprintf(format, args...)})
	}
	if after.PID != before.PID {
		wrong("process %d runs in place of %d", after.PID, before.PID)
	}
	// The control connections of those who look come and go.
	const slack = 4
	if after.Files > before.Files+slack {
		wrong("%d files are open, %d were", after.Files, before.Files)
	}
	if after.Waiting > 0 {
		wrong("%d packets wait for a verdict", after.Waiting)
	}
	if after.Panics > before.Panics {
		wrong("%d faults in user functions", after.Panics-before.Panics)
	}
	return list
}

// Daemon checks P5 and P6 of a running daemon, since an earlier look at it. What
// does not add up because a packet came between two questions, or because a worker
// waits for the processor with a batch in its hands, does so at a later look. With an
// error comes what the last look found.
func Daemon(ctx context.Context, p *lab.Proxy, before Vitals) (list []Violation, err error) {
	client := control.NewClient(p.Control)
	defer client.Close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for end := time.Now().Add(lookFor); ; {
		stats, reasons, after, err := look(ctx, client)
		if err != nil {
			return list, err
		}
		list = append(Accounts(stats, reasons), Survived(before, after)...)
		if list == nil || time.Now().After(end) {
			return list, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return list, context.Cause(ctx)
		}
	}
}

// lookFor is how long a daemon may take until everything adds up, on however busy a machine.
const (
	lookFor   = time.Minute
	lookEvery = 10 * time.Millisecond
)
