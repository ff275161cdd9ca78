package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
	_ "github.com/promethos/promethos/modules/builtin" // what else a chain names
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	_ "github.com/promethos/promethos/wasm" // what is tested
)

// Options say what to test.
type Options struct {
	Module    string // its file
	Scenarios []*Scenario
	// Recorded are frames of captures, which go through the chain of each scenario
	// as if they belonged to it; the kit has some of its own besides.
	Recorded []lab.Frame
	Fuzz     int // packets made of each scenario's; 0 for none
	Seed     uint64
}

// Check is one thing that was looked at.
type Check struct {
	Name     string   `json:"name"`
	Packets  int      `json:"packets"`
	Problems []string `json:"problems"`
}

// Run tests a module. An error means that it could not be tested.
func Run(ctx context.Context, o Options) (checks []Check, err error) {
	if len(o.Scenarios) == 0 {
		return nil, errors.New("there is no scenario: it says which chain the module belongs to")
	}
	own, err := ownFrames()
	if err != nil {
		return nil, err
	}
	o.Recorded = slices.Concat(own, o.Recorded)
	for _, s := range o.Scenarios {
		p := &progress{}
		list, err := p.guard(ctx, func() ([]Check, error) { return runScenario(ctx, o, s, p) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		checks = append(checks, list...)
	}
	return checks, nil
}

func runScenario(ctx context.Context, o Options, s *Scenario, p *progress) (checks []Check, err error) {
	run := map[Kind][2]func(*bench) Check{
		KindPackets: {func(b *bench) Check { return b.steps(s) }, func(b *bench) Check { return b.fuzzed(s, o) }},
		KindStream:  {func(b *bench) Check { return b.streams(s) }, func(b *bench) Check { return b.fuzzedStreams(s, o) }},
		KindHTTP:    {func(b *bench) Check { return b.messages(s) }, func(b *bench) Check { return b.fuzzedMessages(s, o) }},
	}[s.Kind]
	for _, part := range []struct {
		name string
		run  func(*bench) Check
		want bool
	}{
		{"scenario", func(b *bench) Check { return b.twice(ctx, run[0]) }, true},
		{"recorded traffic", func(b *bench) Check { return b.recorded(s, o.Recorded) }, len(o.Recorded) > 0},
		{"fuzzed traffic", run[1], o.Fuzz > 0},
	} {
		if !part.want {
			continue
		}
		p.at(part.name)
		b, err := open(ctx, o, s, p)
		if err != nil {
			return nil, err
		}
		check := part.run(b)
		check.Name = s.Name + ": " + part.name
		check.Problems = append(check.Problems, b.judge(part.name != "fuzzed traffic")...)
		checks = append(checks, check)
		if err := b.engine.Close(ctx); err != nil {
			return nil, err
		}
	}
	return checks, nil
}

// problem adds something that does not hold.
func (c *Check) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// world is an environment in which only the kit moves the clock.
type world struct {
	ppf.Env
	*progress
	now    atomic.Int64
	mu     sync.Mutex
	random *rand.Rand
	signal chan struct{} // something has moved in a session
}

// Now is the time that the kit has made it.
func (w *world) Now() int64 { return w.now.Load() }

func (w *world) advance(d time.Duration) {
	w.now.Add(int64(d))
	w.moves.Add(1)
}

// Uint32 is a number that is the same in each run.
func (w *world) Uint32() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Uint32()
}

// moved wakes who waits for a session; wait waits until something has moved since
// the last time.
func (w *world) moved() {
	w.moves.Add(1)
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *world) wait() { <-w.signal }

// bench is an engine with the scenario's chain.
type bench struct {
	world  *world
	engine *ppf.Engine
	module string
	kind   Kind
	sent   []lab.Frame
	extra  [][]byte // payloads of packets that a step sent besides
	// What came in, went on, and was sent besides.
	in, out, emitted uint64

	mu    sync.Mutex
	wrong []string // what arrived and should not have
}

// malformed notes something that arrived and is none.
func (b *bench) malformed(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, what)
}

func open(ctx context.Context, o Options, s *Scenario, p *progress) (*bench, error) {
	b := &bench{module: o.Module, kind: s.Kind, world: &world{Env: ppf.DryEnv(), progress: p, random: rand.New(rand.NewPCG(1, 2)), signal: make(chan struct{}, 1)}}
	b.world.advance(time.Hour)
	var err error
	b.engine, err = ppf.New(ppf.Options{Env: b.world, Workers: 1, Emit: func(pkt []byte) error {
		b.emitted++
		b.record(pkt)
		var p packet.Packet
		p.Parse(packet.LinkRawIP, pkt) // whether it is one the judge says
		b.extra = append(b.extra, slices.Clone(p.Payload()))
		return nil
	}})
	if err != nil {
		return nil, err
	}
	if err := b.engine.LoadModule(ctx, o.Module); err != nil {
		return nil, errors.Join(err, b.engine.Close(ctx))
	}
	in := ppf.InstanceSpec{
		Name: "kit", Hook: ppf.Forward, Chain: [2][]string{s.Chain, s.Chain}, Modules: s.Settings, Initiate: ppf.InitiateBoth,
		Match: ppf.Match{Protocol: ppf.ProtocolAny, Server: servers(o.Recorded)},
	}
	if s.Kind != KindPackets {
		in.Source, in.Hook, in.Match, in.Initiate = ppf.SourceListen, 0, ppf.Match{}, ppf.InitiateClient
	}
	if s.Strict {
		in.Mode = ppf.Strict
	}
	if _, err := b.engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); err != nil {
		return nil, errors.Join(err, b.engine.Close(ctx))
	}
	return b, nil
}

// record keeps what leaves, with an Ethernet header for the judge.
func (b *bench) record(pkt []byte) {
	eth := make([]byte, packet.EthernetLen, packet.EthernetLen+len(pkt))
	eth[12], eth[13] = 0x08, 0x00
	if len(pkt) > 0 && pkt[0]>>4 == 6 {
		eth[12], eth[13] = 0x86, 0xdd
	}
	b.sent = append(b.sent, lab.Frame{Time: time.Unix(0, b.world.Now()), Data: append(eth, pkt...)})
}

// send gives one packet to the engine and returns what is sent on, nil for
// nothing.
func (b *bench) send(data []byte) []byte {
	b.world.advance(time.Millisecond)
	now := b.world.Now()
	frames := []ppf.Frame{{Data: data, WireLen: len(data), Hook: ppf.Forward, Time: now}}
	h := b.engine.Handlers()[0]
	h.Handle(frames)
	h.Tick(now)
	b.in++
	f := &frames[0]
	if f.Action == ppf.Drop {
		return nil
	}
	b.out++
	if f.Head == nil {
		return data // passed on: no packet of ours to judge
	}
	out := slices.Concat(f.Head, f.Body)
	b.record(out)
	return out
}

// twice runs the scenario, reloads the module, and runs it again: what it keeps
// may have gone over, so that only faults count then.
func (b *bench) twice(ctx context.Context, run func(*bench) Check) Check {
	c := run(b)
	if err := b.engine.ReloadModule(ctx, b.module); err != nil {
		c.problem("reload: %v", err)
	}
	run(b)
	return c
}

// steps sends the scenario's packets.
func (b *bench) steps(s *Scenario) (c Check) {
	for i := range s.Steps {
		step := &s.Steps[i]
		b.extra = nil
		b.world.at(fmt.Sprintf("line %d", step.Line))
		if step.Wait > 0 {
			b.pass(step.Wait, nil)
			for _, problem := range step.compareExtra(b.extra) {
				c.problem("line %d: %s", step.Line, problem)
			}
			continue
		}
		c.Packets++
		before := b.reasons()
		out := b.send(step.Data)
		var p packet.Packet
		if out != nil && step.Texts != nil {
			if r := p.Parse(packet.LinkRawIP, out); r != packet.ReasonNone {
				c.problem("line %d: what was sent is no packet: %v", step.Line, r)
			}
		}
		for _, problem := range append(step.compare(out != nil, p.Payload(), before, b.reasons()), step.compareExtra(b.extra)...) {
			c.problem("line %d: %s", step.Line, problem)
		}
	}
	return c
}

// compareExtra tells how the payloads of extra packets differ from what is expected.
func (s *Step) compareExtra(got [][]byte) []string {
	if s.Extra == nil || slices.EqualFunc(got, s.Extra, bytes.Equal) {
		return nil
	}
	return []string{fmt.Sprintf("extra packets %q, want %q", got, s.Extra)}
}

// compareReply tells whether something else came back to a sender than is expected.
func (s *Step) compareReply(got []byte) []string {
	if bytes.Equal(got, s.Reply) {
		return nil
	}
	return []string{fmt.Sprintf("reply %q, want %q", got, s.Reply)}
}

// reasons counts drops and repairs by reason.
func (b *bench) reasons() map[string]uint64 {
	counts := map[string]uint64{}
	for _, r := range b.engine.ReasonCounts() {
		counts[r.Reason] += r.Count
	}
	return counts
}

// compare tells how what became of a step differs from what is expected: whether
// it was sent on, and as what.
func (s *Step) compare(sent bool, got []byte, before, after map[string]uint64) (problems []string) {
	var reasons []string
	for name, n := range after {
		if n > before[name] {
			reasons = append(reasons, name)
		}
	}
	slices.Sort(reasons)
	became := "accept"
	if !sent {
		became = "drop"
	}
	if s.Want != "" && became != s.Want {
		problems = append(problems, fmt.Sprintf("%s, want %s (reasons %v)", became, s.Want, reasons))
	}
	if s.Want != "" && s.Reason == "" && len(reasons) > 0 || s.Reason != "" && !slices.Contains(reasons, s.Reason) {
		problems = append(problems, fmt.Sprintf("reasons %v, want %q", reasons, s.Reason))
	}
	if s.Texts == nil || !sent {
		return problems
	}
	if s.Kind != KindHTTP {
		if want := bytes.Join(s.Texts, nil); !bytes.Equal(got, want) {
			problems = append(problems, fmt.Sprintf("payload %q, want %q", got, want))
		}
		return problems
	}
	for _, text := range s.Texts {
		if !bytes.Contains(got, text) {
			problems = append(problems, fmt.Sprintf("%q, want %q in it", got, text))
		}
	}
	return problems
}

// recorded sends captured packets; see servers. Through a chain for connections go
// the bytes of theirs.
func (b *bench) recorded(s *Scenario, frames []lab.Frame) (c Check) {
	if s.Kind != KindPackets {
		return b.replayed(s, frames)
	}
	for _, f := range frames {
		var p packet.Packet
		p.Parse(packet.LinkEthernet, f.Data)
		if p.Has(packet.HasIPv4 | packet.HasIPv6) {
			c.Packets++
			b.send(f.Data[packet.EthernetLen+packet.VLANLen*len(p.VLANs()):])
		}
	}
	return c
}

// servers are the addresses that the first packet between two hosts goes to, and
// the scenario's.
func servers(frames []lab.Frame) []netip.Prefix {
	list := []netip.Prefix{netip.PrefixFrom(serverAddr, serverAddr.BitLen())}
	seen := map[[2]netip.Addr]bool{}
	for _, f := range frames {
		var p packet.Packet
		p.Parse(packet.LinkEthernet, f.Data)
		src, dst := p.Src(), p.Dst()
		if !dst.IsValid() || seen[[2]netip.Addr{src, dst}] || seen[[2]netip.Addr{dst, src}] {
			continue
		}
		seen[[2]netip.Addr{src, dst}] = true
		list = append(list, netip.PrefixFrom(dst, dst.BitLen()))
	}
	return list
}

// fuzzed sends packets made of the scenario's: some as they are, so that state
// is reached, others with changed bytes. Half have right checksums.
func (b *bench) fuzzed(s *Scenario, o Options) (c Check) {
	random := rand.New(rand.NewPCG(o.Seed, 0))
	var seeds [][]byte
	for _, step := range s.Steps {
		if step.Data != nil {
			seeds = append(seeds, step.Data)
		}
	}
	if len(seeds) == 0 {
		return c
	}
	for i := range o.Fuzz {
		data := slices.Clone(seeds[i%len(seeds)])
		if random.IntN(4) > 0 {
			data = mutate(random, data)
		}
		c.Packets++
		b.send(data)
	}
	return c
}

// mutate changes a packet behind its IP addresses, cuts or lengthens it, and
// mostly mends lengths and checksums, so that the module gets to see it.
func mutate(random *rand.Rand, data []byte) []byte {
	switch random.IntN(4) {
	case 0:
		data = data[:packet.IPv4MinLen+random.IntN(len(data)-packet.IPv4MinLen+1)]
	case 1:
		for range random.IntN(64) {
			data = append(data, byte(random.Uint32()))
		}
	}
	for range random.IntN(8) {
		if n := len(data) - packet.IPv4MinLen; n > 0 {
			data[packet.IPv4MinLen+random.IntN(n)] = byte(random.Uint32())
		}
	}
	if random.IntN(8) > 0 {
		mend(data)
	}
	return data
}

// mend writes lengths and checksums as they must be.
func mend(ip []byte) {
	put := func(at int, v uint16) { ip[at], ip[at+1] = byte(v>>8), byte(v) }
	put(2, uint16(len(ip)))
	put(10, 0)
	put(10, packet.SumBytes(ip[:packet.IPv4MinLen]).Checksum())
	l4 := ip[packet.IPv4MinLen:]
	proto, at := packet.Protocol(ip[9]), 0
	switch {
	case proto == packet.ProtoTCP && len(l4) >= packet.TCPMinLen:
		at = 16
	case proto == packet.ProtoUDP && len(l4) >= packet.UDPLen:
		put(packet.IPv4MinLen+4, uint16(len(l4)))
		at = 6
	default:
		return
	}
	put(packet.IPv4MinLen+at, 0)
	sum := packet.PseudoSum4([4]byte(ip[12:16]), [4]byte(ip[16:20]), proto, len(l4)).Add(packet.SumBytes(l4)).Checksum()
	if sum == 0 && proto == packet.ProtoUDP {
		sum = 0xffff
	}
	put(packet.IPv4MinLen+at, sum)
}

// faults are reasons that tell of a bug in the module.
var faults = []string{"wasm.fault", "wasm.restarting", "wasm.disabled", "chain.panic", "chain.encode", "chain.unset"}

// judge looks at everything that left the engine, and at its books: P1 and P2 by
// gopacket, P5 and P6; P3 where traffic was legitimate.
func (b *bench) judge(legitimate bool) (problems []string) {
	list := proof.Judged(b.sent)
	if legitimate {
		list = append(list, proof.Streams(b.sent).Ambiguous()...)
	}
	if b.kind == KindPackets {
		stats := control.StatsReply{Stats: b.engine.Stats(), Sources: []ppf.SourceStats{{Name: "kit", Received: b.in, Sent: b.out, Emitted: b.emitted}}}
		list = append(list, proof.Accounts(stats, b.engine.ReasonCounts())...)
	}
	for _, v := range list {
		problems = append(problems, v.String())
	}
	problems = append(problems, b.wrong...)
	counts := b.reasons()
	for _, name := range faults {
		if counts[name] > 0 {
			problems = append(problems, fmt.Sprintf("%v: %d packets met %s", proof.Survives, counts[name], name))
		}
	}
	if len(problems) > 0 {
		events, _ := b.engine.Events().Since(0)
		for _, e := range events {
			if e.Kind == ppf.EventModule && (strings.Contains(e.Text, ": fault ") || strings.Contains(e.Text, ": disabled ")) {
				problems = append(problems, "event: "+e.Text)
			}
		}
	}
	return problems
}
