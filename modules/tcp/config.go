package tcp

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
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
	// EvictIdle is how long an open connection is silent before it gives way to a
	// new one where a limit of connections is reached; default 2h4m (RFC 5382
	// REQ-5).
	EvictIdle time.Duration `conf:"evict_idle"`
	// Adopt is how long after the instance was made a connection that is in
	// full swing is taken over; default 120s, 0s: never.
	Adopt time.Duration `conf:"adopt"`
	// Midstream is what becomes of segments whose connection is not known after
	// that time; default refuse.
	Midstream Midstream `conf:"midstream"`
	// Connections limits the connections of the instance; 0, the default: no
	// limit but the table's.
	Connections int `conf:"connections"`
	// ClientConnections limits the connections of one client: an IPv4 address, or
	// an IPv6 network of 64 bits; 0, the default: none, since many clients may
	// stand behind one address.
	ClientConnections int `conf:"client_connections"`
	// Clients are the only addresses that open connections, from either side as the
	// server's peer, and RefuseClients are those that open none: networks, and `@NAME`
	// for those of a data module; default none. What is open stays open.
	Clients       []ppf.AddrEntry `conf:"clients"`
	RefuseClients []ppf.AddrEntry `conf:"refuse_clients"`
	// HalfOpenConnections limits the instance's connections whose handshake is
	// not complete; 0, the default: none.
	HalfOpenConnections int `conf:"half_open_connections"`
	// CookieFrom is from how many half-open connections on SYNs are answered with
	// cookies, with handshake: cookie; default 128, 0: always.
	CookieFrom int `conf:"cookie_from"`
	// MSSMin is the least MSS that a client may announce, in bytes; default 88:
	// 40 bytes of options and 48 of data, the least that Linux lets a program ask
	// for (TCP_MAXSEG). 0: any.
	MSSMin int `conf:"mss_min"`
	// MSSMax lowers what either side announces, in bytes; 0, the default: as it is.
	MSSMax int `conf:"mss_max"`
	// MSSClamp lowers what either side announces to what fits into the MTU of the
	// routes to both, as this host knows them; default false.
	MSSClamp bool `conf:"mss_clamp"`
	// Sequence says whether the sequence numbers of both sides are replaced; default
	// translate.
	Sequence Sequence `conf:"sequence"`
	// Retransmit is what becomes of data that comes again and differs from what
	// was sent first; default first-wins.
	Retransmit Retransmit `conf:"retransmit"`
	// RetransmitMemory bounds the unacknowledged data that is kept for it, of all
	// connections of the instance, in bytes; default 64 MiB.
	RetransmitMemory int64 `conf:"retransmit_memory"`
	// RetransmitConnectionMemory is the bound of one connection; default 16 MiB.
	RetransmitConnectionMemory int64 `conf:"retransmit_connection_memory"`
	// Urgent is what becomes of urgent data; default inline.
	Urgent Urgent `conf:"urgent"`
	// Signed is what becomes of segments that MD5 or TCP-AO signs; default refuse.
	Signed Signed `conf:"signed"`
	// Options are carried over beside those that every TCP has; default none.
	Options []Option `conf:"options"`
}

// Option is a TCP option that the encoder can write and few need.
type Option uint8

// The options.
const (
	// OptionUserTimeout tells the peer how long data may stay unacknowledged (RFC
	// 5482).
	OptionUserTimeout Option = iota
	// OptionFastOpen is the cookie of TCP Fast Open, with which a SYN may carry data
	// (RFC 7413).
	OptionFastOpen
)

var optionNames = []string{"user-timeout", "fast-open"}

// String gives the word of the configuration.
func (o Option) String() string { return optionNames[o] }

// UnmarshalText is the inverse of String.
func (o *Option) UnmarshalText(b []byte) error { return ppf.ParseWord(o, b, optionNames) }

// optionBits gives the set of a list of options.
func optionBits(list []Option) (set packet.TCPOptionSet) {
	if slices.Contains(list, OptionUserTimeout) {
		set |= packet.OptUserTimeout
	}
	if slices.Contains(list, OptionFastOpen) {
		set |= packet.OptFastOpen
	}
	return set
}

// Midstream says what becomes of a segment whose connection is not known.
type Midstream uint8

// The ways.
const (
	// MidstreamRefuse drops it and tells its sender with a RST.
	MidstreamRefuse Midstream = iota
	// MidstreamAdopt takes its connection over at any time.
	MidstreamAdopt
)

var midstreamNames = []string{"refuse", "adopt"}

// String gives the word of the configuration.
func (m Midstream) String() string { return midstreamNames[m] }

// UnmarshalText is the inverse of String.
func (m *Midstream) UnmarshalText(b []byte) error { return ppf.ParseWord(m, b, midstreamNames) }

// Sequence says what becomes of the sequence numbers and timestamps that both
// sides choose.
type Sequence uint8

// The ways.
const (
	// SequenceTranslate replaces them with random ones where the connection's start
	// was seen and the hook allows it (docs/hooks.md).
	SequenceTranslate Sequence = iota
	// SequenceKeep carries them over.
	SequenceKeep
)

var sequenceNames = []string{"translate", "keep"}

// String gives the word of the configuration.
func (s Sequence) String() string { return sequenceNames[s] }

// UnmarshalText is the inverse of String.
func (s *Sequence) UnmarshalText(b []byte) error { return ppf.ParseWord(s, b, sequenceNames) }

// Urgent says what becomes of a segment with the URG flag or a pointer.
type Urgent uint8

// The ways.
const (
	// UrgentInline leaves both out; the data stays where it is in the stream.
	UrgentInline Urgent = iota
	// UrgentRefuse drops it.
	UrgentRefuse
)

var urgentNames = []string{"inline", "refuse"}

// String gives the word of the configuration.
func (u Urgent) String() string { return urgentNames[u] }

// UnmarshalText is the inverse of String.
func (u *Urgent) UnmarshalText(b []byte) error { return ppf.ParseWord(u, b, urgentNames) }

// Signed says what becomes of a segment with a signature (RFC 2385, RFC 5925).
type Signed uint8

// The ways.
const (
	// SignedRefuse drops it.
	SignedRefuse Signed = iota
	// SignedCarry builds it anew with everything that the signature covers as it
	// came, and drops what cannot be sent like that.
	SignedCarry
)

var signedNames = []string{"refuse", "carry"}

// String gives the word of the configuration.
func (s Signed) String() string { return signedNames[s] }

// UnmarshalText is the inverse of String.
func (s *Signed) UnmarshalText(b []byte) error { return ppf.ParseWord(s, b, signedNames) }

// Retransmit says what becomes of data that differs from what was sent first.
type Retransmit uint8

// The ways.
const (
	// RetransmitFirstWins sends the first data again in its place.
	RetransmitFirstWins Retransmit = iota
	// RetransmitVerify drops it.
	RetransmitVerify
	// RetransmitTrust does not look.
	RetransmitTrust
)

var retransmitNames = []string{"first-wins", "verify", "trust"}

// String gives the word of the configuration.
func (r Retransmit) String() string { return retransmitNames[r] }

// UnmarshalText is the inverse of String.
func (r *Retransmit) UnmarshalText(b []byte) error { return ppf.ParseWord(r, b, retransmitNames) }

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{
		HalfOpen: time.Minute, Established: 120 * time.Hour, Closing: 10 * time.Minute, Closed: time.Minute,
		EvictIdle: 2*time.Hour + 4*time.Minute,
		Adopt:     2 * time.Minute, MSSMin: 88, CookieFrom: 128,
		RetransmitMemory: 64 << 20, RetransmitConnectionMemory: 16 << 20,
	}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"half_open", c.HalfOpen}, {"established", c.Established}, {"closing", c.Closing}, {"closed", c.Closed}, {"evict_idle", c.EvictIdle}} {
		if t.d < time.Second || t.d > 30*24*time.Hour {
			errs = append(errs, fmt.Errorf("%s: %v is out of range (1s to 720h)", t.name, t.d))
		}
	}
	if c.Adopt < 0 || c.Adopt > time.Hour {
		errs = append(errs, fmt.Errorf("adopt: %v is out of range (0s to 1h)", c.Adopt))
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"connections", c.Connections}, {"client_connections", c.ClientConnections}, {"half_open_connections", c.HalfOpenConnections}, {"cookie_from", c.CookieFrom}} {
		if l.n < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative (0 means no limit)", l.name, l.n))
		}
	}
	const superPackets = freeShare * chunkLen
	switch {
	case c.RetransmitConnectionMemory < superPackets:
		errs = append(errs, fmt.Errorf("retransmit_connection_memory: %d is less than %d, a super-packet in each direction", c.RetransmitConnectionMemory, superPackets))
	case c.RetransmitMemory < c.RetransmitConnectionMemory:
		errs = append(errs, fmt.Errorf("retransmit_memory: %d is less than retransmit_connection_memory, %d", c.RetransmitMemory, c.RetransmitConnectionMemory))
	}
	for _, m := range []struct {
		name string
		n    int
	}{{"mss_min", c.MSSMin}, {"mss_max", c.MSSMax}} {
		if m.n < 0 || m.n > math.MaxUint16 {
			errs = append(errs, fmt.Errorf("%s: %d is out of range (0 to 65535)", m.name, m.n))
		}
	}
	if c.MSSMax > 0 && c.MSSMax < c.MSSMin {
		errs = append(errs, fmt.Errorf("mss_max: %d is less than mss_min, %d", c.MSSMax, c.MSSMin))
	}
	return errors.Join(errs...)
}
