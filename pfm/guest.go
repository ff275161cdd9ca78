//go:build wasip1

package pfm

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"unsafe"
)

// What the guest is, from Export on.
var (
	exported   Module
	area       [AreaDescriptor + maxBatch*DescriptorSize]byte
	packetX    = NewExchange(calls{}, area[AreaDescriptor:])
	message    = NewMessage(calls{}, area[AreaDescriptor:])
	stream     = NewStream(calls{}, area[AreaDescriptor:])
	bindings   []*Binding
	processors []Ready
	hostReason []uint32 // the host's number of each reason
)

// Export makes a module the guest's; called from an init function.
func Export(m Module) { exported = m }

//go:wasmexport promethos_abi
func exportABI() uint32 {
	for _, info := range reasonInfos[len(hostReason):] {
		text := info.json()
		hostReason = append(hostReason, callReason(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))))
	}
	return Version
}

//go:wasmexport promethos_area
func exportArea() uint32 { return uint32(uintptr(unsafe.Pointer(&area[0]))) }

//go:wasmexport promethos_configure
func exportConfigure(handle, function uint32) uint32 {
	for uint32(len(bindings)) <= handle {
		bindings, processors = append(bindings, nil), append(processors, Ready{})
	}
	if function >= uint32(len(exported.Functions)) {
		return 2
	}
	b := NewBinding(calls{}, handle)
	p, err := exported.Functions[function].Ready(b)
	if err != nil {
		b.refuse(err)
		return 1
	}
	bindings[handle], processors[handle] = b, p
	return 0
}

// maxBatch is how many packets the exchange area has room for.
const maxBatch = 8

//go:wasmexport promethos_batch
func exportBatch() uint32 { return maxBatch }

//go:wasmexport promethos_process
func exportProcess(count uint32) {
	for n := range min(count, maxBatch) {
		d := area[AreaDescriptor+n*DescriptorSize:]
		if n > 0 { // they are of one connection
			copy(storage(d), storage(packetX.d))
		}
		packetX.At(n, d[:DescriptorSize])
		v := processors[packetX.Handle()].Packet(packetX)
		packetX.Answer(v, v.number())
	}
}

//go:wasmexport promethos_message
func exportMessage(uint32) {
	v := message.Judge(processors[message.Handle()].Message)
	message.Answer(v, v.number())
}

//go:wasmexport promethos_stream
func exportStream(uint32) {
	stream.Reset()
	v := processors[stream.Handle()].Stream(stream)
	stream.Answer(v, v.number())
}

// number is the host's number of the verdict's reason, 0 for none.
func (v Verdict) number() uint32 {
	if v.reason == 0 {
		return 0
	}
	return hostReason[v.reason-1]
}

//go:wasmexport promethos_timer
func exportTimer(handle uint32) {
	if f := bindings[handle].Timer; f != nil {
		f()
	}
}

//go:wasmexport promethos_migrate
func exportMigrate(what, schema, at, length uint32) uint32 {
	if exported.Migrate == nil {
		return 1
	}
	here := area[at-exportArea():]
	old := append([]byte(nil), here[:maxStorage]...)
	fresh := make([]byte, length)
	if !exported.Migrate(Kept(what), schema, old, fresh) {
		return 1
	}
	copy(here, fresh)
	return 0
}

// maxStorage is how many bytes are kept at most.
const maxStorage = 256

// refuse tells the host why settings are refused: the program prints it.
func (b *Binding) refuse(err error) { print(err.Error(), "\n") }

// json spells a reason for the host.
func (info ReasonInfo) json() string {
	s := `{"name":` + quote(info.Name) + `,"field":` + quote(info.Field) + `,"rfc":` + quote(info.RFC) +
		`,"doc":` + quote(info.Doc) + `,"trips":` + quote(info.Trips) + `,"relax":` + quote(info.Relax) + `,"cve":[`
	for i, cve := range info.CVE {
		if i > 0 {
			s += ","
		}
		s += quote(cve)
	}
	if info.Repaired {
		return s + `],"repaired":true}`
	}
	return s + `]}`
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

// calls is the Host of a guest.
type calls struct{}

func ptr(b []byte) unsafe.Pointer     { return unsafe.Pointer(unsafe.SliceData(b)) }
func textPtr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func (calls) Setting(handle uint32, path string, to []byte) int {
	return int(int32(callSetting(handle, textPtr(path), uint32(len(path)), ptr(to), uint32(len(to)))))
}

func (calls) Payload(n uint32, from int, to []byte) int {
	return int(callPayload(n, uint32(from), ptr(to), uint32(len(to))))
}

func (calls) Rebuild(n uint32) int32 { return int32(callRebuild(n)) }

// scratch is where structures for the host are written.
var scratch [72]byte

func (calls) OutIP(n uint32, h *IP) {
	b := scratch[:48]
	clear(b)
	b[0], b[1], b[2], b[10] = 4, h.TTL, h.TOS, h.Protocol
	if h.DF {
		b[3] = 1
	}
	if h.Src.Is6() {
		b[0] = 6
	}
	binary.LittleEndian.PutUint32(b[4:], h.FlowLabel)
	binary.LittleEndian.PutUint16(b[8:], h.ID)
	putAddr(b[16:32], h.Src)
	putAddr(b[32:48], h.Dst)
	callOutIP(n, ptr(b))
}

func putAddr(b []byte, a netip.Addr) {
	if a.Is4() {
		v4 := a.As4()
		copy(b[12:], v4[:])
		return
	}
	v6 := a.As16()
	copy(b, v6[:])
}

func (calls) OutTCP(n uint32, h *TCP) {
	b := scratch[:72]
	clear(b)
	le := binary.LittleEndian
	le.PutUint16(b[0:], h.SrcPort)
	le.PutUint16(b[2:], h.DstPort)
	le.PutUint32(b[4:], h.Seq)
	le.PutUint32(b[8:], h.Ack)
	le.PutUint16(b[12:], h.Window)
	b[14], b[15] = byte(h.Flags), h.WScale
	le.PutUint16(b[16:], uint16(h.Options))
	le.PutUint16(b[18:], h.MSS)
	b[20] = h.NumSACK
	le.PutUint32(b[24:], h.TSVal)
	le.PutUint32(b[28:], h.TSEcr)
	for i, block := range h.SACK {
		le.PutUint32(b[32+8*i:], block[0])
		le.PutUint32(b[36+8*i:], block[1])
	}
	callOutTCP(n, ptr(b))
}

func (calls) OutUDP(n uint32, src, dst uint16) { callOutUDP(n, uint32(src), uint32(dst)) }

func (calls) OutEcho(n uint32, version uint8, request bool, id, seq uint16) {
	r := uint32(0)
	if request {
		r = 1
	}
	callOutEcho(n, uint32(version), r, uint32(id), uint32(seq))
}

func (calls) OutPayload(n uint32, b []byte) { callOutPayload(n, ptr(b), uint32(len(b))) }

func (calls) OutReceived(n uint32, from, length int) {
	callOutReceived(n, uint32(from), uint32(length))
}

func (calls) Finding(n uint32, r Reason, value uint64) int32 {
	return int32(callFinding(n, hostReason[r-1], value))
}

//go:wasmimport promethos reason
func callReason(text unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos setting
func callSetting(handle uint32, path unsafe.Pointer, pathLength uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos payload
func callPayload(n, from uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos rebuild
func callRebuild(n uint32) uint32

//go:wasmimport promethos out_ip
func callOutIP(n uint32, h unsafe.Pointer) uint32

//go:wasmimport promethos out_tcp
func callOutTCP(n uint32, h unsafe.Pointer) uint32

//go:wasmimport promethos out_udp
func callOutUDP(n, src, dst uint32) uint32

//go:wasmimport promethos out_echo
func callOutEcho(n, version, request, id, seq uint32) uint32

//go:wasmimport promethos out_payload
func callOutPayload(n uint32, b unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos out_received
func callOutReceived(n, from, length uint32) uint32

//go:wasmimport promethos finding
func callFinding(n, reason uint32, value uint64) uint32

func (calls) Log(text string) { callLog(textPtr(text), uint32(len(text))) }

func (calls) Emit(n uint32) int32 { return int32(callEmit(n)) }

func (calls) Connection(n, limit uint32, idle int64) int32 {
	return int32(callConnection(n, limit, uint64(idle)))
}

func (calls) Deadline(n uint32, idle int64) int32 { return int32(callDeadline(n, uint64(idle))) }

func (calls) InstanceRead(handle uint32, from int, to []byte) {
	callInstanceRead(handle, uint32(from), ptr(to), uint32(len(to)))
}

func (calls) InstanceWrite(handle uint32, from int, b []byte) {
	callInstanceWrite(handle, uint32(from), ptr(b), uint32(len(b)))
}

func (calls) InstanceAdd(handle uint32, at int, delta uint64) uint64 {
	return callInstanceAdd(handle, uint32(at), delta)
}

func (calls) Timer(handle uint32, after int64) { callTimer(handle, uint64(after)) }

func (calls) SharedGet(name string, to []byte) int {
	return int(int32(callSharedGet(textPtr(name), uint32(len(name)), ptr(to), uint32(len(to)))))
}

func (calls) SharedSet(name string, value []byte) bool {
	return callSharedSet(textPtr(name), uint32(len(name)), ptr(value), uint32(len(value))) == 0
}

func (calls) DataHas(name string, key []byte) int32 {
	return int32(callDataHas(textPtr(name), uint32(len(name)), ptr(key), uint32(len(key))))
}

//go:wasmimport promethos log
func callLog(text unsafe.Pointer, length uint32)

//go:wasmimport promethos emit
func callEmit(n uint32) uint32

//go:wasmimport promethos connection
func callConnection(n, limit uint32, idle uint64) uint32

//go:wasmimport promethos deadline
func callDeadline(n uint32, idle uint64) uint32

//go:wasmimport promethos instance_read
func callInstanceRead(handle, from uint32, to unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos instance_write
func callInstanceWrite(handle, from uint32, b unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos instance_add
func callInstanceAdd(handle, at uint32, delta uint64) uint64

//go:wasmimport promethos timer
func callTimer(handle uint32, after uint64) uint32

//go:wasmimport promethos shared_get
func callSharedGet(name unsafe.Pointer, nameLength uint32, to unsafe.Pointer, room uint32) uint32

//go:wasmimport promethos shared_set
func callSharedSet(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, length uint32) uint32

//go:wasmimport promethos data_has
func callDataHas(name unsafe.Pointer, nameLength uint32, key unsafe.Pointer, length uint32) uint32
