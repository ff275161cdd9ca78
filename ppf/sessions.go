package ppf

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sessions are the connections that stream chains serve now.
type sessions struct {
	mu  sync.Mutex
	all map[*Session]bool
}

func (l *sessions) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*Session]bool{}
	}
	l.all[s] = true
}

func (l *sessions) remove(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
}

// each calls f for every session; f must not block.
func (l *sessions) each(f func(*Session)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.all {
		f(s)
	}
}

func (l *sessions) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// count tells how many sessions an instance has.
func (l *sessions) count(p *ProxyInstance) (n int) {
	l.each(func(s *Session) {
		if s.Instance.id == p.id {
			n++
		}
	})
	return n
}

// progress is what a session has moved, for lists.
type progress struct {
	messages [2]atomic.Uint64
	bytes    [2]atomic.Uint64
	seen     [2]atomic.Int64
	about    atomic.Pointer[string] // what a function says of the client's connection
}

// streamCounters count by flow what the streams of an instance moved. They are for
// instances at no hook: elsewhere the packets of the same bytes are counted.
type streamCounters [2]struct{ bytes, sent, unchanged, dropped atomic.Uint64 }

func (c *streamCounters) addTo(sum *counters) {
	if c == nil {
		return
	}
	for d := range c {
		sent, unchanged, dropped := c[d].sent.Load(), c[d].unchanged.Load(), c[d].dropped.Load()
		sum.flow[d].add(&FlowCounters{In: sent + unchanged + dropped, InBytes: c[d].bytes.Load(), Sent: sent, Unchanged: unchanged, Dropped: dropped})
	}
}

func (c *streamCounters) reset() {
	if c == nil {
		return
	}
	for d := range c {
		c[d].bytes.Store(0)
		c[d].sent.Store(0)
		c[d].unchanged.Store(0)
		c[d].dropped.Store(0)
	}
}

// counts gives the counters of the session's instance; nil where packets are
// counted.
func (s *Session) counts() *streamCounters {
	if s.Instance.source() != SourceListen {
		return nil
	}
	return s.Instance.streams
}

// Moved notes n bytes of payload of a flow that were sent on. Like what follows it
// is safe for concurrent use.
func (s *Session) Moved(d Dir, n int64) {
	s.progress.bytes[d].Add(uint64(n))
	s.progress.seen[d].Store(s.engine.env.Now())
	if c := s.counts(); c != nil {
		c[d].bytes.Add(uint64(n))
	}
}

// Rebuilt counts a message of a flow that was built anew and sent on, for which n
// bytes were received.
func (s *Session) Rebuilt(d Dir, n int64) {
	s.Moved(d, n)
	s.progress.messages[d].Add(1)
	if c := s.counts(); c != nil {
		c[d].sent.Add(1)
	}
}

// Refused counts a message of a flow that was refused, or a stream whose messages
// nobody knows.
func (s *Session) Refused(d Dir) {
	if c := s.counts(); c != nil {
		c[d].dropped.Add(1)
	}
}

// Carried counts a stream whose bytes go on as they are, in both flows.
func (s *Session) Carried() {
	if c := s.counts(); c != nil {
		c[ClientToServer].unchanged.Add(1)
		c[ServerToClient].unchanged.Add(1)
	}
}

// Describe says in words what the client's connection is, for lists: a TLS
// version, a cipher, a name.
func (s *Session) Describe(text string) { s.progress.about.Store(&text) }

// Abort ends a connection with a reset, or what its protocol has in place of
// one: nothing that is buffered is sent, and an encrypted one gets no
// close_notify.
func Abort(c net.Conn) {
	for {
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = inner.NetConn()
	}
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		// It fails only for a connection that is closed already.
		_ = l.SetLinger(0)
	}
	c.Close()
}

// matchSession reports whether a session passes a filter.
func (f *ConnectionFilter) matchSession(s *Session) bool {
	return (f.Instance == "" || f.Instance == s.Instance.Name) &&
		(f.Protocol == "" || strings.EqualFold(f.Protocol, "tcp")) &&
		(f.State == "" || strings.EqualFold(f.State, "ESTABLISHED")) &&
		(!f.Client.IsValid() || f.Client.Contains(s.ClientAddr.Addr())) &&
		(!f.Server.IsValid() || f.Server.Contains(s.ServerAddr.Addr())) &&
		(f.ServerPort == 0 || f.ServerPort == s.ServerAddr.Port())
}

func (s *Session) describe() ConnectionInfo {
	info := ConnectionInfo{
		Instance: s.Instance.Name, Protocol: "tcp", State: "ESTABLISHED",
		Client: s.ClientAddr.String(), Server: s.ServerAddr.String(), Created: time.Unix(0, s.created),
	}
	for d, half := range []*HalfInfo{&info.CS, &info.SC} {
		half.Packets = s.progress.messages[d].Load()
		half.Bytes, half.LastSeen = s.progress.bytes[d].Load(), time.Unix(0, max(s.created, s.progress.seen[d].Load()))
	}
	if about := s.progress.about.Load(); about != nil {
		info.About = *about
	}
	return info
}

// findSessions lists the sessions that a filter lets pass, at most f.Limit with
// the n that there are already.
func (e *Engine) findSessions(f *ConnectionFilter, n int) (list []ConnectionInfo) {
	e.sessions.each(func(s *Session) {
		if (f.Limit == 0 || n+len(list) < f.Limit) && f.matchSession(s) {
			list = append(list, s.describe())
		}
	})
	return list
}

// ClientNetwork is what limits per client count by: an IPv4 address, or the /64 of
// an IPv6 one, of which a host may take any address.
func ClientNetwork(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil { // not an address: all such count as one
		return netip.Prefix{}
	}
	return p
}

// SessionLimit counts the sessions that a stream function serves, altogether and
// per client. The zero value has none yet; it is safe for concurrent use.
type SessionLimit struct {
	mu       sync.Mutex
	all      int
	byClient map[netip.Prefix]int
}

// Enter counts a session in, unless it were more than most altogether or than
// perClient of its client (0: no limit). Where it gives ReasonNone, Leave has to
// follow.
func (l *SessionLimit) Enter(s *Session, most, perClient int) Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := ClientNetwork(s.ClientAddr.Addr())
	switch {
	case most > 0 && l.all >= most:
		return ReasonSessions
	case perClient > 0 && l.byClient[k] >= perClient:
		return ReasonClientSessions
	}
	if l.byClient == nil {
		l.byClient = map[netip.Prefix]int{}
	}
	l.all++
	l.byClient[k]++
	return 0
}

// Leave counts a session out.
func (l *SessionLimit) Leave(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := ClientNetwork(s.ClientAddr.Addr())
	l.all--
	if l.byClient[k]--; l.byClient[k] == 0 {
		delete(l.byClient, k)
	}
}
