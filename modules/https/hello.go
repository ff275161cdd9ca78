package https

import (
	"encoding/binary"
	"strings"
)

// Numbers of TLS (RFC 8446 §4, §5.1).
const (
	recordHandshake   = 22
	recordHead        = 5
	maxRecord         = 1 << 14
	typeClientHello   = 1
	handshakeHead     = 4
	maxHello          = 1 << 16
	extensionName     = 0
	extensionVersions = 43
	extensionPSK      = 41
	nameHost          = 0
)

// hello is a ClientHello that was parsed whole.
type hello struct {
	name    string // in small letters; "": none
	message []byte // the handshake message with its head
}

// helloReader puts the ClientHello of a stream of records together (RFC 8446
// §5.1). What it takes are whole records.
type helloReader struct{ message []byte }

// next takes the record that b begins with. It takes 0 octets where more are
// needed; done says that the message is whole, ok that all is well so far.
func (h *helloReader) next(b []byte) (taken int, done, ok bool) {
	// The first octets are judged as soon as they are here.
	for i, c := range b[:min(len(b), 2)] {
		if c != [...]byte{recordHandshake, 3}[i] {
			return 0, false, false
		}
	}
	if len(b) < recordHead {
		return 0, false, true
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	if b[2] > 3 || n == 0 || n > maxRecord {
		return 0, false, false
	}
	if len(b) < recordHead+n {
		return 0, false, true
	}
	h.message = append(h.message, b[recordHead:recordHead+n]...)
	if h.message[0] != typeClientHello {
		return 0, false, false
	}
	if len(h.message) < handshakeHead {
		return recordHead + n, false, true
	}
	whole := handshakeHead + int(h.message[1])<<16 + int(h.message[2])<<8 + int(h.message[3])
	// Nothing may follow the message in its record: the server speaks next.
	if whole > maxHello || len(h.message) > whole {
		return 0, false, false
	}
	return recordHead + n, len(h.message) == whole, true
}

// cursor reads what lies behind each other; after a read of more than there is,
// bad stays true.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) number(size int) (n int) {
	for _, b := range c.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector reads one whose length is in the first size octets and lies in [low, high].
func (c *cursor) vector(size, low, high int) *cursor {
	n := c.number(size)
	if n < low || n > high {
		c.bad = true
	}
	return &cursor{c.take(n), c.bad}
}

func (c *cursor) done() bool { return !c.bad && len(c.b) == 0 }

// parseHello reads a handshake message that is a ClientHello (RFC 8446 §4.1.2, RFC
// 5246 §7.4.1.2). Every length has to fit the one around it, no extension may
// stand twice, and pre_shared_key is the last one.
func parseHello(message []byte) (h hello, ok bool) {
	h.message = message
	c := &cursor{b: message}
	if c.number(1) != typeClientHello {
		return h, false
	}
	body := c.vector(3, 0, maxHello)
	version := body.number(2)
	body.take(32)
	body.vector(1, 0, 32)
	suites := body.vector(2, 2, 1<<16-2)
	compression := body.vector(1, 1, 255)
	if !c.done() || body.bad || version>>8 != 3 || len(suites.b)%2 != 0 || !strings.Contains(string(compression.b), "\x00") {
		return h, false
	}
	if len(body.b) == 0 { // TLS 1.2 without extensions
		return h, true
	}
	extensions := body.vector(2, 0, 1<<16-1)
	if !body.done() {
		return h, false
	}
	seen := map[int]bool{}
	for len(extensions.b) > 0 {
		kind := extensions.number(2)
		value := extensions.vector(2, 0, 1<<16-1)
		if extensions.bad || seen[kind] || seen[extensionPSK] {
			return h, false
		}
		seen[kind] = true
		switch kind {
		case extensionName:
			if h.name, ok = parseName(value); !ok {
				return h, false
			}
		case extensionVersions:
			if list := value.vector(1, 2, 254); !value.done() || len(list.b)%2 != 0 {
				return h, false
			}
		}
	}
	return h, true
}

// parseName reads server_name (RFC 6066 §3): one name of a host.
func parseName(value *cursor) (string, bool) {
	list := value.vector(2, 1, 1<<16-1)
	kind := list.number(1)
	name := list.vector(2, 1, 255)
	if !value.done() || !list.done() || kind != nameHost || !isHostName(string(name.b)) {
		return "", false
	}
	return strings.ToLower(string(name.b)), true
}

// isHostName says whether s is a name of DNS without the final dot: labels of
// letters, digits, - and _, which some networks use, and not all digits at the end,
// as in an address.
func isHostName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// appendRecords writes a handshake message in records of ours: as long as they may
// be, and of the version that servers of all kinds expect in the first one (RFC
// 8446 §5.1).
func appendRecords(b, message []byte) []byte {
	for len(message) > 0 {
		n := min(len(message), maxRecord)
		b = append(b, recordHandshake, 3, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, message[:n]...)
		message = message[n:]
	}
	return b
}
