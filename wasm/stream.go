package wasm

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The descriptor of a stream, in the place of a packet's: handle, flow, time,
// length, storage, verdict, reason and value stand where a packet has them, the
// ends of the connection where a message has them.
const (
	dEvent  = 5  // u8: why the guest is called
	dOffset = 16 // u64: place of the first waiting byte in its flow
)

// event is why a guest is called for a stream.
type event uint8

const (
	eventData event = iota // bytes have come
	eventEnd               // the flow ends behind those that wait
	eventWake              // the time of wake has passed
)

// verdictClose ends a connection in order, behind what was handed on.
const verdictClose = 2

// What becomes of streams that a module does not take on.
var (
	ReasonWindow = newReason(ppf.ReasonInfo{Name: "wasm.window", Field: "stream",
		Doc:   "as many bytes wait as the module's window holds, and it takes none of them",
		Trips: "messages that are longer than the window of the module", Relax: "limits: window_kib in the module's manifest"})
	ReasonRest = newReason(ppf.ReasonInfo{Name: "wasm.rest", Class: packet.Repaired, Field: "stream",
		Doc:   "a flow ended in the middle of what the module waits for: these bytes are left out",
		Trips: "senders that end in the middle of a message", Relax: "reasons: {wasm.rest: repair}"})
)

// maxSend is how much a guest may hand on of its own in one call.
const maxSend = 1 << 20

// streamFunction is a function of level stream, ready for one proxy instance. It
// stands between two others of the chain: what they read has passed the module.
type streamFunction struct {
	c *core
	*binding
}

var _ ppf.StreamFunction = (*streamFunction)(nil)

// ServeStream puts the module between both ends and what comes behind it.
func (f *streamFunction) ServeStream(s *ppf.Session, next func(*ppf.Session)) {
	p := &streamPair{f: f, session: s}
	s.Client = p.filter(s.Client, ppf.ClientToServer)
	s.Private = true
	s.WrapServer(func(_ context.Context, plain net.Conn) (net.Conn, error) {
		return p.filter(plain, ppf.ServerToClient), nil
	})
	next(s)
}

// streamPair is what both flows of a session share.
type streamPair struct {
	f       *streamFunction
	session *ppf.Session

	mu      sync.Mutex // held while the module judges: one flow at a time
	cell    largeCell
	ends    [2]*filter // by the flow that an end begins; the server's may come again
	replies [2][]byte  // what the module has to say in a flow besides, until it is read
	done    [2]bool    // nothing can be said in a flow any more
	ending  bool       // the module has closed the connection
	broken  bool       // it was refused
}

func (p *streamPair) filter(c net.Conn, d ppf.Dir) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends[d], p.done[d] = &filter{Conn: c, pair: p, dir: d}, false
	return p.ends[d]
}

// filter is an end of a connection, of which the module has seen what is read.
type filter struct {
	net.Conn
	pair *streamPair
	dir  ppf.Dir

	in     []byte // waits for the module
	offset uint64 // of its first byte
	out    []byte // was handed on and not read yet
	read   int    // of out
	err    error  // after out

	// Of one call.
	event   event
	taken   int // of in
	first   int // of out
	replied int // bytes that were to be said in the other flow before

	waking waking
}

// NetConn is the connection itself, for who ends it with a reset.
func (c *filter) NetConn() net.Conn { return c.Conn }

// CloseWrite passes the end of a flow on.
func (c *filter) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// firstWindow is how much is read at once before a window grows, in bytes.
const firstWindow = 4 << 10

// errRefused reports a stream that the module has refused: both ends are reset.
var errRefused = errors.New("the module has refused the stream")

// Read gives what the module has handed on. It reads from the connection when
// there is none of that, so that a reader who is slow slows the sender.
func (c *filter) Read(b []byte) (int, error) {
	for {
		if c.read < len(c.out) {
			n := copy(b, c.out[c.read:])
			c.read += n
			return n, nil
		}
		c.out, c.read = c.out[:0], 0
		if c.pair.meanwhile(c) {
			continue
		}
		if c.err != nil {
			return 0, c.err
		}
		if err := c.fetch(); err != nil {
			return 0, err
		}
	}
}

// fetch reads what comes and lets the module judge it. An error is one of the
// connection's that does not last; another stands in c.err.
func (c *filter) fetch() error {
	if len(c.in) == cap(c.in) {
		limit := c.pair.f.c.manifest.Limits.WindowKiB << 10
		if len(c.in) == limit {
			c.pair.refuse(ReasonWindow)
			c.err = errRefused
			return nil
		}
		grown := make([]byte, len(c.in), min(max(2*len(c.in), firstWindow), limit))
		copy(grown, c.in)
		c.in = grown
	}
	n, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
	if n > 0 {
		c.in = c.in[:len(c.in)+n]
		c.judge(eventData)
	}
	switch {
	case err == nil || c.err != nil:
	case err == io.EOF:
		c.judge(eventEnd)
		if c.err == nil {
			c.err = io.EOF
			c.leave()
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		switch c.expired() {
		case forModule:
			c.judge(eventWake)
		case forReader:
			if n == 0 {
				return err
			}
		}
	default:
		c.err = err
	}
	return nil
}

// leave counts what waits when a flow has ended, which goes nowhere.
func (c *filter) leave() {
	if len(c.in) == 0 {
		return
	}
	if c.pair.find(ReasonRest) {
		c.pair.refuse(packet.ReasonNone)
		c.err = errRefused
	}
}

// judge lets the module look at what waits.
func (c *filter) judge(e event) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(c)
	other := c.dir.Other()
	c.event, c.taken, c.first, c.replied = e, 0, len(c.out), len(p.replies[other])
	r := p.f.c.call(p.f.binding, c)
	if r != packet.ReasonNone {
		c.undo()
		if p.session.Instance.Fail == ppf.FailOpen {
			p.session.Count(r, ppf.DoMonitor)
			c.passAll()
		} else {
			p.end(r)
			c.err = errRefused
		}
	}
	c.offset += uint64(c.taken)
	c.in = c.in[:copy(c.in, c.in[c.taken:])]
	if p.broken && c.err == nil {
		c.err = errRefused
	}
	if len(p.replies[other]) > c.replied && p.ends[other] != nil {
		p.ends[other].poke()
	}
}

// undo takes back what the module has done in the call.
func (c *filter) undo() {
	c.taken, c.out = 0, c.out[:c.first]
	replies := &c.pair.replies[c.dir.Other()]
	*replies = (*replies)[:c.replied]
}

// passAll hands on all that waits.
func (c *filter) passAll() {
	c.out = append(c.out, c.in[c.taken:]...)
	c.taken = len(c.in)
}

// do lets a unit judge; the pair is locked.
func (c *filter) do(u unit, b *binding) error { return u.stream(b, c) }

// meanwhile tells a flow how the connection has ended that the module closed or
// refused, and gives it what the module has to say in it besides; then it reports
// true.
func (p *streamPair) meanwhile(c *filter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.err != nil:
	case p.broken:
		c.err = errRefused
	case p.ending:
		c.err = io.EOF
	}
	if p.say(c) {
		return true
	}
	p.done[c.dir] = c.err != nil
	return false
}

// say hands on what the module has to say in a flow besides, before anything that is
// judged later; the pair is locked.
func (p *streamPair) say(c *filter) bool {
	r := &p.replies[c.dir]
	if len(*r) == 0 || p.broken {
		return false
	}
	c.out, *r = append(c.out, *r...), (*r)[:0]
	return true
}

// refuse ends both ends with a reset, and counts a reason unless it is none.
func (p *streamPair) refuse(r ppf.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(r)
}

// end is refuse; the pair is locked.
func (p *streamPair) end(r ppf.Reason) {
	if r != packet.ReasonNone {
		p.session.Count(r, ppf.DoRefuse)
		p.session.Report("%v: client %v", r, p.session.ClientAddr)
	}
	p.broken = true
	for _, c := range p.ends {
		if c != nil {
			ppf.Abort(c.Conn)
		}
	}
}

// find counts a finding, and reports true where it is refused instead.
func (p *streamPair) find(r ppf.Reason) (stop bool) {
	do := p.session.Do(r, p.session.Instance.Mode)
	p.session.Count(r, do)
	return do == ppf.DoRefuse
}

// drop does what a verdict of the module's means, with the pair locked: in monitor
// mode, or where an override says so, the bytes pass as they are.
func (c *filter) drop(r ppf.Reason) {
	p := c.pair
	if p.refuses(r) {
		p.end(r)
		return
	}
	p.session.Count(r, ppf.DoMonitor)
	c.undo()
	c.passAll()
}

// refuses tells whether what has that reason is refused, or passes in monitor mode
// and by overrides.
func (p *streamPair) refuses(r ppf.Reason) bool {
	do := p.session.Do(r, p.session.Instance.Mode)
	return do == ppf.DoRefuse || do == ppf.DoRepair && r.Info().Class != packet.Refused
}

// deny counts that a part of the stream is refused, while the connection goes on, with
// the pair locked. It reports false where that part has to pass.
func (p *streamPair) deny(r ppf.Reason) bool {
	if !p.refuses(r) {
		p.session.Count(r, ppf.DoMonitor)
		return false
	}
	p.session.Count(r, ppf.DoRefuse)
	p.session.Report("%v: client %v", r, p.session.ClientAddr)
	return true
}

// close ends the connection in order, with the pair locked: each flow behind what
// was handed on. Who reads the other one is woken.
func (c *filter) close() {
	p := c.pair
	p.ending = true
	if other := p.ends[c.dir.Other()]; other != nil {
		other.poke()
	}
}

// put writes the descriptor.
func (c *filter) put(b []byte, handle uint32, now int64) {
	s := c.pair.session
	clear(b[:dStorage])
	le.PutUint32(b[dHandle:], handle)
	b[dDir], b[dEvent] = byte(c.dir), byte(c.event)
	if s.TLS {
		b[dTLS] = 1
	}
	le.PutUint64(b[dNow:], uint64(now))
	le.PutUint64(b[dOffset:], c.offset)
	le.PutUint32(b[dPayloadLen:], uint32(len(c.in)))
	le.PutUint16(b[dClientPort:], s.ClientAddr.Port())
	le.PutUint16(b[dServerPort:], s.ServerAddr.Port())
	putAddress(b[dClient:], s.ClientAddr.Addr())
	putAddress(b[dServer:], s.ServerAddr.Addr())
	b[dVerdict] = verdictUnset
}

// take consumes n of the waiting bytes, and hands them on or not. It reports false
// where there are not so many.
func (c *filter) take(n uint64, pass bool) bool {
	if n > uint64(len(c.in)-c.taken) {
		return false
	}
	if pass {
		c.out = append(c.out, c.in[c.taken:c.taken+int(n)]...)
	}
	c.taken += int(n)
	return true
}

// send hands on bytes of the module's own.
func (c *filter) send(b []byte) bool {
	if len(c.out)-c.first+len(b) > maxSend {
		return false
	}
	c.out = append(c.out, b...)
	return true
}

// reply has bytes of the module's own follow what was handed on in the other flow:
// for who has sent what is judged. It reports false where nobody takes them: that flow
// is over, or as much waits in it as the module's window holds.
func (c *filter) reply(b []byte) bool {
	p, d := c.pair, c.dir.Other()
	if p.done[d] || len(p.replies[d])+len(b) > p.f.c.manifest.Limits.WindowKiB<<10 {
		return false
	}
	p.replies[d] = append(p.replies[d], b...)
	return true
}

// waiting are the bytes that the module may look at, lent for the call.
func (c *filter) waiting() []byte { return c.in }

// stream lets the guest judge what waits of a stream.
func (g *guest) stream(b *binding, c *filter) error {
	if err := g.bind(b); err != nil {
		return err
	}
	g.stop, g.now = false, g.m.host.Env().Now()
	bytes, err := g.m.bytesOfCell(&c.pair.cell, g.callMigrate)
	if err != nil {
		return err
	}
	d, err := g.descriptor()
	if err != nil {
		return err
	}
	c.put(d, b.handle, g.now)
	putStorage(d, bytes)
	g.flow = c
	verdict, r, err := g.judgeSession(g.judgeStream, bytes)
	g.flow = nil
	if err != nil {
		return err
	}
	switch verdict {
	case byte(ppf.Accept):
	case verdictClose:
		c.close()
	case byte(ppf.Drop):
		c.drop(r)
	default:
		return errVerdict(verdict)
	}
	return nil
}
