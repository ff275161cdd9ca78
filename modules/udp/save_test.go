package udp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestTakenUp: after a stop and a start the server still answers a client that it
// may not write to first, both sides of an open flow go on, and flows end when
// they would have ended.
func TestTakenUp(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			question, answer := datagram(t, f.client, f.server, "question"), datagram(t, f.server, f.client, "answer")
			b := ppftest.New(t, instance("icmp", "udp", "tcp"))
			pass(t, b, question)
			b.Env.Advance(int64(10 * time.Second))

			next := b.Successor(nil, instance("icmp", "udp", "tcp"))
			if list := next.Engine.Connections("", 0); list[0].State != "UNREPLIED" {
				t.Fatalf("connections %+v, want one UNREPLIED", list)
			}
			pass(t, next, answer)
			third := next.Successor(nil, instance("icmp", "udp", "tcp"))
			if list := third.Engine.Connections("", 0); list[0].State != "REPLIED" || list[0].CS.Packets != 1 || list[0].SC.Packets != 1 {
				t.Fatalf("connections %+v, want one REPLIED", list)
			}
			pass(t, third, answer)
			third.Accounted()

			late := b.Successor(nil, instance("icmp", "udp", "tcp"))
			late.Env.Advance(int64(20 * time.Second))
			late.Engine.Handlers()[0].Tick(late.Env.Now())
			refuse(t, late, answer, "udp.initiate")
		})
	}
}

// TestRestoreForeign: a flow goes to no instance whose chain has no udp any more,
// and what is not a flow of ours is not taken up.
func TestRestoreForeign(t *testing.T) {
	b := ppftest.New(t, instance("udp"))
	pass(t, b, datagram(t, ppftest.Client4, ppftest.Server4, "question"))
	var file bytes.Buffer
	if n, err := b.Engine.SaveConnections(&file); n != 1 || err != nil {
		t.Fatalf("%d flows are saved, %v", n, err)
	}
	for _, chain := range [][]string{{"tcp"}, {"udp", "tcp"}} {
		next := ppftest.New(t, instance(chain...))
		sum, err := next.Engine.RestoreConnections(bytes.NewReader(file.Bytes()))
		if err != nil || sum != (ppf.Restored{Changed: 1}) || next.Engine.Stats().Connections != 0 {
			t.Errorf("%v: %+v, %v", chain, sum, err)
		}
	}
}
