package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// queueTable lists the netfilter queues of the calling thread's namespace; the third
// number of a line is how many packets wait for a verdict (net/netfilter/
// nfnetlink_queue.c, seq_show).
const queueTable = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// Judged waits until no packet waits in the host's netfilter queues for a verdict.
// What came into them before has been judged then, and what it became has been sent,
// in whatever order the queues were served.
func (h *Host) Judged(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		waiting, err := h.queued()
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("host %s: %d packets wait for a verdict: %w", h.Name, waiting, context.Cause(ctx))
		}
	}
}

// queued is how many packets wait; none where the kernel has no queues.
func (h *Host) queued() (waiting int, err error) {
	err = h.Do(func() error {
		table, err := os.ReadFile(queueTable)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for line := range bytes.Lines(table) {
			var number, port, n int
			if _, err := fmt.Sscan(string(line), &number, &port, &n); err != nil {
				return fmt.Errorf("%s: %q: %w", queueTable, line, err)
			}
			waiting += n
		}
		return nil
	})
	return waiting, err
}
