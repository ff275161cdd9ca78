package ppf_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// faulty is a module whose observers panic.
type faulty struct{}

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "faulty", Functions: []string{"faulty"}, New: func() ppf.Module { return faulty{} }})
}

func (faulty) Start(_ context.Context, h *ppf.ModuleHost) error {
	return h.Register(ppf.UserFunction{Name: "faulty", Bind: func(ppf.Binding) (ppf.Processor, error) { return faultyProcessor{}, nil }})
}

func (faulty) Stop(context.Context) error { return nil }

type faultyProcessor struct{}

func (faultyProcessor) Process(x *ppf.Exchange) ppf.Verdict {
	if x.Conn == nil {
		if r := x.Create(0); r != packet.ReasonNone {
			return x.Refuse(r, 0)
		}
	}
	return oddProcessor{}.Process(x)
}

func (faultyProcessor) Sent(*ppf.Exchange) { panic("Sent") }

func (faultyProcessor) Freed(*ppf.Conn) { panic("Freed") }

// TestObserversPanic: what an observer breaks is its packet, nothing else.
func TestObserversPanic(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "faulty"))
	if action, out := b.Send(ppf.Forward, to(t, 99)); action != ppf.Drop || out != nil || b.Count("chain.panic", ppf.OutcomeDrop) != 1 {
		t.Errorf("panic in Sent: %v, %+v", action, b.Engine.ReasonCounts())
	}
	if s := b.Engine.Stats().Packets; s.In != 1 || s.Dropped != 1 || s.Sent != 0 {
		t.Errorf("counted as %+v", s)
	}
	b.Accounted()
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Fatalf("%d connections, want 1", n)
	}
	b.Env.Advance(int64(2 * time.Minute))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	if n := b.Engine.Stats().Connections; n != 0 {
		t.Errorf("%d connections outlive their time because Freed panics", n)
	}
	b.Send(ppf.Forward, to(t, 98))
	b.Apply()
	if n := b.Engine.Stats().Connections; n != 0 {
		t.Errorf("%d connections outlive their instance because Freed panics", n)
	}
	events, _ := b.Engine.Events().Since(0)
	said := 0
	for _, ev := range events {
		if strings.Contains(ev.Text, "panic in a user function: Freed") {
			said++
		}
	}
	if said != 2 {
		t.Errorf("%d events tell of a panic in Freed, want 2", said)
	}
}

// TestRemoveUnderTraffic removes and adds instances whose connections are in
// use, some of them replaced by a new one at that moment.
func TestRemoveUnderTraffic(t *testing.T) {
	env := ppftest.NewEnv()
	e, err := ppf.New(ppf.Options{Env: env, Workers: 2, Emit: func([]byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	sent := make([]uint64, 2)
	for i, h := range e.Handlers() {
		var templates [][]byte
		for port := range uint16(8) {
			for _, flags := range []packet.TCPFlags{packet.SYN, packet.RST, packet.SYN | packet.ACK, packet.ACK} {
				seg := ppftest.Segment{Src: netip.AddrPortFrom(ppftest.Client4.Addr(), 1000+port), Dst: ppftest.Server4, TCP: ppftest.Header(flags, 1, 1)}
				if flags == packet.SYN|packet.ACK {
					seg.Src, seg.Dst = seg.Dst, seg.Src
				}
				templates = append(templates, seg.Bytes(t))
			}
		}
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			frames := make([]ppf.Frame, 16)
			for ctx.Err() == nil {
				for j := range frames {
					data := templates[rng.IntN(len(templates))]
					frames[j] = ppf.Frame{Data: data, WireLen: len(data), Hook: ppf.Forward, Time: env.Now()}
				}
				h.Handle(frames)
				sent[i] += uint64(len(frames))
			}
		})
	}
	for i := range 150 {
		in := ppftest.Instance("a", []string{"tcp", "odd"}[i%2])
		if i%2 == 1 {
			in.Chain[1] = nil
		}
		if _, err := e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); err != nil {
			t.Fatal(err)
		}
		e.Connections("a", 0)
		if i%3 == 0 {
			continue // the next one changes it instead
		}
		if _, err := e.Apply(&ppf.Spec{}); err != nil {
			t.Fatal(err)
		}
		if n := e.Stats().Connections; n != 0 {
			t.Fatalf("round %d: %d connections are left of no instance", i, n)
		}
	}
	cancel()
	workers.Wait()
	s := e.Stats()
	if got, want := s.Packets.In+s.Unmatched.In, sent[0]+sent[1]; got != want {
		t.Errorf("%d packets are counted, %d were sent", got, want)
	}
	for _, c := range []ppf.FlowCounters{s.Packets, s.Unmatched} {
		if !c.Accounted() {
			t.Errorf("accounting: %+v", c)
		}
	}
	for _, r := range e.ReasonCounts() {
		if r.Reason == "chain.panic" {
			t.Errorf("%d packets met a panic", r.Count)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// misuse is a module that calls what it must not.
type misuse struct{}

var misuseContext context.Context

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "misuse", Functions: []string{"misuse"}, New: func() ppf.Module { return misuse{} }})
}

func (misuse) Start(ctx context.Context, h *ppf.ModuleHost) error {
	misuseContext = ctx
	return h.Register(ppf.UserFunction{Name: "misuse", Bind: func(ppf.Binding) (ppf.Processor, error) { return ppf.ProcessFunc(createTwice), nil }})
}

func (misuse) Stop(context.Context) error { return nil }

// createTwice makes a connection for whatever comes, for an ACK a second one.
func createTwice(x *ppf.Exchange) ppf.Verdict {
	if r := x.Create(0); r != packet.ReasonNone {
		return x.Refuse(r, 0)
	}
	x.SetDeadline(0)
	if x.In.TCP().Flags() == packet.ACK {
		x.Create(0)
	}
	return x.Refuse(reasonRefuse, 0)
}

// TestMisuse: a connection is made only for a packet that can have one, and no
// lock is left behind.
func TestMisuse(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "misuse"))
	segment := func(flags packet.TCPFlags, edit func([]byte) []byte) []byte {
		return ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(flags, 1, 1), EditIP: edit}.Bytes(t)
	}
	wantPanics := func(n uint64) {
		t.Helper()
		if got := b.Count("chain.panic", ppf.OutcomeDrop); got != n {
			t.Errorf("%d panics, want %d", got, n)
		}
	}
	tick := func() {
		b.Env.Advance(2e9)
		b.Engine.Handlers()[0].Tick(b.Env.Now())
	}
	b.Send(ppf.Forward, segment(packet.SYN, nil))
	wantPanics(0)
	tick() // a deadline of 0 is in the past
	if n := b.Engine.Stats().Connections; n != 0 {
		t.Errorf("%d connections are left after their deadline", n)
	}
	b.Send(ppf.Forward, segment(packet.ACK, nil))
	wantPanics(1)
	b.Send(ppf.Forward, segment(packet.SYN, nil)) // finds the connection, unlocked
	wantPanics(2)
	tick()
	b.Send(ppf.Forward, segment(packet.SYN, func(ip []byte) []byte { ip[7] = 9; return ip })) // a fragment has no ports
	wantPanics(3)
	b.Send(ppf.Forward, errorAbout(t, ppftest.Client4, ppftest.Server4))
	wantPanics(4)
	if n := b.Engine.Stats().Connections; n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	b.Accounted()
}

// TestModuleContext: what a module starts lives as long as the engine, not as
// the request that loaded it.
func TestModuleContext(t *testing.T) {
	b := ppftest.New(t)
	request, cancel := context.WithCancel(t.Context())
	if err := b.Engine.LoadModule(request, "misuse"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := misuseContext.Err(); err != nil {
		t.Errorf("the module's context ended with the request: %v", err)
	}
	if err := b.Engine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if misuseContext.Err() == nil {
		t.Error("the module's context outlives the engine")
	}
}
