package wasm

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
	"github.com/promethos/promethos/wasm/testdata/keeper"
)

// later lets time pass, and timers come.
func later(b *ppftest.Bench, d time.Duration) {
	b.Env.Advance(int64(d))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
}

// TestTimerEmits: a timer sends packets, at most as many a second as the instance
// may, counted with it; also after a reload.
func TestTimerEmits(t *testing.T) {
	for _, form := range []string{"guest", "built-in"} {
		t.Run(form, func(t *testing.T) {
			b, _ := keeperBench(t, form, scalar("again", "true"))
			ask(t, b, "beat 2")
			for range 2 {
				later(b, time.Second)
			}
			if len(b.Emitted) != 4 || len(events(b, "beats 2")) != 2 {
				t.Fatalf("%d packets, %q", len(b.Emitted), events(b, "beats"))
			}
			for _, data := range b.Emitted {
				var p packet.Packet
				if r := p.Parse(packet.LinkRawIP, data); r != packet.ReasonNone || p.VerifyChecksums(true) != packet.ReasonNone ||
					p.Dst() != ppftest.Client4.Addr() || p.Src() != ppftest.Server4.Addr() || p.DstPort() != 9 || string(p.Payload()) != "beat" {
					t.Errorf("emitted %x: %v", data, r)
				}
			}
			if n := b.Engine.Stats().Packets.Emitted; n != 4 {
				t.Errorf("counted as %d", n)
			}
			if form == "guest" {
				if err := b.Engine.ReloadModule(t.Context(), "keeper"); err != nil {
					t.Fatal(err)
				}
				later(b, time.Second)
				if len(b.Emitted) != 6 {
					t.Errorf("%d packets after a reload", len(b.Emitted))
				}
			}
			later(b, time.Second)
			b.Emitted = nil
			ask(t, b, "beat 250")
			later(b, time.Second)
			if len(b.Emitted) != 100 || len(events(b, "beats 100")) != 1 {
				t.Errorf("%d packets at once, %q", len(b.Emitted), events(b, "beats"))
			}
			if got := events(b, "fault"); len(got) > 0 {
				t.Errorf("faults %q", got)
			}
			b.Accounted()
		})
	}
}

// pair is an inline pair that keeps what is emitted, by port.
type pair struct{ client, server [][]byte }

func (*pair) Number() uint8 { return 1 }

func (p *pair) Emit(frame []byte, port ppf.Hook) error {
	if port == ppf.InlineClient {
		p.client = append(p.client, slices.Clone(frame))
	} else {
		p.server = append(p.server, slices.Clone(frame))
	}
	return nil
}

// TestTimerEmitsOnWire: on an inline pair what a timer sends goes where the packet
// came from that set it, with its addresses and tag; and nowhere, before one came.
func TestTimerEmitsOnWire(t *testing.T) {
	b := ppftest.New(t)
	if err := b.Engine.LoadModuleInfo(t.Context(), Native([]byte(keeperManifest("keeper", 1, 16)), keeper.Module)); err != nil {
		t.Fatal(err)
	}
	in := ppf.InstanceSpec{
		Name: "a", Source: ppf.SourceInline, Hook: ppf.InlineClient, Chain: [2][]string{{"keeper"}, {"keeper"}}, Match: ppf.Match{In: "eth0", Out: "eth1"},
		Modules: map[string]ppf.Value{"keeper": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{scalar("early", "true")}}},
	}
	b.Apply(in)
	later(b, time.Second)
	if got := events(b, "beats 0"); len(got) != 1 {
		t.Errorf("before a frame: %q", events(b, "beats"))
	}
	wire := &pair{}
	client, server := []byte{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 2}
	f := b.Frame(ppf.InlineClient, slices.Concat(server, client, []byte{0x81, 0, 0, 5, 8, 0}, segment(t, "beat 1")))
	f.Link, f.Wire = packet.LinkEthernet, wire
	frames := []ppf.Frame{f}
	b.Engine.Handlers()[0].Handle(frames)
	if frames[0].Action != ppf.Accept {
		t.Fatalf("%v %+v", frames[0].Action, b.Engine.ReasonCounts())
	}
	later(b, time.Second)
	want := slices.Concat(client, server, []byte{0x81, 0, 0, 5, 8, 0, 0x45})
	if len(wire.client) != 1 || len(wire.server) != 0 || !slices.Equal(wire.client[0][:len(want)], want) || len(wire.client[0]) < 60 {
		t.Errorf("to the client %x, to the server %x, want %x", wire.client, wire.server, want)
	}
}

// timing is a guest whose timer does something, which its first packet sets to
// come after 1 ns.
func timing(does []byte) []byte {
	a := assembly{
		imports: []assembledImport{{"timer", []byte{typeI32, typeI64}, []byte{typeI32}}},
		process: cat(i32Const(areaAt+areaDescriptor+dHandle), []byte{0x28, 0, 0, opI64Const, 1, opCall, 0, opDrop}, verdictOf(1)), others: [][]byte{does},
	}
	const timerFunction = 5 // behind the import and the four
	a.more = [][]byte{cat(text(exportTimer), []byte{externFunc, timerFunction})}
	return a.bytes()
}

// TestTimerFaults: a timer that loops for ever is a fault like another, and
// disables the module.
func TestTimerFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		manifest := fmt.Sprintf(`{"abi":1,"name":"nasty","version":"1","doc":"does wrong","functions":[{"name":"nasty","doc":"does wrong","level":"packet","layer":2}],
"capabilities":["timers"],"limits":{"fuel":1000000,"faults":%d}}`, 2)
		install(t, dir, "nasty", timing([]byte{opLoop, blockVoid, opBr, 0, opEnd}), manifest)
		b := ppftest.New(t)
		apply(b, dir, ppftest.Instance("a", "nasty"))
		for range 2 {
			b.Send(ppf.Forward, segment(t, ""))
			later(b, time.Second)
			synctest.Wait()
		}
		if got := events(b, "timer: endless loop: it used up its fuel"); len(got) != 2 {
			t.Errorf("%q", events(b, "nasty"))
		}
		if got := events(b, "disabled after 2 faults"); len(got) != 1 {
			t.Errorf("%q", events(b, "nasty"))
		}
	})
}
