package e2e

import (
	"testing"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
)

// TestProof checks all six properties while attacks and a transfer go through
// one instance.
func TestProof(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	w := web(t, l.Server)
	env := must(l.AttackEnv(port(t, w.Addr)))(t)
	d := withServer(t, l, "forward", port(t, w.Addr), notAdopting)
	before := must(proof.TakeVitals(t.Context(), d.Proxy))(t)
	// Pings pass the chain [tcp] by.
	only := lab.CaptureOptions{Filter: func(f []byte) bool { return len(f) > 23 && (f[12] == 0x86 && f[20] != 58 || f[12] == 8 && f[23] == 6) }}
	atClient, atServer := must(l.Client.Capture(only))(t), must(l.Server.Capture(only))(t)
	attacks := attacksOn("tcp")
	attack(t, l, env, attacks, d.judged(t, attacks))
	must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", env.Port)).DataURL(1_000_000, 8)))(t)
	captures := []*lab.Capture{atClient, atServer}
	for _, c := range captures { // both ends before either capture does
		must(c.Wait(within(t, patience), proof.Ends))(t)
	}
	for _, c := range captures {
		must(c.Stop())(t)
	}
	for _, frames := range [][]lab.Frame{atServer.Frames(), atClient.Frames()} {
		for _, v := range must(proof.Packets(t.Context(), frames, lab.KindDFIDCount))(t) {
			t.Error(v)
		}
	}
	honest := func(f proof.Flow) bool { return f.Src.Addr() != env.Source4 && f.Src.Addr() != env.Source6 }
	sent, arrived := proof.Sent(atClient.Frames()), proof.Received(atServer.Frames())
	if len(proof.Streams(arrived).All()) == 0 {
		t.Fatal("no stream arrived")
	}
	for _, v := range proof.Transfers(sent, arrived, honest) {
		t.Error(v)
	}
	for _, v := range must(proof.Daemon(t.Context(), d.Proxy, before))(t) {
		t.Error(v)
	}
}
