package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
			got = must(l.Client.Download(within(t, 10*patience), s.DataURL(gigabyte, 7)))(t)
		} else {
			got = must(l.Client.Upload(within(t, 10*patience), s.UploadURL(), gigabyte, 8))(t)
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
		r := must(l.Client.ShortConnections(within(t, 4*patience), hostPort(l.Server, f.network, port(t, echo.Addr)), connections/2, 16, 512))(t)
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

// TestCurl fetches with a client that is not ours.
func TestCurl(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	w := web(t, l.Server)
	d := withServer(t, l, "forward", port(t, w.Addr), "")
	for _, f := range families {
		s := at(hostPort(l.Server, f.network, port(t, w.Addr)))
		file := filepath.Join(t.TempDir(), "body")
		r := execute(t, l.Client, "curl", "--silent", "--show-error", "--fail", "--globoff", "--max-time", "30", "--output", file, s.DataURL(20_000_000, 5))
		if r.status != 0 {
			t.Fatalf("curl over %s: status %d: %s", f.name, r.status, r.errors)
		}
		sameData(t, file, 20_000_000, 5)
	}
	undisturbed(t, d)
}

// TestIPerf3 runs one and four streams in both directions with a tool that is not
// ours.
func TestIPerf3(t *testing.T) {
	need(t, "iperf3")
	l := up(t, lab.Options{})
	// iperf3 cannot be asked which port it got; this one is free a moment before.
	probe := must(l.Server.Listen(t.Context(), "tcp", ":0"))(t)
	p := port(t, probe.Addr().String())
	check(t, probe.Close())
	d := withServer(t, l, "forward", p, "")
	server := l.Server.Command(t.Context(), "iperf3", "--server", "--port", strconv.Itoa(int(p)))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // it ends with the test's context, by a signal
	eventually(t, "iperf3 listens", func() (bool, string) {
		c, err := l.Server.Dial(within(t, patience), "tcp4", hostPort(l.Server, "tcp4", p))
		if err != nil {
			return false, err.Error()
		}
		return c.Close() == nil, ""
	})
	for _, f := range families {
		for _, streams := range []int{1, 4} {
			for _, reverse := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d streams/reverse %v", f.name, streams, reverse), func(t *testing.T) {
					args := []string{"--json", "--client", l.Server.Addr(f.network).String(), "--port", strconv.Itoa(int(p)), "--time", "1", "--parallel", strconv.Itoa(streams)}
					if reverse {
						args = append(args, "--reverse")
					}
					var r result
					eventually(t, "iperf3 is free", func() (bool, string) {
						r = execute(t, l.Client, "iperf3", args...)
						return !strings.Contains(r.out, "server is busy"), r.out
					})
					var report struct {
						Error string
						End   struct {
							SumReceived struct {
								Bytes uint64
							} `json:"sum_received"`
						}
					}
					if err := json.Unmarshal([]byte(r.out), &report); err != nil {
						t.Fatalf("iperf3: %v: %s", err, r.out)
					}
					if r.status != 0 || report.Error != "" || report.End.SumReceived.Bytes == 0 {
						t.Errorf("iperf3: status %d, %q, %d bytes", r.status, report.Error, report.End.SumReceived.Bytes)
					}
				})
			}
		}
	}
	s := d.accounted(t)
	// A client that ends a test closes while the server still sends: what comes
	// after its RST is no part of a connection.
	if s.Packets.Sent == 0 || s.Packets.Unchanged+s.Unmatched.In > 0 {
		t.Errorf("stats: %+v, no instance %+v", s.Packets, s.Unmatched)
	}
}

// sameData compares a file with lab.Data.
func sameData(t *testing.T, file string, n int64, seed uint64) {
	t.Helper()
	f := must(os.Open(file))(t)
	defer f.Close()
	if at, err := difference(f, lab.Data(seed, n)); err != nil {
		t.Fatal(err)
	} else if at >= 0 {
		t.Errorf("%s differs from what was sent at byte %d", file, at)
	}
}
