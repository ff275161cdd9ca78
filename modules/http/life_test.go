package http

import (
	"net"
	"testing"
	"time"
)

// clocked is a connection that keeps the deadline of its reads.
type clocked struct {
	net.Conn
	until time.Time
}

func (c *clocked) SetReadDeadline(t time.Time) error {
	c.until = t
	return nil
}

// TestLastCall: a connection that is asked to end while it is idle, or before it
// is, waits no longer than the last call; one that is not waits for its time.
func TestLastCall(t *testing.T) {
	const now, idle = int64(1e18), time.Minute
	for _, tt := range []struct {
		name string
		do   func(*life, *reader)
		want time.Duration
	}{
		{"idle", func(l *life, in *reader) { l.rest(in, now, idle) }, idle},
		{"asked while idle", func(l *life, in *reader) { l.rest(in, now, idle); l.drain() }, lastCall},
		{"asked before", func(l *life, in *reader) { l.drain(); l.rest(in, now, idle) }, lastCall},
		{"asked in an exchange", func(l *life, in *reader) { l.rest(in, now, idle); l.wake(in); l.drain(); l.rest(in, now, idle) }, lastCall},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clocked{}
			l := life{client: c, now: func() int64 { return now }}
			tt.do(&l, &reader{conn: c})
			// A deadline may be up to a quarter later.
			if got := c.until.Sub(time.Unix(0, now)); got < tt.want || got > tt.want*5/4 {
				t.Errorf("the deadline is %v away, want %v", got, tt.want)
			}
		})
	}
}
