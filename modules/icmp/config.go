package icmp

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of the user function icmp.
type Config struct {
	// Timeout is how long after its last message an exchange of echoes is
	// forgotten, 1s to 1h; default 60s, the least that RFC 5508 REQ-2 asks for.
	Timeout time.Duration `conf:"timeout"`
	// Connections limits the exchanges of the instance; 0, the default: no limit
	// but the table's.
	Connections int `conf:"connections"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config { return &Config{Timeout: time.Minute} }

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		errs = append(errs, fmt.Errorf("timeout: %v is out of range (1s to 1h)", c.Timeout))
	}
	if c.Connections < 0 {
		errs = append(errs, fmt.Errorf("connections: %d is negative (0 means no limit)", c.Connections))
	}
	return errors.Join(errs...)
}
