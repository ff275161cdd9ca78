package relay

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the settings of the user function relay.
type Config struct {
	// Idle is how long a connection may be silent in both directions; default
	// 2h10m (RFC 5382 REQ-5 asks for 2h4m at least). It ends between Idle and one
	// and a half times that.
	Idle time.Duration `conf:"idle"`
	// Lifetime is how long a connection may last; 0s, the default: for ever.
	Lifetime time.Duration `conf:"lifetime"`
	// ConnectTimeout is how long the server may take to accept; default 10s.
	ConnectTimeout time.Duration `conf:"connect_timeout"`
	// Connections limits the connections of the instance; 0: no limit.
	Connections int `conf:"connections"`
	// ClientConnections limits those of one client address; 0, the default: no
	// limit, as many users may share an address.
	ClientConnections int `conf:"client_connections"`
	// ProxyProtocol tells the server who the client is, in a header of the PROXY
	// protocol, version 2, before the first byte; it has to expect one.
	ProxyProtocol bool `conf:"proxy_protocol"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{Idle: 2*time.Hour + 10*time.Minute, ConnectTimeout: 10 * time.Second, Connections: 10000}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.Idle < time.Second || c.Idle > 30*24*time.Hour {
		errs = append(errs, fmt.Errorf("idle: %v is out of range (1s to 720h)", c.Idle))
	}
	if c.Lifetime < 0 || c.Lifetime > 365*24*time.Hour {
		errs = append(errs, fmt.Errorf("lifetime: %v is out of range (0s to 8760h)", c.Lifetime))
	}
	if c.ConnectTimeout < time.Millisecond || c.ConnectTimeout > 5*time.Minute {
		errs = append(errs, fmt.Errorf("connect_timeout: %v is out of range (1ms to 5m)", c.ConnectTimeout))
	}
	if c.Connections < 0 {
		errs = append(errs, fmt.Errorf("connections: %d is negative (0 means no limit)", c.Connections))
	}
	if c.ClientConnections < 0 {
		errs = append(errs, fmt.Errorf("client_connections: %d is negative (0 means no limit)", c.ClientConnections))
	}
	return errors.Join(errs...)
}
