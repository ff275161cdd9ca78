package udp

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of the user function udp. A flow that is silent for
// longer is forgotten.
type Config struct {
	// Unreplied is for flows in which one side only has sent; default 30s.
	Unreplied time.Duration `conf:"unreplied"`
	// Replied is for flows in which both have; default 120s, the least that RFC
	// 4787 REQ-5 asks for.
	Replied time.Duration `conf:"replied"`
	// Connections limits the flows of the instance; 0, the default: no limit but
	// the table's.
	Connections int `conf:"connections"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{Unreplied: 30 * time.Second, Replied: 2 * time.Minute}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"unreplied", c.Unreplied}, {"replied", c.Replied}} {
		if t.d < time.Second || t.d > 24*time.Hour {
			errs = append(errs, fmt.Errorf("%s: %v is out of range (1s to 24h)", t.name, t.d))
		}
	}
	if c.Connections < 0 {
		errs = append(errs, fmt.Errorf("connections: %d is negative (0 means no limit)", c.Connections))
	}
	return errors.Join(errs...)
}
