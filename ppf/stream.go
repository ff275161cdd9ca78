package ppf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"

	"github.com/promethos/promethos/packet"
)

// StreamFunction is a user function of level stream that has been made ready
// for one proxy instance. ServeStream handles one client's connection until it
// is over, or hands it on: it calls next, once, with the session changed to what
// the next function shall see. It is called by many sessions at once, each in a
// goroutine of its own. The client's connection is closed by who made it.
type StreamFunction interface {
	ServeStream(s *Session, next func(*Session))
}

// Session is one client's connection on its way through the stream functions of
// a chain.
type Session struct {
	Instance *ProxyInstance
	Client   net.Conn
	// ClientAddr and ServerAddr are who talks to whom, as the client sees it.
	ClientAddr, ServerAddr netip.AddrPort
	// TLS says that the client's connection is encrypted up to us.
	TLS bool
	// Private says that a function of the chain keeps state with this session's
	// connections to the server: they are not shared with others.
	Private bool
	// Messages are the message functions of the chain, bound, in order.
	Messages []any

	engine   *Engine
	accepted net.Conn // as it was accepted, whatever functions make of Client
	created  int64
	progress *progress // shared by what functions make of a session
	ending   ending
	dial     func(context.Context) (net.Conn, error)
	announce bool
	wraps    []func(context.Context, net.Conn) (net.Conn, error)
}

// Env is the world around the engine.
func (s *Session) Env() Env { return s.engine.env }

// Dial gives a connection to the server. The caller closes it.
func (s *Session) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	if s.announce {
		if _, err := conn.Write(s.proxyHeader()); err != nil {
			conn.Close()
			return nil, err
		}
	}
	for _, wrap := range s.wraps {
		wrapped, err := wrap(ctx, conn)
		if err != nil {
			conn.Close()
			return nil, err
		}
		conn = wrapped
	}
	return conn, nil
}

// WrapServer lets f make of each connection to the server what Dial gives from
// now on; an error of f closes the connection.
func (s *Session) WrapServer(f func(ctx context.Context, plain net.Conn) (net.Conn, error)) {
	s.wraps = append(s.wraps, f)
}

// AnnounceClient lets each connection that Dial gives from now on begin with a
// header of the PROXY protocol, version 2, which tells the server who the client
// is. It stands before what functions make of the connection, such as TLS.
func (s *Session) AnnounceClient() { s.announce = true }

// Do says what a finding of reason r leads to in mode m, which is the instance's
// or that of a part of it: an override first, then the mode.
func (s *Session) Do(r Reason, m Mode) Do { return s.Instance.doFor(r, s.ClientAddr.Addr(), m) }

// Do is Session.Do for a client that no override names.
func (p *ProxyInstance) Do(r Reason, m Mode) Do { return p.doFor(r, netip.Addr{}, m) }

// Count counts a reason and what it led to, for the ledger too, and tells of it
// within its rate. It is safe for concurrent use.
func (s *Session) Count(r Reason, do Do) {
	o := OutcomeRepair
	switch {
	case do == DoRefuse:
		o = OutcomeDrop
	case do == DoMonitor && r.Info().Class == packet.Refused:
		o = OutcomeWouldDrop
	case do == DoMonitor:
		o = OutcomeWouldRepair
	}
	w := s.engine.workers[len(s.engine.workers)-1]
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.countersOf(s.Instance).count(ClientToServer, r, o)
	client, server := s.ClientAddr.Addr().Unmap(), s.ServerAddr.Addr().Unmap()
	if o != OutcomeDrop {
		w.ledger.add(ledgerKey{s.Instance.Name, r, o, client, server}, s.Client != nil)
	}
	if withheld, due := c.due(s.engine.env.Now(), s.Instance.events); due {
		rec := newRecord(r, o, ClientToServer, 0, client, withheld)
		rec.Packet = fmt.Sprintf("session of %v with %v", s.ClientAddr, s.ServerAddr)
		s.engine.addRecord(s.Instance.Name, rec)
	}
}

// Report says something of this session in the event stream, limited in rate per
// instance. It is safe for concurrent use.
func (s *Session) Report(format string, args ...any) {
	if s.Instance.events.allow(s.engine.env.Now()) {
		s.engine.events.Add(Event{Kind: EventPacket, Instance: s.Instance.Name, Text: fmt.Sprintf(format, args...)})
	}
}

// above holds a bound function of a higher level among those of packets. A
// packet that reaches it is dropped: its connection should have been ended.
type above struct {
	stream  StreamFunction
	message any
}

// unwrapped is what a function's Bind, BindStream or BindMessage gave.
func unwrapped(p Processor) any {
	f, ok := p.(above)
	switch {
	case !ok:
		return p
	case f.stream != nil:
		return f.stream
	}
	return f.message
}

// Process drops the packet.
func (above) Process(x *Exchange) Verdict { return x.Refuse(ReasonUnhandled, 0) }

// ErrNoInstance reports that no stream chain of that name is there.
var ErrNoInstance = errors.New("no instance with a stream chain has that name")

// NewSession makes a session of a client's connection for an instance with a
// stream chain; Serve runs it.
func (e *Engine) NewSession(name string, client net.Conn, from, server netip.AddrPort, dial func(context.Context) (net.Conn, error)) (*Session, error) {
	proxy := e.proxy.byName(name)
	if proxy == nil {
		return nil, fmt.Errorf("instance %s: %w", name, ErrNoInstance)
	}
	return &Session{Instance: proxy, Client: client, ClientAddr: from, ServerAddr: server, engine: e, accepted: client, created: e.env.Now(), progress: &progress{}, dial: dial}, nil
}

// Serve runs the stream functions of the session's instance; it returns when the
// last one has, and leaves the client's connection open. A panic costs that
// connection.
func (s *Session) Serve() {
	e, proxy := s.engine, s.Instance
	e.sessions.add(s)
	defer e.sessions.remove(s)
	if e.stale(s) { // since it was made
		s.Drain()
	}
	var chain []StreamFunction
	for _, function := range proxy.Chain[ClientToServer] {
		switch f, _ := proxy.processors[function].(above); {
		case f.stream != nil:
			chain = append(chain, f.stream)
		case f.message != nil:
			s.Messages = append(s.Messages, f.message)
		case proxy.processors[function] == nil:
			s.Count(ReasonFunctionMissing, DoRefuse)
			return
		}
	}
	defer func() {
		if fault := recover(); fault != nil {
			s.Count(ReasonPanic, DoRefuse)
			e.events.Add(Event{Kind: EventPacket, Instance: proxy.Name, Text: fmt.Sprintf("panic in a user function: %v\n%s", fault, debug.Stack())})
		}
	}()
	serveChain(chain, s)
}

func serveChain(chain []StreamFunction, s *Session) {
	if len(chain) > 0 {
		chain[0].ServeStream(s, func(s *Session) { serveChain(chain[1:], s) })
	}
}

// byName finds the running instance of a file's entry.
func (p *proxyPlugin) byName(name string) *ProxyInstance {
	list := *p.byID.Load()
	if i := slices.IndexFunc(list, func(i *ProxyInstance) bool { return i != nil && i.Name == name && i.Number[0] != 0 }); i >= 0 {
		return list[i]
	}
	return nil
}

// source is where the instance's traffic comes from.
func (p *ProxyInstance) source() SourceKind {
	if p.spec == nil {
		return SourceNFQueue
	}
	return p.spec.Source
}

// checkLevels checks that each function of a chain gets what it works on
// (DESIGN section 5).
func (e *Engine) checkLevels(proxy *ProxyInstance, chain []string) error {
	source := proxy.source()
	level, before, handsOn := LevelPacket, "", false
	for _, name := range chain {
		f, ok := e.functions.Lookup(name)
		if !ok {
			continue // bind tells
		}
		switch {
		case f.Level == LevelMessage && level != LevelMessage:
			return fmt.Errorf("function %q: works on messages (put http before it)", name)
		case f.Level < level:
			return fmt.Errorf("function %q: works on the level of a %v, and %s before it makes that a %v (put it before %s)", name, f.Level, before, level, before)
		case f.Level == LevelPacket && source == SourceListen:
			return fmt.Errorf("function %q: works on packets, of which source: listen has none (leave it out)", name)
		}
		level, before, handsOn = max(f.Level, f.Produces), name, f.HandsOn
	}
	switch {
	case handsOn:
		return fmt.Errorf("chain: %s hands connections on (put relay or http behind it)", before)
	case level == LevelPacket && source == SourceListen:
		return errors.New("chain: source: listen needs a stream function (such as http)")
	case level != LevelPacket && source != SourceListen && !proxy.transparent():
		return fmt.Errorf("chain: %s ends connections, which needs an instance of the configuration file with source: nfqueue or listen", before)
	}
	return nil
}
