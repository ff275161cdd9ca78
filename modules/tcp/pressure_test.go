package tcp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// client sends segments of a connection from a port, with numbers that fit as long
// as neither side sends data.
func (b *bench) client(port uint16, d ppf.Dir, flags packet.TCPFlags) ppf.Action {
	b.T.Helper()
	from, to := netip.AddrPortFrom(ppftest.Client4.Addr(), port), ppftest.Server4
	iss, irs := packet.Seq(1000), packet.Seq(5000)
	if d == sc {
		from, to, iss, irs = to, from, irs, iss
	}
	action, _ := b.Send(ppf.Forward, ppftest.Segment{Src: from, Dst: to, TCP: ppftest.Header(flags, iss, irs)}.Bytes(b.T))
	return action
}

// bring brings a new connection to a phase.
func (b *bench) bring(port uint16, to phase) {
	b.T.Helper()
	const ack = packet.ACK
	steps := []struct {
		d     ppf.Dir
		flags packet.TCPFlags
	}{{cs, syn}, {sc, syn | ack}, {cs, ack}, {cs, fin | ack}}
	n := map[phase]int{phaseSynSent: 1, phaseSynReceived: 2, phaseEstablished: 3, phaseFinWait: 4}[to]
	if to == phaseClosed {
		n, steps[3].flags = 4, rst
	}
	for _, s := range steps[:n] {
		if a := b.client(port, s.d, s.flags); a != ppf.Accept {
			b.T.Fatalf("port %d, %v %v: %v; %+v", port, s.d, s.flags, a, b.Engine.ReasonCounts())
		}
	}
}

func (b *bench) after(d time.Duration) {
	b.Env.Advance(int64(d))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
}

// ports lists the clients' ports of the connections that are there.
func (b *bench) ports() (list map[uint16]bool) {
	list = map[uint16]bool{}
	for _, c := range b.Engine.Connections("", 0) {
		list[netip.MustParseAddrPort(c.Client).Port()] = true
	}
	return list
}

// TestGiveWay: where a limit is reached, who is nearest to its timeout gives way
// when it was silent for long enough, and what is in use never does.
func TestGiveWay(t *testing.T) {
	const established = 2*time.Hour + 4*time.Minute
	for _, tt := range []struct {
		name   string
		phases []phase         // of the connections on ports 1, 2, …
		silent []time.Duration // each, before the next is opened
		gone   uint16          // who makes room; 0: nobody
	}{
		{"half-open", []phase{phaseEstablished, phaseSynSent}, []time.Duration{time.Second, 5 * time.Second}, 2},
		{"answered", []phase{phaseEstablished, phaseSynReceived}, []time.Duration{time.Second, 5 * time.Second}, 2},
		{"half-open, not long enough", []phase{phaseEstablished, phaseSynSent}, []time.Duration{time.Second, 4 * time.Second}, 0},
		{"over", []phase{phaseClosed, phaseEstablished}, []time.Duration{time.Second, 5 * time.Second}, 1},
		{"closed by one", []phase{phaseEstablished, phaseFinWait}, []time.Duration{time.Second, 4 * time.Minute}, 2},
		{"closed by one, not long enough", []phase{phaseEstablished, phaseFinWait}, []time.Duration{time.Second, 3 * time.Minute}, 0},
		{"open, the oldest", []phase{phaseEstablished, phaseEstablished}, []time.Duration{time.Second, established}, 1},
		{"open, not long enough", []phase{phaseEstablished, phaseEstablished}, []time.Duration{time.Second, established - 2*time.Second}, 0},
		{"half-open before open", []phase{phaseEstablished, phaseSynSent}, []time.Duration{established, 6 * time.Second}, 2},
	} {
		for _, limit := range []string{"instance", "table"} {
			t.Run(tt.name+", "+limit, func(t *testing.T) {
				of := instanceOf("connections", "2", "half_open", "1h")
				var plugins map[string]string
				if limit == "table" {
					of, plugins = instanceOf("half_open", "1h"), map[string]string{"PROXY": "connections 2"}
				}
				b := newBench(t, plugins, of)
				for i, p := range tt.phases {
					b.bring(uint16(1+i), p)
					b.after(tt.silent[i])
				}
				const newcomer = 9
				b.client(newcomer, cs, syn)
				want := map[uint16]bool{1: true, 2: true}
				if tt.gone != 0 {
					delete(want, tt.gone)
					want[newcomer] = true
				}
				if got := b.ports(); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("connections of ports %v, want %v; %+v", got, want, b.Engine.ReasonCounts())
				}
				if n := b.Count("conn.evicted", ppf.OutcomeRepair); (n == 1) != (tt.gone != 0) {
					t.Errorf("%d connections made room", n)
				}
				b.Accounted()
			})
		}
	}
}

// TestGiveWayUsed: a connection that is used stays, however many others come, and
// what it has on its way is not forgotten with those that go.
func TestGiveWayUsed(t *testing.T) {
	b := newBench(t, nil, instanceOf("connections", "4"))
	b.open()
	b.send(seg{data: "abcd"})
	made := 0
	for port := range uint16(200) {
		if b.client(1+port, cs, syn) == ppf.Accept {
			made++
		}
		b.after(time.Second)
		if got := b.send(seg{data: "abXd"}); got != "0:abcd" {
			t.Fatalf("after %d others: %q", port, got)
		}
	}
	if made < 100 {
		t.Errorf("only %d of 200 found room", made)
	}
	if n := b.Engine.Stats().Connections; n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
	b.Accounted()
}

// TestGiveWayRefused: strict, monitor and an override keep what is there.
func TestGiveWayRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   func(*ppf.InstanceSpec)
		wants ppf.Action
	}{
		{"strict", func(in *ppf.InstanceSpec) { in.Mode = ppf.Strict }, ppf.Drop},
		{"monitor", func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor }, ppf.Accept},
		{"override", func(in *ppf.InstanceSpec) {
			in.Reasons = []ppf.Override{{Reason: "conn.evicted", Do: ppf.DoRefuse}}
		}, ppf.Drop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := instanceOf("connections", "1")
			tt.set(&in)
			b := newBench(t, nil, in)
			b.bring(1, phaseSynSent)
			b.after(10 * time.Second)
			if a := b.client(2, cs, syn); a != tt.wants {
				t.Errorf("%v, want %v", a, tt.wants)
			}
			if got := b.ports(); !got[1] || got[2] {
				t.Errorf("connections of ports %v, want 1", got)
			}
		})
	}
}
