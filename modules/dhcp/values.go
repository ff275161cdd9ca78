package dhcp

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Least values of options that tell a length in bytes (RFC 2132 §4.4, §5.1, §9.10).
var least = map[byte]uint16{22: 576, 26: 68, 57: 576}

// value judges the value of a known option and gives it as it is sent, in place or in
// room. None, without a reason, is one that is left out.
func (g *guard) value(code byte, v, room []byte) ([]byte, ppf.Reason) {
	f := formats[code]
	good := func(ok bool) ([]byte, ppf.Reason) {
		if !ok {
			return nil, ReasonOptionSize
		}
		return v, packet.ReasonNone
	}
	switch f.kind {
	case number:
		if least, ok := least[code]; ok && len(v) == 2 && binary.BigEndian.Uint16(v) < least {
			return nil, ReasonOptionValue
		}
		return good(len(v) == int(f.size))
	case boolean:
		if len(v) == 1 && v[0] > 1 {
			return nil, ReasonOptionValue
		}
		return good(len(v) == 1)
	case addresses:
		return good(len(v) >= 4 && len(v)%4 == 0 && len(v)/4 <= g.addresses)
	case pairs:
		return good(len(v) >= 8 && len(v)%8 == 0 && len(v)/4 <= 2*g.addresses)
	case octets:
		return good(len(v) >= int(f.size))
	case empty:
		return good(len(v) == 0)
	case words:
		if v = bytes.TrimRight(v, "\x00"); len(v) == 0 || !printable(v) {
			return nil, packet.ReasonNone
		}
		return good(len(v) <= maxText)
	case wanted:
		return g.wanted(v), packet.ReasonNone
	case names:
		return domainNames(v, room)
	case routes:
		return v, g.routes(v)
	case mask:
		if len(v) != 4 {
			return nil, ReasonOptionSize
		}
		if m := binary.BigEndian.Uint32(v); bits.LeadingZeros32(^m)+bits.TrailingZeros32(m) != 32 {
			return nil, ReasonOptionValue
		}
		return v, packet.ReasonNone
	}
	return v, packet.ReasonNone // listed, and unread
}

// maxText is how long a text may be that one option can hold.
const maxText = 255

// printable reports text of NVT ASCII (RFC 2132 §2).
func printable(v []byte) bool {
	for _, c := range v {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// wanted leaves out what a client asks for and would not get.
func (g *guard) wanted(v []byte) []byte {
	n := 0
	for _, code := range v {
		if g.carries(code) && code != optOverload && code != optType {
			v[n] = code
			n++
		}
	}
	return v[:n]
}

// routes judges networks and their routers, and clears what a network does not say.
func (g *guard) routes(v []byte) ppf.Reason {
	if len(v) == 0 {
		return ReasonOptionSize
	}
	for n := 0; len(v) > 0; n++ {
		width := int(v[0])
		octets := (width + 7) / 8
		if width > 32 || len(v) < 1+octets+4 || n == g.addresses {
			return ReasonOptionSize
		}
		if rest := width % 8; rest != 0 {
			v[octets] &= 0xff << (8 - rest)
		}
		v = v[1+octets+4:]
	}
	return packet.ReasonNone
}

// Limits of domain names (RFC 1035 §2.3.4).
const (
	maxLabel = 63
	maxName  = 255
	pointer  = 0xc0
)

// domainNames writes names anew in room, without compression. A pointer leads to
// what stands before the name's own place, and each one before the last, so that none
// goes round.
func domainNames(v, room []byte) ([]byte, ppf.Reason) {
	n := 0
	for at := 0; at < len(v); {
		begin, length := n, 0
		next := -1 // where the next name stands
		for from, limit := at, at; ; {
			if from >= len(v) {
				return nil, ReasonName
			}
			c := int(v[from])
			if c&pointer == pointer {
				if from+1 >= len(v) {
					return nil, ReasonName
				}
				to := c&^pointer<<8 | int(v[from+1])
				if to >= limit {
					return nil, ReasonName
				}
				if next < 0 {
					next = from + 2
				}
				from, limit = to, to
				continue
			}
			if c > maxLabel || from+1+c > len(v) {
				return nil, ReasonName
			}
			if length += 1 + c; length > maxName || n+1+c > len(room) {
				return nil, ReasonName
			}
			n += copy(room[n:], v[from:from+1+c])
			from += 1 + c
			if c == 0 {
				if next < 0 {
					next = from
				}
				break
			}
		}
		if n-begin == 1 { // the root is no domain to search
			return nil, ReasonName
		}
		at = next
	}
	return room[:n], packet.ReasonNone
}
