// Package ppftest runs packets through an engine without a kernel, for tests of
// the framework and of modules.
package ppftest

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Env is a world that tests set: a clock that stands still, numbers that count
// up, and ports that are handed out in order.
type Env struct {
	mu     sync.Mutex
	now    int64
	random uint32
	// Step is what Uint32 counts up by; 0 means 1.
	Step uint32
	// Local says that Route leads to this host.
	Local bool
	// Port is the port that was handed out last.
	Port uint16
	// Ports are the reserved ports; MaxPorts limits them, 0: no limit.
	Ports    map[netip.AddrPort]bool
	MaxPorts int
	// OutSrc is the source address that Route answers with.
	OutSrc netip.Addr
	// MTU is that of the routes to some destinations.
	MTU map[netip.Addr]int
}

var _ ppf.Env = (*Env)(nil)

// NewEnv starts the clock at one second, so that the zero time is in the past.
func NewEnv() *Env {
	return &Env{now: 1e9, Port: 50000, Ports: map[netip.AddrPort]bool{}, OutSrc: netip.MustParseAddr("198.51.100.1")}
}

// Now reads the clock.
func (e *Env) Now() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// Advance moves the clock on by a number of nanoseconds.
func (e *Env) Advance(d int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now += d
}

// Uint32 counts up.
func (e *Env) Uint32() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.random += max(e.Step, 1)
	return e.random
}

// DeviceName knows interfaces 1 to 3.
func (e *Env) DeviceName(index int32) string {
	names := []string{"", "lo", "eth0", "eth1"}
	if int(index) < len(names) {
		return names[index]
	}
	return ""
}

// Route answers with OutSrc and MTU.
func (e *Env) Route(dst netip.Addr, _ int32) (ppf.Route, error) {
	if !e.OutSrc.IsValid() {
		return ppf.Route{}, ppf.ErrNoRoute
	}
	return ppf.Route{Out: 3, Src: e.OutSrc, Local: e.Local, MTU: e.MTU[dst]}, nil
}

// ReservePort hands out the next port.
func (e *Env) ReservePort(a netip.Addr, _ packet.Protocol) (uint16, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.MaxPorts > 0 && len(e.Ports) >= e.MaxPorts {
		return 0, errors.New("no port left")
	}
	e.Port++
	e.Ports[netip.AddrPortFrom(a, e.Port)] = true
	return e.Port, nil
}

// ReleasePort takes a port back.
func (e *Env) ReleasePort(a netip.Addr, _ packet.Protocol, port uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.Ports, netip.AddrPortFrom(a, port))
}

// Bench is an engine with one worker and what came out of it.
type Bench struct {
	T      testing.TB
	Env    *Env
	Engine *ppf.Engine
	// Emitted are the extra packets.
	Emitted [][]byte
	data    map[string]*ppf.Data // of data modules
}

// New makes an engine with the given instances; a problem fails the test.
func New(t testing.TB, instances ...ppf.InstanceSpec) *Bench {
	t.Helper()
	return NewConfigured(t, nil, instances...)
}

// NewConfigured is New with plugin-wide configurations by plugin name.
func NewConfigured(t testing.TB, plugins map[string]string, instances ...ppf.InstanceSpec) *Bench {
	t.Helper()
	b := &Bench{T: t, Env: NewEnv()}
	var err error
	b.Engine, err = ppf.New(ppf.Options{Env: b.Env, Workers: 1, PluginConfig: plugins, Emit: func(p []byte) error {
		b.Emitted = append(b.Emitted, slices.Clone(p))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	b.Apply(instances...)
	return b
}

// Successor makes a bench that starts when b's time is over and takes up all
// connections that b saves.
func (b *Bench) Successor(plugins map[string]string, instances ...ppf.InstanceSpec) *Bench {
	b.T.Helper()
	var file bytes.Buffer
	saved, err := b.Engine.SaveConnections(&file)
	if err != nil {
		b.T.Fatal(err)
	}
	next := NewConfigured(b.T, plugins, instances...)
	next.Env.Step, next.Env.random = b.Env.Step, b.Env.random
	next.Env.Advance(b.Env.Now() - next.Env.Now())
	sum, err := next.Engine.RestoreConnections(bytes.NewReader(file.Bytes()))
	if want := (ppf.Restored{Restored: len(b.Engine.Connections("", 0))}); err != nil || sum != want || saved != want.Restored {
		b.T.Fatalf("%d connections are saved, taken up %+v, want %+v: %v", saved, sum, want, err)
	}
	return next
}

// Apply replaces the instances of the configuration.
func (b *Bench) Apply(instances ...ppf.InstanceSpec) {
	b.T.Helper()
	if _, err := b.Engine.Apply(&ppf.Spec{Instances: instances}); err != nil {
		b.T.Fatal(err)
	}
}

// Frame makes a frame of an IP packet at a hook, come in at eth0 for eth1.
func (b *Bench) Frame(hook ppf.Hook, data []byte) ppf.Frame {
	return ppf.Frame{Data: data, WireLen: len(data), Hook: hook, In: 2, Out: 3, Time: b.Env.Now()}
}

// Send gives one packet to the engine and returns its verdict and what is sent
// on, nil for nothing.
func (b *Bench) Send(hook ppf.Hook, data []byte) (ppf.Action, []byte) {
	b.T.Helper()
	frames := []ppf.Frame{b.Frame(hook, data)}
	h := b.Engine.Handlers()[0]
	h.Handle(frames)
	h.Tick(b.Env.Now())
	f := &frames[0]
	switch {
	case f.Action == ppf.Drop:
		return f.Action, nil
	case f.Head == nil:
		return f.Action, data
	}
	return f.Action, slices.Concat(f.Head, f.Body)
}

// Count is how often a reason led to an outcome, over all instances.
func (b *Bench) Count(reason string, outcome ppf.Outcome) (n uint64) {
	for _, c := range b.Engine.ReasonCounts() {
		if c.Reason == reason && c.Action == outcome.String() {
			n += c.Count
		}
	}
	return n
}

// Accounted fails the test unless every packet that came in is accounted for.
func (b *Bench) Accounted() {
	b.T.Helper()
	s := b.Engine.Stats()
	for _, c := range []ppf.FlowCounters{s.Packets, s.Unmatched} {
		if !c.Accounted() {
			b.T.Errorf("accounting: %+v", c)
		}
	}
}
