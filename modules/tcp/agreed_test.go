package tcp_test

import (
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// with gives a segment options.
func with(s ppftest.Segment, o packet.TCPOptions) ppftest.Segment {
	s.Options = o
	return s
}

// stamped gives a segment timestamps.
func stamped(s ppftest.Segment, val, echo uint32) ppftest.Segment {
	return with(s, packet.TCPOptions{Has: packet.OptTimestamps, TSVal: val, TSEcr: echo})
}

// sacked gives a segment a SACK block, in bytes from the first of the other side.
func sacked(s ppftest.Segment, left, right uint32) ppftest.Segment {
	return with(s, packet.TCPOptions{Has: packet.OptSACK, NumSACK: 1, SACK: [4]packet.SACKBlock{{Left: s.Ack.Add(left), Right: s.Ack.Add(right)}}})
}

var permitted = packet.TCPOptions{Has: packet.OptSACKPermitted}

// handshaken opens a connection with the options of the two SYNs.
func handshaken(t *testing.T, b *ppftest.Bench, client, server ppftest.Segment) {
	t.Helper()
	step(t, b, client, "")
	step(t, b, server, "")
	final := cs(ack)
	if client.Options.Has&server.Options.Has&packet.OptTimestamps != 0 {
		final = stamped(final, client.Options.TSVal, server.Options.TSVal)
	}
	step(t, b, final, "")
}

// TestSACK: blocks are about what was sent; what came twice lies below the
// acknowledgment.
func TestSACK(t *testing.T) {
	b := ppftest.New(t, instance())
	handshaken(t, b, with(cs(syn), permitted), with(sc(syn|ack), permitted))
	step(t, b, at(cs(ack), 0, 1000), "")
	for _, v := range []verdict{
		{sacked(sc(ack), 500, 1000), ""},
		{sacked(sc(ack), 500, 1001), "tcp.option.sack"},
		{sacked(sc(ack), 1<<30, 1<<30+1), "tcp.option.sack"},
		{sacked(sc(ack), 600, 600), "tcp.option.sack"},
		{sacked(sc(ack), 600, 500), "tcp.option.sack"},
		{acking(sacked(sc(ack), 0, 100), 1000), ""}, // D-SACK
	} {
		step(t, b, v.s, v.reason)
	}
	b.Accounted()
}

// TestTimestamps goes through old and invented timestamps.
func TestTimestamps(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []verdict
		after time.Duration // before the steps
	}{
		{"goes on", []verdict{{stamped(cs(ack), 101, 200), ""}, {stamped(sc(ack), 201, 101), ""}}, 0},
		{"the same again", []verdict{{stamped(cs(ack), 100, 200), ""}}, 0},
		{"a tick older", []verdict{{stamped(cs(ack), 99, 200), ""}}, 0},
		{"older", []verdict{{stamped(cs(ack), 98, 200), "tcp.option.timestamp-old"}}, 0},
		{"half of all numbers older", []verdict{{stamped(cs(ack), 100+1<<31, 200), "tcp.option.timestamp-old"}}, 0},
		{"older after 24 days", []verdict{{stamped(cs(ack), 98, 200), ""}}, 24*24*time.Hour + time.Second},
		{"older than what is new after 24 days", []verdict{{stamped(cs(ack), 50, 200), ""}, {stamped(cs(ack), 40, 200), "tcp.option.timestamp-old"}}, 24*24*time.Hour + time.Second},
		{"an old RST", []verdict{{stamped(cs(rst), 1, 200), ""}}, 0},
		{"a RST does not count", []verdict{{stamped(at(cs(rst|ack), 5, 0), 1000, 200), "tcp.reset"}, {stamped(cs(ack), 101, 200), ""}}, 0},
		{"overtaken", []verdict{{stamped(at(cs(ack), 10, 10), 105, 200), ""}, {stamped(at(cs(ack), 0, 10), 101, 200), ""}}, 0},
		{"echo of what was never sent", []verdict{{stamped(cs(ack), 101, 201), "tcp.option.timestamp-echo"}}, 0},
		{"no echo", []verdict{{stamped(cs(ack), 101, 0), ""}}, 0},
		{"an older echo", []verdict{{stamped(sc(ack), 205, 100), ""}, {stamped(cs(ack), 101, 200), ""}}, 0},
		{"data without one", []verdict{{at(cs(ack), 0, 10), ""}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance("established", "720h"))
			handshaken(t, b, stamped(cs(syn), 100, 0), stamped(sc(syn|ack), 200, 100))
			b.Env.Advance(int64(tt.after))
			for _, v := range tt.steps {
				step(t, b, v.s, v.reason)
			}
			b.Accounted()
		})
	}
}

// TestKeepAliveStamp: a keep-alive without the timestamp that was agreed on gets
// the sender's last ones.
func TestKeepAliveStamp(t *testing.T) {
	b := ppftest.New(t, instance())
	handshaken(t, b, stamped(cs(syn), 100, 0), stamped(sc(syn|ack), 200, 100))
	step(t, b, stamped(at(cs(ack), 0, 10), 110, 200), "")
	for _, n := range []int{0, 1} {
		_, seg := decode(t, step(t, b, at(cs(ack), 9, n), ""))
		if len(kinds(seg)) != 1 || seg.Options[len(seg.Options)-1].OptionLength != 10 || seg.Options[len(seg.Options)-1].OptionData[3] != 110 || seg.Options[len(seg.Options)-1].OptionData[7] != 200 {
			t.Errorf("keep-alive of %d bytes: options %v", n, seg.Options)
		}
	}
	if n := b.Count("tcp.option.timestamp-added", ppf.OutcomeRepair); n != 2 {
		t.Errorf("%d repairs, want 2", n)
	}
}

// TestNotAgreed: what not both SYNs offered is taken off, and nothing where the
// start was not seen.
func TestNotAgreed(t *testing.T) {
	const ece, cwr = packet.ECE, packet.CWR
	ecn := func(s ppftest.Segment, f packet.TCPFlags) ppftest.Segment { s.Flags |= f; return s }
	stamp := packet.TCPOptions{Has: packet.OptTimestamps, TSVal: 1}
	for _, tt := range []struct {
		name           string
		client, server ppftest.Segment
		s              ppftest.Segment
		reason         string // of a repair
	}{
		{"SACK, neither", cs(syn), sc(syn | ack), sacked(cs(ack), back(9), back(5)), "tcp.option.not-agreed"},
		{"SACK, client", with(cs(syn), permitted), sc(syn | ack), sacked(cs(ack), back(9), back(5)), "tcp.option.not-agreed"},
		{"SACK, server", cs(syn), with(sc(syn|ack), permitted), sacked(cs(ack), back(9), back(5)), "tcp.option.not-agreed"},
		{"SACK, both", with(cs(syn), permitted), with(sc(syn|ack), permitted), sacked(cs(ack), back(9), back(5)), ""},
		{"timestamps, client", with(cs(syn), stamp), sc(syn | ack), stamped(cs(ack), 2, 0), "tcp.option.not-agreed"},
		{"timestamps, both", with(cs(syn), stamp), with(sc(syn|ack), stamp), stamped(cs(ack), 2, 0), ""},
		{"ECN, neither", cs(syn), sc(syn | ack), ecn(cs(ack), ece), "tcp.ecn-cleared"},
		{"ECN, client", ecn(cs(syn), ece|cwr), sc(syn | ack), ecn(cs(ack), cwr), "tcp.ecn-cleared"},
		{"ECN, both", ecn(cs(syn), ece|cwr), ecn(sc(syn|ack), ece), ecn(cs(ack), ece|cwr), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			handshaken(t, b, tt.client, tt.server)
			_, seg := decode(t, step(t, b, tt.s, ""))
			left := len(seg.Options) > 0 || seg.ECE || seg.CWR
			if want := tt.reason == ""; left != want {
				t.Errorf("options %v, ECE %v, CWR %v; left on is wanted: %v", seg.Options, seg.ECE, seg.CWR, want)
			}
			if n := b.Count(tt.reason, ppf.OutcomeRepair); tt.reason != "" && n != 1 {
				t.Errorf("%+v, want one %s", b.Engine.ReasonCounts(), tt.reason)
			}
			b.Accounted()
		})
	}
	t.Run("adopted", func(t *testing.T) {
		b := ppftest.New(t, ppftest.Instance("a", "tcp"))
		_, seg := decode(t, step(t, b, ecn(stamped(cs(ack), 7, 7), ece), ""))
		if len(kinds(seg)) != 1 || !seg.ECE {
			t.Errorf("options %v, ECE %v", seg.Options, seg.ECE)
		}
	})
}

// TestListedOptions: a user timeout goes on only where it is listed.
func TestListedOptions(t *testing.T) {
	timeout := packet.TCPOptions{Has: packet.OptUserTimeout, UserTimeout: 300}
	for _, listed := range []bool{false, true} {
		in := instance()
		if listed {
			m := in.Modules["tcp"]
			m.Map = append(m.Map, ppf.KeyValue{Key: "options", Value: ppf.Value{Kind: ppf.ValueList, List: []ppf.Value{{Kind: ppf.ValueScalar, Scalar: "user-timeout"}}}})
			in.Modules["tcp"] = m
		}
		b := ppftest.New(t, in)
		for i, s := range []ppftest.Segment{with(cs(syn), timeout), sc(syn | ack), with(cs(ack), timeout)} {
			_, seg := decode(t, step(t, b, s, ""))
			if got, want := len(kinds(seg)) == 1, listed && i != 1; got != want {
				t.Errorf("listed %v, segment %d: options %v", listed, i, kinds(seg))
			}
		}
		if n := b.Count("tcp.option.unknown-removed", ppf.OutcomeRepair); (n == 1) == listed {
			t.Errorf("listed %v: %d repairs", listed, n)
		}
	}
}
