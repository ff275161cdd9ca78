package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// curl fetches with a client that is not ours, and compares what arrives.
func curl(t *testing.T, client *lab.Host, s *lab.HTTPServer) {
	need(t, "curl")
	const size, seed = 20_000_000, 5
	file := filepath.Join(t.TempDir(), "body")
	r := execute(t, client, "curl", "--silent", "--show-error", "--fail", "--globoff", "--output", file, s.DataURL(size, seed))
	if r.status != 0 {
		t.Fatalf("curl: status %d: %s", r.status, r.errors)
	}
	sameData(t, file, size, seed)
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

// iperf3Server runs iperf3 on a host until the test ends.
func iperf3Server(t *testing.T, h *lab.Host, p uint16) {
	t.Helper()
	server := h.Command(t.Context(), "iperf3", "--server", "--port", strconv.Itoa(int(p)))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // it ends with the test's context, by a signal
	// A connection to see whether it listens would be a client to it, and the next
	// one come while it gets over that.
	listens := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:0000 0A `, p))
	eventually(t, "iperf3 listens", func() (bool, string) {
		var sockets []byte
		err := h.Do(func() (err error) {
			sockets, err = os.ReadFile("/proc/thread-self/net/tcp6")
			return err
		})
		return err == nil && listens.Match(sockets), fmt.Sprintf("%v: %s", err, sockets)
	})
}

// iperf3 runs one and four streams in both directions with a tool that is not
// ours.
func iperf3(t *testing.T, client, server *lab.Host, network string, p uint16) {
	for _, streams := range []int{1, 4} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d streams/reverse %v", streams, reverse), func(t *testing.T) {
				args := []string{"--json", "--client", server.Addr(network).String(), "--port", strconv.Itoa(int(p)), "--bytes", "100M", "--parallel", strconv.Itoa(streams)}
				if reverse {
					args = append(args, "--reverse")
				}
				var r result
				// The server ends its listener after each run and makes a new one; what the
				// old one had not accepted yet is reset before it is answered.
				eventually(t, "iperf3 is free", func() (bool, string) {
					r = execute(t, client, "iperf3", args...)
					for _, text := range []string{"server is busy", "unable to connect to server", "unable to receive control message: Connection reset by peer"} {
						if strings.Contains(r.out, text) {
							return false, r.out
						}
					}
					return true, r.out
				})
				var report struct {
					Error string
					End   struct {
						SumReceived struct{ Bytes uint64 } `json:"sum_received"`
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
