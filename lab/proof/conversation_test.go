package proof

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/promethos/promethos/lab"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// drawEnd draws an end of a connection as hosts have them.
func drawEnd(t *rapid.T, tb testing.TB, e *ppftest.End) *ppftest.End {
	e.ISS = packet.Seq(rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0xffffff00, 0xffffffff)).Draw(t, "ISS"))
	e.MSS = rapid.SampledFrom([]uint16{88, 536, 1220, 1460, 8960}).Draw(t, "MSS")
	e.Window = rapid.SampledFrom([]uint32{1, 16, 500, 4096, 65535}).Draw(t, "window")
	if rapid.Bool().Draw(t, "scaling") {
		e.Scale = uint8(rapid.IntRange(1, 14).Draw(t, "scale"))
		e.Window = max(e.Window, 1<<e.Scale) // or it would announce none
	}
	e.SACK, e.Stamps = rapid.Bool().Draw(t, "SACK"), rapid.Bool().Draw(t, "timestamps")
	e.Data = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")
	if rapid.Bool().Draw(t, "much") {
		e.Data = slices.Repeat(e.Data, 20)
	}
	return e
}

// drawPath draws a connection through a chain that has seen none, so that it can
// be drawn again. A table of few connections is made fast.
func drawPath(t *rapid.T, tb testing.TB, in ppf.InstanceSpec) (p *ppftest.Path, client, server *ppftest.End) {
	b := ppftest.NewConfigured(tb, map[string]string{"PROXY": "connections 256"}, in)
	c, s := ppftest.Client4, ppftest.Server4
	if rapid.Bool().Draw(t, "IPv6") {
		c, s = ppftest.Client6, ppftest.Server6
	}
	p = &ppftest.Path{Bench: b, Hook: ppf.Forward, Faults: rapid.SampledFrom([]int{0, 1, 4}).Draw(t, "faults"),
		Pick: func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }}
	client = drawEnd(t, tb, ppftest.NewEnd(tb, c, s, b.Env.Now))
	server = drawEnd(t, tb, ppftest.NewEnd(tb, s, c, b.Env.Now))
	return p, client, server
}

// framed puts packets behind Ethernet headers, for the judge.
func framed(packets [][]byte) (list []lab.Frame) {
	for _, ip := range packets {
		list = append(list, frame(ip))
	}
	return list
}

// TestConversations lets random legal TCP conversations over a bad network through
// the chain: every one comes to its end, byte for byte, nothing is refused, and
// what leaves the chain holds P1 to P3.
func TestConversations(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p, client, server := drawPath(r, t, ppftest.Instance("web", "tcp"))
		if err := p.Converse(client, server); err != nil {
			r.Fatal(err)
		}
		frames := framed(p.Passed)
		for _, v := range append(Judged(frames), Streams(frames).Ambiguous()...) {
			r.Error(v)
		}
		if n := p.Bench.Engine.Stats().Packets.Dropped; n > 0 && p.Faults == 0 {
			r.Errorf("%d packets of a good network were dropped: %+v", n, p.Bench.Engine.ReasonCounts())
		}
		p.Bench.Accounted()
	})
}

// fromStart lets an instance take no connection over whose start it has not seen.
func fromStart(in ppf.InstanceSpec) ppf.InstanceSpec {
	never := ppf.KeyValue{Key: "adopt", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "0s"}}
	in.Modules = map[string]ppf.Value{"tcp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{never}}}
	return in
}

const (
	far      = 1 << 20 // bytes: beyond every window and all data of the conversations here
	blindTTL = 77      // of what is sent blindly, and of nothing else
)

// blind is what somebody sends who knows addresses and ports, but not the numbers.
func blind(pkt []byte, p *ppftest.Path) packet.TCP {
	var in packet.Packet
	in.Parse(packet.LinkRawIP, pkt)
	seen := in.TCP()
	off := func() uint32 { return far + uint32(p.Pick(1<<30, "off")) }
	switch p.Pick(5, "blind") {
	case 0:
		return packet.TCP{Flags: packet.RST, Seq: seen.Seq().Add(off())}
	case 1:
		return packet.TCP{Flags: packet.RST | packet.ACK, Seq: seen.Seq().Add(off()), Ack: seen.Ack().Add(off())}
	case 2:
		return packet.TCP{Flags: packet.ACK, Seq: seen.Seq().Add(off()), Ack: seen.Ack()}
	case 3:
		return packet.TCP{Flags: packet.ACK, Seq: seen.Seq(), Ack: seen.Ack().Add(off())}
	}
	return packet.TCP{Flags: packet.SYN | packet.ACK, Seq: seen.Seq(), Ack: seen.Ack().Add(off())}
}

// TestBlind lets an outsider send RSTs, data and acknowledgments with numbers that
// do not fit between the packets of conversations: they come to their end, and
// nothing of the outsider's leaves the chain.
func TestBlind(t *testing.T) {
	count := 0
	rapid.Check(t, func(r *rapid.T) {
		p, client, server := drawPath(r, t, fromStart(ppftest.Instance("web", "tcp")))
		p.Mutate = func(pkt []byte) [][]byte {
			h := blind(pkt, p)
			from, to := client, server
			var is packet.Packet
			if is.Parse(packet.LinkRawIP, pkt); is.Src() == server.Local.Addr() {
				from, to = server, client
			}
			count++
			return [][]byte{ppftest.Segment{Src: from.Local, Dst: to.Local, TCP: h, Payload: []byte("blind"), IP: packet.IPv4{TTL: blindTTL}}.Bytes(t)}
		}
		if err := p.Converse(client, server); err != nil {
			r.Fatal(err)
		}
		for _, pkt := range p.Passed {
			var out packet.Packet
			out.Parse(packet.LinkRawIP, pkt)
			ttl := out.Raw()[8]
			if out.Has(packet.HasIPv6) {
				ttl = out.Raw()[7]
			}
			if seg := out.TCP(); ttl == blindTTL {
				r.Errorf("passed: %v, sequence number %d, acknowledgment %d", seg.Flags(), seg.Seq(), seg.Ack())
			}
		}
		p.Bench.Accounted()
	})
	if count == 0 {
		t.Error("nothing was sent blindly")
	}
}

// everything is an instance that takes all packets of its server, with all the
// functions of this build that protect one.
func everything() ppf.InstanceSpec {
	var chain []string
	for _, name := range []string{"ip", "icmp", "udp", "tcp"} {
		if _, ok := ppf.BuiltinModule(name); ok {
			chain = append(chain, name)
		}
	}
	in := ppftest.Instance("all", chain...)
	in.Match.Protocol = ppf.ProtocolAny
	return in
}

// mutated is the property of TestMutations.
func mutated(t testing.TB, mutants *int) func(*rapid.T) {
	return func(r *rapid.T) {
		// What was forgotten and is taken over again begins a stream that nobody
		// compares with the one before.
		p, client, server := drawPath(r, t, fromStart(everything()))
		p.Steps = 200
		p.Mutate = func(pkt []byte) (list [][]byte) {
			for range p.Pick(3, "mutants") {
				list = append(list, ppftest.Mutate(pkt, p.Pick))
				*mutants++
			}
			return list
		}
		_ = p.Converse(client, server) // a mutant may well have reset it
		frames := framed(p.Passed)
		for _, v := range append(Judged(frames), Streams(frames).Ambiguous()...) {
			r.Error(v)
		}
		p.Bench.Accounted()
	}
}

// TestMutations sends changed copies of the packets of a conversation before
// them: whatever becomes of the conversation, what leaves the chain holds P1 to P3.
func TestMutations(t *testing.T) {
	mutants := 0
	rapid.Check(t, mutated(t, &mutants))
	if mutants == 0 {
		t.Error("no mutant was sent")
	}
}

// FuzzConversation is TestMutations with the draws in the fuzzer's hands.
func FuzzConversation(f *testing.F) {
	mutants := 0
	f.Fuzz(func(t *testing.T, b []byte) { rapid.MakeFuzz(mutated(t, &mutants))(t, b) })
}

func words(list ...string) ppf.Value {
	v := ppf.Value{Kind: ppf.ValueList}
	for _, w := range list {
		v.List = append(v.List, ppf.Value{Kind: ppf.ValueScalar, Scalar: w})
	}
	return v
}

// TestRandomPackets sends a million random packets through the chain: what leaves
// it holds P1 and P2.
func TestRandomPackets(t *testing.T) {
	seeds, each := 10, 100_000
	if testing.Short() {
		each = 2_000
	}
	passed, sent := 0, 0
	for seed := range seeds {
		in, ignore := everything(), []lab.Kind{}
		if seed%2 == 1 { // extension headers pass as well
			in.Modules = map[string]ppf.Value{"ip": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{
				{Key: "extensions", Value: words("hop-by-hop", "routing", "destination")}, {Key: "extension_options", Value: words("router-alert", "tunnel-limit", "0x1e")},
			}}}
			ignore = []lab.Kind{lab.KindExtension}
		}
		b := ppftest.New(t, in)
		r := rand.New(rand.NewPCG(uint64(seed), 0))
		for range each {
			b.Env.Advance(1_000_000)
			pkt := ppftest.Random(r)
			_, out := b.Send(ppf.Forward, pkt)
			sent++
			leaving := b.Emitted
			if out != nil {
				leaving = append(leaving, out)
			}
			for _, p := range leaving {
				passed++
				for _, v := range Judged([]lab.Frame{frame(p)}, ignore...) {
					t.Errorf("seed %d, packet %x became %x: %v", seed, pkt, p, v)
				}
			}
			b.Emitted = b.Emitted[:0]
			if t.Failed() {
				t.FailNow()
			}
		}
		b.Accounted()
	}
	if passed < sent/50 {
		t.Errorf("%d of %d packets passed: hardly anything was judged", passed, sent)
	}
	t.Logf("%d of %d packets passed", passed, sent)
}
