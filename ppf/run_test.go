package ppf_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// batching is a module whose function takes runs, and notes them.
type batching struct{ runs *[][]byte }

// batchingRuns has, for each run, the first bytes of the payloads.
var batchingRuns [][]byte

var reasonBatching = packet.NewReason("batching", ppf.ReasonInfo{Name: "batching.asked", Field: "payload", Doc: "it asked to be refused"})

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "batching", Functions: []string{"batching", "ending", "quiet"}, New: func() ppf.Module { return batching{&batchingRuns} }})
}

func (m batching) Start(_ context.Context, h *ppf.ModuleHost) error {
	if err := h.Register(ppf.UserFunction{Name: "ending", Apart: true, Bind: func(ppf.Binding) (ppf.Processor, error) {
		return ppf.ProcessFunc(ending), nil
	}}); err != nil {
		return err
	}
	if err := h.Register(ppf.UserFunction{Name: "quiet", Bind: func(ppf.Binding) (ppf.Processor, error) { return quiet{}, nil }}); err != nil {
		return err
	}
	return h.Register(ppf.UserFunction{Name: "batching", Bind: func(ppf.Binding) (ppf.Processor, error) { return m, nil }})
}

func (batching) Stop(context.Context) error { return nil }

// ending panics where the payload asks for it.
func ending(x *ppf.Exchange) ppf.Verdict {
	if bytes.HasPrefix(x.In.Payload(), []byte("e")) {
		panic("ending")
	}
	return ppf.Verdict{Action: ppf.Accept}
}

func (m batching) Process(x *ppf.Exchange) ppf.Verdict {
	var v [1]ppf.Verdict
	m.ProcessRun([]*ppf.Exchange{x}, v[:])
	return v[0]
}

func (batching) RunLength(*ppf.Exchange) int { return ppf.MaxRun }

func (m batching) ProcessRun(run []*ppf.Exchange, verdicts []ppf.Verdict) {
	var first []byte
	for i, x := range run {
		payload := append(x.In.Payload(), '.')
		first = append(first, payload[0])
		verdicts[i] = ppf.Verdict{Action: ppf.Accept}
		switch payload[0] {
		case 'p':
			panic("batching")
		case 'd':
			verdicts[i] = x.Refuse(reasonBatching, uint64(i))
			continue
		}
		if !x.Out.IsComplete() {
			if v, stop := ip.Build(x, x.In.Src(), x.In.Dst()); stop {
				verdicts[i] = v
				continue
			}
			if x.In.Has(packet.HasUDP) {
				x.Out.SetUDP(packet.UDP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
			} else {
				in := x.In.TCP()
				x.Out.SetTCP(packet.TCP{SrcPort: in.SrcPort(), DstPort: in.DstPort(), Seq: in.Seq(), Ack: in.Ack(), Flags: in.Flags()})
			}
			x.Out.SetPayload(x.In.Payload())
		}
	}
	*m.runs = append(*m.runs, first)
}

// quiet takes runs and lets all go on.
type quiet struct{}

func (quiet) Process(*ppf.Exchange) ppf.Verdict { return ppf.Verdict{Action: ppf.Accept} }

func (quiet) RunLength(*ppf.Exchange) int { return ppf.MaxRun }

func (quiet) ProcessRun(run []*ppf.Exchange, verdicts []ppf.Verdict) {
	for i := range run {
		verdicts[i] = ppf.Verdict{Action: ppf.Accept}
	}
}

// frames are packets of one batch: the payloads of two clients, the second's in
// capital letters.
func (b *runBench) frames(payloads string) (list []ppf.Frame) {
	for i, c := range []byte(payloads) {
		s := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.ACK, packet.Seq(i), 1), Payload: []byte{c}}
		switch {
		case c == 's':
			s.TCP = packet.TCP{Flags: packet.SYN}
			s.Payload = nil
		case c >= 'A' && c <= 'Z':
			s.Src = netip.AddrPortFrom(s.Src.Addr(), 7)
		}
		list = append(list, b.Frame(ppf.Forward, s.Bytes(b.T)))
	}
	return list
}

type runBench struct{ *ppftest.Bench }

// TestRuns: packets of one flow that come one behind the other are judged
// together, others are not, and each has its own verdict.
func TestRuns(t *testing.T) {
	for _, tt := range []struct {
		name     string
		chain    []string
		payloads string
		runs     []string
		sent     string
		panics   uint64
	}{
		{"one flow", []string{"batching"}, "abc", []string{"abc"}, "abc", 0},
		{"more than a run", []string{"batching"}, "aaaaaaaaaa", []string{"aaaaaaaa", "aa"}, "aaaaaaaaaa", 0},
		{"two flows", []string{"batching"}, "abABa", []string{"ab", "AB", "a"}, "abABa", 0},
		{"a verdict for each", []string{"batching"}, "adbd", []string{"adbd"}, "ab", 0},
		{"behind a function that judges apart", []string{"tcp", "batching"}, "abc", []string{"a", "bc"}, "abc", 0},
		{"before one that makes connections", []string{"batching", "tcp"}, "abc", []string{"a", "bc"}, "abc", 0},
		{"what opens a connection stands alone", []string{"batching"}, "absab", []string{"ab", ".", "ab"}, "ab.ab", 0},
		{"with a function that does not judge apart", []string{"faulty", "batching"}, "ab", []string{"a", "b"}, "", 2},
		{"two that take runs", []string{"batching", "batching"}, "ab", []string{"a", "a", "b", "b"}, "ab", 0},
		{"a panic costs the run", []string{"batching"}, "apbABC", []string{"ABC"}, "ABC", 3},
		{"a panic before costs its packet, and ends the run", []string{"ending", "batching"}, "abeca", []string{"ab", "ca"}, "abca", 1},
		{"a panic behind costs its packet", []string{"tcp", "batching", "ending"}, "abeca", []string{"a", "beca"}, "abca", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &runBench{ppftest.New(t, ppftest.Instance("a", tt.chain...))}
			batchingRuns = nil
			frames := b.frames(tt.payloads)
			b.Engine.Handlers()[0].Handle(frames)
			sent := ""
			for i := range frames {
				f := &frames[i]
				switch {
				case f.Action == ppf.Accept && len(f.Body) > 0:
					sent += string(f.Body)
				case f.Action == ppf.Accept:
					sent += "."
				}
			}
			var runs []string
			for _, r := range batchingRuns {
				runs = append(runs, string(r))
			}
			if !slices.Equal(runs, tt.runs) || sent != tt.sent || b.Count("chain.panic", ppf.OutcomeDrop) != tt.panics {
				t.Errorf("runs %q, sent %q; want %q, %q; %+v", runs, sent, tt.runs, tt.sent, b.Engine.ReasonCounts())
			}
			b.Accounted()
		})
	}
}

// TestRunsAreAsOneByOne: whatever comes, in batches it has the verdicts, packets
// and counters that it has one by one.
func TestRunsAreAsOneByOne(t *testing.T) {
	for _, chain := range [][]string{{"batching"}, {"ip", "batching"}, {"tcp", "batching"}, {"udp", "tcp", "batching"}, {"batching", "tcp"}, {"tcp", "batching", "udp"}} {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 7))
			in := ppftest.Instance("a", chain...)
			in.Match.Protocol = ppf.ProtocolAny
			in.Match.Port = nil
			together, apart := ppftest.New(t, in), ppftest.New(t, in)
			next := [2]packet.Seq{100, 200} // by client
			for range 30 {
				var batch, single []ppf.Frame
				who := random.IntN(2)
				for range 1 + random.IntN(20) {
					if random.IntN(4) == 0 {
						who = random.IntN(2)
					}
					data := randomOf(t, random, who, &next[who])
					batch, single = append(batch, together.Frame(ppf.Forward, data)), append(single, apart.Frame(ppf.Forward, data))
				}
				together.Engine.Handlers()[0].Handle(batch)
				for i := range single {
					apart.Engine.Handlers()[0].Handle(single[i : i+1])
					got, want := &batch[i], &single[i]
					if got.Action != want.Action || !bytes.Equal(got.Head, want.Head) || !bytes.Equal(got.Body, want.Body) {
						t.Fatalf("%v, seed %d: packet %d %x: %v %x %x together, %v %x %x apart", chain, seed, i, got.Data, got.Action, got.Head, got.Body, want.Action, want.Head, want.Body)
					}
				}
			}
			if diff := cmp.Diff(apart.Engine.ReasonCounts(), together.Engine.ReasonCounts()); diff != "" {
				t.Fatalf("%v, seed %d: reasons apart and together:\n%s", chain, seed, diff)
			}
			if diff := cmp.Diff(apart.Engine.Stats().Packets, together.Engine.Stats().Packets); diff != "" {
				t.Fatalf("%v, seed %d: packets apart and together:\n%s", chain, seed, diff)
			}
			if diff := cmp.Diff(apart.Emitted, together.Emitted); diff != "" {
				t.Fatalf("%v, seed %d: extra packets apart and together:\n%s", chain, seed, diff)
			}
			together.Accounted()
			apart.Accounted()
		}
	}
}

// randomOf is a packet of a client's flow, mostly the next of its data.
func randomOf(t *testing.T, random *rand.Rand, who int, next *packet.Seq) []byte {
	s := ppftest.Segment{Src: netip.AddrPortFrom(ppftest.Client4.Addr(), uint16(1000+who)), Dst: ppftest.Server4,
		TCP: packet.TCP{Flags: packet.ACK, Seq: *next, Ack: 1, Window: 1000}, Payload: bytes.Repeat([]byte{"abd"[random.IntN(3)]}, 1+random.IntN(3))}
	switch random.IntN(24) {
	case 0:
		s.TCP.Flags, s.TCP.Ack, s.Payload = packet.SYN, 0, nil
		*next = s.TCP.Seq.Add(1)
	case 1:
		s.TCP.Flags |= packet.FIN
		*next = s.TCP.Seq.Add(uint32(len(s.Payload)) + 1)
	case 2:
		s.TCP.Flags, s.Payload = packet.RST, nil
	case 3: // again
		s.TCP.Seq = next.Add(^uint32(0))
	case 4:
		s.Src, s.Dst = s.Dst, s.Src
	case 5:
		b := s.Bytes(t)
		b[len(b)-1] ^= 1 // a wrong checksum
		return b
	case 6:
		return s.Bytes(t)[:30]
	case 7:
		return ppftest.Random(random)
	default:
		*next = s.TCP.Seq.Add(uint32(len(s.Payload)))
	}
	return s.Bytes(t)
}

// TestRunsAllocateNothing: nor do they once their room is there.
func TestRunsAllocateNothing(t *testing.T) {
	b := &runBench{ppftest.New(t, ppftest.Instance("a", "tcp", "quiet"))}
	frames := b.frames("aaaaaaaaaaaaaaaa")
	h := b.Engine.Handlers()[0]
	if h.Handle(frames); frames[15].Action != ppf.Accept {
		t.Fatalf("%+v", b.Engine.ReasonCounts())
	}
	if n := testing.AllocsPerRun(50, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
