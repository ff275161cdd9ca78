package wasm

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/modules/tcp"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// callModule is the name under which guests import the calls.
const callModule = "promethos"

// What calls answer beside lengths.
const (
	callOK      = 0
	callStop    = 1           // the host has decided; what the guest answers does not count
	callMissing = ^uint32(0)  // -1: there is no such thing
	extraPacket = 0xffff_ffff // instead of a descriptor's number: the packet for emit
)

// A call is a host function. Parameters and result are letters: i is i32, I is
// i64. docs/abi.md says what they mean.
type call struct {
	name   string
	params string
	result string     // "" for none
	needs  Capability // "": nothing
	f      func(g *guest, s []uint64)
}

var calls = slices.Concat(packetCalls, messageCalls, streamCalls)

// packetCalls are those about a packet, and those about none.
var packetCalls = []call{
	{"reason", "ii", "i", "", (*guest).callReason},
	{"setting", "iiiii", "i", "", (*guest).callSetting},
	{"payload", "iiii", "i", "", (*guest).callPayload},
	{"rebuild", "i", "i", "", (*guest).callRebuild},
	{"out_ip", "ii", "i", "", (*guest).callOutIP},
	{"out_tcp", "ii", "i", "", (*guest).callOutTCP},
	{"out_udp", "iii", "i", "", (*guest).callOutUDP},
	{"out_echo", "iiiii", "i", "", (*guest).callOutEcho},
	{"out_payload", "iii", "i", "", (*guest).callOutPayload},
	{"out_received", "iii", "i", "", (*guest).callOutReceived},
	{"finding", "iiI", "i", "", (*guest).callFinding},
	{"log", "ii", "", CapLog, (*guest).callLog},
	{"emit", "i", "i", CapEmit, (*guest).callEmit},
	{"connection", "iiI", "i", CapConnections, (*guest).callConnection},
	{"deadline", "iI", "i", CapConnections, (*guest).callDeadline},
	{"instance_read", "iiii", "i", CapConnections, (*guest).callInstanceRead},
	{"instance_write", "iiii", "i", CapConnections, (*guest).callInstanceWrite},
	{"instance_add", "iiI", "I", CapConnections, (*guest).callInstanceAdd},
	{"timer", "iI", "i", CapTimers, (*guest).callTimer},
	{"shared_get", "iiii", "i", CapShared, (*guest).callSharedGet},
	{"shared_set", "iiii", "i", CapShared, (*guest).callSharedSet},
	{"data_has", "iiii", "i", CapShared, (*guest).callDataHas},
}

func valueTypes(s string) []api.ValueType {
	list := []api.ValueType{}
	for _, c := range s {
		if c == 'I' {
			list = append(list, api.ValueTypeI64)
		} else {
			list = append(list, api.ValueTypeI32)
		}
	}
	return list
}

// provide gives a runtime the calls. One that needs a capability that the
// manifest does not ask for ends the guest.
func provide(ctx context.Context, r wazero.Runtime, m *Manifest) error {
	b := r.NewHostModuleBuilder(callModule)
	for _, c := range calls {
		f := c.f
		if c.needs != "" && !m.has(c.needs) {
			f = func(g *guest, _ []uint64) {
				g.fail("it called %s and its manifest does not ask for the capability %q", c.name, c.needs)
			}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
			f(ctx.(*guestContext).g, s)
		}), valueTypes(c.params), valueTypes(c.result)).Export(c.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// bytes is a part of the guest's memory, lent for the call.
func (g *guest) bytes(at, n uint64) []byte {
	b, ok := g.mod.Memory().Read(uint32(at), uint32(n))
	if !ok {
		g.fail("an address outside its memory: %#x, %d bytes", uint32(at), uint32(n))
	}
	return b
}

// out is the packet that a call builds.
func (g *guest) out(n uint64) *packet.Out {
	if uint32(n) == extraPacket && g.m.manifest.has(CapEmit) {
		return &g.extra
	}
	return &g.packet(uint32(n)).Out
}

func (g *guest) binding(handle uint64) *binding {
	list := *g.m.bindings.Load()
	if uint32(handle) >= uint32(len(list)) {
		g.fail("a call about instance %d, which is not there", uint32(handle))
	}
	return list[uint32(handle)]
}

// decide ends the packet's chain with a verdict of the host's.
func (g *guest) decide(v ppf.Verdict) uint64 {
	r := &g.run
	r.forced[r.at], r.stopped[r.at] = v, true
	return callStop
}

// callReason registers a reason from its JSON form.
func (g *guest) callReason(s []uint64) {
	if !g.starting {
		g.fail("reasons are registered while the module starts")
	}
	var info struct {
		Name, Field, RFC, Doc, Trips, Relax string
		CVE                                 []string
		Repaired                            bool
	}
	if err := json.Unmarshal(g.bytes(s[0], s[1]), &info); err != nil {
		g.fail("reason: %v", err)
	}
	r := ppf.ReasonInfo{Name: info.Name, Field: info.Field, RFC: info.RFC, Doc: info.Doc, Trips: info.Trips, Relax: info.Relax, CVE: info.CVE}
	if info.Repaired {
		r.Class = packet.Repaired
	}
	n, err := g.m.register(r)
	if err != nil {
		g.fail("reason %q: %v", info.Name, err)
	}
	s[0] = uint64(n)
}

// callSetting gives the text of a setting, cut at the room for it; the answer is
// its whole length.
func (g *guest) callSetting(s []uint64) {
	b := g.binding(s[0])
	text, ok := b.settings.lookup(string(g.bytes(s[1], s[2])))
	if !ok {
		s[0] = uint64(callMissing)
		return
	}
	copy(g.bytes(s[3], s[4]), text)
	s[0] = uint64(len(text))
}

// callPayload copies a part of the received payload into the guest's memory.
func (g *guest) callPayload(s []uint64) {
	payload := []byte(nil)
	if g.flow != nil {
		payload = g.flow.waiting()
	} else {
		payload = g.packet(uint32(s[0])).In.Payload()
	}
	from := min(uint64(uint32(s[1])), uint64(len(payload)))
	s[0] = uint64(copy(g.bytes(s[2], s[3]), payload[from:]))
}

// callRebuild builds the received packet anew.
func (g *guest) callRebuild(s []uint64) {
	ok, v, stop := rebuild(g.packet(uint32(s[0])))
	switch {
	case stop:
		s[0] = g.decide(v)
	case ok:
		s[0] = callOK
	default:
		s[0] = uint64(callMissing)
	}
}

// rebuild builds the received packet anew, header by header from its typed
// values, with the received payload by reference. When stop is true v is the
// answer; ok is false for what has no typed layer 4 header.
func rebuild(x *ppf.Exchange) (ok bool, v ppf.Verdict, stop bool) {
	if v, stop := ip.Verify(x); stop {
		return false, v, true
	}
	if x.In.Has(packet.HasFragment) || !x.In.Has(packet.HasTCP|packet.HasUDP) {
		return false, v, false
	}
	if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
		return false, v, true
	}
	if x.In.Has(packet.HasUDP) {
		x.Out.SetUDP(packet.UDP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
	} else {
		in := x.In.TCP()
		if r := tcp.CheckFlags(in.Flags()); r != packet.ReasonNone {
			return false, x.Refuse(r, uint64(in.Flags())), true
		}
		out := packet.TCP{
			SrcPort: in.SrcPort(), DstPort: in.DstPort(), Seq: in.Seq(), Ack: in.Ack(), Window: in.Window(),
			Flags: in.Flags() &^ packet.URG, OptionLimit: in.HeaderLen() - packet.TCPMinLen,
		}
		if r := in.ParseOptions(&out.Options); r != packet.ReasonNone {
			return false, x.Refuse(r, uint64(in.HeaderLen())), true
		}
		x.Out.SetTCP(out)
	}
	x.Out.SetPayload(x.In.Payload())
	x.Out.SetPayloadSum(x.In.PayloadSum())
	return true, v, false
}

// Offsets of the structures that out_ip and out_tcp read.
const (
	ipLen       = 48
	ipVersion   = 0  // u8: 4 or 6
	ipTTL       = 1  // u8
	ipTOS       = 2  // u8
	ipDF        = 3  // u8: 1 sets it
	ipFlowLabel = 4  // u32
	ipID        = 8  // u16
	ipProtocol  = 10 // u8: of a payload without layer 4 header
	ipSrc       = 16 // 16 bytes
	ipDst       = 32 // 16 bytes

	tcpLen     = 72
	tcpSrcPort = 0  // u16
	tcpDstPort = 2  // u16
	tcpSeq     = 4  // u32
	tcpAck     = 8  // u32
	tcpWindow  = 12 // u16
	tcpFlags   = 14 // u8
	tcpWScale  = 15 // u8
	tcpOptions = 16 // u16: those to send
	tcpMSS     = 18 // u16
	tcpNumSACK = 20 // u8
	tcpTSVal   = 24 // u32
	tcpTSEcr   = 28 // u32
	tcpSACK    = 32 // 4 times u32, u32
)

// guestOptions are the TCP options that guests may send.
const guestOptions = packet.OptMSS | packet.OptWScale | packet.OptSACKPermitted | packet.OptSACK | packet.OptTimestamps

func address(b []byte, version byte) netip.Addr {
	if version == 4 {
		return netip.AddrFrom4([4]byte(b[12:16]))
	}
	return netip.AddrFrom16([16]byte(b[:16]))
}

// callOutIP sets the IP header from typed values.
func (g *guest) callOutIP(s []uint64) {
	out, b := g.out(s[0]), g.bytes(s[1], ipLen)
	switch v := b[ipVersion]; v {
	case 4:
		out.SetIPv4(packet.IPv4{TTL: b[ipTTL], TOS: b[ipTOS], DF: b[ipDF] == 1, ID: le.Uint16(b[ipID:]),
			Protocol: packet.Protocol(b[ipProtocol]), Src: address(b[ipSrc:], v), Dst: address(b[ipDst:], v)})
	case 6:
		out.SetIPv6(packet.IPv6{HopLimit: b[ipTTL], TrafficClass: b[ipTOS], FlowLabel: le.Uint32(b[ipFlowLabel:]),
			NextHeader: packet.Protocol(b[ipProtocol]), Src: address(b[ipSrc:], v), Dst: address(b[ipDst:], v)})
	default:
		g.fail("out_ip: version %d", v)
	}
	s[0] = callOK
}

// callOutTCP sets the TCP header from typed values.
func (g *guest) callOutTCP(s []uint64) {
	out, b := g.out(s[0]), g.bytes(s[1], tcpLen)
	h := packet.TCP{
		SrcPort: le.Uint16(b[tcpSrcPort:]), DstPort: le.Uint16(b[tcpDstPort:]),
		Seq: packet.Seq(le.Uint32(b[tcpSeq:])), Ack: packet.Seq(le.Uint32(b[tcpAck:])),
		Window: le.Uint16(b[tcpWindow:]), Flags: packet.TCPFlags(b[tcpFlags]),
	}
	o := &h.Options
	o.Has = packet.TCPOptionSet(le.Uint16(b[tcpOptions:])) & guestOptions
	o.MSS, o.WScale, o.NumSACK = le.Uint16(b[tcpMSS:]), b[tcpWScale], b[tcpNumSACK]
	o.TSVal, o.TSEcr = le.Uint32(b[tcpTSVal:]), le.Uint32(b[tcpTSEcr:])
	for i := range o.SACK {
		e := b[tcpSACK+8*i:]
		o.SACK[i] = packet.SACKBlock{Left: packet.Seq(le.Uint32(e)), Right: packet.Seq(le.Uint32(e[4:]))}
	}
	if tcp.CheckFlags(h.Flags) != packet.ReasonNone {
		g.fail("out_tcp: no TCP sends flags %v", h.Flags)
	}
	out.SetTCP(h)
	s[0] = callOK
}

// callOutUDP sets the UDP header.
func (g *guest) callOutUDP(s []uint64) {
	g.out(s[0]).SetUDP(packet.UDP{SrcPort: uint16(s[1]), DstPort: uint16(s[2])})
	s[0] = callOK
}

// callOutEcho sets the header of an ICMP echo message of the IP header's version:
// 0 is a reply, 1 a request.
func (g *guest) callOutEcho(s []uint64) {
	setEcho(g.out(s[0]), uint32(s[1]), uint32(s[2]) == 1, uint16(s[3]), uint16(s[4]))
	s[0] = callOK
}

func setEcho(out *packet.Out, version uint32, request bool, id, seq uint16) {
	switch {
	case version == 6 && request:
		out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6Echo, ID: id, Seq: seq})
	case version == 6:
		out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6EchoReply, ID: id, Seq: seq})
	case request:
		out.SetICMPv4(packet.ICMPv4{Type: packet.ICMPv4Echo, ID: id, Seq: seq})
	default:
		out.SetICMPv4(packet.ICMPv4{Type: packet.ICMPv4EchoReply, ID: id, Seq: seq})
	}
}

// callOutPayload sets the payload to a copy of bytes of the guest.
func (g *guest) callOutPayload(s []uint64) {
	out, b := g.out(s[0]), g.bytes(s[1], s[2])
	if len(b) > maxPayload {
		g.fail("out_payload: %d bytes", len(b))
	}
	if out == &g.extra { // it is sent at once
		g.payload = append(g.payload[:0], b...)
		b = g.payload
	} else {
		b = g.arena.Keep(g.batch, b)
	}
	out.SetPayload(b)
	s[0] = callOK
}

// maxPayload is more than any packet holds.
const maxPayload = 1 << 16

// callOutReceived sets the payload to a part of the received one, by reference.
func (g *guest) callOutReceived(s []uint64) {
	x := g.packet(uint32(s[0]))
	payload := x.In.Payload()
	from, n := uint64(uint32(s[1])), uint64(uint32(s[2]))
	if from+n > uint64(len(payload)) {
		g.fail("out_received: bytes %d to %d of %d", from, from+n, len(payload))
	}
	x.Out.SetPayload(payload[from : from+n])
	s[0] = callOK
}

// callFinding tells of something that has one safe meaning.
func (g *guest) callFinding(s []uint64) {
	r, ok := g.m.reason(uint32(s[1]))
	if !ok {
		g.fail("finding: reason %d is not registered", uint32(s[1]))
	}
	if g.job != nil || g.flow != nil {
		s[0] = callOK
		if g.stop = sessionFinding(g.job, g.flow, r); g.stop {
			s[0] = callStop
		}
		return
	}
	x := g.packet(uint32(s[0]))
	v, stop := x.Finding(r, s[2])
	s[0] = callOK
	if stop {
		s[0] = g.decide(v)
	}
}

// callLog says something in the event stream, limited in rate; a flood within
// one call is a fault.
func (g *guest) callLog(s []uint64) {
	g.logs++
	if limit := g.m.manifest.Limits.LogsPerCall; g.logs > limit*max(len(g.run.packets), 1) {
		g.fail("a flood of logs: more than %d in one call", limit)
	}
	g.m.say(g.bytes(s[0], s[1]))
}

// callEmit sends the extra packet and empties it: beside the packet that is judged,
// or from a timer.
func (g *guest) callEmit(s []uint64) {
	n := uint32(s[0])
	if n == extraPacket {
		n = uint32(g.run.at)
	}
	s[0] = uint64(callMissing)
	if g.due != nil {
		s[0] = did(g.m.host.Emit(&g.due.from, &g.extra) == nil)
	} else if x := g.packet(n); x.MayAnswer() {
		s[0] = did(x.Emit(&g.extra) == nil)
	}
	g.extra.Reset()
}

// callConnection makes the packet's connection, with a limit per instance and a
// deadline.
func (g *guest) callConnection(s []uint64) {
	x := g.packet(uint32(s[0]))
	if !mayConnect(x) {
		s[0] = uint64(callMissing)
		return
	}
	if r := x.Create(int(uint32(s[1]))); r != packet.ReasonNone {
		s[0] = g.decide(x.Refuse(r, uint64(uint32(s[1]))))
		return
	}
	x.SetDeadline(deadline(x.Now, s[2]))
	s[0] = callOK
	g.run.connected()
	err := g.findColumn(x)
	if err == nil {
		var a area
		if a, err = g.readArea(len(g.run.packets)); err == nil {
			g.putColumn(a, g.run.at, len(g.run.packets))
		}
	}
	if err != nil {
		g.fail("%v", err)
	}
}

// mayConnect reports whether a connection can be made for the packet.
func mayConnect(x *ppf.Exchange) bool {
	return x.Conn == nil && x.Quote == nil && x.In.Has(packet.HasTCP|packet.HasUDP)
}

// deadline is a time after now, a day at most.
func deadline(now int64, after uint64) int64 {
	const day = 24 * 60 * 60 * 1_000_000_000
	return now + int64(min(after, day))
}

// callDeadline sets when the packet's connection expires, in ns from now.
func (g *guest) callDeadline(s []uint64) {
	x := g.packet(uint32(s[0]))
	if x.Conn == nil {
		s[0] = uint64(callMissing)
		return
	}
	x.SetDeadline(deadline(x.Now, s[1]))
	s[0] = callOK
}

// callTimer has promethos_timer called for an instance after some ns.
func (g *guest) callTimer(s []uint64) {
	b := g.binding(s[0])
	var from ppf.Ingress
	if len(g.run.packets) > 0 {
		from = g.run.packets[g.run.at].Ingress()
	} else if g.due != nil {
		from = g.due.from
	}
	g.m.setTimer(b, s[1], from)
	s[0] = callOK
}
