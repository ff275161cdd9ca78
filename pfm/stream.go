package pfm

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Layout of a stream's descriptor, in the place of a packet's.
const (
	offEvent  = 5
	offOffset = 16
)

// StreamProcessor judges the bytes of a connection: it is called for each flow
// when bytes have come, and when the flow ends. What it does not take of the bytes
// that wait it sees again, with those that come behind them. It must not keep s,
// nor what s lends.
type StreamProcessor func(s *Stream) Verdict

// CloseStream ends the connection in order: each flow behind what was handed on.
var CloseStream = Verdict{action: 2}

// Stream is one flow of a connection, with the bytes that wait. It is lent for one
// call.
type Stream struct {
	host Host
	d    []byte // the descriptor
	room []byte
	read bool
}

// NewStream is for hosts: d is a descriptor.
func NewStream(h Host, d []byte) *Stream { return &Stream{host: h, d: d} }

// Reset makes the Stream ready for what the descriptor has now; it is for hosts.
func (s *Stream) Reset() { s.read = false }

func (s *Stream) u16(at int) uint16 { return binary.LittleEndian.Uint16(s.d[at:]) }
func (s *Stream) u32(at int) uint32 { return binary.LittleEndian.Uint32(s.d[at:]) }

// Handle is the binding that the stream came for.
func (s *Stream) Handle() uint32 { return s.u32(offHandle) }

// Dir is the flow.
func (s *Stream) Dir() Dir { return Dir(s.d[offDir]) }

// Ended reports that nothing comes behind the bytes that wait.
func (s *Stream) Ended() bool { return s.d[offEvent] == 1 }

// Now is the time, in nanoseconds since 1970.
func (s *Stream) Now() int64 { return int64(binary.LittleEndian.Uint64(s.d[offNow:])) }

// TLS reports that the client's connection is encrypted up to the proxy.
func (s *Stream) TLS() bool { return s.d[offTLS] == 1 }

// Client is where the client's connection comes from.
func (s *Stream) Client() netip.AddrPort { return addrPort(s.d, offClient, s.u16(offClientPort)) }

// Server is what the client has connected to.
func (s *Stream) Server() netip.AddrPort { return addrPort(s.d, offServer, s.u16(offServerPort)) }

// Offset is the place of the first waiting byte in its flow.
func (s *Stream) Offset() uint64 { return binary.LittleEndian.Uint64(s.d[offOffset:]) }

// Len is how many bytes wait.
func (s *Stream) Len() int { return int(s.u32(offPayloadLen)) }

// Waiting gives the bytes that wait, those too that the call has taken already.
// They are copied once, and must not be changed.
func (s *Stream) Waiting() []byte {
	if !s.read {
		if n := s.Len(); cap(s.room) < n {
			s.room = make([]byte, n, max(n, 2048))
		}
		s.room = s.room[:s.Len()]
		s.host.Payload(0, 0, s.room)
		s.read = true
	}
	return s.room
}

// Peek copies a part of the bytes that wait, without the rest, and tells how many
// there were.
func (s *Stream) Peek(from int, to []byte) int { return s.host.Payload(0, from, to) }

// Pass hands on the next n of the bytes that wait.
func (s *Stream) Pass(n int) { s.host.Pass(uint32(n)) }

// Skip leaves the next n of the bytes that wait out.
func (s *Stream) Skip(n int) { s.host.Skip(uint32(n)) }

// Send hands on bytes of the module's own, in order with those that are passed; a
// mebibyte in one call at most.
func (s *Stream) Send(b []byte) { s.host.Send(b) }

// Reply says bytes of the module's own to who has sent the bytes that wait, behind what
// was handed on in the other flow: an answer in place of the other end's. It reports
// false where that flow is over, or as much waits in it as the module's window holds;
// then Refuse is left.
func (s *Stream) Reply(b []byte) bool { return s.host.Reply(b) }

// Deny counts that a part of the stream is refused, with a reason, while the connection
// goes on: Skip that part, and mostly Reply. It reports false where the instance's
// mode or an override lets it pass: then Pass it.
func (s *Stream) Deny(r Reason) bool { return s.host.Deny(r) }

// Wake has the flow judged again when d has passed, whether bytes come or not; see
// Woken. 0 takes it back. It needs the capability timers.
func (s *Stream) Wake(d time.Duration) { s.host.Wake(int64(d)) }

// Woken reports that the time of Wake has passed, and nothing has come.
func (s *Stream) Woken() bool { return s.d[offEvent] == 2 }

// Refuse resets both ends, with a reason.
func (s *Stream) Refuse(r Reason) Verdict { return Verdict{reason: r} }

// Finding tells of something that has one safe meaning: it is mended, unless stop
// is true; then answer Stopped.
func (s *Stream) Finding(r Reason) (stop bool) { return s.host.Finding(0, r, 0) != 0 }

// Storage is the bytes that are kept with the connection, for both flows; nil
// without storage in the manifest. They are zero at first.
func (s *Stream) Storage() []byte { return storage(s.d) }

// Answer writes a verdict into the descriptor; it is for hosts.
func (s *Stream) Answer(v Verdict, reason uint32) { answer(s.d, v, reason) }
