package pass_test

import (
	"bytes"
	"testing"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestPass: what was received goes on as it is, whatever it is, and is counted
// as unchanged.
func TestPass(t *testing.T) {
	in := ppftest.Instance("a", "pass")
	in.Match.Protocol = ppf.ProtocolAny
	b := ppftest.New(t, in)
	odd := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN | packet.FIN},
		IP: packet.IPv4{ID: 7, DF: true}, Payload: []byte("data")}.Bytes(t)
	udp := ppftest.Join(bytes.Clone(odd[:20]), []byte{0, 1, 0, 2, 0, 8, 0, 0}, func(ip []byte) []byte { ip[9] = 17; return ip })
	v6 := ppftest.Segment{Src: ppftest.Server6, Dst: ppftest.Client6, TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t)
	for _, data := range [][]byte{odd, udp, v6} {
		if action, out := b.Send(ppf.Forward, data); action != ppf.Accept || !bytes.Equal(out, data) {
			t.Errorf("%x: %v, sent %x", data, action, out)
		}
	}
	if s := b.Engine.Stats(); s.Packets.Unchanged != 3 || s.Packets.Sent != 0 || s.Connections != 0 {
		t.Errorf("counted as %+v", s)
	}
	b.Accounted()
}

// TestBehindAnother: what an earlier function built is not replaced by what was
// received.
func TestBehindAnother(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp", "pass"))
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}, IP: packet.IPv4{ID: 7, DF: true}}.Bytes(t)
	if action, out := b.Send(ppf.Forward, syn); action != ppf.Accept || out[4] != 0 || out[5] != 0 {
		t.Errorf("%v, sent %x", action, out)
	}
	if s := b.Engine.Stats().Packets; s.Sent != 1 || s.Unchanged != 0 {
		t.Errorf("counted as %+v", s)
	}
}
