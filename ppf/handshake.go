package ppf

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
)

// HandshakeTaker is a Processor that may answer the first segment of a connection
// itself, without keeping anything of it, and begins the connection with the one
// that completes the handshake.
type HandshakeTaker interface {
	// Completes says whether the packet, which belongs to no connection, completes
	// a handshake that the function answered.
	Completes(x *Exchange) bool
	// Cookies tells of such handshakes; nil where the settings want none.
	Cookies() *CookieInfo
}

// CookieInfo tells of the handshakes that an instance answered in place of its
// servers.
type CookieInfo struct {
	Active  bool   `json:"active"`
	Sent    uint64 `json:"sent"`    // SYN-ACKs with a cookie
	Opened  uint64 `json:"opened"`  // connections that completed one
	Refused uint64 `json:"refused"` // segments that completed none
}

// Handshake is how the instance's connections come about.
func (p *ProxyInstance) Handshake() Handshake {
	if p.spec == nil {
		return HandshakeDefault
	}
	return p.spec.Handshake
}

// taker is the function of an instance that takes handshakes, nil for none.
func (p *ProxyInstance) taker() HandshakeTaker {
	if p.Handshake() != HandshakeCookie || !p.numbers.on() {
		return nil
	}
	for _, name := range p.Chain[ClientToServer] {
		if t, ok := p.processors[name].(HandshakeTaker); ok {
			return t
		}
	}
	return nil
}

// cookies tells of the instance's handshakes; nil where it takes none.
func (p *ProxyInstance) cookies() *CookieInfo {
	if t := p.taker(); t != nil {
		return t.Cookies()
	}
	return nil
}

// checkCookies refuses the cookies of an instance whose sequence numbers cannot be
// translated: the server chooses another number than the cookie. In a capture
// nobody answers.
func (e *Engine) checkCookies(in *InstanceSpec, proxy *ProxyInstance) error {
	switch n := e.numbering(in, proxy); {
	case in.Handshake != HandshakeCookie || proxy.transparent() || e.recorded:
	case e.exchanges(in.Chain[0]):
		return errors.New("handshake: cookie: a function of the chain exchanges addresses (use tcp in its place)")
	case !n.on():
		return errors.New("handshake: cookie: sequence numbers have to be translated, which needs hook input, source inline, or hook forward with a `server` and without `out`; " +
			"the function tcp in both flows and no other that passes packets; mode repair or strict; and neither fail: open nor sequence: keep")
	}
	return nil
}

// ConnExpirer is a Processor that has something to do when the time of a
// connection is up; the connection is locked.
type ConnExpirer interface {
	// Expired tells for how long the connection is to stay, 0: it goes. emit sends
	// an extra packet of a flow of it.
	Expired(c *Conn, now int64, emit func(Dir, *packet.Out)) (again time.Duration)
}

// overdue asks the functions of a connection whose time is up, and gives the time
// until which it stays; 0: it goes.
func (e *Engine) overdue(c *Conn, now int64) int64 {
	p := e.proxy.proxyOf(c.proxy)
	if p == nil {
		return 0
	}
	again := time.Duration(0)
	for _, proc := range p.processors {
		expirer, ok := proc.(ConnExpirer)
		if !ok {
			continue
		}
		again = max(again, expirer.Expired(c, now, func(d Dir, out *packet.Out) {
			if err := e.emitFor(c, d, out); err != nil {
				if p.events.allow(now) {
					e.events.Add(Event{Kind: EventPacket, Instance: p.Name, Text: "extra packet: " + err.Error()})
				}
				return
			}
			p.streams[d].emitted.Add(1)
		}))
	}
	if again <= 0 {
		return 0
	}
	return now + int64(again)
}

// wires has the inline pairs by number, as frames came from them.
type wires [1 << 8]atomic.Pointer[Wire]

// note keeps the pair that a frame came from.
func (w *wires) note(from Wire) {
	if at := &w[from.Number()]; at.Load() == nil || *at.Load() != from {
		kept := from
		at.Store(&kept)
	}
}

// tagsOf gives the tags of a key; of two the outer one is that of a provider (IEEE
// 802.1ad).
func tagsOf(id uint32) (tags [packet.MaxVLANs]packet.VLANTag, n int) {
	if outer := id >> vlanBits; outer != 0 {
		tags[n] = packet.VLANTag{TPID: packet.EtherTypeQinQ, VID: uint16(outer)}
		n++
	}
	if inner := id & (1<<vlanBits - 1); inner != 0 {
		tags[n] = packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: uint16(inner)}
		n++
	}
	return tags, n
}

// emitFor sends an extra packet of flow d of a locked connection, where no packet
// of it is at hand. On a wire it goes between the stations that the last packets
// did.
func (e *Engine) emitFor(c *Conn, d Dir, out *packet.Out) error {
	key := &c.key[d]
	var from Ingress
	if key.Wire != 0 {
		wire := e.wires[key.Wire].Load()
		if wire == nil {
			return errNoWire
		}
		link := c.Half[d].L2
		if link == (Layer2{}) {
			back := c.Half[d.Other()].L2
			link = Layer2{Src: back.Dst, Dst: back.Src}
		}
		from = Ingress{dir: d, wire: *wire, hook: InlineClient + Hook(d), eth: packet.Ethernet{Src: link.Src, Dst: link.Dst}, dst: key.DstAddr()}
		from.tags, from.tagN = tagsOf(key.VLAN)
	}
	return e.emitFrom(&from, out, make([]byte, packet.MaxHeaders))
}
