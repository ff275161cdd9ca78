package tcp

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// limits counts an instance's connections for each client and those that are
// half-open. New settings mean new limits: connections made before are counted
// again with their next segment.
type limits struct {
	id                 uint32
	perClient, perHalf int // 0: none

	mu      sync.Mutex
	clients map[netip.Addr]int
	half    int
}

// counted is what limits know of a connection.
type counted struct {
	by   uint32 // limits.id of those that count it, 0: none
	half bool   // as half-open
}

var lastLimits atomic.Uint32

// newLimits makes the limits of a configuration, nil where it sets none.
func newLimits(c *Config) *limits {
	if c.ClientConnections == 0 && c.HalfOpenConnections == 0 {
		return nil
	}
	l := newCounts()
	l.perClient, l.perHalf = c.ClientConnections, c.HalfOpenConnections
	return l
}

// newCounts makes limits that only count.
func newCounts() *limits { return &limits{id: lastLimits.Add(1), clients: map[netip.Addr]int{}} }

// halfOpen is how many connections are.
func (l *limits) halfOpen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.half
}

// clientOf is whom a connection counts for: in IPv6 a network of 64 bits, of
// which one host has all addresses that it likes (RFC 8981).
func clientOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64) // fails for an invalid address only, and gives a zero one
	return p.Addr()
}

// room tells which limit a further connection would pass. Workers that ask at
// the same moment may pass it by one connection each.
func (l *limits) room(client netip.Addr, halfOpen bool) ppf.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.perClient > 0 && l.clients[clientOf(client)] >= l.perClient:
		return ReasonLimitClient
	case halfOpen && l.perHalf > 0 && l.half >= l.perHalf:
		return ReasonLimitHalfOpen
	}
	return packet.ReasonNone
}

// of is the limit that a reason of room stands for.
func (l *limits) of(r ppf.Reason) int {
	if r == ReasonLimitClient {
		return l.perClient
	}
	return l.perHalf
}

// moved counts a connection that is new here or not half-open any more, and none
// that is over: what only waits to be forgotten keeps nobody out.
func (l *limits) moved(n *counted, c *ppf.Conn, p phase) {
	if p.over() {
		l.freed(n, c)
		return
	}
	halfOpen := p.halfOpen()
	if n.by == l.id && n.half == halfOpen {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.by != l.id {
		key := c.Key(ppf.ClientToServer)
		l.clients[clientOf(key.SrcAddr())]++
		*n = counted{by: l.id}
	}
	if halfOpen != n.half {
		n.half = halfOpen
		if halfOpen {
			l.half++
		} else {
			l.half--
		}
	}
}

// freed uncounts a connection that is over or goes.
func (l *limits) freed(n *counted, c *ppf.Conn) {
	if n.by != l.id {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := c.Key(ppf.ClientToServer)
	client := clientOf(key.SrcAddr())
	if l.clients[client]--; l.clients[client] == 0 {
		delete(l.clients, client)
	}
	if n.half {
		l.half--
	}
	*n = counted{}
}
