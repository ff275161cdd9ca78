package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Config says which bindings hold, for the settings of a module.
type Config struct {
	// Bindings are fixed: no other host may have these addresses; default none.
	Bindings Bindings `conf:"bindings"`
	// Learn lets a host that has no fixed binding have the address that it says
	// first; default true. Without it only fixed bindings are good.
	Learn bool `conf:"learn"`
	// Age is how long the address of a silent host stays its own; at least 1s;
	// default 20m.
	Age time.Duration `conf:"age"`
	// Hosts limits what is learned; default 4096.
	Hosts int `conf:"hosts"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config { return Config{Learn: true, Age: 20 * time.Minute, Hosts: 4096} }

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.Age < time.Second || c.Age > 30*24*time.Hour {
		errs = append(errs, fmt.Errorf("age: %v is out of range (1s to 720h)", c.Age))
	}
	if c.Hosts < 1 || c.Hosts > 1<<20 {
		errs = append(errs, fmt.Errorf("hosts: %d is out of range (1 to 1048576)", c.Hosts))
	}
	return errors.Join(errs...)
}

// Bindings are link-layer addresses by IP address.
type Bindings map[netip.Addr]packet.MAC

// UnmarshalValue reads a map such as {192.0.2.1: "02:00:00:00:00:01"}.
func (b *Bindings) UnmarshalValue(v ppf.Value) error {
	*b = Bindings{}
	var problems ppf.DecodeError
	wrong := func(pos ppf.Pos, path, what string) {
		problems = append(problems, ppf.Problem{Pos: pos, Path: path, What: what, Fix: `write ADDRESS: "02:00:00:00:00:01" lines`})
	}
	if v.Kind != ppf.ValueMap && v.Kind != ppf.ValueNull {
		wrong(v.Pos, "", "it is not a map")
	}
	for _, kv := range v.Map {
		addr, err := netip.ParseAddr(kv.Key)
		if err != nil || addr.Zone() != "" {
			wrong(kv.Pos, kv.Key, fmt.Sprintf("%q is not an IP address", kv.Key))
			continue
		}
		mac, err := net.ParseMAC(kv.Value.Scalar)
		if err != nil || len(mac) != len(packet.MAC{}) || packet.MAC(mac).IsMulticast() {
			wrong(kv.Value.Pos, kv.Key, fmt.Sprintf("%q is not the link-layer address of a host", kv.Value.Scalar))
			continue
		}
		(*b)[addr.Unmap()] = packet.MAC(mac)
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// String gives "{}" for none.
func (b Bindings) String() string {
	if len(b) == 0 {
		return "{}"
	}
	return fmt.Sprint(map[netip.Addr]packet.MAC(b))
}

// Host is where an address is: on which side of the wire, and under which
// link-layer address.
type Host struct {
	MAC  packet.MAC
	Side ppf.Dir // ClientToServer: the client's side
}

// Number gives a link-layer address as a value to show.
func Number(m packet.MAC) uint64 {
	return uint64(binary.BigEndian.Uint16(m[:2]))<<32 | uint64(binary.BigEndian.Uint32(m[2:]))
}

// Claim is what became of a host's claim to have an address.
type Claim uint8

// The outcomes. The zero value is "not good".
const (
	Unknown Claim = iota // nobody has it, and it is not to be learned
	Taken                // another host has it
	Full                 // nobody has it, and there is no room to learn it
	Good
)

// Table knows who has which address. It is safe for concurrent use.
type Table struct {
	fixed Bindings
	learn bool
	age   int64 // ns
	limit int

	mu   sync.Mutex
	seen map[place]entry
}

// place is an address in a VLAN.
type place struct {
	addr netip.Addr
	vlan uint32
}

type entry struct {
	host Host
	last int64 // when it was heard, in nanoseconds since 1970
}

// NewTable makes a table without learned bindings.
func NewTable(c *Config) *Table {
	return &Table{fixed: c.Bindings, learn: c.Learn, age: int64(c.Age), limit: c.Hosts, seen: map[place]entry{}}
}

// Claim judges that a host says to have an address, and learns it where nobody
// has it.
func (t *Table) Claim(x *ppf.Exchange, addr netip.Addr, mac packet.MAC) Claim {
	if fixed, ok := t.fixed[addr]; ok && fixed != mac {
		return Taken
	} else if !ok && !t.learn {
		return Unknown
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at, host := place{addr, x.VLAN()}, Host{mac, x.Dir}
	have, known := t.seen[at]
	switch {
	case known && have.host != host && x.Now-have.last < t.age:
		return Taken
	case !known && len(t.seen) >= t.limit && !t.expire(x.Now):
		return Full
	}
	t.seen[at] = entry{host, x.Now}
	return Good
}

// expire forgets hosts that were silent for long, and reports whether there is
// room.
func (t *Table) expire(now int64) bool {
	for at, e := range t.seen {
		if now-e.last >= t.age {
			delete(t.seen, at)
		}
	}
	return len(t.seen) < t.limit
}
