package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	inprocess "github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/lab"
)

// TestStartFails lets a start fail at its last step: nothing of it is left, neither
// rules nor routes, queues, goroutines or descriptors.
func TestStartFails(t *testing.T) {
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	dir := t.TempDir()
	// What an earlier stop saved is taken away last: here it cannot be.
	check(t, os.MkdirAll(filepath.Join(dir, "connections", "kept"), 0o700))
	file := filepath.Join(dir, "promethos.yaml")
	write(t, file, fmt.Sprintf("control: %[1]s/control.sock\nstate: %[1]s\nmetrics: 127.0.0.1:0\n", dir)+ended(l.Server, p, "http", "")+
		fmt.Sprintf("  - {name: open, match: {protocol: udp, server: %s, port: 9}, chain: [udp], fail: open}\n", l.Server.IPv4))
	descriptors := func() int { return len(must(os.ReadDir("/proc/self/fd"))(t)) }
	failed := func() {
		t.Helper()
		check(t, l.Proxy.Do(func() error {
			if d, err := inprocess.Start(inprocess.Options{Path: file}); err == nil {
				return fmt.Errorf("it started: %v", d.Stop(t.Context()))
			}
			return nil
		}))
	}
	failed() // what is opened once, such as the runtime's poller, is open now
	goroutines, open := runtime.NumGoroutine(), descriptors()
	failed()
	eventually(t, "as many goroutines and descriptors as before", func() (bool, string) {
		g, o := runtime.NumGoroutine(), descriptors()
		return g <= goroutines && o <= open, fmt.Sprintf("%d goroutines of %d, %d descriptors of %d", g, goroutines, o, open)
	})
	if n, names := diverted(t, l.Proxy), tables(t, l); n+len(names) > 0 {
		t.Errorf("left: %d policy rules, tables %v", n, names)
	}
	reachable(t, l, p)
}
