package e2e

import (
	"testing"

	"github.com/promethos/promethos/lab"
)

// gigabyte is less under the race detector, which is what takes the time then.
const gigabyte = 1_000_000_000 / slowdown

// TestGigabyte transfers 1 GB in each direction through the chain [tcp] and
// compares hashes.
func TestGigabyte(t *testing.T) {
	if testing.Short() {
		t.Skip("2 GB")
	}
	l := up(t, lab.Options{})
	w := web(t, l.Server)
	d := withServer(t, l, "forward", port(t, w.Addr), "")
	for i, f := range families {
		s := at(hostPort(l.Server, f.network, port(t, w.Addr)))
		var got lab.Transfer
		if i == 0 {
			got = must(l.Client.Download(within(t, 2*patience), s.DataURL(gigabyte, 7)))(t)
		} else {
			got = must(l.Client.Upload(within(t, 2*patience), s.UploadURL(), gigabyte, 8))(t)
		}
		t.Logf("%s: %.1f Gbit/s", f.name, got.BitsPerSecond()/1e9)
	}
	undisturbed(t, d)
}

// undisturbed wants no packet dropped, lost or sent on as it came.
func undisturbed(t *testing.T, d *daemon) {
	t.Helper()
	s := d.accounted(t)
	if s.Packets.Sent == 0 {
		t.Error("no packet went through the chain")
	}
	if s.Packets.Dropped+s.Packets.Unchanged+s.Unmatched.In > 0 {
		t.Errorf("packets were not rebuilt: %+v, no instance %+v, %+v", s.Packets, s.Unmatched, d.reasons(t))
	}
	for _, q := range s.Sources {
		if q.VerdictErrors > 0 {
			t.Errorf("the kernel refused verdicts: %+v", q)
		}
	}
}

// TestShortConnections makes 10,000 connections, each with a request, its answer
// and an orderly end, and wants the table to hold no more than these.
func TestShortConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 connections")
	}
	const connections = 10_000 / slowdown
	l := up(t, lab.Options{})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	d := withServer(t, l, "forward", port(t, echo.Addr), "")
	for _, f := range families {
		r := must(l.Client.ShortConnections(within(t, patience), hostPort(l.Server, f.network, port(t, echo.Addr)), connections/2, 16, 512))(t)
		t.Logf("%s: p50 %v, p99 %v, max %v", f.name, r.P50, r.P99, r.Max)
		if r.Connections != connections/2 {
			t.Errorf("%s: %d connections of %d", f.name, r.Connections, connections/2)
		}
	}
	undisturbed(t, d)
	if s := d.accounted(t); s.Connections > connections {
		t.Errorf("%d connections in the table after %d", s.Connections, connections)
	}
}
