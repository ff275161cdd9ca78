package dhcp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Options that make up the message or are judged with it (RFC 2132; RFC 3046).
const (
	optPad      = 0
	optMask     = 1
	optLease    = 51
	optOverload = 52
	optType     = 53
	optServerID = 54
	optWanted   = 55 // the list of options that a client asks for
	optRelay    = 82
	optEnd      = 255

	// maxOptions is how many options a message may have, the parts of long ones
	// counted singly.
	maxOptions = 64
	// optHeader is code and length.
	optHeader = 2
)

// kind is how the value of an option is made.
type kind uint8

const (
	absent    kind = iota
	number         // exactly size bytes
	boolean        // 0 or 1
	addresses      // one to as many as the setting says
	pairs          // of addresses
	words          // text
	octets         // at least size bytes that are not looked into
	wanted         // codes of options
	names          // domain names (RFC 3397)
	routes         // networks and routers (RFC 3442)
	mask           // of a subnet
	empty
)

// who may send an option.
type who uint8

const (
	clients who = 1 << request
	servers who = 1 << reply
	anybody     = clients | servers
)

// format is what is known of an option.
type format struct {
	kind kind
	size uint8
	who  who
}

// formats are the known options (RFC 2132, and those that its registry names).
var formats = func() (f [256]format) {
	list := func(k kind, size uint8, w who, codes ...byte) {
		for _, c := range codes {
			f[c] = format{k, size, w}
		}
	}
	list(mask, 4, servers, optMask)
	list(number, 4, servers, 2, 16, 24, 28, 32, 35, 38, 58, 59)
	list(addresses, 0, servers, 3, 4, 5, 6, 7, 8, 9, 10, 11, 41, 42, 44, 45, 48, 49, 65, 68, 69, 70, 71, 72, 73, 74, 75, 76, 150)
	list(pairs, 0, servers, 21, 33)
	list(words, 0, anybody, 12, 56)
	list(words, 0, servers, 14, 15, 17, 18, 40, 47, 64, 66, 67, 100, 101, 114, 252)
	list(number, 2, servers, 13, 22, 26)
	list(boolean, 1, servers, 19, 20, 27, 29, 30, 31, 34, 36, 39)
	list(number, 1, servers, 23, 37, 46)
	list(number, 4, clients, 50)
	list(number, 4, anybody, 51, optServerID)
	list(wanted, 1, clients, optWanted)
	list(number, 2, clients, 57)
	list(octets, 1, anybody, 60, 81)
	list(octets, 2, anybody, 61) // RFC 6842: servers return it
	list(octets, 1, clients, 77)
	list(empty, 0, anybody, 80)
	list(octets, 2, clients, 93)
	list(number, 3, clients, 94)
	list(number, 17, anybody, 97)
	list(number, 1, anybody, 116)
	list(number, 4, clients, 118)
	list(names, 0, servers, 119)
	list(routes, 0, servers, 121)
	list(number, 4, servers, 108) // RFC 8925: seconds without IPv4
	return f
}()

// option is one option, or one part of a long one, as it came.
type option struct {
	code byte
	data []byte
}

// options are those of one message.
type options struct {
	list [maxOptions]option
	n    int
}

// parse reads the options field, and where it says so the fields for names, too (RFC
// 2131 §4.1); overload says which of them.
func (o *options) parse(field, server, file []byte) (overload byte, r ppf.Reason) {
	if r := o.walk(field); r != packet.ReasonNone {
		return 0, r
	}
	for i := range o.list[:o.n] {
		if x := &o.list[i]; x.code == optOverload {
			if len(x.data) != 1 || overload != 0 {
				return 0, ReasonOptionSize
			}
			if overload = x.data[0]; overload < 1 || overload > 3 {
				return 0, ReasonOptionValue
			}
		}
	}
	in := o.n
	if overload&1 != 0 {
		r = o.walk(file)
	}
	if overload&2 != 0 && r == packet.ReasonNone {
		r = o.walk(server)
	}
	for i := range o.list[in:o.n] {
		if o.list[in+i].code == optOverload {
			r = ReasonOptionValue
		}
	}
	return overload, r
}

// walk reads one field up to its end.
func (o *options) walk(b []byte) ppf.Reason {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < optHeader || len(b) < optHeader+int(b[1]) {
			return ReasonOptionEnd
		}
		if o.n == maxOptions {
			return ReasonOptionMany
		}
		end := optHeader + int(b[1])
		o.list[o.n] = option{b[0], b[optHeader:end:end]}
		o.n++
		b = b[end:]
	}
	return packet.ReasonNone
}

// messageType is the type, 0 where there is none or more than one.
func (o *options) messageType() (t uint8) {
	for i := range o.list[:o.n] {
		if x := &o.list[i]; x.code == optType {
			if len(x.data) != 1 || t != 0 {
				return 0
			}
			t = x.data[0]
		}
	}
	return t
}

// has reports whether there is an option.
func (o *options) has(code byte) bool {
	for i := range o.list[:o.n] {
		if o.list[i].code == code {
			return true
		}
	}
	return false
}

// join gathers the value of an option in b, from all its parts (RFC 3396 §7). It
// reports false where b has no room.
func (o *options) join(code byte, b []byte) (value []byte, ok bool) {
	n := 0
	for i := range o.list[:o.n] {
		if x := &o.list[i]; x.code == code {
			if n+len(x.data) > len(b) {
				return nil, false
			}
			n += copy(b[n:], x.data)
		}
	}
	return b[:n], true
}

// writer writes options, in parts of at most 255 bytes (RFC 3396 §8). Its buffer is
// all zeros.
type writer struct {
	b    []byte
	n    int
	full bool
}

func (w *writer) put(code byte, value []byte) {
	for first := true; first || len(value) > 0; first = false {
		part := value[:min(len(value), 255)]
		if w.n+optHeader+len(part)+1 > len(w.b) { // the end has room, too
			w.full = true
			return
		}
		w.b[w.n], w.b[w.n+1] = code, byte(len(part))
		w.n += optHeader + copy(w.b[w.n+optHeader:], part)
		value = value[len(part):]
	}
}

func (w *writer) end() {
	w.b[w.n] = optEnd
	w.n++
}
