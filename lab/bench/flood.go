package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/promethos/promethos/lab"
)

// floodSYNs is how many different SYNs a flood has: more than a table of half-open
// connections should ever keep.
const floodSYNs = 1 << 17

// flood tells what is left of a transfer while the server's port is flooded with
// SYNs, with and without cookies, and what the flood costs in memory.
func flood(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "flood"}
	sites, err := newSites(ctx, o.Program, "", "tcp")
	defer func() { err = errors.Join(err, sites.close()) }()
	if err != nil {
		return r, err
	}
	const cookies = "tcp, cookie"
	if sites[cookies], err = newSiteWith(ctx, o.Program, "tcp", "    handshake: cookie\n"); err != nil {
		return r, err
	}
	row, err := measure(Row{Name: "tcp, transfer during a SYN flood", Against: plain, Unit: "bit/s"}, o.Runs,
		sites["tcp"].underSYNs(ctx, o), sites[""].underSYNs(ctx, o))
	if err != nil {
		return r, err
	}
	answered, err := measure(Row{Name: "tcp with cookies, transfer during a SYN flood", Against: plain, Unit: "bit/s"}, o.Runs,
		sites[cookies].underSYNs(ctx, o), sites[""].underSYNs(ctx, o))
	if err != nil {
		return r, err
	}
	r.Rows = append(r.Rows, row, answered)
	for _, memory := range []struct{ name, site string }{{"memory of the proxy after it", "tcp"}, {"memory of the proxy with cookies after it", cookies}} {
		row, err := measure(Row{Name: memory.name, Against: "400 MB", Unit: "B", less: true}, 1,
			func() (float64, error) { return resident(sites[memory.site].proxy.PID()) }, func() (float64, error) { return memoryTarget, nil })
		if err != nil {
			return r, err
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// underSYNs measures a transfer while another port of the server is flooded.
func (s *site) underSYNs(ctx context.Context, o Options) func() (float64, error) {
	return func() (float64, error) {
		target, err := netip.ParseAddrPort(s.short.Addr)
		if err != nil {
			return 0, err
		}
		frames, err := s.lab.SYNs(target.Port(), floodSYNs)
		if err != nil {
			return 0, err
		}
		return s.flooded(ctx, frames, o.Duration, s.throughput(ctx, lab.BulkOptions{Duration: o.Duration}))
	}
}

// resident gives the memory of a process in bytes (proc_pid_status(5)).
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kilobytes, 64)
	return n * 1024, err
}
