package ppf_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// parts is a module with functions that work together in a chain, and one that
// tests can take away.
type parts struct{}

var (
	partsHost   *ppf.ModuleHost
	errPartsOff = errors.New("switched off")
	partsOff    bool
	seenQuote   string
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "parts", Aliases: []string{"pieces"}, Functions: []string{"build", "ttl", "keyed", "quoted"},
		New: func() ppf.Module { return parts{} },
	})
}

func (parts) Start(_ context.Context, h *ppf.ModuleHost) error {
	if partsOff {
		return errPartsOff
	}
	partsHost = h
	for name, f := range map[string]ppf.ProcessFunc{"build": build, "ttl": ttl, "keyed": keyed(ppf.NewState[uint64](h)), "quoted": quoted} {
		err := h.Register(ppf.UserFunction{Name: name, Layer: 3, Bind: func(ppf.Binding) (ppf.Processor, error) { return f, nil }})
		if err != nil {
			return err
		}
	}
	return nil
}

func (parts) Stop(context.Context) error { return nil }

// build builds TCP segments anew and leaves other packets to the next function.
func build(x *ppf.Exchange) ppf.Verdict {
	if x.In.Has(packet.HasTCP) {
		x.Out.SetIPv4(packet.IPv4{TTL: 64, Src: x.In.Src(), Dst: x.In.Dst()})
		x.Out.SetTCP(packet.TCP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// ttl changes what an earlier function built.
func ttl(x *ppf.Exchange) ppf.Verdict {
	if x.Out.IsSet() {
		x.Out.SetIPv4(packet.IPv4{TTL: 7, Src: x.In.Src(), Dst: x.In.Dst()})
	}
	return ppf.Verdict{Action: ppf.Accept}
}

// keyed counts a connection's packets in state of its own.
func keyed(s *ppf.State[uint64]) ppf.ProcessFunc {
	return func(x *ppf.Exchange) ppf.Verdict {
		if x.Conn == nil {
			if r := x.Create(0); r != packet.ReasonNone {
				return x.Refuse(r, 0)
			}
		}
		n := s.Of(x.Conn)
		*n++
		x.Out.SetIPv4(packet.IPv4{TTL: uint8(*n), Src: x.In.Src(), Dst: x.In.Dst()})
		x.Out.SetTCP(packet.TCP{SrcPort: x.In.SrcPort(), DstPort: x.In.DstPort()})
		return ppf.Verdict{Action: ppf.Accept}
	}
}

// quoted notes what it is told of an ICMP error.
func quoted(x *ppf.Exchange) ppf.Verdict {
	seenQuote = "none"
	if x.Quote != nil {
		k := x.QuotedKey()
		seenQuote = x.Dir.String() + " " + k.SrcAddr().String() + " " + x.Client().String()
		if x.Conn != nil {
			seenQuote += " known"
		}
	}
	return x.Refuse(reasonRefuse, 1)
}

// TestChain: several functions in a chain see what earlier ones built.
func TestChain(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "build", "ttl"))
	if action, out := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept || out[8] != 7 {
		t.Errorf("%v, TTL %v", action, out[8])
	}
	b.Apply(ppftest.Instance("a", "ttl", "build"))
	if action, out := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept || out[8] != 64 {
		t.Errorf("in the other order: %v, TTL %v", action, out[8])
	}
	b.Apply(ppftest.Instance("a", "build", "odd", "ttl"))
	if action, _ := b.Send(ppf.Forward, to(t, portRefuse)); action != ppf.Drop || b.Count("odd.refused", ppf.OutcomeDrop) != 1 {
		t.Errorf("the second function refuses: %v, %+v", action, b.Engine.ReasonCounts())
	}
	b.Apply(ppftest.Instance("a", "build", "pass"))
	if action, out := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept || bytes.Equal(out, to(t, 1)) {
		t.Errorf("pass behind a function that built a packet: %v %x", action, out)
	}
	b.Accounted()
}

// TestFunctionMissing: while a function is away its flows are closed, others
// are not.
func TestFunctionMissing(t *testing.T) {
	half, other := ppftest.Instance("half", "build", "ttl"), ppftest.Instance("other", "build")
	half.Chain[1] = []string{"build"}
	other.Hook = ppf.Input
	b := ppftest.New(t, half, other)
	partsHost.Unregister("ttl")
	partsHost.Unregister("ttl") // nothing to do
	if action, out := b.Send(ppf.Forward, to(t, 1)); action != ppf.Drop || out != nil || b.Count("chain.function-missing", ppf.OutcomeDrop) != 1 {
		t.Errorf("without its function: %v, %+v", action, b.Engine.ReasonCounts())
	}
	back := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t)
	if action, _ := b.Send(ppf.Forward, back); action != ppf.Accept {
		t.Errorf("the other flow, which has all its functions: %v", action)
	}
	if action, _ := b.Send(ppf.Input, to(t, 1)); action != ppf.Accept {
		t.Errorf("another instance: %v", action)
	}
	again := ppf.UserFunction{Name: "ttl", Bind: func(ppf.Binding) (ppf.Processor, error) { return ppf.ProcessFunc(ttl), nil }}
	if err := partsHost.Register(again); err != nil {
		t.Fatal(err)
	}
	if err := partsHost.Register(again); err == nil || !strings.Contains(err.Error(), "module parts has registered that name") {
		t.Errorf("registered twice: %v", err)
	}
	if action, out := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept || out[8] != 7 {
		t.Errorf("with its function back: %v", action)
	}
	if err := partsHost.Register(ppf.UserFunction{Name: "empty"}); err == nil {
		t.Error("a function without Bind was registered")
	}
	b.Accounted()
}

// TestModuleState: the state a module adds goes with its connection, stays when
// the module is reloaded, and goes when it is unloaded.
func TestModuleState(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "keyed"))
	want := func(n byte) {
		t.Helper()
		if action, out := b.Send(ppf.Forward, to(t, 99)); action != ppf.Accept || out[8] != n {
			t.Errorf("%v, the connection's packet %d, want %d", action, out[8], n)
		}
	}
	want(1)
	want(2)
	b.Env.Advance(int64(2 * time.Minute))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	want(1)
	want(2)
	if err := b.Engine.ReloadModule(t.Context(), "pieces"); err != nil {
		t.Fatal(err)
	}
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d connections after a reload of the module, want 1", n)
	}
	want(3)
	if err := b.Engine.UnloadModule(t.Context(), "pieces", true); err != nil {
		t.Fatal(err)
	}
	if action, _ := b.Send(ppf.Forward, to(t, 99)); action != ppf.Drop || b.Count("chain.function-missing", ppf.OutcomeDrop) != 1 {
		t.Errorf("unloaded by force: %v", action)
	}
	if err := b.Engine.LoadModule(t.Context(), "pieces"); err != nil {
		t.Fatal(err)
	}
	want(1)
}

// TestModuleFails: a module that cannot start leaves nothing behind, and one
// that cannot start again leaves the one that runs.
func TestModuleFails(t *testing.T) {
	t.Cleanup(func() { partsOff = false })
	b := ppftest.New(t)
	partsOff = true
	in := ppftest.Instance("a", "build")
	if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); !errors.Is(err, errPartsOff) {
		t.Errorf("instance of a module that cannot start: %v", err)
	}
	if err := b.Engine.LoadModule(t.Context(), "parts"); !errors.Is(err, errPartsOff) {
		t.Errorf("load: %v", err)
	}
	loaded := func() bool {
		i := slices.IndexFunc(b.Engine.Modules(), func(m ppf.ModuleState) bool { return m.Name == "parts" })
		return b.Engine.Modules()[i].Loaded
	}
	if loaded() || len(b.Engine.Functions().List()) != 0 {
		t.Errorf("loaded: %v, functions %v", loaded(), b.Engine.Functions().List())
	}
	partsOff = false
	b.Apply(in)
	if !loaded() {
		t.Error("the instance did not load its module")
	}
	if err := b.Engine.LoadModule(t.Context(), "pieces"); err != nil {
		t.Errorf("load of what is loaded: %v", err)
	}
	if err := b.Engine.UnloadModule(t.Context(), "pieces", false); err == nil || !strings.Contains(err.Error(), "is used by instance a") {
		t.Errorf("unload while it is used: %v", err)
	}
	partsOff = true
	if err := b.Engine.ReloadModule(t.Context(), "parts"); !errors.Is(err, errPartsOff) {
		t.Errorf("reload: %v", err)
	}
	if action, _ := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept || !loaded() {
		t.Errorf("after a reload that failed: %v, loaded %v", action, loaded())
	}
	partsOff = false
	if err := b.Engine.ReloadModule(t.Context(), "parts"); err != nil {
		t.Fatal(err)
	}
	if action, _ := b.Send(ppf.Forward, to(t, 1)); action != ppf.Accept {
		t.Errorf("after a reload: %v", action)
	}
	if err := b.Engine.UnloadModule(t.Context(), "parts", true); err != nil {
		t.Fatal(err)
	}
	if err := b.Engine.ReloadModule(t.Context(), "parts"); err == nil || !strings.Contains(err.Error(), "not loaded") {
		t.Errorf("reload of what is not loaded: %v", err)
	}
	b.Accounted()
}

// errorAbout builds an ICMP error of a router that quotes a segment.
func errorAbout(t *testing.T, src, dst netip.AddrPort) []byte {
	t.Helper()
	q, r := packet.ParseQuote4(ppftest.Segment{Src: src, Dst: dst, TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t))
	if r != packet.ReasonNone {
		t.Fatal(r)
	}
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 60, Src: netip.MustParseAddr("198.51.100.9"), Dst: src.Addr()})
	out.SetICMPv4(packet.ICMPv4{Type: 3, Code: 3, Quote: q, HasQuote: true})
	data, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

// TestQuotes: an ICMP error belongs to the instance of the flow that it quotes,
// and travels against it.
func TestQuotes(t *testing.T) {
	in := ppftest.Instance("a", "quoted")
	in.Match.Port = []ppf.PortRange{{Lo: 80, Hi: 80}}
	b := ppftest.New(t, in)
	other := netip.AddrPortFrom(ppftest.Server4.Addr(), 81)
	// Only the IP header of what it is about: whose it is cannot be told.
	cut := errorAbout(t, ppftest.Server4, ppftest.Client4)[:20+8+20]
	cut[3] = byte(len(cut))
	put(cut[10:], 0)
	put(cut[10:], packet.SumBytes(cut[:20]).Checksum())
	put(cut[22:], 0)
	put(cut[22:], packet.SumBytes(cut[20:]).Checksum())
	for _, tt := range []struct {
		name string
		data []byte
		want string // "": not this instance's
	}{
		{"of a client's segment", errorAbout(t, ppftest.Client4, ppftest.Server4), "sc 192.0.2.1 192.0.2.1"},
		{"of the server's segment", errorAbout(t, ppftest.Server4, ppftest.Client4), "cs 203.0.113.1 198.51.100.9"},
		{"of another port's segment", errorAbout(t, ppftest.Client4, other), ""},
		{"to the server, of a segment that cannot be told", cut, "none"},
	} {
		seenQuote = ""
		action, _ := b.Send(ppf.Forward, tt.data)
		if seenQuote != tt.want || (action == ppf.Drop) != (tt.want != "") {
			t.Errorf("an error %s: %v, seen %q, want %q", tt.name, action, seenQuote, tt.want)
		}
	}
	b.Accounted()
}

// TestHookChanges: connections go along when their instance moves to another
// hook.
func TestHookChanges(t *testing.T) {
	in := ppftest.Instance("a", "keyed")
	b := ppftest.New(t, in)
	b.Send(ppf.Forward, to(t, 99))
	in.Hook = ppf.Prerouting
	b.Apply(in)
	if action, out := b.Send(ppf.Prerouting, to(t, 99)); action != ppf.Accept || out[8] != 2 {
		t.Errorf("%v, the connection's packet %d, want 2", action, out[8])
	}
	seenQuote = ""
	in.Chain = [2][]string{{"keyed", "quoted"}, {"quoted"}}
	b.Apply(in)
	if b.Send(ppf.Prerouting, errorAbout(t, ppftest.Client4, netip.AddrPortFrom(ppftest.Server4.Addr(), 99))); seenQuote != "sc 192.0.2.1 192.0.2.1 known" {
		t.Errorf("an error about it: %q", seenQuote)
	}
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
