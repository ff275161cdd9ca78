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

// streamCounters count by flow what the streams of an instance moved, and at hooks
// the extra packets that no worker sent.
type streamCounters [2]struct{ bytes, sent, unchanged, dropped, emitted atomic.Uint64 }

// MessageCounters counts the messages of one flow, or streams where a function
// carries bytes. Each that came in is in one of Sent, Unchanged and Dropped.
type MessageCounters struct {
	In        uint64 `json:"in"`
	InBytes   uint64 `json:"in_bytes"`  // of payload
	Sent      uint64 `json:"sent"`      // built anew
	Unchanged uint64 `json:"unchanged"` // carried as they are
	Dropped   uint64 `json:"dropped"`   // refused
}

func (c *streamCounters) read() (m [2]MessageCounters) {
	for d := range c {
		m[d] = MessageCounters{InBytes: c[d].bytes.Load(), Sent: c[d].sent.Load(), Unchanged: c[d].unchanged.Load(), Dropped: c[d].dropped.Load()}
		m[d].In = m[d].Sent + m[d].Unchanged + m[d].Dropped
	}
	return m
}

// addTo adds them to the sum of an instance at no hook. Elsewhere the packets of
// the same bytes are counted there.
func (c *streamCounters) addTo(sum *counters) {
	for d, m := range c.read() {
		sum.flow[d].add(&FlowCounters{In: m.In, InBytes: m.InBytes, Sent: m.Sent, Unchanged: m.Unchanged, Dropped: m.Dropped})
	}
}

func (c *streamCounters) reset() {
	for d := range c {
		c[d].bytes.Store(0)
		c[d].sent.Store(0)
		c[d].unchanged.Store(0)
		c[d].dropped.Store(0)
		c[d].emitted.Store(0)
	}
}

// messages tells what the streams of an instance moved; nil where its chain has
// none.
func (p *ProxyInstance) messages() *[2]MessageCounters {
	if p.source() != SourceListen && !p.transparent() {
		return nil
	}
	m := p.streams.read()
	return &m
}

// Moved notes n bytes of payload of a flow that were sent on. Like what follows it
// is safe for concurrent use.
func (s *Session) Moved(d Dir, n int64) {
	s.progress.bytes[d].Add(uint64(n))
	s.progress.seen[d].Store(s.engine.env.Now())
	s.Instance.streams[d].bytes.Add(uint64(n))
}

// Rebuilt counts a message of a flow that was built anew and sent on, for which n
// bytes were received.
func (s *Session) Rebuilt(d Dir, n int64) {
	s.Moved(d, n)
	s.progress.messages[d].Add(1)
	s.Instance.streams[d].sent.Add(1)
}

// Refused counts a message of a flow that was refused, or a stream whose messages
// nobody knows.
func (s *Session) Refused(d Dir) {
	s.Instance.streams[d].dropped.Add(1)
}

// Carried counts a stream whose bytes go on as they are, in both flows.
func (s *Session) Carried() {
	s.Instance.streams[ClientToServer].unchanged.Add(1)
	s.Instance.streams[ServerToClient].unchanged.Add(1)
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

// sessionLimits are the sessions that each stream function of an instance serves,
// altogether and per client. A reload that changes the instance keeps them: what
// began before counts as what begins afterwards does.
type sessionLimits struct {
	mu         sync.Mutex
	byFunction map[string]*sessionCount
}

type sessionCount struct {
	all      int
	byClient map[netip.Prefix]int
}

// Enter counts the session in for a function, unless it were more than most
// altogether or than perClient of its client (0: no limit). Where it gives
// ReasonNone, Leave has to follow. Both are safe for concurrent use.
func (s *Session) Enter(function string, most, perClient int) Reason {
	l := s.Instance.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.byFunction[function]
	if c == nil {
		c = &sessionCount{byClient: map[netip.Prefix]int{}}
		if l.byFunction == nil {
			l.byFunction = map[string]*sessionCount{}
		}
		l.byFunction[function] = c
	}
	k := ClientNetwork(s.ClientAddr.Addr())
	switch {
	case most > 0 && c.all >= most:
		return ReasonSessions
	case perClient > 0 && c.byClient[k] >= perClient:
		return ReasonClientSessions
	}
	c.all++
	c.byClient[k]++
	return 0
}

// Leave counts the session out.
func (s *Session) Leave(function string) {
	l := s.Instance.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	c, k := l.byFunction[function], ClientNetwork(s.ClientAddr.Addr())
	c.all--
	if c.byClient[k]--; c.byClient[k] == 0 {
		delete(c.byClient, k)
	}
}
