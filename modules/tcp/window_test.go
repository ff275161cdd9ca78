package tcp_test

import (
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// window is what ppftest.Header announces.
const window = 32768

// at moves a segment's sequence number on and gives it so many bytes.
func at(s ppftest.Segment, offset uint32, n int) ppftest.Segment {
	s.Seq, s.Payload = s.Seq.Add(offset), make([]byte, n)
	return s
}

// acking moves a segment's acknowledgment number on.
func acking(s ppftest.Segment, offset uint32) ppftest.Segment {
	s.Ack = s.Ack.Add(offset)
	return s
}

// windowed gives a segment another window.
func windowed(s ppftest.Segment, n uint16) ppftest.Segment {
	s.Window = n
	return s
}

// scaled lets a SYN offer a shift.
func scaled(s ppftest.Segment, shift uint8) ppftest.Segment {
	s.Options = packet.TCPOptions{Has: packet.OptWScale, WScale: shift}
	return s
}

// verdict is a segment and why it is refused, "" where it passes.
type verdict struct {
	s      ppftest.Segment
	reason string
}

// back is a number of bytes to go back by.
func back(n uint32) uint32 { return -n }

// TestWindow goes through what may lie where in an open connection.
func TestWindow(t *testing.T) {
	handshake := []verdict{{cs(syn), ""}, {sc(syn | ack), ""}, {cs(ack), ""}}
	scaling := func(client, server int) []verdict {
		c, s := cs(syn), sc(syn|ack)
		if client >= 0 {
			c = scaled(c, uint8(client))
		}
		if server >= 0 {
			s = scaled(s, uint8(server))
		}
		return []verdict{{c, ""}, {s, ""}, {cs(ack), ""}, {sc(ack), ""}}
	}
	for _, tt := range []struct {
		name  string
		steps [][]verdict
	}{
		{"data up to the edge", [][]verdict{handshake, {{at(cs(ack), 0, 1000), ""}, {at(cs(ack), window-1000, 1000), ""}}}},
		{"a probe behind the edge", [][]verdict{handshake, {{at(cs(ack), window, 1), ""}, {at(cs(ack), window+1, 1), "tcp.sequence"}}}},
		{"a FIN behind the edge", [][]verdict{handshake, {{at(cs(ack|fin), window, 0), ""}, {at(cs(ack), window+1, 1), "tcp.sequence"}}}},
		{"data beyond the edge", [][]verdict{handshake, {{at(cs(ack), window-10, 12), "tcp.sequence"}, {at(cs(ack), 1<<20, 1), "tcp.sequence"}, {at(cs(ack), 1<<31, 1), "tcp.sequence"}}}},
		{"an ACK beyond the edge", [][]verdict{handshake, {{at(cs(ack), 1<<20, 0), "tcp.sequence"}}}},
		{"the edge moves", [][]verdict{handshake, {{at(cs(ack), 0, 1000), ""}, {acking(sc(ack), 1000), ""}, {at(cs(ack), window, 1000), ""}}}},
		{"a smaller window takes nothing back", [][]verdict{handshake, {{windowed(sc(ack), 100), ""}, {at(cs(ack), 20_000, 1000), ""}}}},
		{"a GSO packet", [][]verdict{scaling(7, 7), {{at(cs(ack), 0, 60_000), ""}}}},
		{"keep-alives", [][]verdict{handshake, {{at(cs(ack), 0, 1000), ""}, {acking(sc(ack), 1000), ""}, {at(cs(ack), 999, 0), ""}, {at(cs(ack), 999, 1), ""}}}},
		{"sent again", [][]verdict{handshake, {{at(cs(ack), 0, 30_000), ""}, {acking(sc(ack), 30_000), ""}, {at(cs(ack), 0, 100), ""}}}},
		{"long gone", [][]verdict{handshake, {{at(cs(ack), 0, 30_000), ""}, {acking(sc(ack), 30_000), ""}, {at(cs(ack), 30_000, 30_000), ""}, {at(cs(ack), 0, 100), "tcp.sequence"}}}},
		{"ACK of what was never sent", [][]verdict{handshake, {{acking(cs(ack), 1), "tcp.ack"}, {acking(cs(ack), 1<<30), "tcp.ack"}, {at(sc(ack), 0, 5), ""}, {acking(cs(ack), 5), ""}, {acking(cs(ack), 6), "tcp.ack"}}}},
		{"ACK of what is long acknowledged", [][]verdict{handshake, {{acking(cs(ack), back(40_000)), "tcp.ack"}, {acking(cs(ack), back(1<<31)), "tcp.ack"}}}},
		{"scaling", [][]verdict{scaling(3, 2), {{at(cs(ack), window<<2-1000, 1000), ""}, {at(cs(ack), window<<2, 1000), "tcp.sequence"}, {at(sc(ack), window<<3-1000, 1000), ""}, {at(sc(ack), window<<3, 1000), "tcp.sequence"}}}},
		{"a shift above 14", [][]verdict{scaling(1, 200), {{at(cs(ack), window<<14-1000, 1000), ""}}}},
		{"scaling that only the client offers", [][]verdict{scaling(3, -1), {{at(sc(ack), window, 1000), "tcp.sequence"}}}},
		{"scaling that only the server offers", [][]verdict{scaling(-1, 3), {{at(cs(ack), window, 1000), "tcp.sequence"}}}},
		{"a SYN-ACK's window counts as it stands", [][]verdict{{{scaled(cs(syn), 7), ""}, {scaled(sc(syn|ack), 7), ""}, {at(cs(ack), window, 1000), "tcp.sequence"}}}},
		{"before the SYN-ACK is acknowledged", [][]verdict{{{cs(syn), ""}, {sc(syn | ack), ""}, {at(sc(ack), window+1, 1), "tcp.sequence"}, {sc(ack), ""}}}},
		{"a SYN-ACK that acknowledges something else", [][]verdict{{{cs(syn), ""}, {acking(sc(syn|ack), 1), "tcp.ack"}, {acking(sc(syn|ack), back(1)), "tcp.ack"}}}},
		{"a cookie that has changed", [][]verdict{{{cs(syn), ""}, {sc(syn | ack), ""}, {at(sc(syn|ack), 1<<28, 0), ""}, {acking(cs(ack), 1<<28), ""}, {sc(syn | ack), "tcp.sequence"}}}},
		{"data of a server that refused", [][]verdict{{{cs(syn), ""}, {sc(rst | ack), ""}, {acking(cs(ack), back(1)), ""}, {sc(ack), "tcp.sequence"}}}},
		{"another SYN than was answered", [][]verdict{{{cs(syn), ""}, {sc(syn | ack), ""}, {at(cs(syn), 1<<28, 0), "tcp.sequence"}, {cs(rst), ""}, {at(cs(syn), 1<<28, 0), ""}}}},
		{"a client that gave up and begins anew", [][]verdict{{{cs(syn), ""}, {at(cs(syn), 1<<28, 0), ""}, {acking(sc(syn|ack), 1<<28), ""}, {at(cs(ack), 1<<28, 0), ""}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance("retransmit", "trust")) // a gigabyte is more than would be kept
			for _, list := range tt.steps {
				for _, v := range list {
					step(t, b, v.s, v.reason)
				}
			}
			b.Accounted()
		})
	}
}

// TestResets: a RST passes with the number that its receiver waits for or the
// one behind all that was sent; another one within the window has its sender
// asked, who then repeats it with the right one.
func TestResets(t *testing.T) {
	for _, tt := range []struct {
		name      string
		rst       ppftest.Segment
		reason    string
		challenge bool
	}{
		{"what the receiver waits for", at(cs(rst), 100, 0), "", false},
		{"behind what was sent", at(cs(rst), 300, 0), "", false},
		{"within the window", at(cs(rst), 200, 0), "tcp.reset", true},
		{"at the window's end", at(cs(rst), 100+window-1, 0), "tcp.reset", true},
		{"beyond the window", at(cs(rst), 100+window, 0), "tcp.reset", false},
		{"old", at(cs(rst), 99, 0), "tcp.reset", false},
		{"with ACK", at(cs(rst|ack), 200, 0), "tcp.reset", true},
		{"the server's", sc(rst), "", false},
		{"within the server's window", at(sc(rst), 1, 0), "tcp.reset", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			open(t, b)
			step(t, b, at(cs(ack), 0, 300), "")
			step(t, b, acking(sc(ack), 100), "")
			step(t, b, tt.rst, tt.reason)
			if asked := len(b.Emitted) == 1; asked != tt.challenge {
				t.Fatalf("%d answers; a challenge ACK is wanted: %v", len(b.Emitted), tt.challenge)
			}
			if tt.reason == "" {
				wantState(t, b, "CLOSED")
				return
			}
			wantState(t, b, "ESTABLISHED")
			if !tt.challenge {
				return
			}
			ip, seg := decode(t, b.Emitted[0])
			if !seg.ACK || seg.RST || seg.SYN || !ip.DstIP.Equal(tt.rst.Src.Addr().AsSlice()) {
				t.Fatalf("challenge %v %v", ip, seg)
			}
			again := tt.rst
			again.Flags, again.Seq, again.Ack = rst, packet.Seq(seg.Ack), 0
			step(t, b, again, "")
			wantState(t, b, "CLOSED")
			b.Accounted()
		})
	}
	t.Run("in answer to a SYN", func(t *testing.T) {
		b := ppftest.New(t, instance())
		step(t, b, cs(syn), "")
		step(t, b, sc(rst), "tcp.reset")
		step(t, b, acking(sc(rst|ack), 1), "tcp.reset")
		wantState(t, b, "SYN-SENT")
		step(t, b, sc(rst|ack), "")
		wantState(t, b, "CLOSED")
	})
	t.Run("when both have ended", func(t *testing.T) {
		b := ppftest.New(t, instance())
		open(t, b)
		step(t, b, at(sc(ack), 0, 100), "")
		step(t, b, at(sc(fin|ack), 100, 0), "")
		step(t, b, at(sc(rst), 50, 0), "tcp.reset")
		step(t, b, acking(cs(fin|ack), 101), "")
		step(t, b, at(sc(rst), 102, 0), "tcp.reset")
		step(t, b, at(sc(rst), 50, 0), "") // for an acknowledgment that came late
		b.Accounted()
	})
	t.Run("challenges are limited", func(t *testing.T) {
		b := ppftest.New(t, instance())
		open(t, b)
		for i := range 150 {
			step(t, b, at(cs(rst), uint32(1+i), 0), "tcp.reset")
		}
		if len(b.Emitted) != 100 {
			t.Errorf("%d challenge ACKs, want 100", len(b.Emitted))
		}
	})
}

// TestAdoptedWindow: of a connection whose start was not seen the scale is not
// known, and neither is what was sent before; RSTs need the right number all the
// same.
func TestAdoptedWindow(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	step(t, b, at(cs(ack), 0, 100), "")
	step(t, b, at(cs(ack), 100_000, 100), "") // nobody knows the server's window
	step(t, b, acking(sc(ack), 200_000), "")  // of what the client sent before
	step(t, b, at(cs(ack), 300_000, 100), "") // the window counts with the largest scale
	step(t, b, at(cs(ack), 1<<30, 100), "tcp.sequence")
	step(t, b, at(cs(rst), 250_000, 0), "tcp.reset")
	step(t, b, at(cs(rst), 200_000, 0), "")
	wantState(t, b, "CLOSED")
	b.Accounted()
}

// TestAdoptedAck: the first ACK that is seen may be older than what was sent since.
func TestAdoptedAck(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	step(t, b, at(cs(ack), 100_000, 100), "")
	step(t, b, acking(sc(ack), 50_000), "")
}

// TestAdoptedReset: a RST ends an adopted connection whose receiver has said
// nothing yet: its sender may have sent more than was seen.
func TestAdoptedReset(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	step(t, b, at(cs(ack), 0, 100), "")
	step(t, b, at(cs(rst), 5000, 0), "")
	wantState(t, b, "CLOSED")
}

// TestOfferedOnce: what one SYN offered counts, though the client leaves it out
// when it sends the SYN again: the server may have got the first.
func TestOfferedOnce(t *testing.T) {
	b := ppftest.New(t, instance())
	offer := packet.TCPOptions{Has: packet.OptSACKPermitted | packet.OptWScale, WScale: 7}
	for _, s := range []ppftest.Segment{with(cs(syn), offer), cs(syn), with(sc(syn|ack), offer), cs(ack)} {
		step(t, b, s, "")
	}
	step(t, b, at(sc(ack), 0, 1000), "")
	step(t, b, at(sc(ack), 1_000_000, 1000), "") // into a window of 32,768 times 128
	step(t, b, sacked(cs(ack), 500, 1000), "")
	if n := b.Count("tcp.option.not-agreed", ppf.OutcomeRepair); n != 0 {
		t.Errorf("SACK was not agreed on: %+v", b.Engine.ReasonCounts())
	}
}

// TestShrunkenWindow: what was sent into a window is sent again though its receiver
// has closed it since.
func TestShrunkenWindow(t *testing.T) {
	b := ppftest.New(t, instance())
	open(t, b)
	for offset := range uint32(30) {
		step(t, b, at(cs(ack), offset*1000, 1000), "")
	}
	step(t, b, windowed(sc(ack), 0), "")
	step(t, b, at(cs(ack), 0, 1000), "")
}

// TestMonitorWindow: where segments pass that would be refused, what follows is
// judged by what the receiver has got.
func TestMonitorWindow(t *testing.T) {
	in := instance()
	in.Mode = ppf.Monitor
	b := ppftest.New(t, in)
	for _, s := range []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack), at(cs(ack), 1<<20, 10)} {
		b.Send(ppf.Forward, s.Bytes(t))
	}
	if n := b.Count("tcp.sequence", ppf.OutcomeWouldDrop); n != 1 {
		t.Fatalf("%d segments would be dropped, want 1", n)
	}
	b.Send(ppf.Forward, acking(sc(ack), 1<<20+10).Bytes(t))
	b.Send(ppf.Forward, at(cs(ack), 1<<20+10, 10).Bytes(t))
	if got := b.Engine.Stats().Packets; got.Sent != 5 || got.Dropped != 0 || len(b.Emitted) > 0 {
		t.Errorf("%+v, %+v, %d answers", got, b.Engine.ReasonCounts(), len(b.Emitted))
	}
}
