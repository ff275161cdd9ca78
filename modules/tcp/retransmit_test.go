package tcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// instanceOf is an instance with settings, a name before each value, that adopts
// nothing.
func instanceOf(settings ...string) ppf.InstanceSpec {
	in := ppftest.Instance("a", "tcp")
	v := ppf.Value{Kind: ppf.ValueMap}
	for pair := range slices.Chunk(append([]string{"adopt", "0s"}, settings...), 2) {
		v.Map = append(v.Map, ppf.KeyValue{Key: pair[0], Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: pair[1]}})
	}
	in.Modules = map[string]ppf.Value{"tcp": v}
	return in
}

// bench is an engine with a module of which the test sees the store.
type bench struct {
	*ppftest.Bench
	store *Store
}

func newBench(t testing.TB, plugins map[string]string, in ppf.InstanceSpec) *bench {
	b := &bench{Bench: ppftest.NewConfigured(t, plugins)}
	m := &module{}
	err := b.Engine.LoadModuleInfo(t.Context(), ppf.ModuleInfo{Name: "tcp-seen", Functions: []string{"tcp"}, New: func() ppf.Module { return m }})
	if err != nil {
		t.Fatal(err)
	}
	b.store = m.store
	b.Apply(in)
	return b
}

// seg is a segment of an open connection: who sends it, how far behind its first
// byte it begins, what it says, and up to where it acknowledges the other side.
type seg struct {
	d     ppf.Dir
	at    int
	data  string
	acks  int
	flags packet.TCPFlags
}

const (
	cs, sc   = ppf.ClientToServer, ppf.ServerToClient
	syn, fin = packet.SYN, packet.FIN
	rst      = packet.RST
)

func (s seg) bytes(t testing.TB) []byte {
	from, to := ppftest.Client4, ppftest.Server4
	first, other := packet.Seq(0xffffff00), packet.Seq(5000)
	if s.d == sc {
		from, to, first, other = to, from, other, first
	}
	h := packet.TCP{Seq: first.Add(uint32(s.at)), Ack: other.Add(uint32(s.acks)), Flags: s.flags | packet.ACK, Window: 0xffff}
	if s.flags&(syn|rst) != 0 && s.d == cs {
		h.Flags, h.Ack = s.flags, 0
	}
	return ppftest.Segment{Src: from, Dst: to, TCP: h, Payload: []byte(s.data), IP: packet.IPv4{DF: true}}.Bytes(t)
}

// send sends a segment and tells what is sent on: where it begins, its data, and
// "F" for a FIN; or "-" where it is dropped.
func (b *bench) send(s seg) string {
	b.T.Helper()
	_, out := b.Send(ppf.Forward, s.bytes(b.T))
	if out == nil {
		return "-"
	}
	var p packet.Packet
	if r := p.Parse(packet.LinkRawIP, out); r != packet.ReasonNone {
		b.T.Fatalf("%x: %v", out, r)
	}
	if r := p.VerifyChecksums(true); r != packet.ReasonNone {
		b.T.Fatalf("%x: %v", out, r)
	}
	first := packet.Seq(0xffffff00)
	if s.d == sc {
		first = 5000
	}
	text := fmt.Sprintf("%d:%s", p.TCP().Seq().Diff(first), p.Payload())
	if p.TCP().Flags()&fin != 0 {
		text += "F"
	}
	return text
}

func (b *bench) open() {
	b.T.Helper()
	for _, s := range []seg{{d: cs, at: -1, flags: syn}, {d: sc, at: -1, flags: syn}, {d: cs}} {
		if got := b.send(s); got == "-" {
			b.T.Fatalf("%+v was dropped: %+v", s, b.Engine.ReasonCounts())
		}
	}
}

// idle wants nothing to be kept.
func (b *bench) idle() {
	b.T.Helper()
	if rings, chunks := b.store.inUse(); rings != 0 || chunks != 0 {
		b.T.Errorf("%d rings with %d chunks are in use", rings, chunks)
	}
}

// TestFirstWins: each byte of a stream has the value that came first, also where the
// program is stopped and started before each segment.
func TestFirstWins(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	type step struct {
		s    seg
		want string
	}
	for _, tt := range []struct {
		name     string
		steps    []step
		rewrites uint64
		reason   string // of the last step, where it is dropped
	}{
		{"the same again", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{data: "abcd"}, "0:abcd"}, {seg{at: 1, data: "bc"}, "1:bc"}}, 0, ""},
		{"other data", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{data: "aXcd"}, "0:abcd"}}, 1, ""},
		{"longer", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{data: "abXdef"}, "0:abcdef"}, {seg{at: 4, data: "Xf"}, "4:ef"}}, 2, ""},
		{"over its end", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{at: 2, data: "XXef"}, "2:cdef"}}, 1, ""},
		{"over its start", []step{{seg{at: 4, data: "efgh"}, "4:efgh"}, {seg{at: 2, data: "cdXX"}, "2:cdef"}}, 1, ""},
		{"over both ends", []step{{seg{at: 2, data: "cd"}, "2:cd"}, {seg{data: "abXXef"}, "0:abcdef"}}, 1, ""},
		{"over two with a gap", []step{{seg{at: 1, data: "b"}, "1:b"}, {seg{at: 3, data: "d"}, "3:d"}, {seg{data: "aXcXe"}, "0:abcde"}, {seg{data: "XXXXX"}, "0:abcde"}}, 2, ""},
		{"a gap is filled once", []step{{seg{at: 4, data: "efgh"}, "4:efgh"}, {seg{data: "abcd"}, "0:abcd"}, {seg{data: "XXXXXXXX"}, "0:abcdefgh"}}, 1, ""},
		{"over chunks", []step{{seg{data: long}, "0:" + long}, {seg{at: 4000, data: strings.Repeat("x", 3000)}, "4000:" + long[4000:7000]}}, 1, ""},
		{"both ways apart", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{d: sc, data: "wxyz"}, "0:wxyz"}, {seg{data: "wxyz"}, "0:abcd"}, {seg{d: sc, data: "abcd"}, "0:wxyz"}}, 2, ""},
		{"what is acknowledged is not sent again", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{d: sc, acks: 4}, "0:"}, {seg{data: "XXXX"}, "0:"}, {seg{data: "XXXXef"}, "4:ef"}}, 0, ""},
		{"acknowledged in part", []step{{seg{data: "abcdef"}, "0:abcdef"}, {seg{d: sc, acks: 4}, "0:"}, {seg{data: "abXdef"}, "0:abcdef"}}, 1, ""},
		{"far below", []step{{seg{data: long}, "0:" + long}, {seg{d: sc, acks: 9000}, "0:"}, {seg{data: "XX"}, "0:"}, {seg{at: 8990, data: strings.Repeat("x", 1010)}, "8990:" + long[8990:10000]}}, 1, ""},
		{"a probe with any byte", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{d: sc, acks: 4}, "0:"}, {seg{at: 3, data: "?"}, "3:d"}, {seg{at: 3}, "3:"}}, 0, ""},
		{"a probe in the SYN's place", []step{{seg{at: -1, data: "?"}, "-1:\x00"}, {seg{d: sc, at: -1, data: "!"}, "-1:\x00"}}, 0, ""},
		{"a probe in the FIN's place", []step{{seg{data: "ab", flags: fin}, "0:abF"}, {seg{d: sc, acks: 3}, "0:"}, {seg{at: 2, data: "?"}, "2:"}}, 0, ""},
		{"a byte into a closed window", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{d: sc, acks: 4}, "0:"}, {seg{at: 4, data: "e"}, "4:e"}, {seg{at: 4, data: "efgh"}, "4:efgh"}, {seg{at: 4, data: "?"}, "4:e"}}, 1, ""},
		{"a FIN again", []step{{seg{data: "abcd", flags: fin}, "0:abcdF"}, {seg{at: 4, flags: fin}, "4:F"}, {seg{at: 2, data: "cd", flags: fin}, "2:cdF"}, {seg{data: "ab"}, "0:ab"}}, 0, ""},
		{"an old FIN with data", []step{{seg{data: "abcd", flags: fin}, "0:abcdF"}, {seg{d: sc, acks: 5}, "0:"}, {seg{data: "abcd", flags: fin}, "4:F"}}, 0, ""},
		{"behind the FIN", []step{{seg{data: "abcd", flags: fin}, "0:abcdF"}, {seg{at: 2, data: "cde"}, "-"}}, 0, "tcp.fin"},
		{"a later FIN", []step{{seg{data: "abcd", flags: fin}, "0:abcdF"}, {seg{at: 5, flags: fin}, "-"}}, 0, "tcp.fin"},
		{"an earlier FIN", []step{{seg{data: "abcd", flags: fin}, "0:abcdF"}, {seg{at: 2, flags: fin}, "-"}}, 0, "tcp.fin"},
		{"a FIN before data", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{at: 2, flags: fin}, "-"}}, 0, "tcp.fin"},
		{"a FIN before data in time", []step{{seg{at: 4, data: "ef", flags: fin}, "4:efF"}, {seg{data: "abcd"}, "0:abcd"}}, 0, ""},
		{"a FIN before acknowledged data", []step{{seg{data: "abcd"}, "0:abcd"}, {seg{d: sc, acks: 4}, "0:"}, {seg{at: 2, flags: fin}, "-"}}, 0, "tcp.fin"},
		{"a FIN that was lost and what comes from behind it", []step{{seg{at: 5}, "5:"}, {seg{data: "abcd", flags: fin}, "0:abcdF"}}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, restarts := range []bool{false, true} {
				b := newBench(t, nil, instanceOf())
				b.open()
				rewrites := uint64(0)
				for i, st := range tt.steps {
					if restarts {
						b.Bench = b.Successor(nil, instanceOf())
					}
					if got := b.send(st.s); got != st.want {
						t.Fatalf("restarts %v, step %d, %+v: got %q, want %q; %+v", restarts, i, st.s, got, st.want, b.Engine.ReasonCounts())
					}
					if restarts || i == len(tt.steps)-1 {
						rewrites += b.Count("tcp.retransmit-rewritten", ppf.OutcomeRepair)
					}
				}
				if rewrites != tt.rewrites {
					t.Errorf("restarts %v: %d segments were rewritten, want %d", restarts, rewrites, tt.rewrites)
				}
				if n := b.Count(tt.reason, ppf.OutcomeDrop); tt.reason != "" && n != 1 {
					t.Errorf("restarts %v: %+v, want one %s", restarts, b.Engine.ReasonCounts(), tt.reason)
				}
				b.Accounted()
			}
		})
	}
}

// TestRetransmitSettings: verify and strict refuse what first-wins rewrites, trust
// and monitor let it pass.
func TestRetransmitSettings(t *testing.T) {
	for _, tt := range []struct {
		setting string
		mode    ppf.Mode
		want    string
		reason  string
		outcome ppf.Outcome
	}{
		{"first-wins", ppf.Repair, "0:abcd", "tcp.retransmit-rewritten", ppf.OutcomeRepair},
		{"first-wins", ppf.Strict, "-", "tcp.retransmit-rewritten", ppf.OutcomeDrop},
		{"first-wins", ppf.Monitor, "0:abXdef", "tcp.retransmit-rewritten", ppf.OutcomeWouldRepair},
		{"verify", ppf.Repair, "-", "tcp.retransmit", ppf.OutcomeDrop},
		{"verify", ppf.Monitor, "0:abXdef", "tcp.retransmit", ppf.OutcomeWouldDrop},
		{"trust", ppf.Repair, "0:abXdef", "", 0},
	} {
		t.Run(tt.setting+" "+tt.mode.String(), func(t *testing.T) {
			in := instanceOf("retransmit", tt.setting)
			in.Mode = tt.mode
			b := newBench(t, nil, in)
			b.open()
			b.send(seg{data: "abcd"})
			got := b.send(seg{data: "abXdef"})
			if tt.want == "0:abcd" {
				tt.want = "0:abcdef"
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if n := b.Count(tt.reason, tt.outcome); tt.reason != "" && n != 1 {
				t.Errorf("%+v, want one %s", b.Engine.ReasonCounts(), tt.reason)
			}
			if tt.mode != ppf.Monitor && tt.want == "-" { // what was refused has left no trace
				if got := b.send(seg{data: "abcdgh"}); got != "0:abcdgh" {
					t.Errorf("afterwards: %q", got)
				}
			}
		})
	}
}

// TestRetransmitAdopted: of a connection whose start was not seen the first
// segments may come out of order, and nobody knows what was before.
func TestRetransmitAdopted(t *testing.T) {
	b := newBench(t, nil, ppftest.Instance("a", "tcp"))
	for i, st := range []struct {
		s    seg
		want string
	}{
		{seg{at: 5000, data: "efgh"}, "5000:efgh"},
		{seg{at: 0, data: "abcd"}, "0:abcd"},
		{seg{at: 0, data: "Xbcd"}, "0:abcd"},
		{seg{d: sc, acks: 2}, "0:"},
		{seg{at: 4998, data: "cdXX"}, "4998:cdef"},
		{seg{d: sc, acks: 5004}, "0:"},
		{seg{at: 5000, data: "efgh"}, "5000:"},
		{seg{at: 5003, data: "?"}, "5003:h"},
		{seg{at: 5000, flags: fin}, "-"},
		{seg{at: 5004, flags: fin}, "5004:F"},
	} {
		if got := b.send(st.s); got != st.want {
			t.Fatalf("step %d, %+v: got %q, want %q; %+v", i, st.s, got, st.want, b.Engine.ReasonCounts())
		}
	}
	b.idle()
	b.Accounted()
}

// TestRetransmitMemory: what does not fit is dropped, what fills a gap always
// fits, and the memory comes back.
func TestRetransmitMemory(t *testing.T) {
	b := newBench(t, nil, instanceOf("retransmit_memory", "131072", "retransmit_connection_memory", "131072"))
	b.open()
	half := strings.Repeat("x", 30_000)
	for _, st := range []struct {
		s       seg
		dropped bool
	}{
		{seg{at: 35_000, data: half}, false}, // with the gap before it 65,000 bytes
		{seg{d: sc, at: 100, data: half}, false},
		{seg{d: sc, at: 30_100, data: half}, false},
		{seg{d: sc, at: 60_100, data: "more"}, false}, // in the last chunk
		{seg{d: sc, at: 65_000, data: "more"}, true},
		{seg{at: 0, data: half}, false},
		{seg{at: 30_000, data: half[:5000]}, false},
		{seg{d: cs, at: 65_000, acks: 30_100}, false},
		{seg{d: sc, at: 65_000, data: "more"}, false},
	} {
		if got := b.send(st.s); (got == "-") != st.dropped {
			t.Fatalf("at %d, %d bytes of %v: %.20q; %+v", st.s.at, len(st.s.data), st.s.d, got, b.Engine.ReasonCounts())
		}
	}
}

// TestRetransmitMemoryTakenUp: what was kept before a stop counts after it and is
// given back; a connection for whose bytes the settings of now have no room is not
// taken up.
func TestRetransmitMemoryTakenUp(t *testing.T) {
	b := newBench(t, nil, instanceOf())
	b.open()
	for _, d := range []ppf.Dir{cs, sc} {
		for at := 0; at < 65_000; at += 13_000 {
			if got := b.send(seg{d: d, at: at, data: strings.Repeat("x", 10_000)}); got == "-" {
				t.Fatalf("at %d: %+v", at, b.Engine.ReasonCounts())
			}
		}
	}
	rings, chunks := b.store.inUse()
	var file bytes.Buffer
	if n, err := b.Engine.SaveConnections(&file); n != 1 || err != nil {
		t.Fatalf("%d connections, %v", n, err)
	}
	for _, tt := range []struct {
		settings []string
		want     ppf.Restored
		kept     bool
	}{
		{nil, ppf.Restored{Restored: 1}, true},
		{[]string{"retransmit", "trust"}, ppf.Restored{Restored: 1}, false},
		{[]string{"retransmit_connection_memory", "131072"}, ppf.Restored{Changed: 1}, false},
		{[]string{"retransmit_connection_memory", "131072", "retransmit_memory", "131072"}, ppf.Restored{Changed: 1}, false},
	} {
		next := newBench(t, nil, instanceOf(tt.settings...))
		if sum, err := next.Engine.RestoreConnections(bytes.NewReader(file.Bytes())); sum != tt.want || err != nil {
			t.Fatalf("%v: %+v, %v", tt.settings, sum, err)
		}
		if tt.kept {
			if r, c := next.store.inUse(); r != rings || c != chunks {
				t.Errorf("%d rings with %d chunks are in use, want %d and %d", r, c, rings, chunks)
			}
			next.Env.Advance(int64(200 * time.Hour))
			next.Engine.Handlers()[0].Tick(next.Env.Now())
		}
		next.idle()
	}
}

// TestRetransmitFreed: nothing is kept of a connection that is acknowledged, has
// gone, or is not looked at any more.
func TestRetransmitFreed(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(b *bench)
	}{
		{"acknowledged", func(b *bench) { b.send(seg{d: sc, at: 4, acks: 4}); b.send(seg{at: 4, acks: 4}) }},
		{"acknowledged with a FIN", func(b *bench) {
			b.send(seg{at: 4, acks: 4, flags: fin})
			b.send(seg{d: sc, at: 4, acks: 5})
		}},
		{"silent", func(b *bench) {
			b.Env.Advance(int64(121 * time.Hour))
			b.Engine.Handlers()[0].Tick(b.Env.Now())
		}},
		{"reset and opened anew", func(b *bench) { b.send(seg{at: 4, flags: rst}); b.send(seg{at: 99, flags: syn}) }},
		{"trusted", func(b *bench) { b.Apply(instanceOf("retransmit", "trust")); b.send(seg{at: 4}) }},
		{"without instance", func(b *bench) { b.Apply() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil, instanceOf())
			b.open()
			b.send(seg{data: "abcd"})
			b.send(seg{d: sc, data: "efgh"})
			if rings, chunks := b.store.inUse(); rings != 2 || chunks != 2 {
				t.Fatalf("%d rings with %d chunks are in use, want 2 of each", rings, chunks)
			}
			tt.end(b)
			b.idle()
		})
	}
}

// TestRetransmitReload: other settings, and another module in the place of the
// first, go on with what is kept.
func TestRetransmitReload(t *testing.T) {
	b := ppftest.New(t, instanceOf())
	at := &bench{Bench: b}
	at.open()
	at.send(seg{data: "abcd"})
	b.Apply(instanceOf("established", "1h"))
	if got := at.send(seg{data: "abXd"}); got != "0:abcd" {
		t.Errorf("with other settings: %q", got)
	}
	if err := b.Engine.ReloadModule(t.Context(), "tcp"); err != nil {
		t.Fatal(err)
	}
	if got := at.send(seg{data: "abXdef"}); got != "0:abcdef" {
		t.Errorf("after a reload of the module: %q", got)
	}
}

// transfer gives batches of a transfer: segments in order, and after each eight an
// acknowledgment. next moves a batch on.
func transfer(tb testing.TB, size int, settings ...string) (b *bench, frames []ppf.Frame, next func()) {
	b = newBench(tb, nil, instanceOf(settings...))
	b.open()
	frames = make([]ppf.Frame, 63)
	var at, acked uint32
	const tcp = packet.IPv4MinLen
	for i := range frames {
		s := seg{data: strings.Repeat("d", size)}
		if i%9 == 8 {
			s = seg{d: sc}
		}
		frames[i] = b.Frame(ppf.Forward, s.bytes(tb))
		frames[i].CsumNotReady = true
	}
	return b, frames, func() {
		for i := range frames {
			data := frames[i].Data[tcp:]
			if i%9 == 8 {
				acked = at
				binary.BigEndian.PutUint32(data[8:], 0xffffff00+acked)
				continue
			}
			binary.BigEndian.PutUint32(data[4:], 0xffffff00+at)
			at += uint32(size)
		}
	}
}

func TestTransferAllocations(t *testing.T) {
	b, frames, next := transfer(t, 1448)
	h := b.Engine.Handlers()[0]
	for range 3 {
		next()
		h.Handle(frames)
	}
	if n := testing.AllocsPerRun(100, func() {
		next()
		h.Handle(frames)
		for i := range frames {
			if frames[i].Action != ppf.Accept {
				t.Fatalf("frame %d was dropped: %+v", i, b.Engine.ReasonCounts())
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, len(frames))
	}
	b.idle()
}

// TestRewriteAllocations: who sends other data again and again costs no memory,
// once the events of this second are told.
func TestRewriteAllocations(t *testing.T) {
	b := newBench(t, nil, instanceOf())
	b.open()
	b.send(seg{data: strings.Repeat("a", 1448)})
	frames := make([]ppf.Frame, 64)
	for i := range frames {
		frames[i] = b.Frame(ppf.Forward, seg{data: strings.Repeat("b", 1448)}.bytes(t))
	}
	h := b.Engine.Handlers()[0]
	if n := testing.AllocsPerRun(50, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, len(frames))
	}
	if n := b.Count("tcp.retransmit-rewritten", ppf.OutcomeRepair); n != 51*64 {
		t.Errorf("%d segments were rewritten", n)
	}
}

// BenchmarkTransfer is the way of segments in order and their acknowledgments,
// by what is kept of them.
func BenchmarkTransfer(b *testing.B) {
	for _, size := range []int{1448, 7240} {
		for _, setting := range retransmitNames {
			b.Run(fmt.Sprintf("%d/%s", size, setting), func(b *testing.B) {
				bench, frames, next := transfer(b, size, "retransmit", setting)
				h := bench.Engine.Handlers()[0]
				b.ReportAllocs()
				for b.Loop() {
					next()
					h.Handle(frames)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
			})
		}
	}
}
