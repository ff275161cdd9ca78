package ppf_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// odd is a module whose function does what the destination port says.
type odd struct{}

// The ports of odd.
const (
	portPanic = iota + 1
	portNothing
	portNoReason
	portStolen
	portQueue
	portRepeat
	portIncomplete
	portReceived
	portRepair
	portRefuse
	portAny
)

var (
	reasonMend   = packet.NewReason("odd", ppf.ReasonInfo{Name: "odd.mended", Class: packet.Repaired, Field: "odd", Doc: "can be mended"})
	reasonRefuse = packet.NewReason("odd", ppf.ReasonInfo{Name: "odd.refused", Field: "odd", Doc: "cannot be mended"})
	reasonAny    atomic.Uint32 // what is found in a packet to portAny
	oddSent      atomic.Int64
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "odd", Functions: []string{"odd"}, New: func() ppf.Module { return odd{} }})
}

func (odd) Start(_ context.Context, h *ppf.ModuleHost) error {
	return h.Register(ppf.UserFunction{Name: "odd", Bind: func(ppf.Binding) (ppf.Processor, error) { return oddProcessor{}, nil }})
}

func (odd) Stop(context.Context) error { return nil }

type oddProcessor struct{}

func (oddProcessor) Sent(*ppf.Exchange) { oddSent.Add(1) }

func (oddProcessor) Process(x *ppf.Exchange) ppf.Verdict {
	send := func() {
		x.Out.SetIPv4(packet.IPv4{TTL: 1, Src: x.In.Src(), Dst: x.In.Dst()})
		x.Out.SetTCP(packet.TCP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
	}
	switch x.In.DstPort() {
	case portPanic:
		panic("odd")
	case portNothing:
		return ppf.Verdict{Action: ppf.Accept}
	case portNoReason:
		return ppf.Verdict{}
	case portStolen:
		return ppf.Verdict{Action: ppf.Stolen}
	case portQueue:
		return ppf.Verdict{Action: ppf.Queue, Queue: 77}
	case portRepeat:
		send()
		return ppf.Verdict{Action: ppf.Repeat}
	case portIncomplete:
		x.Out.SetTCP(packet.TCP{})
	case portReceived:
		x.SendReceived() // without declaring it: panics
	case portRepair:
		if v, stop := x.Finding(reasonMend, 9); stop {
			return v
		}
		send()
	case portRefuse:
		return x.Refuse(reasonRefuse, 5)
	case portAny:
		if v, stop := x.Finding(ppf.Reason(reasonAny.Load()), 9); stop {
			return v
		}
		send()
	default:
		send()
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// to builds a segment for a port of the server.
func to(t testing.TB, port uint16) []byte {
	return ppftest.Segment{Src: ppftest.Client4, Dst: netip.AddrPortFrom(ppftest.Server4.Addr(), port), TCP: ppftest.Header(packet.ACK, 1, 1)}.Bytes(t)
}

// TestVerdicts wants one verdict on every path, and a count for it.
func TestVerdicts(t *testing.T) {
	ip, tcp := to(t, 99)[:20], to(t, 99)[20:]
	tests := []struct {
		name   string
		data   []byte
		action ppf.Action
		reason string // counted as a drop
	}{
		{"sent", to(t, 99), ppf.Accept, ""},
		{"panic", to(t, portPanic), ppf.Drop, "chain.panic"},
		{"nothing set", to(t, portNothing), ppf.Drop, "chain.unhandled"},
		{"no reason", to(t, portNoReason), ppf.Drop, "chain.unset"},
		{"stolen", to(t, portStolen), ppf.Drop, ""},
		{"queue", to(t, portQueue), ppf.Queue, ""},
		{"repeat", to(t, portRepeat), ppf.Repeat, ""},
		{"cannot be encoded", to(t, portIncomplete), ppf.Drop, "chain.encode"},
		{"received sent undeclared", to(t, portReceived), ppf.Drop, "chain.panic"},
		{"repaired", to(t, portRepair), ppf.Accept, ""},
		{"refused", to(t, portRefuse), ppf.Drop, "odd.refused"},
		{"empty", nil, ppf.Drop, "ip.truncated"},
		{"IP version", append([]byte{0x50}, ip[1:]...), ppf.Drop, "ip.version"},
		{"IP header length", append([]byte{0x41}, ip[1:]...), ppf.Drop, "ip.header-length"},
		{"truncated TCP", ppftest.Join(bytes.Clone(ip), tcp[:10], nil), ppf.Drop, "tcp.truncated"},
		{"no layer 4", ppftest.Join(bytes.Clone(ip), nil, nil), ppf.Drop, "tcp.truncated"},
		{"data offset", ppftest.Join(bytes.Clone(ip), append(bytes.Clone(tcp[:12]), 0x40, 0x10, 0, 0, 0, 0, 0, 0), nil), ppf.Drop, "tcp.data-offset"},
		{"fragment reaches the chain", ppftest.Join(bytes.Clone(ip), tcp, func(b []byte) []byte { b[7] = 9; return b }), ppf.Accept, ""},
		{"no instance", ppftest.Segment{Src: ppftest.Client4, Dst: netip.MustParseAddrPort("203.0.113.9:80"), TCP: ppftest.Header(packet.ACK, 1, 1)}.Bytes(t), ppf.Accept, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, ppftest.Instance("a", "odd"))
			before := oddSent.Load()
			action, out := b.Send(ppf.Forward, tt.data)
			if action != tt.action {
				t.Errorf("action %v, want %v; %+v", action, tt.action, b.Engine.ReasonCounts())
			}
			if tt.reason != "" && b.Count(tt.reason, ppf.OutcomeDrop) != 1 {
				t.Errorf("want one drop for %s, got %+v", tt.reason, b.Engine.ReasonCounts())
			}
			if sent := oddSent.Load() > before; tt.name != "no instance" && sent != (action != ppf.Drop) {
				t.Errorf("Sent was called: %v, verdict %v", sent, action)
			}
			if action == ppf.Drop && out != nil {
				t.Errorf("a dropped packet has bytes: %x", out)
			}
			b.Accounted()
			// The rest goes on.
			if action, _ := b.Send(ppf.Forward, to(t, 99)); action != ppf.Accept {
				t.Errorf("the next packet: %v", action)
			}
		})
	}
}

// TestCut refuses a packet of which not all was received.
func TestCut(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	f := b.Frame(ppf.Forward, to(t, 99))
	f.WireLen++
	frames := []ppf.Frame{f}
	b.Engine.Handlers()[0].Handle(frames)
	if frames[0].Action != ppf.Drop || b.Count("source.cut", ppf.OutcomeDrop) != 1 {
		t.Errorf("%v, %+v", frames[0].Action, b.Engine.ReasonCounts())
	}
}

// TestModes sends something to mend and something to refuse through each mode
// and override.
func TestModes(t *testing.T) {
	from := func(client string) []ppf.Override {
		p := netip.PrefixFrom(netip.MustParseAddr(client), 32)
		return []ppf.Override{{Reason: "odd.refused", Client: p, Do: ppf.DoMonitor}, {Reason: "odd.mended", Client: p, Do: ppf.DoRefuse}}
	}
	tests := []struct {
		name         string
		mode         ppf.Mode
		overrides    []ppf.Override
		mend, refuse ppf.Outcome
	}{
		{"repair", ppf.Repair, nil, ppf.OutcomeRepair, ppf.OutcomeDrop},
		{"monitor", ppf.Monitor, nil, ppf.OutcomeWouldRepair, ppf.OutcomeWouldDrop},
		{"strict", ppf.Strict, nil, ppf.OutcomeDrop, ppf.OutcomeDrop},
		{"overridden", ppf.Repair, []ppf.Override{{Reason: "odd.refused", Do: ppf.DoMonitor}, {Reason: "odd.mended", Do: ppf.DoMonitor}}, ppf.OutcomeWouldRepair, ppf.OutcomeWouldDrop},
		{"overridden in strict", ppf.Strict, []ppf.Override{{Reason: "odd.mended", Do: ppf.DoRepair}}, ppf.OutcomeRepair, ppf.OutcomeDrop},
		{"for this client", ppf.Repair, from("192.0.2.1"), ppf.OutcomeDrop, ppf.OutcomeWouldDrop},
		{"for another client", ppf.Repair, from("192.0.2.2"), ppf.OutcomeRepair, ppf.OutcomeDrop},
		{"the client's comes first", ppf.Repair, append([]ppf.Override{{Reason: "odd.refused", Do: ppf.DoRefuse}}, from("192.0.2.1")...), ppf.OutcomeDrop, ppf.OutcomeWouldDrop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := ppftest.Instance("a", "odd")
			in.Mode, in.Reasons = tt.mode, tt.overrides
			b := ppftest.New(t, in)
			for _, step := range []struct {
				port    uint16
				reason  string
				outcome ppf.Outcome
			}{{portRepair, "odd.mended", tt.mend}, {portRefuse, "odd.refused", tt.refuse}} {
				received := to(t, step.port)
				action, out := b.Send(ppf.Forward, received)
				if n := b.Count(step.reason, step.outcome); n != 1 {
					t.Errorf("%s: want one %v, got %+v", step.reason, step.outcome, b.Engine.ReasonCounts())
				}
				switch step.outcome {
				case ppf.OutcomeDrop:
					if action != ppf.Drop {
						t.Errorf("%s: %v, want drop", step.reason, action)
					}
				case ppf.OutcomeRepair:
					if action != ppf.Accept || bytes.Equal(out, received) {
						t.Errorf("%s: %v, sent as received: %v", step.reason, action, bytes.Equal(out, received))
					}
				default:
					if action != ppf.Accept || !bytes.Equal(out, received) {
						t.Errorf("%s: %v, want it sent as received", step.reason, action)
					}
				}
			}
			b.Accounted()
		})
	}
}

func TestFirstMatch(t *testing.T) {
	narrow, wide := ppftest.Instance("narrow", "odd"), ppftest.Instance("wide", "odd")
	narrow.Match.Port = []ppf.PortRange{{Lo: 1000, Hi: 1000}}
	wide.Others = ppf.OthersRefuse
	b := ppftest.New(t, narrow, wide)
	b.Send(ppf.Forward, to(t, 1000))
	b.Send(ppf.Forward, to(t, 1001))
	b.Send(ppf.Forward, to(t, 1001))
	for _, i := range b.Engine.Instances() {
		if want := map[string]uint64{"narrow": 1, "wide": 2}[i.Name]; i.Flow[0].In != want {
			t.Errorf("%s got %d packets, want %d", i.Name, i.Flow[0].In, want)
		}
	}
	// A fragment hides its port: the first instance of its server takes it,
	// although it is taken at another hook.
	data := to(t, 1001)
	b.Send(ppf.Prerouting, ppftest.Join(bytes.Clone(data[:20]), data[20:], func(ip []byte) []byte { ip[6], ip[7] = 0, 9; return ip }))
	if got := b.Engine.Instances()[0].Flow[0].In; got != 2 {
		t.Errorf("narrow got %d packets with the fragment, want 2", got)
	}
	// What no instance matches is refused for this server, and passes for others.
	udp := ppftest.Join(bytes.Clone(data[:20]), []byte{0, 1, 0, 2, 0, 8, 0, 0}, func(ip []byte) []byte { ip[9] = 17; return ip })
	if action, _ := b.Send(ppf.Forward, udp); action != ppf.Drop || b.Count("others.refused", ppf.OutcomeDrop) != 1 {
		t.Errorf("UDP to the server: %v", action)
	}
	// Where instances of other hooks have it taken once more, it has been judged.
	if action, _ := b.Send(ppf.Postrouting, udp); action != ppf.Accept || b.Count("others.refused", ppf.OutcomeDrop) != 1 {
		t.Errorf("UDP to the server, behind routing: %v", action)
	}
	b.Accounted()
}

// TestApply changes the configuration and wants what stays to stay.
func TestApply(t *testing.T) {
	a, c := ppftest.Instance("a", "tcp"), ppftest.Instance("c", "tcp")
	c.Match.Server = []netip.Prefix{netip.MustParsePrefix("203.0.113.77/32")}
	b := ppftest.New(t, a, c)
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)}.Bytes(t)
	b.Send(ppf.Forward, syn)
	numbers := b.Engine.Instances()[0].Number

	a2 := a
	a2.Mode = ppf.Strict
	changes, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{a2}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join([]string{changes[0].String(), changes[1].String()}, ", "); got != "remove c, change a" {
		t.Errorf("changes: %s", got)
	}
	list := b.Engine.Instances()
	if len(list) != 1 || list[0].Number != numbers || list[0].Connections != 1 || list[0].Flow[0].In != 1 || list[0].Mode != "strict" {
		t.Errorf("after a change: %+v", list)
	}
	bad := a
	bad.Chain = [2][]string{{"tcp", "gone"}, {"tcp"}}
	if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{bad}}); err == nil || !strings.Contains(err.Error(), `function "gone": unknown`) {
		t.Errorf("unknown function: %v", err)
	}
	if got := b.Engine.Instances(); len(got) != 1 || got[0].Mode != "strict" || got[0].Connections != 1 {
		t.Errorf("after a refused change: %+v", got)
	}
	b.Apply()
	if s := b.Engine.Stats(); s.Connections != 0 || s.Packets.In != 1 {
		t.Errorf("after the instance went: %+v", s)
	}
	b.Apply(a)
	if got := b.Engine.Instances()[0].Number; got[0] <= numbers[1] {
		t.Errorf("numbers %v were used before", got)
	}
}

// TestTry: what a configuration removes ends with settle, and not at all where the
// configuration before comes back.
func TestTry(t *testing.T) {
	a, c := ppftest.Instance("a", "tcp"), ppftest.Instance("c", "tcp")
	c.Match.Server = []netip.Prefix{netip.MustParsePrefix("203.0.113.77/32")}
	b := ppftest.New(t, a)
	b.Send(ppf.Forward, ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)}.Bytes(t))
	before := b.Engine.Instances()[0]
	try := func() func() error {
		t.Helper()
		_, settle, err := b.Engine.Try(&ppf.Spec{Instances: []ppf.InstanceSpec{c}})
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Engine.Stats().Connections; n != 1 {
			t.Errorf("%d connections before it is settled, want 1", n)
		}
		return settle
	}
	try()
	b.Apply(a)
	if list := b.Engine.Instances(); len(list) != 1 || !reflect.DeepEqual(list[0], before) {
		t.Errorf("taken back: %+v, want %+v", list, before)
	}
	if err := try()(); err != nil {
		t.Error(err)
	}
	if list := b.Engine.Instances(); len(list) != 1 || list[0].Name != "c" || b.Engine.Stats().Connections != 0 {
		t.Errorf("settled: %+v, %d connections", list, b.Engine.Stats().Connections)
	}
}

// TestCommands does what the thesis' commands do: instances from config
// strings, half instances, binding, reconfiguration, removal.
func TestCommands(t *testing.T) {
	b := ppftest.New(t)
	e := b.Engine
	criteria := ppftest.Instance("", "tcp").Match
	add := func(hook ppf.Hook, d ppf.Dir, plugin, config string) (ppf.InstanceNumber, error) {
		return e.InsertRule(ppf.RuleSpec{Chain: hook, Criteria: criteria.Flow(d), Plugin: plugin, Config: config}, 0)
	}
	must := func(n ppf.InstanceNumber, err error) ppf.InstanceNumber {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	wrong := func(want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	_, err := add(ppf.Forward, 0, "PROXY", "cs 2 tcp")
	wrong("the dot at its end is missing", err)
	_, err = add(ppf.Forward, 0, "PROXY", "cs 2 nosuch.")
	wrong(`function "nosuch": unknown`, err)
	_, err = add(ppf.Forward, 1, "PROXY", "sc 1 tcp.")
	wrong("no client-to-server flow has that number", err)
	_, err = add(ppf.Forward, 0, "NOSUCH", "")
	wrong(`plugin "NOSUCH": unknown`, err)

	cs := must(add(ppf.Forward, ppf.ClientToServer, "PROXY3", "cs 2 tcp."))
	if list := e.Instances(); len(list) != 1 || list[0].Name != cs.String()+"/0" || list[0].Number[1] != 0 {
		t.Fatalf("half instance: %+v", list)
	}
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)}.Bytes(t)
	if action, out := b.Send(ppf.Forward, syn); action != ppf.Accept || bytes.Equal(out, syn) {
		t.Errorf("a SYN through a half instance: %v, as received: %v", action, bytes.Equal(out, syn))
	}
	sc := must(add(ppf.Forward, ppf.ServerToClient, "PROXY", "sc "+cs.String()+" tcp."))
	if sc <= cs {
		t.Errorf("number %d after %d", sc, cs)
	}
	_, err = add(ppf.Forward, 1, "PROXY", "sc "+cs.String()+" tcp.")
	wrong("is bound to instance "+sc.String()+" already", err)
	_, err = add(ppf.Forward, 1, "PROXY", "sc "+sc.String()+" tcp.")
	wrong("no client-to-server flow has that number", err)
	wrong("is the cs flow", e.Reconfig(cs, "sc 1 tcp."))
	wrong("is bound to instance", e.Reconfig(sc, "sc 99 tcp."))
	wrong("there is none", e.Reconfig(99, "cs 2 tcp."))
	if err := e.Reconfig(cs, "cs 4 pass."); err != nil {
		t.Fatal(err)
	}
	if list := e.Instances(); list[0].Name != cs.String()+"/"+sc.String() || list[0].Chain[0][0] != "pass" || list[0].Layer[0] != 4 || list[0].Connections != 1 {
		t.Errorf("reconfigured: %+v", list)
	}
	if action, out := b.Send(ppf.Forward, syn); action != ppf.Accept || !bytes.Equal(out, syn) {
		t.Errorf("through pass: %v", action)
	}
	wrong("function pass is used by instance", e.UnloadModule(t.Context(), "pass", false))

	test := must(add(ppf.Input, 0, "TEST", "any text"))
	if action, out := b.Send(ppf.Input, syn); action != ppf.Accept || !bytes.Equal(out, syn) {
		t.Errorf("through TEST: %v", action)
	}
	events, _ := e.Events().Since(0)
	said := false
	for _, ev := range events {
		said = said || strings.Contains(ev.Text, "TEST: instance "+test.String()+" 'any text' at input: 192.0.2.1:40000")
	}
	if !said {
		t.Errorf("TEST did not report the packet: %+v", events)
	}
	// The end of the client-to-server flow ends the other one too.
	if err := e.DeleteRule(ppf.Forward, 1); err != nil {
		t.Fatal(err)
	}
	if got := len(e.Rules(ppf.Forward)); got != 0 || e.Stats().Connections != 0 {
		t.Errorf("%d rules and %d connections are left", got, e.Stats().Connections)
	}
	wrong("there is none", e.DeleteRule(ppf.Forward, 1))
	if _, err := e.FlushRules(ppf.HookNone); err != nil {
		t.Fatal(err)
	}
	if err := e.UnloadModule(t.Context(), "pass", false); err != nil {
		t.Error(err)
	}
	b.Accounted()
}

func TestModules(t *testing.T) {
	b := ppftest.New(t)
	e := b.Engine
	if err := e.LoadModule(t.Context(), "modull"); err != nil {
		t.Fatal(err)
	}
	if _, ok := e.Functions().Lookup("test"); !ok {
		t.Error("module test, by its alias, did not register its function")
	}
	if err := e.LoadModule(t.Context(), "nosuch"); err == nil {
		t.Error("an unknown module was loaded")
	}
	b.Apply(ppftest.Instance("a", "odd")) // loads odd by itself
	if err := e.ReloadModule(t.Context(), "odd"); err != nil {
		t.Fatal(err)
	}
	if action, _ := b.Send(ppf.Forward, to(t, 99)); action != ppf.Accept {
		t.Errorf("after a reload: %v", action)
	}
	if err := e.UnloadModule(t.Context(), "modull", false); err != nil {
		t.Error(err)
	}
	if err := e.UnloadModule(t.Context(), "modull", false); err == nil {
		t.Error("a module was unloaded twice")
	}
}

// TestGroups: two instances at different hooks each track the same packets.
func TestGroups(t *testing.T) {
	first, second := ppftest.Instance("first", "tcp"), ppftest.Instance("second", "tcp")
	first.Hook = ppf.Prerouting
	b := ppftest.New(t, first, second)
	seg := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)}
	back := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: ppftest.Header(packet.SYN|packet.ACK, 1, 1)}
	for _, s := range []ppftest.Segment{seg, back} {
		data := s.Bytes(t)
		for _, hook := range []ppf.Hook{ppf.Prerouting, ppf.Forward} {
			action, out := b.Send(hook, data)
			if action != ppf.Accept {
				t.Fatalf("%v at %v: %v", s.Flags, hook, action)
			}
			data = out
		}
	}
	for _, i := range b.Engine.Instances() {
		if i.Connections != 1 || i.Flow[0].Sent != 1 || i.Flow[1].Sent != 1 {
			t.Errorf("%+v", i)
		}
	}
}

// TestAccountingRandom sends noise and wants every packet accounted for.
func TestAccountingRandom(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	rng := rand.New(rand.NewPCG(3, 4))
	base := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)}.Bytes(t)
	const n = 20_000
	for range n {
		data := bytes.Clone(base)
		for range rng.IntN(6) {
			data[rng.IntN(len(data))] = byte(rng.Uint32())
		}
		b.Send(ppf.Hook(1+rng.IntN(5)), data[:rng.IntN(len(data)+1)])
	}
	b.Accounted()
	s := b.Engine.Stats()
	if got := s.Packets.In + s.Unmatched.In; got != n {
		t.Errorf("%d packets came in, %d are counted", n, got)
	}
	drops := uint64(0)
	for _, r := range b.Engine.ReasonCounts() {
		if r.Action == "drop" {
			drops += r.Count
		}
	}
	if want := s.Packets.Dropped + s.Unmatched.Dropped; drops != want {
		t.Errorf("%d drops have a reason, of %d", drops, want)
	}
}

// TestHammer changes everything while packets flow; the race detector judges.
func TestHammer(t *testing.T) {
	before := runtime.NumGoroutine()
	env := ppftest.NewEnv()
	e, err := ppf.New(ppf.Options{Env: env, Workers: 2, Emit: func([]byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	sent := make([]uint64, 2)
	for i, h := range e.Handlers() {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			frames := make([]ppf.Frame, 8)
			for ctx.Err() == nil {
				for j := range frames {
					src := netip.AddrPortFrom(ppftest.Client4.Addr(), uint16(1000+rng.IntN(50)))
					seg := ppftest.Segment{Src: src, Dst: ppftest.Server4, TCP: ppftest.Header(packet.TCPFlags(rng.IntN(64)), 1, 1)}
					if rng.IntN(2) == 0 {
						seg.Src, seg.Dst = seg.Dst, seg.Src
					}
					data := seg.Bytes(t)
					frames[j] = ppf.Frame{Data: data, WireLen: len(data), Hook: ppf.Forward, Time: env.Now()}
				}
				h.Handle(frames)
				h.Tick(env.Now())
				sent[i] += uint64(len(frames))
			}
		})
	}
	for i := range 150 {
		a, c := ppftest.Instance("a", "tcp"), ppftest.Instance("c", "pass")
		a.Mode = ppf.Mode(i % 3)
		specs := []ppf.InstanceSpec{a, c}[:1+i%2]
		if _, err := e.Apply(&ppf.Spec{Instances: specs}); err != nil {
			t.Fatal(err)
		}
		n, err := e.InsertRule(ppf.RuleSpec{Chain: ppf.Forward, Criteria: a.Match.Flow(0), Plugin: "PROXY", Config: "cs 2 odd,test."}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Reconfig(n, "cs 2 odd."); err != nil {
			t.Fatal(err)
		}
		if err := e.ReloadModule(ctx, "tcp"); err != nil {
			t.Fatal(err)
		}
		e.Instances()
		e.Connections("", 0)
		e.ReasonCounts()
		e.Stats()
		env.Advance(3e9)
		if _, err := e.FlushRules(ppf.HookNone); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	workers.Wait()
	s := e.Stats()
	if got, want := s.Packets.In+s.Unmatched.In, sent[0]+sent[1]; got != want {
		t.Errorf("%d packets are counted, %d were sent", got, want)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if s := e.Stats(); s.Connections != 0 {
		t.Errorf("%d connections are left", s.Connections)
	}
	// One that has ended may still be on its way out, on a busy machine for long.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.NewTimer(time.Minute); runtime.NumGoroutine() > before; {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%d goroutines, %d at the start", runtime.NumGoroutine(), before)
		}
	}
}

// established gives an engine with an open connection and a batch of segments
// of it.
func established(tb testing.TB, payload int) (*ppftest.Bench, []ppf.Frame) {
	b := ppftest.New(tb, ppftest.Instance("a", "tcp"))
	header := ppftest.Header(packet.ACK, 1, 1)
	header.Options = packet.TCPOptions{Has: packet.OptTimestamps, TSVal: 1, TSEcr: 1}
	for _, s := range []ppftest.Segment{
		{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.SYN, 1, 1)},
		{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: ppftest.Header(packet.SYN|packet.ACK, 1, 1)},
		{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(packet.ACK, 1, 1)},
	} {
		if s.Flags&packet.SYN != 0 {
			s.Options = header.Options
		}
		if action, _ := b.Send(ppf.Forward, s.Bytes(tb)); action != ppf.Accept {
			tb.Fatalf("%v: %v", s.Flags, action)
		}
	}
	data := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, IP: packet.IPv4{DF: true},
		TCP: header, Payload: make([]byte, payload)}.Bytes(tb)
	frames := make([]ppf.Frame, 64)
	for i := range frames {
		frames[i] = b.Frame(ppf.Forward, data)
	}
	return b, frames
}

func TestNoAllocations(t *testing.T) {
	b, frames := established(t, 1448)
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(100, func() {
		h.Handle(frames)
		if frames[0].Action != ppf.Accept || frames[0].Head == nil {
			t.Error("the packet was not rebuilt")
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, len(frames))
	}
}

// BenchmarkHandle is the whole way of a packet through the engine: parse, find,
// the function tcp, encode.
func BenchmarkHandle(b *testing.B) {
	for _, size := range []int{0, 1448} {
		b.Run(map[int]string{0: "ack", 1448: "full"}[size], func(b *testing.B) {
			bench, frames := established(b, size)
			h := bench.Engine.Handlers()[0]
			b.ReportAllocs()
			for b.Loop() {
				h.Handle(frames)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
		})
	}
}
