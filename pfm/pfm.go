package pfm

import (
	"errors"
	"strconv"
	"time"
)

// Version is the version of the interface between host and guest.
const Version = 1

// Module is what a package gives to Export in a guest.
type Module struct {
	Functions []Function
	// Migrate lays out bytes that a version of another schema kept: old is what
	// it kept, fresh is what this version will see, zero at first. It reports
	// false where it cannot, and then the bytes are dropped. nil: it never can.
	Migrate func(what Kept, schema uint32, old, fresh []byte) bool
}

// Kept says what bytes belong to.
type Kept uint32

// What bytes belong to.
const (
	KeptByConnection Kept = iota
	KeptByInstance
)

// Function is one user function, in the order of the manifest.
type Function struct {
	Name string
	// Bind makes a function of level packet ready for one proxy instance,
	// BindStream one of level stream, and BindMessage one of level message. An
	// error refuses the configuration.
	Bind        func(b *Binding) (Processor, error)
	BindStream  func(b *Binding) (StreamProcessor, error)
	BindMessage func(b *Binding) (*MessageProcessor, error)
}

// Ready is a function that has been made ready for one proxy instance: what its
// Bind gave. It is for hosts.
type Ready struct {
	Packet  Processor
	Stream  StreamProcessor
	Message *MessageProcessor
}

// Ready calls the Bind that the function has; it is for hosts.
func (f *Function) Ready(b *Binding) (r Ready, err error) {
	switch {
	case f.BindStream != nil:
		r.Stream, err = f.BindStream(b)
	case f.BindMessage != nil:
		r.Message, err = f.BindMessage(b)
	default:
		r.Packet, err = f.Bind(b)
	}
	return r, err
}

// Processor judges one packet. It must not keep x, nor what x lends.
type Processor func(x *Exchange) Verdict

// Verdict is what becomes of a packet.
type Verdict struct {
	action byte
	reason Reason
	value  uint64
	code   uint16
}

// Accept lets the next function of the chain go on; after the last one the
// packet that was built is sent.
var Accept = Verdict{action: 1}

// Stopped is for after a call that reported stop: what is answered then does not
// count.
var Stopped = Verdict{action: 1}

// ReasonInfo describes why a module drops or repairs packets.
type ReasonInfo struct {
	Name     string // "MODULE.what.why", lowercase
	Repaired bool   // it has one safe meaning, and is mended; else it is refused
	Field    string // "dns.qdcount"
	RFC      string // "1035 §4.1.1"
	Doc      string // one sentence
	CVE      []string
	Trips    string // which legitimate traffic does it
	Relax    string // which setting lets it through
}

// Reason is a registered reason.
type Reason uint32

var reasonInfos []ReasonInfo

// NewReason registers a reason, for a package variable.
func NewReason(info ReasonInfo) Reason {
	reasonInfos = append(reasonInfos, info)
	return Reason(len(reasonInfos))
}

// Info describes the reason.
func (r Reason) Info() ReasonInfo { return reasonInfos[r-1] }

// Host is what a module reaches: the calls of a WebAssembly host, or the program
// that the module is compiled into. Packet numbers are 0 for the packet that is
// judged and ExtraPacket for one to emit. Modules use Exchange and Binding.
type Host interface {
	Setting(handle uint32, path string, to []byte) int
	Payload(n uint32, from int, to []byte) int
	Rebuild(n uint32) int32
	OutIP(n uint32, h *IP)
	OutTCP(n uint32, h *TCP)
	OutUDP(n uint32, src, dst uint16)
	OutEcho(n uint32, version uint8, request bool, id, seq uint16)
	OutPayload(n uint32, b []byte)
	OutReceived(n uint32, from, length int)
	Finding(n uint32, r Reason, value uint64) int32
	Log(text string)
	Emit(n uint32) int32
	Connection(n uint32, limit uint32, idle int64) int32
	Deadline(n uint32, idle int64) int32
	InstanceRead(handle uint32, from int, to []byte)
	InstanceWrite(handle uint32, from int, b []byte)
	InstanceAdd(handle uint32, at int, delta uint64) uint64
	Timer(handle uint32, after int64)
	SharedGet(name string, to []byte) int
	SharedSet(name string, value []byte) bool
	DataHas(name string, key []byte) int32

	Text(what uint32, to []byte) int
	SetMethod(name string) bool
	SetTarget(path, query string) bool
	SetHost(name string, port uint16) bool
	SetStatus(code int) bool
	Field(name string, n int, to []byte) int
	FieldAt(i int, name, value []byte) (nameLen, valueLen int)
	SetField(name, value string) bool
	AddField(name, value string) bool
	RemoveField(name string)
	WantBody(limit uint32, need bool) bool
	Body(from int, to []byte) int
	SetBody(b []byte) bool

	Pass(n uint32)
	Skip(n uint32)
	Send(b []byte)
	Reply(b []byte) bool
	Deny(r Reason) bool
	Wake(after int64)
}

// ExtraPacket is the number of the packet that Emit sends.
const ExtraPacket = 0xffff_ffff

// Binding is one function at one proxy instance.
type Binding struct {
	host   Host
	handle uint32
	// Timer is called when the time of After has passed.
	Timer func()
}

// NewBinding is for hosts.
func NewBinding(h Host, handle uint32) *Binding { return &Binding{host: h, handle: handle} }

// Setting gives the text of a setting by path, such as "registers[0].from";
// "registers.#" is the number of items. ok is false where there is none.
func (b *Binding) Setting(path string) (text string, ok bool) {
	room := make([]byte, 256)
	for {
		n := b.host.Setting(b.handle, path, room)
		if n < 0 {
			return "", false
		}
		if n <= len(room) {
			return string(room[:n]), true
		}
		room = make([]byte, n)
	}
}

// Int gives a setting that is a whole number, 0 where there is none.
func (b *Binding) Int(path string) int64 {
	text, _ := b.Setting(path)
	n, _ := strconv.ParseInt(text, 10, 64) // the schema has checked it
	return n
}

// Bool gives a setting that is a truth value, false where there is none.
func (b *Binding) Bool(path string) bool {
	text, _ := b.Setting(path)
	return text == "true"
}

// Len is how many items a setting that is a list has.
func (b *Binding) Len(path string) int { return int(b.Int(path + ".#")) }

// Item is the path of an item's property, or with name "" of the item.
func Item(list string, i int, name string) string {
	path := list + "[" + strconv.Itoa(i) + "]"
	if name == "" {
		return path
	}
	return path + "." + name
}

// Add adds to a number of 64 bits that is kept with the instance, at a byte
// offset, and gives the sum. All workers count together.
func (b *Binding) Add(at int, delta uint64) uint64 { return b.host.InstanceAdd(b.handle, at, delta) }

// Read copies bytes that are kept with the instance.
func (b *Binding) Read(from int, to []byte) { b.host.InstanceRead(b.handle, from, to) }

// Write keeps bytes with the instance.
func (b *Binding) Write(from int, bytes []byte) { b.host.InstanceWrite(b.handle, from, bytes) }

// After has Timer called once when d has passed; 0 takes it back.
func (b *Binding) After(d time.Duration) { b.host.Timer(b.handle, int64(d)) }

// Log says something in the event stream, limited in rate.
func (b *Binding) Log(text string) { b.host.Log(text) }

// Shared gives bytes that all instances share, by name; nil where there are none.
func (b *Binding) Shared(name string) []byte {
	room := make([]byte, 256)
	for {
		n := b.host.SharedGet(name, room)
		if n < 0 {
			return nil
		}
		if n <= len(room) {
			return room[:n]
		}
		room = make([]byte, n)
	}
}

// SetShared replaces bytes that all instances share; none removes them. It
// reports false where the module's limit is reached.
func (b *Binding) SetShared(name string, value []byte) bool { return b.host.SharedSet(name, value) }

// ErrNoData reports that no data module of a name is loaded.
var ErrNoData = errors.New("no data module of that name is loaded")

// DataHas looks into a data module by name: whether it has an address, or other
// bytes. A reload of the data module counts from the next look on.
func (b *Binding) DataHas(name string, key []byte) (bool, error) {
	switch b.host.DataHas(name, key) {
	case 0:
		return false, nil
	case 1:
		return true, nil
	}
	return false, ErrNoData
}
