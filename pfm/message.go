package pfm

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// Layout of a message's descriptor, in the place of a packet's.
const (
	offPhase      = 5
	offTLS        = 6
	offMinor      = 7
	offStatus     = 16
	offBodyLen    = 20
	offClientPort = 24
	offServerPort = 26
	offFieldCount = 28
	offClient     = 40
	offServer     = 56
	offCode       = 176
)

// MessageProcessor judges HTTP messages: each function one part of an exchange,
// nil accepts it. A function must not keep m, nor what m lends.
type MessageProcessor struct {
	Request      func(m *Message) Verdict // the head
	RequestBody  func(m *Message) Verdict // a body that Request has asked for
	Response     func(m *Message) Verdict // the head
	ResponseBody func(m *Message) Verdict // a body that Response has asked for
}

// Message is an HTTP request, or a response with its request. It is lent for one
// call. What it changes is written by the host, which sends nothing malformed.
type Message struct {
	host Host
	d    []byte // the descriptor
	room []byte // for texts
	body []byte
	read bool
}

// NewMessage is for hosts: d is a descriptor.
func NewMessage(h Host, d []byte) *Message { return &Message{host: h, d: d, room: make([]byte, 1024)} }

// Judge lets the processor judge the message that the descriptor has now; it is
// for hosts.
func (m *Message) Judge(p *MessageProcessor) Verdict {
	m.read = false
	f := [4]func(*Message) Verdict{p.Request, p.RequestBody, p.Response, p.ResponseBody}[m.d[offPhase]&3]
	if f == nil {
		return Accept
	}
	return f(m)
}

func (m *Message) u16(at int) uint16 { return binary.LittleEndian.Uint16(m.d[at:]) }
func (m *Message) u32(at int) uint32 { return binary.LittleEndian.Uint32(m.d[at:]) }

// Handle is the binding that the message came for.
func (m *Message) Handle() uint32 { return m.u32(offHandle) }

// Now is the time, in nanoseconds since 1970.
func (m *Message) Now() int64 { return int64(binary.LittleEndian.Uint64(m.d[offNow:])) }

// TLS reports that the client's connection is encrypted up to the proxy.
func (m *Message) TLS() bool { return m.d[offTLS] == 1 }

// Minor is x of the version HTTP/1.x that the client speaks.
func (m *Message) Minor() int { return int(m.d[offMinor]) }

// Client is where the client's connection comes from.
func (m *Message) Client() netip.AddrPort { return addrPort(m.d, offClient, m.u16(offClientPort)) }

// Server is what the client has connected to.
func (m *Message) Server() netip.AddrPort { return addrPort(m.d, offServer, m.u16(offServerPort)) }

func addrPort(d []byte, at int, port uint16) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(d[at : at+16]))
	if [12]byte(d[at:at+12]) == [12]byte{} {
		a = netip.AddrFrom4([4]byte(d[at+12 : at+16]))
	}
	return netip.AddrPortFrom(a, port)
}

// Texts of a request.
const (
	textMethod = iota + 1
	textPath
	textQuery
	textHost
	textAskedHost
)

// text gives a text that get copies into room, as often as it needs more.
func (m *Message) text(get func(room []byte) int) (string, bool) {
	for {
		n := get(m.room)
		if n < 0 {
			return "", false
		}
		if n <= len(m.room) {
			return string(m.room[:n]), true
		}
		m.room = make([]byte, n)
	}
}

func (m *Message) part(what uint32) string {
	s, _ := m.text(func(room []byte) int { return m.host.Text(what, room) })
	return s
}

// Method is the request's method, such as GET.
func (m *Message) Method() string { return m.part(textMethod) }

// Path is the request's path as it is sent: unreserved characters are never
// percent-encoded, others are with capital digits; "*" for OPTIONS *.
func (m *Message) Path() string { return m.part(textPath) }

// Query is what follows "?", "" also where there is none.
func (m *Message) Query() string { return m.part(textQuery) }

// Host is the host that is asked for as it is sent, in lowercase and without
// port.
func (m *Message) Host() string { return m.part(textHost) }

// AskedHost is the host that the client has asked for, whatever functions made of
// it.
func (m *Message) AskedHost() string { return m.part(textAskedHost) }

// SetMethod asks by another method. It reports false for what is none, for
// CONNECT and TRACE, and for HEAD in place of another or another in its place.
func (m *Message) SetMethod(name string) bool { return m.host.SetMethod(name) }

// SetTarget asks for another path, and for a query unless that is "". It reports
// false for what is no canonical path or query.
func (m *Message) SetTarget(path, query string) bool { return m.host.SetTarget(path, query) }

// SetHost asks for another host, with a port unless that is 0. It reports false
// for what is no host.
func (m *Message) SetHost(name string, port uint16) bool { return m.host.SetHost(name, port) }

// Status is the response's status code, 0 while the request is judged.
func (m *Message) Status() int { return int(m.u16(offStatus)) }

// SetStatus changes the response's status code. It reports false where the other
// would have a body and this one not, or the other way round.
func (m *Message) SetStatus(code int) bool { return m.host.SetStatus(code) }

// Field gives the first value of a field of the message, ok false where there is
// none. Fields that frame the message are not among them.
func (m *Message) Field(name string) (value string, ok bool) { return m.nth(name, 0) }

func (m *Message) nth(name string, n int) (string, bool) {
	return m.text(func(room []byte) int { return m.host.Field(name, n, room) })
}

// Values yields all values of a field.
func (m *Message) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := 0; ; n++ {
			v, ok := m.nth(name, n)
			if !ok || !yield(v) {
				return
			}
		}
	}
}

// Fields yields name and value of each field, as they are when it gets there.
func (m *Message) Fields() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for i := 0; ; i++ {
			half := len(m.room) / 2
			n, v := m.host.FieldAt(i, m.room[:half], m.room[half:])
			if n < 0 {
				return
			}
			if n > half || v > len(m.room)-half {
				m.room = make([]byte, 2*max(n, v))
				i--
				continue
			}
			if !yield(string(m.room[:n]), string(m.room[half:half+v])) {
				return
			}
		}
	}
}

// FieldCount is how many fields the message had when the call began.
func (m *Message) FieldCount() int { return int(m.u32(offFieldCount)) }

// SetField replaces all fields of a name by one. It reports false, and changes
// nothing, for what is no name or value, and for fields that the host writes.
func (m *Message) SetField(name, value string) bool { return m.host.SetField(name, value) }

// AddField appends a field, as SetField does.
func (m *Message) AddField(name, value string) bool { return m.host.AddField(name, value) }

// RemoveField removes all fields of a name.
func (m *Message) RemoveField(name string) { m.host.RemoveField(name) }

// WantBody asks for the whole body of the message, of at most limit bytes; a
// longer one passes unseen. For Request and Response.
func (m *Message) WantBody(limit int) { m.host.WantBody(uint32(limit), false) }

// NeedBody is WantBody for a module that judges: a longer body is refused.
func (m *Message) NeedBody(limit int) { m.host.WantBody(uint32(limit), true) }

// BodyLen is how long the body is that is judged.
func (m *Message) BodyLen() int { return int(m.u32(offBodyLen)) }

// Body is the body that is judged. It is copied once, and must not be changed.
func (m *Message) Body() []byte {
	if !m.read {
		if n := m.BodyLen(); cap(m.body) < n {
			m.body = make([]byte, n)
		}
		m.body = m.body[:m.BodyLen()]
		m.host.Body(0, m.body)
		m.read = true
	}
	return m.body
}

// SetBody replaces the body that is judged; lengths are the host's to write. It
// reports false while no body is judged.
func (m *Message) SetBody(b []byte) bool { return m.host.SetBody(b) }

// Refuse ends the exchange with a reason. The client gets a small page with the
// status code, from 400 to 599; 0 is 403.
func (m *Message) Refuse(r Reason, code int) Verdict { return Verdict{reason: r, code: uint16(code)} }

// Finding tells of something that has one safe meaning: it is mended, unless stop
// is true; then answer Stopped.
func (m *Message) Finding(r Reason) (stop bool) { return m.host.Finding(0, r, 0) != 0 }

// Storage is the bytes that are kept with the client's connection, over all its
// exchanges; nil without storage in the manifest. They are zero at first.
func (m *Message) Storage() []byte { return storage(m.d) }

// Answer writes a verdict into the descriptor; it is for hosts.
func (m *Message) Answer(v Verdict, reason uint32) {
	answer(m.d, v, reason)
	binary.LittleEndian.PutUint16(m.d[offCode:], v.code)
}

// Code is the status code of a refusal; it is for hosts.
func (v Verdict) Code() uint16 { return v.code }
