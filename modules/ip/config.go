package ip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Config says what IP headers may say.
type Config struct {
	// Protocols may be carried; default TCP, UDP and ICMP. What is neither of these
	// passes unread, behind a header of ours.
	Protocols []Protocol `conf:"protocols"`
	// TTLMin is the least TTL or hop limit, 1 to 255; default 1. A lower one is
	// never raised.
	TTLMin uint8 `conf:"ttl_min"`
	// DSCP is what becomes of the differentiated services code point; default keep.
	DSCP DSCP `conf:"dscp"`
	// FlowLabel is what becomes of IPv6 flow labels; default keep.
	FlowLabel Carry `conf:"flow_label"`
	// Multicast is for packets to groups, broadcast included; default pass.
	Multicast Policy `conf:"multicast"`
	// MTUMin is the least path MTU that an ICMP error may announce, 68 to 1500;
	// default 68, the least that IPv4 knows. For IPv6 it is 1280 at least.
	MTUMin uint16 `conf:"mtu_min"`
	// Martians are networks that no packet comes from, besides those that are none
	// anywhere.
	Martians []netip.Prefix `conf:"martians"`
	// Clients are the only addresses that clients have, and RefuseClients are those that
	// none has: networks, and `@NAME` for those of a data module; default none. Errors
	// belong to the client that they are about.
	Clients       []ppf.AddrEntry `conf:"clients"`
	RefuseClients []ppf.AddrEntry `conf:"refuse_clients"`
	// Extensions are IPv6 extension headers that are carried over, written anew;
	// default none. Jumbo payloads and routing headers on their way are refused all the
	// same.
	Extensions []Extension `conf:"extensions"`
	// ExtensionOptions are the options that these headers may have; default
	// router-alert and tunnel-limit. Of other types the data passes unread.
	ExtensionOptions []Option `conf:"extension_options"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{Protocols: []Protocol{tcp, udp, icmp}, TTLMin: 1, DSCP: keepDSCP, MTUMin: minMTU4,
		ExtensionOptions: []Option{Option(packet.IPv6OptRouterAlert), Option(packet.IPv6OptTunnelLimit)}}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.TTLMin == 0 {
		errs = append(errs, errors.New("ttl_min: 0 is out of range (1 to 255)"))
	}
	if c.MTUMin < minMTU4 || c.MTUMin > maxMTUMin {
		errs = append(errs, fmt.Errorf("mtu_min: %d is out of range (%d to %d)", c.MTUMin, minMTU4, maxMTUMin))
	}
	return errors.Join(errs...)
}

// maxMTUMin keeps paths over ordinary Ethernet usable.
const maxMTUMin = 1500

// Protocol is a protocol that IP carries; ICMP stands for both versions.
type Protocol packet.Protocol

const (
	icmp = Protocol(packet.ProtoICMP)
	tcp  = Protocol(packet.ProtoTCP)
	udp  = Protocol(packet.ProtoUDP)
)

var protocolNames = map[Protocol]string{icmp: "icmp", tcp: "tcp", udp: "udp"}

// UnmarshalText reads tcp, udp, icmp or a number. Extension headers of IPv6 are
// no protocols that a packet carries.
func (p *Protocol) UnmarshalText(b []byte) error {
	for number, name := range protocolNames {
		if name == string(b) {
			*p = number
			return nil
		}
	}
	n, err := strconv.ParseUint(string(b), 10, 8)
	if err != nil || n == 0 || packet.Protocol(n).IsExtension() || packet.Protocol(n) == packet.ProtoICMPv6 {
		return fmt.Errorf("%q is none of tcp, udp and icmp, and no number of a protocol (1 to 255, no extension header)", b)
	}
	*p = Protocol(n)
	return nil
}

// String is the inverse.
func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}

// Extension is an IPv6 extension header that can be written anew. A routing header is
// one for segment routing, at its end.
type Extension uint8

const (
	hopByHop Extension = iota
	routing
	destination
)

var extensionNames = []string{"hop-by-hop", "routing", "destination"}

// UnmarshalText reads a name.
func (e *Extension) UnmarshalText(b []byte) error { return ppf.ParseWord(e, b, extensionNames) }

// String is the inverse.
func (e Extension) String() string { return extensionNames[e] }

// Option is an option of an extension header.
type Option packet.IPv6OptionType

// UnmarshalText reads router-alert, tunnel-limit or a number. Padding is none that
// could be carried; a jumbogram and the address of a mobile node are for nobody.
func (o *Option) UnmarshalText(b []byte) error {
	for _, t := range []packet.IPv6OptionType{packet.IPv6OptRouterAlert, packet.IPv6OptTunnelLimit} {
		if t.String() == string(b) {
			*o = Option(t)
			return nil
		}
	}
	n, err := strconv.ParseUint(string(b), 0, 8)
	t := packet.IPv6OptionType(n)
	if err != nil || t.IsPadding() || t == packet.IPv6OptJumbo || t == packet.IPv6OptHomeAddress {
		return fmt.Errorf("%q is neither router-alert nor tunnel-limit, and no number of an option that can be carried (2 to 255, not 0xc2 and 0xc9)", b)
	}
	*o = Option(t)
	return nil
}

// String is the inverse.
func (o Option) String() string { return packet.IPv6OptionType(o).String() }

// DSCP is the code point to send, 0 to 63, or keepDSCP for the received one (RFC
// 2474 §3).
type DSCP uint8

const keepDSCP DSCP = 64

// UnmarshalText reads "keep" or a code point.
func (d *DSCP) UnmarshalText(b []byte) error {
	if string(b) == "keep" {
		*d = keepDSCP
		return nil
	}
	n, err := strconv.ParseUint(string(b), 10, 8)
	if err != nil || n >= uint64(keepDSCP) {
		return fmt.Errorf("%q is neither keep nor a code point from 0 to 63", b)
	}
	*d = DSCP(n)
	return nil
}

// String is the inverse.
func (d DSCP) String() string {
	if d == keepDSCP {
		return "keep"
	}
	return strconv.Itoa(int(d))
}

// apply puts the code point into a TOS or traffic class byte; ECN stays.
func (d DSCP) apply(class uint8) uint8 {
	if d == keepDSCP {
		return class
	}
	return uint8(d)<<2 | class&3
}

// Carry tells whether a value is carried over. The zero value carries it.
type Carry uint8

const (
	keep Carry = iota
	clear
)

var carryNames = []string{"keep", "clear"}

// UnmarshalText reads "keep" or "clear".
func (c *Carry) UnmarshalText(b []byte) error { return ppf.ParseWord(c, b, carryNames) }

// String is the inverse.
func (c Carry) String() string { return carryNames[c] }

// Policy tells whether something passes. The zero value lets it.
type Policy uint8

const (
	pass Policy = iota
	refuse
)

var policyNames = []string{"pass", "refuse"}

// UnmarshalText reads "pass" or "refuse".
func (p *Policy) UnmarshalText(b []byte) error { return ppf.ParseWord(p, b, policyNames) }

// String is the inverse.
func (p Policy) String() string { return policyNames[p] }
