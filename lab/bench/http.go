package bench

import (
	"context"
	_ "embed" // the configurations of other proxies
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/promethos/promethos/lab"
)

var (
	//go:embed haproxy.cfg
	haproxyConfig string
	//go:embed nginx.conf
	nginxConfig string
)

// Ports of the proxies, in the proxy's namespace.
const (
	portOurs = 8080 + iota
	portHAProxy
	portNginx
)

// httpConnections is how many clients there are at a time.
const httpConnections = 64

// rival is another proxy that runs beside ours.
type rival struct {
	name string
	addr string
	cmd  *lab.Cmd
}

// startRival runs a program in the foreground; nil where it is not installed.
func startRival(ctx context.Context, h *lab.Host, name, addr string, args ...string) (*rival, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &rival{name: name, addr: addr, cmd: h.Command(ctx, path, args...)}
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench http: %s: %w", name, err)
	}
	return r, nil
}

func (r *rival) stop() error {
	err := r.cmd.Process.Signal(syscall.SIGTERM)
	var exit *exec.ExitError
	if end := r.cmd.Wait(); end != nil && !errors.As(end, &exit) {
		err = errors.Join(err, end)
	}
	return err
}

// answers waits until a proxy answers.
func answers(ctx context.Context, h *lab.Host, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		result, err := h.LoadHTTP(ctx, addr, lab.HTTPLoad{Path: "/", Connections: 1, Duration: 50 * time.Millisecond})
		if err == nil && result.Requests > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bench http: %s does not answer: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// httpSite is a lab with an origin, our proxy, and the rivals that are installed.
type httpSite struct {
	lab     *lab.Lab
	origin  *lab.StreamServer
	proxy   *lab.Proxy
	ours    string
	rivals  []*rival
	missing []string
	dir     string
}

func newHTTPSite(ctx context.Context, program string) (s *httpSite, err error) {
	s = &httpSite{}
	if s.lab, err = lab.Up(ctx, lab.Options{Anonymous: true}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.origin, err = s.lab.Server.StartPages(ctx, net.JoinHostPort(s.lab.Server.IPv4.String(), "0")); err != nil {
		return s, err
	}
	if s.dir, err = os.MkdirTemp("", "promethos-bench-"); err != nil {
		return s, err
	}
	at := func(port uint16) string { return netip.AddrPortFrom(s.lab.Proxy.IPv4, port).String() }
	s.ours = at(portOurs)
	s.proxy, err = s.lab.Proxy.StartProxy(ctx, program, fmt.Sprintf(`version: 1
instances:
  - {name: bench, source: listen, listen: '%s', upstream: '%s', chain: [http]}
`, s.ours, s.origin.Addr))
	if err != nil {
		return s, err
	}
	for _, r := range []struct {
		name, config string
		port         uint16
		args         func(file string) []string
	}{
		{"haproxy", haproxyConfig, portHAProxy, func(file string) []string { return []string{"-q", "-db", "-f", file} }},
		{"nginx", nginxConfig, portNginx, func(file string) []string { return []string{"-p", s.dir, "-c", file} }},
	} {
		file := filepath.Join(s.dir, r.name)
		text := strings.NewReplacer("LISTEN", at(r.port), "SERVER", s.origin.Addr, "DIR", s.dir, "THREADS", strconv.Itoa(runtime.NumCPU())).Replace(r.config)
		if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
			return s, err
		}
		one, err := startRival(ctx, s.lab.Proxy, r.name, at(r.port), r.args(file)...)
		if err != nil {
			return s, err
		}
		if one == nil {
			s.missing = append(s.missing, r.name+" is not installed")
			continue
		}
		s.rivals = append(s.rivals, one)
		if err := answers(ctx, s.lab.Client, one.addr); err != nil {
			return s, err
		}
	}
	return s, answers(ctx, s.lab.Client, s.ours)
}

func (s *httpSite) close() error {
	var errs []error
	for _, r := range s.rivals {
		errs = append(errs, r.stop())
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.Stop())
	}
	if s.origin != nil {
		errs = append(errs, s.origin.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(append(errs, s.lab.Down())...)
}

// http compares the user function http with other proxies, with its checks and
// field rules as they are by default.
func http(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "http"}
	s, err := newHTTPSite(ctx, o.Program)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r.Skipped = s.missing
	load := func(addr string, l lab.HTTPLoad, figure func(lab.HTTPResult) float64) func() (float64, error) {
		l.Duration = o.Duration
		return func() (float64, error) {
			result, err := s.lab.Client.LoadHTTP(ctx, addr, l)
			return figure(result), err
		}
	}
	rate := func(r lab.HTTPResult) float64 { return float64(r.Requests) / r.Duration.Seconds() }
	for _, rival := range s.rivals {
		for _, row := range []struct {
			Row
			load   lab.HTTPLoad
			figure func(lab.HTTPResult) float64
		}{
			{Row{Name: "keep-alive", Unit: "requests/s"}, lab.HTTPLoad{Path: "/", Connections: httpConnections}, rate},
			{Row{Name: "keep-alive, p99", Unit: "s", less: true}, lab.HTTPLoad{Path: "/", Connections: httpConnections},
				func(r lab.HTTPResult) float64 { return r.P99.Seconds() }},
			{Row{Name: "new connections", Unit: "1/s"}, lab.HTTPLoad{Path: "/", Connections: httpConnections, Fresh: true}, rate},
			{Row{Name: "bodies of 1 MiB", Unit: "bit/s"}, lab.HTTPLoad{Path: "/big", Connections: 8},
				func(r lab.HTTPResult) float64 { return float64(r.Octets) * 8 / r.Duration.Seconds() }},
		} {
			row.Against = rival.name
			done, err := measure(row.Row, o.Runs, load(s.ours, row.load, row.figure), load(rival.addr, row.load, row.figure))
			if err != nil {
				return r, err
			}
			r.Rows = append(r.Rows, done)
		}
	}
	return r, nil
}
