package tcp

import (
	"sync"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// manner is how a server answers SYNs, as its SYN-ACKs showed: what a cookie may
// offer in its place.
type manner struct {
	mss    uint16
	scale  uint8
	scales bool
	offers offers
	asked  offers // what a client offered when it answered
	scaled bool   // a client offered a window scale
	at     int64  // when a SYN was let through to learn, in nanoseconds since 1970
}

// learned says that nothing is unknown that is worth a SYN.
func (m *manner) learned() bool {
	return m.scaled && m.asked&(offerSACK|offerStamps) == offerSACK|offerStamps
}

// plain is the manner of a server that nothing is known of.
func plain(v6 bool) manner {
	if v6 {
		return manner{mss: defaultMSS6}
	}
	return manner{mss: defaultMSS4}
}

// maxManners is how many servers are known at a time.
const maxManners = 4096

// serverKey names a server without pointers.
type serverKey struct {
	addr [16]byte
	port uint16
	vlan uint32
}

// manners are those of all servers. The zero value is ready; it is safe for
// concurrent use.
type manners struct {
	mu   sync.RWMutex
	list map[serverKey]manner
}

func (m *manners) of(k serverKey, v6 bool) manner {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if known, ok := m.list[k]; ok {
		return known
	}
	return plain(v6)
}

// put keeps a manner, in place of any other where there is no room.
func (m *manners) put(k serverKey, to manner) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.list == nil {
		m.list = map[serverKey]manner{}
	}
	if _, known := m.list[k]; !known && len(m.list) >= maxManners {
		for other := range m.list {
			delete(m.list, other)
			break
		}
	}
	m.list[k] = to
}

// askEvery is how often a SYN may go on to a server only to learn how it answers.
const askEvery = int64(1e9)

// asks says that this SYN is to go on so that its server shows how it answers.
func (m *manners) asks(k serverKey, v6 bool, now int64) bool {
	known := m.of(k, v6)
	if known.learned() || known.at != 0 && now-known.at < askEvery {
		return false
	}
	known.at = now
	m.put(k, known)
	return true
}

// learn takes over how the server of x.Conn answered what the client offered; s is
// its SYN-ACK. It gives what was known before.
func (m *manners) learn(x *ppf.Exchange, client *side, s *segment) (before manner) {
	key := x.Conn.Key(ppf.ClientToServer)
	k := serverKey{key.DstAddr().As16(), key.DstPort, key.VLAN}
	before = m.of(k, key.V6)
	now := before
	o := &s.header.Options
	now.mss = plain(key.V6).mss
	if o.Has&packet.OptMSS != 0 {
		now.mss = o.MSS
	}
	if client.scales {
		now.scaled, now.scales, now.scale = true, o.Has&packet.OptWScale != 0, 0
		if now.scales {
			now.scale = min(o.WScale, maxScale)
		}
	}
	now.asked |= client.offers
	now.offers = now.offers&^client.offers | offersOf(s.header)&client.offers
	if now != before {
		m.put(k, now)
	}
	return before
}
