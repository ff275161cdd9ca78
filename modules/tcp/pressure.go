package tcp

import "time"

// How long a connection that is not open is silent before it gives way to a new
// one where a limit is reached. One whose handshake is not complete, or that is
// over, does so as soon as no retransmission is on its way; one that one side has
// closed after the 4 minutes of RFC 5382 REQ-5.
const (
	evictUnsettled = 5 * time.Second
	evictClosing   = 4 * time.Minute
)

// evictIdle gives for each phase how long a connection is silent before it gives
// way. Whoever opens many cannot push out one that is in use: its own go first,
// since those that are nearest to their timeout do.
func evictIdle(c *Config) (idle [numPhases]int64) {
	for p := range numPhases {
		d := evictUnsettled
		switch p {
		case phaseEstablished:
			d = c.EvictIdle
		case phaseFinWait, phaseCloseWait:
			d = min(evictClosing, c.EvictIdle)
		}
		idle[p] = int64(d)
	}
	return idle
}
