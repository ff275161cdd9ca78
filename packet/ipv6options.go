package packet

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// IPv6OptionType is the type of an option in a hop-by-hop or destination options
// header (IANA "Destination Options and Hop-by-Hop Options").
type IPv6OptionType uint8

// The types that are told apart. The first two can be sent with typed values, the
// others not at all: a jumbogram's length, and the address of a mobile node, which
// takes the place of the source behind our back.
const (
	IPv6OptTunnelLimit IPv6OptionType = 4    // RFC 2473 §4.1.1, in destination options
	IPv6OptRouterAlert IPv6OptionType = 5    // RFC 2711 §2.1, in hop-by-hop options
	IPv6OptJumbo       IPv6OptionType = 0xc2 // RFC 2675 §2
	IPv6OptHomeAddress IPv6OptionType = 0xc9 // RFC 6275 §6.3

	ip6OptPad1 IPv6OptionType = 0
	ip6OptPadN IPv6OptionType = 1

	ip6OptAction = 0xc0 // what a node does that does not know the type
)

// Skippable says that a node which does not know the type goes on behind the
// option; of other types it discards the packet (RFC 8200 §4.2).
func (t IPv6OptionType) Skippable() bool { return t&ip6OptAction == 0 }

// Typed says that options of the type can be sent with typed values.
func (t IPv6OptionType) Typed() bool { return t == IPv6OptTunnelLimit || t == IPv6OptRouterAlert }

// IsPadding says that the type only fills space.
func (t IPv6OptionType) IsPadding() bool { return t <= ip6OptPadN }

// String gives "router-alert", or the number in hexadecimal.
func (t IPv6OptionType) String() string {
	switch t {
	case IPv6OptTunnelLimit:
		return "tunnel-limit"
	case IPv6OptRouterAlert:
		return "router-alert"
	case IPv6OptJumbo:
		return "jumbo-payload"
	case IPv6OptHomeAddress:
		return "home-address"
	}
	return fmt.Sprintf("%#02x", uint8(t))
}

const (
	// MaxIPv6Options is how many options, padding aside, one header may have (RFC
	// 8504 §5.3).
	MaxIPv6Options = 8

	ip6OptHeader = 2 // type and length
)

// IPv6Option is one option, received or to send.
type IPv6Option struct {
	Type  IPv6OptionType
	Place uint8  // of a type without typed values: where it stands in its header, modulo 8
	Value uint16 // of a router alert, or 0 to 255 of a tunnel limit
	Data  []byte // of a type without typed values, by reference
}

func (x *IPv6Option) len() int {
	switch x.Type {
	case IPv6OptTunnelLimit:
		return ip6OptHeader + 1
	case IPv6OptRouterAlert:
		return ip6OptHeader + 2
	}
	return ip6OptHeader + len(x.Data)
}

// from is the first place at or behind at where the option may stand (RFC 8200
// §4.2). What a type demands that has no typed values is not known: it stays where
// it stood, modulo 8.
func (x *IPv6Option) from(at int) int {
	switch x.Type {
	case IPv6OptTunnelLimit:
		return at
	case IPv6OptRouterAlert:
		return (at + 1) &^ 1
	}
	return at + (int(x.Place)-at)&7
}

// check reports whether the option can be sent in a header of protocol p.
func (x *IPv6Option) check(p Protocol) error {
	switch x.Type {
	case IPv6OptTunnelLimit:
		if p != ProtoDstOpts || x.Value > 0xff || x.Data != nil {
			return ErrValue
		}
	case IPv6OptRouterAlert:
		if p != ProtoHopByHop || x.Data != nil {
			return ErrValue
		}
	case ip6OptPad1, ip6OptPadN, IPv6OptJumbo, IPv6OptHomeAddress:
		return ErrValue
	default:
		if x.Place > 7 || len(x.Data) > 0xff {
			return ErrValue
		}
	}
	return nil
}

// encode writes the option at the start of b.
func (x *IPv6Option) encode(b []byte) {
	b[0], b[1] = uint8(x.Type), uint8(x.len()-ip6OptHeader)
	switch x.Type {
	case IPv6OptTunnelLimit:
		b[2] = uint8(x.Value)
	case IPv6OptRouterAlert:
		binary.BigEndian.PutUint16(b[2:], x.Value)
	default:
		copy(b[2:], x.Data)
	}
}

// String gives "router-alert=0" or "0x1e=010203".
func (x IPv6Option) String() string {
	if x.Type.Typed() {
		return fmt.Sprintf("%v=%d", x.Type, x.Value)
	}
	return fmt.Sprintf("%v=%x", x.Type, x.Data)
}

// IPv6Options are the options of one header, without padding; the zero value has
// none, and is not sent.
type IPv6Options struct {
	list [MaxIPv6Options]IPv6Option
	n    uint8
}

// Len is the number of options, at most MaxIPv6Options.
func (o *IPv6Options) Len() int { return int(o.n) }

// At gives one option, i in [0, Len).
func (o *IPv6Options) At(i int) IPv6Option { return o.list[:o.n][i] }

// Add appends an option; false means that there is no room.
func (o *IPv6Options) Add(x IPv6Option) bool {
	if o.n == MaxIPv6Options {
		return false
	}
	o.list[o.n] = x
	o.n++
	return true
}

// Has reports whether there is an option of type t.
func (o *IPv6Options) Has(t IPv6OptionType) bool {
	for i := range o.list[:o.n] {
		if o.list[i].Type == t {
			return true
		}
	}
	return false
}

// Parse reads the options of the header h of protocol p, which is one of
// hop-by-hop and destination options. Each must lie inside the header, and where
// its type belongs. With a reason, o holds those before the offending one.
func (o *IPv6Options) Parse(p Protocol, h []byte) Reason {
	o.n = 0
	for at := offExtOptions; at < len(h); {
		t := IPv6OptionType(h[at])
		if t == ip6OptPad1 {
			at++
			continue
		}
		data := at + ip6OptHeader
		if data > len(h) || data+int(h[at+1]) > len(h) {
			return ReasonIP6ExtOption
		}
		end := data + int(h[at+1])
		if t != ip6OptPadN {
			if r := o.read(p, t, at, h[data:end:end]); r != ReasonNone {
				return r
			}
		}
		at = end
	}
	return ReasonNone
}

// read judges one option at the place at of its header, and keeps it.
func (o *IPv6Options) read(p Protocol, t IPv6OptionType, at int, data []byte) Reason {
	x := IPv6Option{Type: t}
	ok, known := true, true
	switch t {
	case IPv6OptJumbo:
		return ReasonIP6Jumbogram
	case IPv6OptTunnelLimit:
		if ok = p == ProtoDstOpts && len(data) == 1; ok {
			x.Value = uint16(data[0])
		}
	case IPv6OptRouterAlert:
		if ok = p == ProtoHopByHop && len(data) == 2 && at%2 == 0; ok {
			x.Value = binary.BigEndian.Uint16(data)
		}
	case IPv6OptHomeAddress:
		ok = p == ProtoDstOpts && len(data) == 16 && at%8 == 6
		x.Place, x.Data = uint8(at%8), data
	default:
		known = false
		x.Place, x.Data = uint8(at%8), data
	}
	switch {
	case !ok:
		return ReasonIP6OptionSize
	case known && o.Has(t):
		return ReasonIP6OptionTwice
	case !o.Add(x):
		return ReasonIP6ExtMany
	}
	return ReasonNone
}

// len is that of the header to send in bytes, 0 without options.
func (o *IPv6Options) len() int {
	if o.n == 0 {
		return 0
	}
	at := offExtOptions
	for i := range o.list[:o.n] {
		at = o.list[i].from(at) + o.list[i].len()
	}
	return (at + 7) &^ 7
}

// check reports whether the options can be sent in a header of protocol p.
func (o *IPv6Options) check(p Protocol) error {
	for i := range o.list[:o.n] {
		if err := o.list[i].check(p); err != nil {
			return err
		}
	}
	return nil
}

// encode writes the header, which is not empty, at the start of b.
func (o *IPv6Options) encode(b []byte, next Protocol) {
	n := o.len()
	b[offExtNext], b[offExtLen] = uint8(next), uint8(n/8-1)
	at := offExtOptions
	for i := range o.list[:o.n] {
		x := &o.list[i]
		from := x.from(at)
		putIPv6Padding(b[at:from])
		x.encode(b[from:])
		at = from + x.len()
	}
	putIPv6Padding(b[at:n])
}

// putIPv6Padding fills b, at most 7 bytes, with one option.
func putIPv6Padding(b []byte) {
	clear(b)
	if len(b) > 1 {
		b[0], b[1] = uint8(ip6OptPadN), uint8(len(b)-ip6OptHeader)
	}
}

// String gives "router-alert=0,0x1e=01".
func (o *IPv6Options) String() string {
	var s strings.Builder
	for i := range o.list[:o.n] {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(o.list[i].String())
	}
	return s.String()
}
