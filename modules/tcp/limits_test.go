package tcp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// from gives the segment another client.
func from(s ppftest.Segment, client string) ppftest.Segment {
	s.Src = netip.MustParseAddrPort(client)
	return s
}

// TestClientLimit: a client at its limit opens nothing, another one does, and so
// does the first when one of its connections has gone.
func TestClientLimit(t *testing.T) {
	for _, tt := range []struct {
		name               string
		first, same, other string
		v6                 bool
	}{
		{"IPv4", "192.0.2.1:1", "192.0.2.1:3", "192.0.2.2:4", false},
		{"IPv6, a network of 64 bits", "[2001:db8:1::1]:1", "[2001:db8:1::99]:3", "[2001:db8:1:1::1]:4", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance("client_connections", "2"))
			at := func(client string) ppftest.Segment {
				s := cs(syn)
				if tt.v6 {
					s = cs6(syn)
					s.IP.ID = 0 // which IPv6 has none of
				}
				return from(s, client)
			}
			step(t, b, at(tt.first), "")
			step(t, b, at(tt.first), "") // retransmitted
			second := netip.MustParseAddrPort(tt.first)
			step(t, b, at(netip.AddrPortFrom(second.Addr(), 2).String()), "")
			step(t, b, at(tt.same), "tcp.limit.client")
			step(t, b, at(tt.other), "")
			b.Env.Advance(int64(2 * time.Minute))
			b.Engine.Handlers()[0].Tick(b.Env.Now())
			step(t, b, at(tt.same), "")
			b.Accounted()
		})
	}
}

// TestClientLimitClosed: connections that are over do not count, with their last
// segments coming again neither.
func TestClientLimitClosed(t *testing.T) {
	for name, end := range map[string][]ppftest.Segment{
		"closed by both": {cs(fin | ack), sc(fin | ack), sc(fin | ack)},
		"reset":          {cs(rst), cs(rst)},
	} {
		t.Run(name, func(t *testing.T) {
			b := ppftest.New(t, instance("client_connections", "1"))
			open(t, b)
			other := cs(syn)
			other = from(other, netip.AddrPortFrom(other.Src.Addr(), other.Src.Port()+1).String())
			step(t, b, other, "tcp.limit.client")
			for _, s := range end {
				step(t, b, s, "")
			}
			step(t, b, other, "")
			step(t, b, from(other, netip.AddrPortFrom(other.Src.Addr(), other.Src.Port()+1).String()), "tcp.limit.client")
			b.Accounted()
		})
	}
}

// TestHalfOpenLimit: only handshakes that are not complete count.
func TestHalfOpenLimit(t *testing.T) {
	b := ppftest.New(t, instance("half_open_connections", "1"))
	step(t, b, cs(syn), "")
	other := from(cs(syn), "192.0.2.2:1")
	step(t, b, other, "tcp.limit.half-open")
	step(t, b, sc(syn|ack), "")
	step(t, b, other, "tcp.limit.half-open")
	step(t, b, cs(ack), "")
	step(t, b, other, "")
	step(t, b, from(cs(syn), "192.0.2.3:1"), "tcp.limit.half-open")
	b.Accounted()
}

// TestLimitsAfterReload: under new settings connections count again with their
// next segment, and do not count twice.
func TestLimitsAfterReload(t *testing.T) {
	b := ppftest.New(t, instance("client_connections", "1"))
	open(t, b)
	b.Apply(instance("client_connections", "2"))
	step(t, b, cs(ack), "")
	step(t, b, cs(ack), "")
	second := from(cs(syn), "192.0.2.1:2")
	step(t, b, second, "")
	step(t, b, from(cs(syn), "192.0.2.1:3"), "tcp.limit.client")
	step(t, b, cs(rst), "")
	b.Env.Advance(int64(2 * time.Minute))
	b.Engine.Handlers()[0].Tick(b.Env.Now())
	for i := range 3 {
		reason := ""
		if i == 2 {
			reason = "tcp.limit.client"
		}
		step(t, b, from(cs(syn), fmt.Sprintf("192.0.2.1:%d", 10+i)), reason)
	}
}

// TestMidstream: whoever goes on with a connection that is not known is told so,
// unless it is a RST, or the segment passes as in monitor; with midstream: adopt
// the connection is taken over at any time.
func TestMidstream(t *testing.T) {
	t.Run("refuse", func(t *testing.T) {
		b := ppftest.New(t, instance())
		step(t, b, cs(rst), "tcp.midstream")
		if len(b.Emitted) > 0 {
			t.Fatal("a RST was answered")
		}
		for i, s := range []ppftest.Segment{cs(ack | psh), sc(fin | ack), sc(syn | ack)} {
			s.Ack = 77
			step(t, b, s, "tcp.midstream")
			if len(b.Emitted) != i+1 {
				t.Fatalf("%v: %d answers, want %d", s.Flags, len(b.Emitted), i+1)
			}
			ip, seg := decode(t, b.Emitted[i])
			if !seg.RST || seg.ACK || seg.Seq != 77 || !ip.DstIP.Equal(s.Src.Addr().AsSlice()) || uint16(seg.DstPort) != s.Src.Port() {
				t.Errorf("%v: answer %v %v", s.Flags, ip, seg)
			}
		}
	})
	t.Run("monitor", func(t *testing.T) {
		in := instance()
		in.Mode = ppf.Monitor
		b := ppftest.New(t, in)
		if action, _ := b.Send(ppf.Forward, cs(ack).Bytes(t)); action != ppf.Accept || len(b.Emitted) > 0 {
			t.Errorf("%v, %d answers", action, len(b.Emitted))
		}
	})
	t.Run("adopt", func(t *testing.T) {
		b := ppftest.New(t, instance("midstream", "adopt"))
		b.Env.Advance(int64(24 * time.Hour))
		step(t, b, cs(ack|psh), "")
		wantState(t, b, "ESTABLISHED")
	})
}

// TestUrgentRefused: by setting urgent data is refused and not put in line.
func TestUrgentRefused(t *testing.T) {
	b := ppftest.New(t, instance("urgent", "refuse"))
	open(t, b)
	step(t, b, cs(ack|urg), "tcp.urgent")
	pointer := cs(ack)
	pointer.Edit = func(b []byte) []byte { b[19] = 1; return b }
	step(t, b, pointer, "tcp.urgent")
	step(t, b, cs(ack), "")
}
