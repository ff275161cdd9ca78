package tcp

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of the user functions tcp and tcp2. All times are
// at least 1 s; a connection that is silent for longer is forgotten.
type Config struct {
	// HalfOpen is for connections whose handshake is not complete; default 60s.
	HalfOpen time.Duration `conf:"half_open"`
	// Established is for open connections; default 120h (RFC 5382 REQ-5 asks
	// for 2h4m at least).
	Established time.Duration `conf:"established"`
	// Closing is for connections that one side has closed; default 10m.
	Closing time.Duration `conf:"closing"`
	// Closed is for connections that both sides have closed, or one has reset;
	// default 60s (time for retransmitted FINs).
	Closed time.Duration `conf:"closed"`
	// Adopt is how long after the instance was made a connection that is in
	// full swing is taken over; default 120s, 0s: never.
	Adopt time.Duration `conf:"adopt"`
	// Connections limits the connections of the instance; 0, the default: no
	// limit but the table's.
	Connections int `conf:"connections"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{
		HalfOpen: time.Minute, Established: 120 * time.Hour, Closing: 10 * time.Minute, Closed: time.Minute,
		Adopt: 2 * time.Minute,
	}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"half_open", c.HalfOpen}, {"established", c.Established}, {"closing", c.Closing}, {"closed", c.Closed}} {
		if t.d < time.Second || t.d > 30*24*time.Hour {
			errs = append(errs, fmt.Errorf("%s: %v is out of range (1s to 720h)", t.name, t.d))
		}
	}
	if c.Adopt < 0 || c.Adopt > time.Hour {
		errs = append(errs, fmt.Errorf("adopt: %v is out of range (0s to 1h)", c.Adopt))
	}
	if c.Connections < 0 {
		errs = append(errs, fmt.Errorf("connections: %d is negative (0 means no limit)", c.Connections))
	}
	return errors.Join(errs...)
}
