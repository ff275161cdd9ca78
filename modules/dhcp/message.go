package dhcp

import (
	"bytes"
	"encoding/binary"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Offsets of the fixed fields (RFC 2131 §2).
const (
	offOp      = 0
	offHType   = 1
	offHLen    = 2
	offHops    = 3
	offXID     = 4
	offSecs    = 8
	offFlags   = 10
	offClient  = 12 // ciaddr
	offYour    = 16 // yiaddr
	offNext    = 20 // siaddr
	offRelay   = 24 // giaddr
	offMAC     = 28 // chaddr
	offServer  = 44 // sname
	offFile    = 108
	offCookie  = 236
	offOptions = 240

	cookie        = 0x63825363
	flagBroadcast = 0x8000
	ethernet      = 1  // htype
	maxHops       = 16 // RFC 1542 §4.1.1

	// minMessage is the least length that every BOOTP host takes (RFC 951 §3),
	// everyMessage the greatest that every DHCP host does (RFC 2131 §2), and maxMessage
	// fits into a frame.
	minMessage   = 300
	everyMessage = 548
	maxMessage   = 1472
)

// op is who sends a message.
type op uint8

const (
	request op = 1 // a client
	reply   op = 2 // a server
)

// Message types (RFC 2132 §9.6).
const (
	discover = iota + 1
	offer
	ask
	decline
	ack
	nak
	release
	inform
)

// opOf tells who sends a type.
var opOf = [...]op{discover: request, offer: reply, ask: request, decline: request, ack: reply, nak: reply, release: request, inform: request}

// message holds the fixed fields of a message, and its options as they came.
type message struct {
	op                      op
	typ                     uint8
	hops                    uint8
	secs                    uint16
	xid                     uint32
	broadcast               bool
	relayed                 bool    // between a relay agent and a server
	client, your, next, via [4]byte // ciaddr, yiaddr, siaddr, giaddr
	mac                     [6]byte
	server, file            []byte // names, without what fills their field
	options                 options
}

// parse reads a message.
func (m *message) parse(b []byte) ppf.Reason {
	if len(b) < offOptions {
		return ReasonTruncated
	}
	m.op, m.hops = op(b[offOp]), b[offHops]
	if m.op != request && m.op != reply || b[offHType] != ethernet || b[offHLen] != 6 || m.hops > maxHops {
		return ReasonHeader
	}
	if binary.BigEndian.Uint32(b[offCookie:]) != cookie {
		return ReasonCookie
	}
	m.xid, m.secs = binary.BigEndian.Uint32(b[offXID:]), binary.BigEndian.Uint16(b[offSecs:])
	m.broadcast = binary.BigEndian.Uint16(b[offFlags:])&flagBroadcast != 0
	m.client, m.your = [4]byte(b[offClient:]), [4]byte(b[offYour:])
	m.next, m.via = [4]byte(b[offNext:]), [4]byte(b[offRelay:])
	m.mac = [6]byte(b[offMAC:])
	server, file := b[offServer:offFile], b[offFile:offCookie]
	overload, r := m.options.parse(b[offOptions:], server, file)
	if r != packet.ReasonNone {
		return r
	}
	var ok bool
	if m.server, ok = text(server, overload&2 != 0); !ok {
		return ReasonText
	}
	if m.file, ok = text(file, overload&1 != 0); !ok {
		return ReasonText
	}
	m.typ = m.options.messageType()
	if int(m.typ) >= len(opOf) || opOf[m.typ] != m.op {
		return ReasonType
	}
	return packet.ReasonNone
}

// text is what a field holds up to its first zero; nothing where it holds options.
func text(field []byte, overloaded bool) ([]byte, bool) {
	if overloaded {
		return nil, true
	}
	n := bytes.IndexByte(field, 0)
	if n < 0 {
		return nil, false
	}
	return field[:n], printable(field[:n])
}

// addresses judges what the fixed fields say of addresses, and forgets what a client
// has not to say (RFC 2131 §4.3.1, §4.4.1).
func (m *message) addresses() ppf.Reason {
	if m.op == request {
		m.your, m.next = [4]byte{}, [4]byte{}
		m.server, m.file = nil, nil
		if m.typ == discover || m.typ == decline {
			m.client = [4]byte{}
		}
	}
	given := m.typ == offer || m.typ == ack && m.options.has(optLease) // what answers an inform gives nothing
	if given && m.your == [4]byte{} {
		return ReasonAddress
	}
	for _, a := range [][4]byte{m.client, m.your, m.next, m.via} {
		if a != [4]byte{} && !hostAddress(a) {
			return ReasonAddress
		}
	}
	return packet.ReasonNone
}

// hostAddress reports whether a host can have an address: it is not of this network,
// of the loopback, of a group, reserved or broadcast.
func hostAddress(a [4]byte) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// write puts the fixed fields into b, which is all zeros.
func (m *message) write(b []byte) {
	b[offOp], b[offHType], b[offHLen], b[offHops] = uint8(m.op), ethernet, 6, m.hops
	binary.BigEndian.PutUint32(b[offXID:], m.xid)
	binary.BigEndian.PutUint16(b[offSecs:], m.secs)
	if m.broadcast {
		binary.BigEndian.PutUint16(b[offFlags:], flagBroadcast)
	}
	copy(b[offClient:], m.client[:])
	copy(b[offYour:], m.your[:])
	copy(b[offNext:], m.next[:])
	copy(b[offRelay:], m.via[:])
	copy(b[offMAC:], m.mac[:])
	copy(b[offServer:], m.server)
	copy(b[offFile:], m.file)
	binary.BigEndian.PutUint32(b[offCookie:], cookie)
}
