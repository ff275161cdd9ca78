package wasm

import (
	"context"
	"fmt"

	"github.com/promethos/promethos/modules/tcp"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/ppf"
)

// Native gives the description of a built-in PFM that is written with package
// pfm, for ppf.RegisterModule: the same source that compiles into a guest. It
// panics where the manifest is wrong. A fault of the code is a panic in a user
// function, which costs the packet; nothing bounds its loops and its memory.
func Native(manifest []byte, m pfm.Module) ppf.ModuleInfo {
	parsed, err := ParseManifest(manifest)
	if err == nil && len(parsed.Functions) != len(m.Functions) {
		err = fmt.Errorf("manifest: %d functions, the module has %d", len(parsed.Functions), len(m.Functions))
	}
	if err != nil {
		panic(fmt.Sprintf("built-in module: %v", err))
	}
	return ppf.ModuleInfo{
		Name: parsed.Name, Doc: parsed.Doc, Version: parsed.Version, Functions: parsed.functionNames(),
		New: func() ppf.Module { return &nativeModule{core: core{manifest: parsed}, code: m} },
	}
}

type nativeModule struct {
	core
	code     pfm.Module
	workers  []*nativeHost
	trial    *nativeHost
	reasonOf map[pfm.Reason]ppf.Reason
}

var _ ppf.Module = (*nativeModule)(nil)

// Start registers the module's reasons and functions.
func (m *nativeModule) Start(_ context.Context, host *ppf.ModuleHost) error {
	m.open(host)
	if m.code.Migrate != nil {
		m.migrate = m.migrateNative
	}
	m.succeed()
	if m.manifest.hasLevel(ppf.LevelPacket) {
		for range host.Workers() {
			m.workers = append(m.workers, m.newHost())
		}
	}
	m.trial = m.newHost()
	var units []unit
	for range m.sessionUnits() {
		units = append(units, m.newHost())
	}
	m.pool.open(units)
	m.reasonOf = map[pfm.Reason]ppf.Reason{}
	for r, info := range pfm.Reasons() {
		if !m.manifest.ownsReason(info.Name) {
			continue // another module's of this program
		}
		known := ppf.ReasonInfo{Name: info.Name, Field: info.Field, RFC: info.RFC, Doc: info.Doc, CVE: info.CVE, Trips: info.Trips, Relax: info.Relax}
		if info.Repaired {
			known.Class = packet.Repaired
		}
		n, err := m.register(known)
		if err != nil {
			return err
		}
		m.reasonOf[r], _ = m.reason(uint32(n))
	}
	return m.registerFunctions(m.try, m.processor, m.callTimer)
}

// newHost makes the host of one worker or unit of the pool.
func (m *nativeModule) newHost() *nativeHost {
	h := &nativeHost{m: m}
	h.exchange = pfm.NewExchange(h, h.descriptor[:])
	h.judged = pfm.NewMessage(h, h.descriptor[:])
	h.flowing = pfm.NewStream(h, h.descriptor[:])
	return h
}

// Stop ends the module.
func (m *nativeModule) Stop(context.Context) error {
	m.stop()
	m.close()
	return nil
}

func (m *nativeModule) migrateNative(what uint64, from uint32, old, to []byte) (bool, error) {
	return m.code.Migrate != nil && m.code.Migrate(pfm.Kept(what), from-1, old, to), nil
}

// try binds a function for nobody, and so tells whether the settings are good.
func (m *nativeModule) try(b *binding) error {
	_, err := m.trial.ready(b)
	return err
}

// processor binds a function for each worker, as each has a guest of its own.
func (m *nativeModule) processor(b *binding) ppf.Processor { return &nativeFunction{m, b} }

// callTimer calls the timer of a binding.
func (m *nativeModule) callTimer(b *binding, t *timer) bool {
	// try has bound it with the same settings.
	_ = m.workers[0].tick(b, t)
	return true
}

// tick calls the timer of a binding.
func (h *nativeHost) tick(b *binding, t *timer) error {
	h.x, h.due = nil, t
	defer func() { h.due = nil }()
	h.extra.Reset()
	bound, err := h.ready(b)
	if err == nil && bound.Timer != nil {
		bound.Timer()
	}
	return err
}

// nativeFunction is a function of packets, ready for one proxy instance.
type nativeFunction struct {
	m *nativeModule
	*binding
}

// nativeBound is a function that a host has made ready for an instance.
type nativeBound struct {
	*pfm.Binding
	pfm.Ready
}

// ready makes a function ready when it is used first.
func (h *nativeHost) ready(b *binding) (*nativeBound, error) {
	for len(h.bound) <= int(b.handle) {
		h.bound = append(h.bound, nil)
	}
	if h.bound[b.handle] == nil {
		pb := pfm.NewBinding(h, b.handle)
		r, err := h.m.code.Functions[b.function].Ready(pb)
		if err != nil {
			return nil, err
		}
		h.bound[b.handle] = &nativeBound{pb, r}
	}
	return h.bound[b.handle], nil
}

// Process lets the code judge the packet.
func (f *nativeFunction) Process(x *ppf.Exchange) ppf.Verdict {
	h := f.m.workers[x.Worker()]
	h.x = nil
	bound, err := h.ready(f.binding)
	if err != nil { // though try had none
		panic(err)
	}
	h.x, h.stop, h.column = x, false, nil
	putDescriptor(h.descriptor[:], f.handle, x, &h.options)
	h.loadColumn()
	h.exchange.At(0, h.descriptor[:])
	v := bound.Packet(h.exchange)
	if h.column != nil && x.Conn != nil {
		copy(h.column, h.descriptor[dStorage:])
	}
	switch {
	case h.stop:
		return h.forced
	case v == pfm.Accept:
		return ppf.Verdict{Action: ppf.Accept}
	}
	return x.Refuse(h.m.reasonOf[v.Reason()], v.Value())
}

// nativeHost is the pfm.Host of one worker.
type nativeHost struct {
	m          *nativeModule
	descriptor [descriptorSize]byte
	exchange   *pfm.Exchange
	options    packet.TCPOptions
	judged     *pfm.Message
	flowing    *pfm.Stream
	bound      []*nativeBound // by handle
	extra      packet.Out
	room       []byte // payload of extra
	arena      ppf.Arena

	x      *ppf.Exchange
	due    *timer
	job    *messageJob
	flow   *filter
	column []byte
	forced ppf.Verdict
	stop   bool
}

var _ pfm.Host = (*nativeHost)(nil)

func (h *nativeHost) loadColumn() {
	n := h.m.manifest.Storage.Connection
	if n == 0 {
		return
	}
	if h.x.Conn != nil {
		// Code that is compiled in gives no error.
		h.column, _ = h.m.bytesOf(h.x.Conn, h.m.migrateNative)
	}
	clear(h.descriptor[dStorage : dStorage+n])
	putStorage(h.descriptor[:], h.column)
}

func (h *nativeHost) needs(c Capability) {
	if !h.m.manifest.has(c) {
		panic(fmt.Sprintf("module %s: its manifest does not ask for the capability %q", h.m.manifest.Name, c))
	}
}

func (h *nativeHost) decide(v ppf.Verdict) int32 {
	h.forced, h.stop = v, true
	return callStop
}

func (h *nativeHost) out(n uint32) *packet.Out {
	if n == extraPacket {
		h.needs(CapEmit)
		return &h.extra
	}
	return &h.x.Out
}

func (h *nativeHost) binding(handle uint32) *binding { return (*h.m.bindings.Load())[handle] }

// Setting copies the text of a setting.
func (h *nativeHost) Setting(handle uint32, path string, to []byte) int {
	text, ok := h.binding(handle).settings.lookup(path)
	if !ok {
		return -1
	}
	copy(to, text)
	return len(text)
}

// Payload copies received payload.
func (h *nativeHost) Payload(_ uint32, from int, to []byte) int {
	payload := []byte(nil)
	if h.flow != nil {
		payload = h.flow.waiting()
	} else {
		payload = h.x.In.Payload()
	}
	return copy(to, payload[min(from, len(payload)):])
}

// Rebuild builds the received packet anew.
func (h *nativeHost) Rebuild(uint32) int32 {
	ok, v, stop := rebuild(h.x)
	switch {
	case stop:
		return h.decide(v)
	case ok:
		return callOK
	}
	return -1
}

// OutIP sets the IP header.
func (h *nativeHost) OutIP(n uint32, ip *pfm.IP) {
	if ip.Src.Is6() {
		h.out(n).SetIPv6(packet.IPv6{HopLimit: ip.TTL, TrafficClass: ip.TOS, FlowLabel: ip.FlowLabel,
			NextHeader: packet.Protocol(ip.Protocol), Src: ip.Src, Dst: ip.Dst})
		return
	}
	h.out(n).SetIPv4(packet.IPv4{TTL: ip.TTL, TOS: ip.TOS, DF: ip.DF, ID: ip.ID,
		Protocol: packet.Protocol(ip.Protocol), Src: ip.Src, Dst: ip.Dst})
}

// OutTCP sets the TCP header.
func (h *nativeHost) OutTCP(n uint32, t *pfm.TCP) {
	out := packet.TCP{SrcPort: t.SrcPort, DstPort: t.DstPort, Seq: packet.Seq(t.Seq), Ack: packet.Seq(t.Ack),
		Window: t.Window, Flags: packet.TCPFlags(t.Flags)}
	if tcp.CheckFlags(out.Flags) != packet.ReasonNone {
		panic(fmt.Sprintf("module %s: no TCP sends flags %v", h.m.manifest.Name, out.Flags))
	}
	o := &out.Options
	o.Has = packet.TCPOptionSet(t.Options) & guestOptions
	o.MSS, o.WScale, o.NumSACK, o.TSVal, o.TSEcr = t.MSS, t.WScale, t.NumSACK, t.TSVal, t.TSEcr
	for i, block := range t.SACK {
		o.SACK[i] = packet.SACKBlock{Left: packet.Seq(block[0]), Right: packet.Seq(block[1])}
	}
	h.out(n).SetTCP(out)
}

// OutUDP sets the UDP header.
func (h *nativeHost) OutUDP(n uint32, src, dst uint16) {
	h.out(n).SetUDP(packet.UDP{SrcPort: src, DstPort: dst})
}

// OutEcho sets the header of an ICMP echo message.
func (h *nativeHost) OutEcho(n uint32, version uint8, request bool, id, seq uint16) {
	setEcho(h.out(n), uint32(version), request, id, seq)
}

// OutPayload sets the payload to a copy.
func (h *nativeHost) OutPayload(n uint32, b []byte) {
	out := h.out(n)
	if out == &h.extra {
		h.room = append(h.room[:0], b...)
		out.SetPayload(h.room)
		return
	}
	out.SetPayload(h.arena.Keep(h.x.Batch(), b))
}

// OutReceived sets the payload to a part of the received one.
func (h *nativeHost) OutReceived(_ uint32, from, length int) {
	h.x.Out.SetPayload(h.x.In.Payload()[from : from+length])
}

// Finding tells of something that is mended.
func (h *nativeHost) Finding(_ uint32, r pfm.Reason, value uint64) int32 {
	if h.job != nil || h.flow != nil {
		if h.stop = sessionFinding(h.job, h.flow, h.m.reasonOf[r]); h.stop {
			return callStop
		}
		return callOK
	}
	if v, stop := h.x.Finding(h.m.reasonOf[r], value); stop {
		return h.decide(v)
	}
	return callOK
}

// Log says something in the event stream.
func (h *nativeHost) Log(text string) {
	h.needs(CapLog)
	h.m.say([]byte(text))
}

// Emit sends the extra packet.
func (h *nativeHost) Emit(uint32) int32 {
	h.needs(CapEmit)
	defer h.extra.Reset()
	sent := false
	if h.due != nil {
		sent = h.m.host.Emit(&h.due.from, &h.extra) == nil
	} else {
		sent = h.x.MayAnswer() && h.x.Emit(&h.extra) == nil
	}
	if sent {
		return callOK
	}
	return -1
}

// Connection makes the packet's connection.
func (h *nativeHost) Connection(_, limit uint32, idle int64) int32 {
	h.needs(CapConnections)
	if !mayConnect(h.x) {
		return -1
	}
	if r := h.x.Create(int(limit)); r != packet.ReasonNone {
		return h.decide(h.x.Refuse(r, uint64(limit)))
	}
	h.x.SetDeadline(deadline(h.x.Now, uint64(idle)))
	h.loadColumn()
	return callOK
}

// Deadline lets the packet's connection go on.
func (h *nativeHost) Deadline(_ uint32, idle int64) int32 {
	if h.x.Conn == nil {
		return -1
	}
	h.x.SetDeadline(deadline(h.x.Now, uint64(idle)))
	return callOK
}

// InstanceRead copies bytes of the instance.
func (h *nativeHost) InstanceRead(handle uint32, from int, to []byte) {
	store := h.binding(handle).store
	store.mu.Lock()
	defer store.mu.Unlock()
	copy(to, store.data[from:])
}

// InstanceWrite keeps bytes with the instance.
func (h *nativeHost) InstanceWrite(handle uint32, from int, b []byte) {
	store := h.binding(handle).store
	store.mu.Lock()
	defer store.mu.Unlock()
	copy(store.data[from:], b)
}

// InstanceAdd adds to a number of the instance.
func (h *nativeHost) InstanceAdd(handle uint32, at int, delta uint64) uint64 {
	return h.binding(handle).store.add(at, delta)
}

// Timer has the binding's timer called.
func (h *nativeHost) Timer(handle uint32, after int64) {
	h.needs(CapTimers)
	var from ppf.Ingress
	if h.x != nil {
		from = h.x.Ingress()
	} else if h.due != nil {
		from = h.due.from
	}
	h.m.setTimer(h.binding(handle), uint64(after), from)
}

// SharedGet copies a shared value.
func (h *nativeHost) SharedGet(name string, to []byte) int {
	h.needs(CapShared)
	return h.m.shared.get([]byte(name), to)
}

// SharedSet replaces a shared value.
func (h *nativeHost) SharedSet(name string, value []byte) bool {
	h.needs(CapShared)
	return h.m.shared.set(name, value)
}

// DataHas looks into a data module.
func (h *nativeHost) DataHas(name string, key []byte) int32 {
	h.needs(CapShared)
	d := h.m.host.Data(name)
	switch {
	case d == nil:
		return -1
	case hasKey(d, key):
		return 1
	}
	return 0
}
