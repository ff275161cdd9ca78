package icmp_test

import (
	"testing"
	"time"

	"github.com/promethos/promethos/ppf/ppftest"
)

// TestTakenUp: after a stop and a start each request that was under way gets its
// reply, and no reply more; an exchange ends when it would have ended.
func TestTakenUp(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			pass(t, b, f, f.ask(t, 1, 1))
			pass(t, b, f, f.ask(t, 1, 2))
			b.Env.Advance(int64(30 * time.Second))

			next := b.Successor(nil, instance())
			pass(t, next, f, f.answer(t, 1, 1))
			third := next.Successor(nil, instance())
			if list := third.Engine.Connections("", 0); list[0].State != "REPLIED" {
				t.Fatalf("connections %+v, want one REPLIED", list)
			}
			pass(t, third, f, f.answer(t, 1, 2))
			refuse(t, third, f.answer(t, 1, 2), "icmp.unsolicited")
			third.Accounted()

			late := b.Successor(nil, instance())
			late.Env.Advance(int64(30 * time.Second))
			late.Engine.Handlers()[0].Tick(late.Env.Now())
			refuse(t, late, f.answer(t, 1, 1), "icmp.unsolicited")
		})
	}
}
