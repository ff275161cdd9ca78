package dhcp

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Servers says on which sides DHCP servers stand.
type Servers uint8

// The sides.
const (
	Client Servers = 1 << ppf.ClientToServer
	Server Servers = 1 << ppf.ServerToClient
	Both           = Client | Server
)

var serverNames = map[Servers]string{Client: "client", Server: "server", Both: "both"}

// String gives "client", "server" or "both".
func (s Servers) String() string { return serverNames[s] }

// UnmarshalText is the inverse of String.
func (s *Servers) UnmarshalText(b []byte) error {
	for side, name := range serverNames {
		if name == string(b) {
			*s = side
			return nil
		}
	}
	return fmt.Errorf("%q is none of client, server and both", b)
}

// Relays tells whether messages of relay agents pass. The zero value refuses them.
type Relays uint8

const (
	refuse Relays = iota
	pass
)

var relayNames = []string{"refuse", "pass"}

// UnmarshalText reads "refuse" or "pass".
func (r *Relays) UnmarshalText(b []byte) error { return ppf.ParseWord(r, b, relayNames) }

// String is the inverse.
func (r Relays) String() string { return relayNames[r] }

// Option is an option's code.
type Option uint8

// UnmarshalText reads a number. Those that make up the message are no options to
// list, and those of relay agents pass with them.
func (o *Option) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 10, 8)
	if code := byte(n); err != nil || formats[code].kind != absent || code == optPad || code == optEnd || code == optOverload || code == optType || code == optRelay {
		return fmt.Errorf("%q is no number of an option that is not known (1 to 254)", b)
	}
	*o = Option(n)
	return nil
}

// Config holds the settings under `modules: {dhcp: …}`.
type Config struct {
	// Servers says on which side DHCP servers stand; default both.
	Servers Servers `conf:"servers"`
	// Relays lets messages between relay agents and servers pass; default refuse.
	Relays Relays `conf:"relays"`
	// Options are carried besides those that are known, their data unread; default none.
	Options []Option `conf:"options"`
	// Addresses is how many addresses one option may list, 1 to 63; default 8.
	Addresses int `conf:"addresses"`
	// Wait is for how long a server may answer a request; default 60s.
	Wait time.Duration `conf:"wait"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{Servers: Both, Addresses: 8, Wait: time.Minute}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.Addresses < 1 || c.Addresses > 63 {
		errs = append(errs, fmt.Errorf("addresses: %d is out of range (1 to 63)", c.Addresses))
	}
	if c.Wait < time.Second || c.Wait > time.Hour {
		errs = append(errs, fmt.Errorf("wait: %v is out of range (1s to 1h)", c.Wait))
	}
	return errors.Join(errs...)
}
