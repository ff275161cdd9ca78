package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The module's reasons.
var (
	ReasonUnreachable = packet.NewReason("relay", ppf.ReasonInfo{Name: "relay.server.unreachable", Field: "relay.server", RFC: "9293 §3.10.7.3",
		Doc: "the server did not accept a connection; the client is reset", Trips: "a server that is down or slow", Relax: "modules: {relay: {connect_timeout: 10s}}"})
	ReasonIdle = packet.NewReason("relay", ppf.ReasonInfo{Name: "relay.idle", Field: "relay.time", RFC: "5382 §5",
		Doc: "nothing was sent in either direction for too long; both ends are reset", Trips: "connections that are kept open and hardly used", Relax: "modules: {relay: {idle: 2h10m}}"})
	ReasonLifetime = packet.NewReason("relay", ppf.ReasonInfo{Name: "relay.lifetime", Field: "relay.time",
		Doc: "the connection has lasted as long as lifetime allows; both ends are reset", Trips: "connections that are never closed", Relax: "modules: {relay: {lifetime: 0s}}"})
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "relay", Version: "1.0.0",
		Doc:       "carries the bytes of a TCP connection over a second one",
		Functions: []string{"relay"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "relay", Doc: "carries the bytes of a TCP connection over a second one, as they are",
		Level: ppf.LevelStream, Layer: 4,
		Settings: func() any { return DefaultConfig() },
		BindStream: func(b ppf.Binding) (ppf.StreamFunction, error) {
			return &function{cfg: b.Settings.(*Config)}, nil
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// function is relay for one proxy instance.
type function struct{ cfg *Config }

// ServeStream ends the stream: nothing comes behind it.
func (f *function) ServeStream(s *ppf.Session, _ func(*ppf.Session)) {
	if r := s.Enter("relay", f.cfg.Connections, f.cfg.ClientConnections); r != packet.ReasonNone {
		refuse(s, r)
		return
	}
	defer s.Leave("relay")
	Join(s, f.cfg, nil)
}

// Join connects to the server, sends it what was read of the client's bytes already,
// and carries bytes in both directions until both have ended. The limits of cfg's
// connections are not looked at.
func Join(s *ppf.Session, cfg *Config, read []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ConnectTimeout)
	defer cancel()
	if cfg.ProxyProtocol {
		s.AnnounceClient()
	}
	server, err := s.Dial(ctx)
	if err != nil {
		refuse(s, ReasonUnreachable)
		return
	}
	defer server.Close()
	if len(read) > 0 {
		if _, err := server.Write(read); err != nil {
			refuse(s, ReasonUnreachable)
			return
		}
	}
	s.Carried()
	p := &pair{session: s, idle: cfg.Idle, ends: [2]net.Conn{s.Client, server}}
	p.last.Store(s.Env().Now())
	if cfg.Lifetime > 0 {
		t := time.AfterFunc(cfg.Lifetime, func() { p.abort(ReasonLifetime) })
		defer t.Stop()
	}
	watch := p.watch()
	defer watch.Stop()
	var other sync.WaitGroup
	other.Go(func() { p.carry(ppf.ServerToClient) })
	p.carry(ppf.ClientToServer)
	other.Wait()
}

func refuse(s *ppf.Session, r ppf.Reason) {
	s.Count(r, ppf.DoRefuse)
	s.Refused(ppf.ClientToServer)
	s.Report("%v: client %v", r, s.ClientAddr)
	ppf.Abort(s.Client)
}

// pair is two connections whose bytes are exchanged. ends is indexed by the flow
// that an end begins.
type pair struct {
	session *ppf.Session
	ends    [2]net.Conn
	idle    time.Duration
	last    atomic.Int64 // when bytes were moved last
	once    sync.Once
}

// abort ends both connections with a reset; the first reason is counted, none
// for a reset that an end sent.
func (p *pair) abort(r ppf.Reason) {
	p.once.Do(func() {
		if r != packet.ReasonNone {
			p.session.Count(r, ppf.DoRefuse)
			p.session.Report("%v: client %v", r, p.session.ClientAddr)
		}
		for _, c := range p.ends {
			ppf.Abort(c)
		}
	})
}

// watch ends the pair when it has been silent for idle, also where both flows
// wait for a peer that takes nothing. What moves is known a quarter of idle
// later at most.
func (p *pair) watch() *time.Timer {
	var t *time.Timer
	ready := make(chan struct{})
	t = time.AfterFunc(p.idle, func() {
		<-ready
		if p.session.Env().Now()-p.last.Load() >= int64(p.idle+p.idle/4) {
			p.abort(ReasonIdle)
			return
		}
		t.Reset(p.idle / 4)
	})
	close(ready)
	return t
}

// stretch is how much is moved between two looks at the clock. A peer that takes
// less than this within Idle counts as silent.
const stretch = 256 << 10

// carry moves one flow until its end, which it passes on: a FIN, or for TLS a
// close_notify, as a half-close, anything else as a reset.
func (p *pair) carry(d ppf.Dir) {
	from, to := p.ends[d], p.ends[d.Other()]
	buf := &buffer{}
	defer buf.free()
	env := p.session.Env()
	for {
		// It fails only for a connection that is closed, and so does the read.
		_ = from.SetReadDeadline(time.Unix(0, env.Now()).Add(p.idle / 4))
		n, err := move(to, from, buf)
		if n > 0 {
			p.session.Moved(d, n)
			p.last.Store(env.Now())
		}
		switch {
		case err == nil && n < stretch: // its end
			half, ok := to.(interface{ CloseWrite() error })
			if !ok || half.CloseWrite() != nil {
				p.abort(packet.ReasonNone)
			}
			return
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			p.abort(packet.ReasonNone)
			return
		}
	}
}

// buffer is room that is taken when it is needed first.
type buffer struct{ b *[32 << 10]byte }

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (b *buffer) get() []byte {
	if b.b == nil {
		b.b = buffers.Get().(*[32 << 10]byte)
	}
	return b.b[:]
}

func (b *buffer) free() {
	if b.b != nil {
		buffers.Put(b.b)
	}
}

// plain gives the TCP connection whose bytes are those of c; nil where they are
// something else, such as encrypted.
func plain(c net.Conn) *net.TCPConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case interface{ TCP() *net.TCPConn }:
		return c.TCP()
	}
	return nil
}

// move copies up to stretch bytes; less without an error is the end of from. A
// deadline of from that passes loses nothing.
func move(to, from net.Conn, buf *buffer) (int64, error) {
	if dst, src := plain(to), plain(from); dst != nil && src != nil {
		return dst.ReadFrom(&io.LimitedReader{R: src, N: stretch})
	}
	var moved int64
	for moved < stretch {
		b := buf.get()
		n, err := from.Read(b[:min(int64(len(b)), stretch-moved)])
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return moved, err
			}
			moved += int64(n)
		}
		if err == io.EOF {
			return moved, nil
		}
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}
