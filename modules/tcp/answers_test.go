package tcp_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestAnswersAreLimited: who floods an instance with SYNs that it answers itself
// gets a hundred answers a second, and every SYN is still dropped and counted.
func TestAnswersAreLimited(t *testing.T) {
	in := instance()
	in.Initiate = ppf.InitiateClient
	b := ppftest.New(t, in)
	for second := range 2 {
		for i := range 150 {
			s := sc(syn)
			s.Dst = netip.AddrPortFrom(s.Dst.Addr(), uint16(1+i))
			step(t, b, s, "tcp.initiate")
		}
		if got, want := len(b.Emitted), 100*(second+1); got != want {
			t.Errorf("%d answers in %d s, want %d", got, second+1, want)
		}
		b.Env.Advance(int64(time.Second))
	}
	if got := b.Engine.Stats().Packets.Emitted; got != 200 {
		t.Errorf("%d extra packets are counted, want 200", got)
	}
	b.Accounted()
}

// TestPortReuse: only a finished connection gives way to a new SYN, and either
// side may send it.
func TestPortReuse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		steps  []ppftest.Segment
		again  ppftest.Segment
		reason string // "": a new connection
	}{
		{"established", nil, cs(syn), "tcp.state"},
		{"the client has closed", []ppftest.Segment{cs(fin | ack)}, cs(syn), "tcp.state"},
		{"the server has closed", []ppftest.Segment{sc(fin | ack)}, cs(syn), "tcp.state"},
		{"both have closed", []ppftest.Segment{cs(fin | ack), sc(fin | ack)}, cs(syn), ""},
		{"the client has reset", []ppftest.Segment{cs(rst)}, cs(syn), ""},
		{"the server has reset", []ppftest.Segment{sc(rst | ack)}, cs(syn), ""},
		{"both have closed, the server opens", []ppftest.Segment{sc(fin | ack), cs(fin | ack)}, sc(syn), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			open(t, b)
			for _, s := range tt.steps {
				step(t, b, s, "")
			}
			step(t, b, tt.again, tt.reason)
			if tt.reason == "" {
				wantState(t, b, "SYN-SENT")
			}
			if n := b.Engine.Stats().Connections; n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			b.Accounted()
		})
	}
}

// TestSentStates: what the other side was sent moves only when a segment really
// goes out.
func TestSentStates(t *testing.T) {
	in := instance()
	in.Mode = ppf.Strict
	b := ppftest.New(t, in)
	open(t, b)
	bad := cs(fin | ack)
	bad.EditIP = func(ip []byte) []byte { ip[6] |= 0x80; return ip } // found after the state has moved
	step(t, b, bad, "ip.reserved-cleared")
	c := b.Engine.Connections("", 0)[0]
	if c.CS.Received != "FIN-SENT" || c.SC.Sent != "ESTABLISHED" {
		t.Errorf("received %s, sent on %s; want FIN-SENT, ESTABLISHED", c.CS.Received, c.SC.Sent)
	}
	step(t, b, cs(fin|ack), "")
	if c := b.Engine.Connections("", 0)[0]; c.SC.Sent != "FIN-SENT" {
		t.Errorf("sent on %s, want FIN-SENT", c.SC.Sent)
	}
}

// TestMonitor: what would be dropped or mended goes on as it came.
func TestMonitor(t *testing.T) {
	in := instance()
	in.Mode = ppf.Monitor
	b := ppftest.New(t, in)
	mend := cs(syn)
	mend.EditIP = func(ip []byte) []byte { return append(ip, 7, 3, 4, 0) }
	offset := cs(syn)
	offset.Edit = func(b []byte) []byte { b[12] = 4 << 4; return b }
	for _, tt := range []struct {
		name    string
		data    []byte
		reason  string
		outcome ppf.Outcome
	}{
		{"options", mend.Bytes(t), "ip.options-removed", ppf.OutcomeWouldRepair},
		{"NULL", cs(0).Bytes(t), "tcp.flags.null", ppf.OutcomeWouldDrop},
		{"midstream", func() []byte { s := cs(ack); s.Src = netip.AddrPortFrom(s.Src.Addr(), 9); return s.Bytes(t) }(), "tcp.midstream", ppf.OutcomeWouldDrop},
		{"a parse error", offset.Bytes(t), "tcp.data-offset", ppf.OutcomeWouldDrop},
	} {
		action, out := b.Send(ppf.Forward, tt.data)
		if action != ppf.Accept || !bytes.Equal(out, tt.data) || b.Count(tt.reason, tt.outcome) != 1 {
			t.Errorf("%s: %v, as it came: %v; %+v", tt.name, action, bytes.Equal(out, tt.data), b.Engine.ReasonCounts())
		}
	}
	if i := b.Engine.Instances()[0]; i.Protecting {
		t.Error("it says that it protects")
	}
	b.Accounted()
}

// TestOwnErrors: an ICMP error of this machine's own kernel may be about a
// packet that never came as far as our hook; one from outside may not.
func TestOwnErrors(t *testing.T) {
	in := instance()
	in.Hook = ppf.Postrouting
	router := netip.MustParseAddr("198.51.100.1")
	for name, c := range map[string]struct {
		seen   []ppftest.Segment
		data   []byte
		reason string // of what comes from outside
	}{
		"no connection": {nil, icmp4(t, 11, 0, 0, router, cs(syn).Bytes(t)), "icmp.unrelated"},
		"its data":      {[]ppftest.Segment{cs(syn), sc(syn | ack), cs(ack)}, icmp4(t, 3, 4, 1400, router, at(cs(ack), 5000, 1000).Bytes(t)), "icmp.sequence"},
	} {
		b := ppftest.New(t, in)
		for _, s := range c.seen {
			pass(t, b, ppf.Postrouting, s)
		}
		f := b.Frame(ppf.Postrouting, c.data)
		frames := []ppf.Frame{f}
		b.Engine.Handlers()[0].Handle(frames)
		if frames[0].Action != ppf.Drop || b.Count(c.reason, ppf.OutcomeDrop) != 1 {
			t.Errorf("%s, from outside: %v, %+v", name, frames[0].Action, b.Engine.ReasonCounts())
		}
		f.In = 0
		frames[0] = f
		b.Engine.Handlers()[0].Handle(frames)
		if frames[0].Action != ppf.Accept || frames[0].Head == nil {
			t.Errorf("%s, from this machine: %v, %+v", name, frames[0].Action, b.Engine.ReasonCounts())
		}
		b.Accounted()
	}
}
