package kit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/promethos/promethos/lab/proof"
	"github.com/promethos/promethos/ppf"
)

// session is a client's connection through the chain, in memory.
type session struct {
	b      *bench
	client *side // the kit's ends
	server atomic.Pointer[side]
	over   chan struct{}
	origin *origin // of messages
	ended  [2]bool // flows that the kit has ended
}

// connect opens one. The server's end is there when the chain has asked for it.
func (b *bench) connect(s *Scenario) (*session, error) {
	from, to := netip.AddrPortFrom(clientAddr, clientPort), netip.AddrPortFrom(serverAddr, s.Port)
	w := newWire(b.world)
	c := &session{b: b, client: w.side(nearSide, from, to), over: make(chan struct{})}
	if s.Kind == KindHTTP {
		c.origin = &origin{b: b}
	}
	accepted := w.side(farSide, to, from)
	through, err := b.engine.NewSession("kit", accepted, from, to, func(context.Context) (net.Conn, error) {
		w := newWire(b.world)
		server := w.side(nearSide, to, from)
		c.server.Store(server)
		if c.origin != nil {
			c.origin.running.Go(func() { c.origin.serve(server) })
		}
		b.world.moved()
		return w.side(farSide, from, to), nil
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer b.world.moved()
		defer close(c.over)
		through.Serve()
		accepted.Close()
	}()
	return c, nil
}

func (c *session) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// until waits for something that the chain does, or for the end of the session.
func (c *session) until(done func() bool) {
	for !c.isOver() && !done() {
		c.b.world.wait()
	}
}

// settle waits until everything that was sent has been judged.
func (c *session) settle() {
	c.until(func() bool {
		s := c.server.Load()
		return c.client.settled() && s != nil && s.settled()
	})
}

// end ends the connection on both sides, and waits for the chain to do so too.
func (c *session) end() {
	c.client.Close()
	c.until(func() bool {
		if s := c.server.Load(); s != nil {
			s.Close()
		}
		return false
	})
	if c.origin != nil {
		c.origin.running.Wait()
	}
}

// ends gives the kit's ends of a flow; it waits for that of the server.
func (c *session) ends(d ppf.Dir) (from, to *side) {
	c.until(func() bool { return c.server.Load() != nil })
	from, to = c.client, c.server.Load()
	if d == ppf.ServerToClient {
		from, to = to, from
	}
	return from, to
}

// streams runs a scenario of streams. A step behind the end of a connection opens
// another one.
func (b *bench) streams(s *Scenario) (c Check) {
	var at *session
	for i := range s.Steps {
		step := &s.Steps[i]
		b.world.at(fmt.Sprintf("line %d", step.Line))
		if step.Wait > 0 {
			b.pass(step.Wait, at)
			for _, problem := range step.compareReply(at.takeBack()) {
				c.problem("line %d: %s", step.Line, problem)
			}
			continue
		}
		c.Packets++
		if at != nil && at.ended[step.Dir] {
			at.end()
		}
		if at == nil || at.isOver() {
			var err error
			if at, err = b.connect(s); err != nil {
				c.problem("line %d: %v", step.Line, err)
				return c
			}
		}
		before := b.reasons()
		sent, got, back := at.send(step)
		for _, problem := range append(step.compare(sent, got, before, b.reasons()), step.compareReply(back)...) {
			c.problem("line %d: %s", step.Line, problem)
		}
		if !sent {
			at.end()
		}
	}
	if at != nil {
		at.end()
	}
	return c
}

// takeBack gives what has come back to the client.
func (c *session) takeBack() []byte {
	if c == nil {
		return nil
	}
	return c.client.take(nearSide)
}

// send sends what a step says and gives what comes out at the other side, and what
// comes back; ok is false where the connection was reset.
func (c *session) send(step *Step) (ok bool, got, back []byte) {
	from, to := c.ends(step.Dir)
	if from == nil || to == nil {
		return false, nil, nil
	}
	if step.End {
		// It cannot fail.
		_ = from.CloseWrite()
		c.ended[step.Dir] = true
		c.until(func() bool { return to.hasEnded() })
	} else {
		if _, err := from.Write(step.Data); err != nil {
			return false, nil, nil
		}
		c.settle()
	}
	return !to.isReset() && !from.isReset(), to.take(nearSide), from.take(nearSide)
}

// pass lets time pass.
func (b *bench) pass(d time.Duration, at *session) {
	b.world.advance(d)
	b.engine.Handlers()[0].Tick(b.world.Now())
	if at == nil {
		return
	}
	at.client.wake()
	if s := at.server.Load(); s != nil {
		s.wake()
		at.settle()
	}
}

// fuzzedStreams sends what a scenario's steps send, cut anywhere and mostly
// changed.
func (b *bench) fuzzedStreams(s *Scenario, o Options) (c Check) {
	random := rand.New(rand.NewPCG(o.Seed, 0))
	for seeds := s.sent(); len(seeds) > 0 && c.Packets < o.Fuzz; {
		at, err := b.connect(s)
		if err != nil {
			c.problem("%v", err)
			return c
		}
		for _, seed := range seeds {
			data := seed.Data
			if random.IntN(3) > 0 {
				data = garble(random, slices.Clone(data))
			}
			for len(data) > 0 {
				n := 1 + random.IntN(len(data))
				c.Packets++
				if ok, _, _ := at.send(&Step{Dir: seed.Dir, Data: data[:n]}); !ok {
					break
				}
				data = data[n:]
			}
		}
		at.end()
	}
	return c
}

// sent are the steps that send something.
func (s *Scenario) sent() (list []Step) {
	for _, step := range s.Steps {
		if len(step.Data) > 0 {
			list = append(list, step)
		}
	}
	return list
}

// garble changes bytes: some others, some more, some less.
func garble(random *rand.Rand, data []byte) []byte {
	for range 1 + random.IntN(4) {
		at := random.IntN(len(data) + 1)
		switch random.IntN(4) {
		case 0:
			data = slices.Insert(data, at, byte(random.Uint32()))
		case 1:
			data = data[:at]
		case 2:
			part := slices.Clone(data[at:min(len(data), at+random.IntN(32))])
			data = slices.Insert(data, at, part...)
		default:
			if at < len(data) {
				data[at] = byte(random.Uint32())
			}
		}
	}
	return data
}

// origin is the server of a session of messages: net/http decodes what arrives.
type origin struct {
	b       *bench
	running sync.WaitGroup

	mu      sync.Mutex
	answer  []byte            // to the next request; nil for an empty one
	last    bool              // the connection ends behind it
	arrived []byte            // the last request, as it was sent
	reasons map[string]uint64 // when it arrived
}

const emptyAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// serve answers the requests of a connection.
func (o *origin) serve(c *side) {
	defer c.Close()
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &raw))
	for {
		raw.Next(raw.Len() - r.Buffered())
		req, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		switch {
		case err == io.EOF || errors.Is(err, syscall.ECONNRESET):
			return
		case err != nil:
			o.b.malformed(fmt.Sprintf("%v: the server got a request that is none (%v): %.200q", proof.WellFormed, err, raw.Bytes()))
			return
		}
		o.mu.Lock()
		o.arrived, o.reasons = bytes.Clone(raw.Bytes()[:raw.Len()-r.Buffered()]), o.b.reasons()
		answer, last := o.answer, o.last
		o.mu.Unlock()
		if answer == nil {
			answer = []byte(emptyAnswer)
		}
		if _, err := c.Write(answer); err != nil || last {
			return
		}
	}
}

// next sets what is answered next, and forgets what arrived.
func (o *origin) next(answer []byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.last, o.arrived, o.reasons = answer, last, nil, nil
}

// request gives what arrived since, nil for nothing, and what was counted then.
func (o *origin) request() ([]byte, map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.arrived, o.reasons
}

// messages runs a scenario of messages.
func (b *bench) messages(s *Scenario) (c Check) {
	var at *session
	var r *bufio.Reader
	var raw bytes.Buffer
	for i := range s.Steps {
		step := &s.Steps[i]
		b.world.at(fmt.Sprintf("line %d", step.Line))
		switch {
		case step.Wait > 0:
			b.pass(step.Wait, at)
			continue
		case step.Dir == ppf.ServerToClient:
			continue // with its request
		}
		c.Packets++
		if at == nil || at.isOver() {
			var err error
			if at, err = b.connect(s); err != nil {
				c.problem("line %d: %v", step.Line, err)
				return c
			}
			raw.Reset()
			r = bufio.NewReader(io.TeeReader(at.client, &raw))
		}
		answer := &Step{}
		if i+1 < len(s.Steps) && s.Steps[i+1].Dir == ppf.ServerToClient {
			answer = &s.Steps[i+1]
		}
		at.origin.next(answer.Data, false)
		before := b.reasons()
		// Where it fails nothing arrives.
		_, _ = at.client.Write(step.Data)
		raw.Next(raw.Len() - r.Buffered())
		method, _, _ := bytes.Cut(step.Data, []byte(" "))
		res, err := http.ReadResponse(r, &http.Request{Method: string(method)})
		closed := err != nil
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			closed = res.Close || err != nil
		}
		if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			c.problem("%v: line %d: the client got a response that is none: %v", proof.WellFormed, step.Line, err)
		}
		arrived, between := at.origin.request()
		after := b.reasons()
		if arrived == nil {
			between = after
			if !b.dropped(before, after) {
				c.problem("%v: line %d: the request did not arrive, without a reason", proof.Accounted, step.Line)
			}
		}
		for _, problem := range step.compare(arrived != nil, arrived, before, between) {
			c.problem("line %d: %s", step.Line, problem)
		}
		for _, problem := range answer.compare(err == nil && !b.dropped(between, after), raw.Bytes()[:raw.Len()-r.Buffered()], between, after) {
			c.problem("line %d: %s", answer.Line, problem)
		}
		if closed {
			at.end()
			at = nil
		}
	}
	if at != nil {
		at.end()
	}
	return c
}

// dropped reports whether something was refused between two counts.
func (b *bench) dropped(before, after map[string]uint64) bool {
	for _, r := range b.engine.ReasonCounts() {
		if r.Action == ppf.OutcomeDrop.String() && after[r.Reason] > before[r.Reason] {
			return true
		}
	}
	return false
}

// fuzzedMessages sends requests and answers like those of the scenario, mostly
// changed; what arrives has to be requests.
func (b *bench) fuzzedMessages(s *Scenario, o Options) (c Check) {
	random := rand.New(rand.NewPCG(o.Seed, 0))
	var requests, answers [][]byte
	for _, step := range s.sent() {
		if step.Dir == ppf.ClientToServer {
			requests = append(requests, step.Data)
		} else {
			answers = append(answers, step.Data)
		}
	}
	answers = append(answers, []byte(emptyAnswer))
	for len(requests) > 0 && c.Packets < o.Fuzz {
		c.Packets++
		request := slices.Clone(requests[random.IntN(len(requests))])
		answer := slices.Clone(answers[random.IntN(len(answers))])
		if random.IntN(4) > 0 {
			request = garble(random, request)
		}
		if random.IntN(2) > 0 {
			answer = garble(random, answer)
		}
		if err := b.once(s, request, answer); err != nil {
			c.problem("%v", err)
			return c
		}
	}
	return c
}

// once sends one client's bytes to a server that answers with other ones, and
// waits for the end.
func (b *bench) once(s *Scenario, request, answer []byte) error {
	at, err := b.connect(s)
	if err != nil {
		return err
	}
	at.origin.next(answer, true)
	// The chain may have ended the connection already.
	_, _ = at.client.Write(request)
	_ = at.client.CloseWrite()
	_, _ = io.Copy(io.Discard, at.client)
	at.end()
	return nil
}
