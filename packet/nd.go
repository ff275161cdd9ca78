package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Offsets in messages of IPv6 neighbour discovery (RFC 4861 §4).
const (
	offNDFlags     = 4 // of a neighbour advertisement
	offNDTarget    = 8
	offNDHopLimit  = 4 // of a router advertisement
	offNDRAFlags   = 5
	offNDLifetime  = 6
	offNDReachable = 8
	offNDRetrans   = 12

	ndSolicitLen  = 8  // of a router solicitation without options
	ndRouterLen   = 16 // of a router advertisement without options
	ndNeighborLen = 24 // of the neighbour messages without options
)

// Types of options (IANA "IPv6 Neighbor Discovery Option Formats"), and their
// lengths in bytes.
const (
	ndOptSource = 1
	ndOptTarget = 2
	ndOptPrefix = 3
	ndOptMTU    = 5
	ndOptNonce  = 14
	ndOptRDNSS  = 25

	ndOptUnit   = 8 // bytes; option lengths count these
	ndPrefixLen = 32
	ndServerLen = 16

	ndMaxPrefixes = 4
	ndMaxServers  = 3

	// maxNDLen is the length of a router advertisement with all options.
	maxNDLen = ndRouterLen + 2*ndOptUnit + ndMaxPrefixes*ndPrefixLen + ndOptUnit + ndMaxServers*ndServerLen
)

// NDFlags are the flags of an advertisement, as they stand in its flag byte.
type NDFlags uint8

// The flags. Router, Solicited and Override are those of a neighbour
// advertisement, the others those of a router advertisement; the two bits below
// NDHomeAgent are its preference (RFC 4191 §2.2).
const (
	NDRouter    NDFlags = 0x80
	NDSolicited NDFlags = 0x40
	NDOverride  NDFlags = 0x20

	NDManaged   NDFlags = 0x80
	NDOther     NDFlags = 0x40
	NDHomeAgent NDFlags = 0x20

	ndNeighborFlags = NDRouter | NDSolicited | NDOverride
	ndPreference    = 0x18
	ndRouterFlags   = NDManaged | NDOther | NDHomeAgent | ndPreference
)

// Flags of a prefix (RFC 4861 §4.6.2).
const (
	NDOnLink     NDFlags = 0x80
	NDAutonomous NDFlags = 0x40

	ndPrefixFlags = NDOnLink | NDAutonomous
)

// NDOptionSet is a set of options.
type NDOptionSet uint8

// The options that are told apart. NDOptUnknown stands for those that the
// message may not have, or that are not known: they are never written.
const (
	NDOptLinkAddr NDOptionSet = 1 << iota
	NDOptMTU
	NDOptNonce
	NDOptServers
	NDOptUnknown
)

// NDPrefix is a prefix that a router advertises. Lifetimes are in seconds.
type NDPrefix struct {
	Prefix           netip.Prefix
	Flags            NDFlags
	Valid, Preferred uint32
}

// ND holds the values of a neighbour or router solicitation or advertisement.
// Which of them mean something depends on the type of the message, and for
// options on the bit in Has.
type ND struct {
	Has         NDOptionSet
	Flags       NDFlags // of advertisements
	HopLimit    uint8   // router advertisements have it, and what follows up to Retrans
	Lifetime    uint16  // seconds
	Reachable   uint32  // milliseconds
	Retrans     uint32  // milliseconds
	Target      netip.Addr
	LinkAddr    MAC     // of the target in a neighbour advertisement, else of the source
	Nonce       [6]byte // of a neighbour solicitation (RFC 7527 §4.1)
	MTU         uint32
	NumPrefixes uint8
	NumServers  uint8 // 1 to 3 with NDOptServers (RFC 8106 §5.1)
	Prefixes    [ndMaxPrefixes]NDPrefix
	Servers     [ndMaxServers]netip.Addr
	ServersLife uint32 // seconds
}

// isND reports a type of message that ND has values for.
func isND(typ uint8) bool {
	return typ >= ICMPv6RouterSolicitation && typ <= ICMPv6NeighborAdvertisement
}

// IsND reports whether the message is a solicitation or advertisement of
// neighbour discovery.
func (v ICMPv6View) IsND() bool { return isND(v.Type()) }

// ndHeader is the length of a message without options.
func ndHeader(typ uint8) int {
	switch typ {
	case ICMPv6RouterSolicitation:
		return ndSolicitLen
	case ICMPv6RouterAdvertisement:
		return ndRouterLen
	}
	return ndNeighborLen
}

// ParseND reads a message for which IsND holds into o. It refuses lengths that
// contradict the message or the option's type, and known options that stand
// twice; o then holds what came before.
func (v ICMPv6View) ParseND(o *ND) Reason {
	*o = ND{}
	typ, b := v.Type(), v.b
	n := ndHeader(typ)
	if len(b) < n {
		return ReasonNDTruncated
	}
	switch typ {
	case ICMPv6RouterAdvertisement:
		o.HopLimit, o.Flags = b[offNDHopLimit], NDFlags(b[offNDRAFlags])&ndRouterFlags
		o.Lifetime = binary.BigEndian.Uint16(b[offNDLifetime:])
		o.Reachable, o.Retrans = binary.BigEndian.Uint32(b[offNDReachable:]), binary.BigEndian.Uint32(b[offNDRetrans:])
	case ICMPv6NeighborAdvertisement:
		o.Flags = NDFlags(b[offNDFlags]) & ndNeighborFlags
		fallthrough
	case ICMPv6NeighborSolicitation:
		o.Target = netip.AddrFrom16([16]byte(b[offNDTarget:]))
	}
	for b = b[n:]; len(b) > 0; b = b[n:] {
		if len(b) < 2 {
			return ReasonNDOptionEnd
		}
		switch n = ndOptUnit * int(b[1]); {
		case n == 0:
			return ReasonNDOptionZero
		case n > len(b):
			return ReasonNDOptionEnd
		}
		if r := o.parse(typ, b[0], b[:n]); r != ReasonNone {
			return r
		}
	}
	return ReasonNone
}

// ndMayHave reports whether a message of this type may have the option (RFC
// 4861 §4; RFC 7527 §4.1; RFC 8106 §5).
func ndMayHave(typ, option uint8) bool {
	switch option {
	case ndOptSource:
		return typ != ICMPv6NeighborAdvertisement
	case ndOptTarget:
		return typ == ICMPv6NeighborAdvertisement
	case ndOptNonce:
		return typ == ICMPv6NeighborSolicitation
	case ndOptPrefix, ndOptMTU, ndOptRDNSS:
		return typ == ICMPv6RouterAdvertisement
	}
	return false
}

// parse reads one option, b with its type and length.
func (o *ND) parse(typ, option uint8, b []byte) Reason {
	if !ndMayHave(typ, option) || option == ndOptNonce && len(b) != ndOptUnit { // of longer nonces nobody is known
		o.Has |= NDOptUnknown
		return ReasonNone
	}
	var bit NDOptionSet
	switch option {
	case ndOptPrefix:
		return o.parsePrefix(b)
	case ndOptRDNSS:
		bit = NDOptServers
		if n := len(b) / ndOptUnit; n < 3 || n%2 == 0 {
			return ReasonNDServers
		}
	case ndOptSource, ndOptTarget:
		bit = NDOptLinkAddr
	case ndOptMTU:
		bit = NDOptMTU
	case ndOptNonce:
		bit = NDOptNonce
	}
	if bit != NDOptServers && len(b) != ndOptUnit {
		return ReasonNDOptionSize
	}
	if o.Has&bit != 0 {
		return ReasonNDOptionTwice
	}
	o.Has |= bit
	switch bit {
	case NDOptLinkAddr:
		o.LinkAddr = MAC(b[2:])
	case NDOptMTU:
		o.MTU = binary.BigEndian.Uint32(b[4:])
	case NDOptNonce:
		o.Nonce = [6]byte(b[2:])
	case NDOptServers:
		o.ServersLife = binary.BigEndian.Uint32(b[4:])
		for b = b[ndOptUnit:]; len(b) > 0; b = b[ndServerLen:] {
			if o.NumServers == ndMaxServers {
				return ReasonNDOptionMany
			}
			o.Servers[o.NumServers] = netip.AddrFrom16([16]byte(b))
			o.NumServers++
		}
	}
	return ReasonNone
}

func (o *ND) parsePrefix(b []byte) Reason {
	switch {
	case len(b) != ndPrefixLen:
		return ReasonNDOptionSize
	case b[2] > 128:
		return ReasonNDPrefix
	case o.NumPrefixes == ndMaxPrefixes:
		return ReasonNDOptionMany
	}
	p := NDPrefix{
		Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte(b[16:])), int(b[2])).Masked(),
		Flags:  NDFlags(b[3]) & ndPrefixFlags,
		Valid:  binary.BigEndian.Uint32(b[4:]), Preferred: binary.BigEndian.Uint32(b[8:]),
	}
	if p.Preferred > p.Valid {
		return ReasonNDPrefix
	}
	o.Prefixes[o.NumPrefixes] = p
	o.NumPrefixes++
	return ReasonNone
}

// has reports an option that is to be written.
func (o *ND) has(typ uint8, bit NDOptionSet) bool {
	switch bit {
	case NDOptNonce:
		return o.Has&bit != 0 && typ == ICMPv6NeighborSolicitation
	case NDOptMTU, NDOptServers:
		return o.Has&bit != 0 && typ == ICMPv6RouterAdvertisement
	}
	return o.Has&bit != 0
}

// check reports whether the values can be sent.
func (o *ND) check(typ uint8) error {
	is6 := func(a netip.Addr) bool { return a.Is6() && a.Zone() == "" }
	switch typ {
	case ICMPv6NeighborSolicitation, ICMPv6NeighborAdvertisement:
		if !is6(o.Target) {
			return ErrAddress
		}
	case ICMPv6RouterAdvertisement:
		if o.NumPrefixes > ndMaxPrefixes || o.Has&NDOptServers != 0 && (o.NumServers == 0 || o.NumServers > ndMaxServers) {
			return ErrValue
		}
		for _, p := range o.Prefixes[:o.NumPrefixes] {
			switch {
			case !is6(p.Prefix.Addr()):
				return ErrAddress
			case !p.Prefix.IsValid() || p.Preferred > p.Valid:
				return ErrValue
			}
		}
		if o.Has&NDOptServers == 0 {
			return nil
		}
		for _, a := range o.Servers[:o.NumServers] {
			if !is6(a) {
				return ErrAddress
			}
		}
	}
	return nil
}

// len is the length of the message in bytes.
func (o *ND) len(typ uint8) int {
	n := ndHeader(typ)
	for _, bit := range [...]NDOptionSet{NDOptLinkAddr, NDOptNonce, NDOptMTU} {
		if o.has(typ, bit) {
			n += ndOptUnit
		}
	}
	if typ == ICMPv6RouterAdvertisement {
		n += ndPrefixLen * int(o.NumPrefixes)
	}
	if o.has(typ, NDOptServers) {
		n += ndOptUnit + ndServerLen*int(o.NumServers)
	}
	return n
}

// encode writes everything but the first four bytes into b, which has exactly
// the message's length, and returns bytes 4 to 7.
func (o *ND) encode(b []byte, typ uint8) (rest uint32) {
	n := ndHeader(typ)
	clear(b)
	switch typ {
	case ICMPv6RouterAdvertisement:
		rest = uint32(o.HopLimit)<<24 | uint32(o.Flags&ndRouterFlags)<<16 | uint32(o.Lifetime)
		binary.BigEndian.PutUint32(b[offNDReachable:], o.Reachable)
		binary.BigEndian.PutUint32(b[offNDRetrans:], o.Retrans)
	case ICMPv6NeighborAdvertisement:
		rest = uint32(o.Flags&ndNeighborFlags) << 24
		fallthrough
	case ICMPv6NeighborSolicitation:
		putAddr(b[offNDTarget:], o.Target)
	}
	b = b[n:]
	next := func(option uint8, length int) []byte {
		v := b[:length]
		v[0], v[1] = option, uint8(length/ndOptUnit)
		b = b[length:]
		return v
	}
	if o.has(typ, NDOptLinkAddr) {
		option := uint8(ndOptSource)
		if typ == ICMPv6NeighborAdvertisement {
			option = ndOptTarget
		}
		copy(next(option, ndOptUnit)[2:], o.LinkAddr[:])
	}
	if o.has(typ, NDOptNonce) {
		copy(next(ndOptNonce, ndOptUnit)[2:], o.Nonce[:])
	}
	if o.has(typ, NDOptMTU) {
		binary.BigEndian.PutUint32(next(ndOptMTU, ndOptUnit)[4:], o.MTU)
	}
	if typ == ICMPv6RouterAdvertisement {
		for _, p := range o.Prefixes[:o.NumPrefixes] {
			v := next(ndOptPrefix, ndPrefixLen)
			v[2], v[3] = uint8(p.Prefix.Bits()), uint8(p.Flags&ndPrefixFlags)
			binary.BigEndian.PutUint32(v[4:], p.Valid)
			binary.BigEndian.PutUint32(v[8:], p.Preferred)
			putAddr(v[16:], p.Prefix.Masked().Addr())
		}
	}
	if o.has(typ, NDOptServers) {
		v := next(ndOptRDNSS, ndOptUnit+ndServerLen*int(o.NumServers))
		binary.BigEndian.PutUint32(v[4:], o.ServersLife)
		for i, a := range o.Servers[:o.NumServers] {
			putAddr(v[ndOptUnit+ndServerLen*i:], a)
		}
	}
	return rest
}

func putAddr(b []byte, a netip.Addr) {
	v := a.As16()
	copy(b, v[:])
}

// String gives "target=fe80::1 link=02:00:00:00:00:01 prefixes=0", with what the
// message has.
func (o ND) String() string {
	return fmt.Sprintf("target=%v link=%v prefixes=%d", o.Target, o.LinkAddr, o.NumPrefixes)
}
