package bench

import (
	"context"
	"crypto/tls"
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

// Ports of the proxies, in the proxy's namespace. Those with the certificate of
// another kind are portStep further.
const (
	portOurs = 8080 + iota
	portHAProxy
	portNginx
	portStep = 10
)

// portShared is where ours listens with connections to the server that clients share.
const portShared = 8090

// httpConnections is how many clients there are at a time.
const httpConnections = 64

// rival is another proxy that runs beside ours.
type rival struct {
	name string
	addr string
	kind int // of its certificate
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
func answers(ctx context.Context, h *lab.Host, addr string, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		result, err := h.LoadHTTP(ctx, addr, lab.HTTPLoad{Path: "/", Connections: 1, Duration: 50 * time.Millisecond, TLS: cfg})
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
	another *lab.StreamServer // in front of whose own address ours stands; nil with TLS
	proxy   *lab.Proxy
	client  *tls.Config // nil: plain
	rivals  []*rival    // one of each program for each kind of certificate
	missing []string
	dir     string
}

// certificates are the kinds that TLS is measured with, in the order of ports.
var certificates = []string{"ecdsa", "rsa"}

// at is where a program listens with a kind of certificate.
func (s *httpSite) at(port, kind int) string {
	return netip.AddrPortFrom(s.lab.Proxy.IPv4, uint16(port+kind*portStep)).String()
}

func (s *httpSite) shared() string {
	return netip.AddrPortFrom(s.lab.Proxy.IPv4, portShared).String()
}

// newHTTPSite starts everything, with secure in front of it TLS.
func newHTTPSite(ctx context.Context, program string, secure bool) (s *httpSite, err error) {
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
	kinds := []string{""}
	if secure {
		kinds = certificates
		s.client = &tls.Config{InsecureSkipVerify: true} // who is authentic is not what is measured
		if err = s.writeCertificates(); err != nil {
			return s, err
		}
	}
	config := "version: 1\ninstances:\n"
	for i, kind := range kinds {
		chain := "[http]"
		if secure {
			chain = fmt.Sprintf("[https, http], modules: {https: {certificate: %[1]s.crt, key: %[1]s.key}}", filepath.Join(s.dir, kind))
		}
		config += fmt.Sprintf("  - {name: bench%s, source: listen, listen: '%s', upstream: '%s', chain: %s}\n", kind, s.at(portOurs, i), s.origin.Addr, chain)
	}
	if !secure {
		if s.another, err = s.lab.Server.StartPages(ctx, net.JoinHostPort(s.lab.Server.IPv4.String(), "0")); err != nil {
			return s, err
		}
		config += fmt.Sprintf("  - {name: share, source: listen, listen: '%s', upstream: '%s', chain: [http], modules: {http: {share: true}}}\n", s.shared(), s.origin.Addr)
		server := netip.MustParseAddrPort(s.another.Addr)
		config += fmt.Sprintf("  - {name: transparent, match: {protocol: tcp, server: %v, port: %d}, chain: [http]}\n", server.Addr(), server.Port())
	}
	if s.proxy, err = s.lab.Proxy.StartProxy(ctx, program, config); err != nil {
		return s, err
	}
	for i, kind := range kinds {
		if err = s.startRivals(ctx, i, kind); err != nil {
			return s, err
		}
		if err = answers(ctx, s.lab.Client, s.at(portOurs, i), s.client); err != nil {
			return s, err
		}
	}
	return s, nil
}

// writeCertificates makes those of all kinds, with the key in the same file too,
// as HAProxy has it.
func (s *httpSite) writeCertificates() error {
	host := s.lab.Proxy.IPv4.String()
	if err := errors.Join(lab.WriteCertificate(s.dir, "ecdsa", host), lab.WriteRSACertificate(s.dir, "rsa", host)); err != nil {
		return err
	}
	for _, kind := range certificates {
		base := filepath.Join(s.dir, kind)
		key, err := os.ReadFile(base + ".key")
		if err != nil {
			return err
		}
		cert, err := os.ReadFile(base + ".crt")
		if err != nil {
			return err
		}
		if err := os.WriteFile(base+".pem", append(cert, key...), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startRivals starts the other proxies for a kind of certificate, "" for none.
func (s *httpSite) startRivals(ctx context.Context, i int, kind string) error {
	dir := filepath.Join(s.dir, "rivals"+kind)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(s.dir, kind)
	for _, r := range []struct {
		name, config, listen, tls string
		port                      int
		args                      func(file string) []string
	}{
		{"haproxy", haproxyConfig, "", "ssl crt " + file + ".pem", portHAProxy, func(file string) []string { return []string{"-q", "-db", "-f", file} }},
		{"nginx", nginxConfig, " ssl", "ssl_certificate " + file + ".crt; ssl_certificate_key " + file + ".key;", portNginx, func(file string) []string { return []string{"-p", dir, "-c", file} }},
	} {
		at := s.at(r.port, i)
		if kind == "" {
			r.listen, r.tls = "", ""
		}
		file := filepath.Join(dir, r.name)
		text := strings.NewReplacer("LISTEN", at+r.listen, "TLS", r.tls, "SERVER", s.origin.Addr, "DIR", dir, "THREADS", strconv.Itoa(runtime.NumCPU())).Replace(r.config)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		one, err := startRival(ctx, s.lab.Proxy, r.name, at, r.args(file)...)
		if err != nil {
			return err
		}
		if one == nil {
			if i == 0 {
				s.missing = append(s.missing, r.name+" is not installed")
			}
			continue
		}
		one.kind = i
		s.rivals = append(s.rivals, one)
		if err := answers(ctx, s.lab.Client, one.addr, s.client); err != nil {
			return err
		}
	}
	return nil
}

func (s *httpSite) close() error {
	var errs []error
	for _, r := range s.rivals {
		errs = append(errs, r.stop())
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.Stop())
	}
	for _, server := range []*lab.StreamServer{s.origin, s.another} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(append(errs, s.lab.Down())...)
}

// httpRow is a row for one kind of certificate, and how it is measured.
type httpRow struct {
	Row
	kind   int
	load   lab.HTTPLoad
	figure func(lab.HTTPResult) float64
	ours   string // where ours is, if not at its own port
}

func perSecond(r lab.HTTPResult) float64 { return float64(r.Requests) / r.Duration.Seconds() }
func slowest(r lab.HTTPResult) float64   { return r.P99.Seconds() }
func bits(r lab.HTTPResult) float64      { return float64(r.Octets) * 8 / r.Duration.Seconds() }

// http compares the user function http with other proxies, with its checks and
// field rules as they are by default.
func http(ctx context.Context, o Options) (*Result, error) {
	return compareHTTP(ctx, o, "http", func(s *httpSite) []httpRow {
		keep := lab.HTTPLoad{Path: "/", Connections: httpConnections}
		fresh := lab.HTTPLoad{Path: "/", Connections: httpConnections, Fresh: true}
		return []httpRow{
			{Row{Name: "keep-alive", Unit: "requests/s"}, 0, keep, perSecond, ""},
			{Row{Name: "keep-alive, p99", Unit: "s", less: true}, 0, keep, slowest, ""},
			{Row{Name: "new connections", Unit: "1/s"}, 0, fresh, perSecond, ""},
			{Row{Name: "new connections, shared to the server", Unit: "1/s"}, 0, fresh, perSecond, s.shared()},
			{Row{Name: "bodies of 1 MiB", Unit: "bit/s"}, 0, lab.HTTPLoad{Path: "/big", Connections: 8}, bits, ""},
			{Row{Name: "keep-alive, ours at the server's address", Unit: "requests/s"}, 0, keep, perSecond, s.another.Addr},
			{Row{Name: "new connections, ours at the server's address", Unit: "1/s"}, 0, fresh, perSecond, s.another.Addr},
		}
	})
}

// https does the same with https before http.
func https(ctx context.Context, o Options) (*Result, error) {
	return compareHTTP(ctx, o, "https", func(s *httpSite) []httpRow {
		client := s.client
		resuming := client.Clone()
		resuming.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		keep := lab.HTTPLoad{Path: "/", Connections: httpConnections, TLS: client}
		fresh := lab.HTTPLoad{Path: "/", Connections: httpConnections, Fresh: true, TLS: client}
		again := fresh
		again.TLS = resuming
		return []httpRow{
			{Row{Name: "keep-alive", Unit: "requests/s"}, 0, keep, perSecond, ""},
			{Row{Name: "keep-alive, p99", Unit: "s", less: true}, 0, keep, slowest, ""},
			{Row{Name: "full handshakes, ECDSA P-256", Unit: "1/s"}, 0, fresh, perSecond, ""},
			{Row{Name: "full handshakes, RSA 2048", Unit: "1/s"}, 1, fresh, perSecond, ""},
			{Row{Name: "resumed sessions", Unit: "1/s"}, 0, again, perSecond, ""},
			{Row{Name: "bodies of 1 MiB", Unit: "bit/s"}, 0, lab.HTTPLoad{Path: "/big", Connections: 8, TLS: client}, bits, ""},
		}
	})
}

// compareHTTP measures rows beside each rival.
func compareHTTP(ctx context.Context, o Options, name string, rows func(*httpSite) []httpRow) (r *Result, err error) {
	r = &Result{Bench: name}
	s, err := newHTTPSite(ctx, o.Program, name == "https")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r.Skipped = s.missing
	for _, rival := range s.rivals {
		for _, row := range rows(s) {
			if row.kind != rival.kind {
				continue
			}
			load := func(addr string) func() (float64, error) {
				l := row.load
				l.Duration = o.Duration
				return func() (float64, error) {
					result, err := s.lab.Client.LoadHTTP(ctx, addr, l)
					if resumes := l.TLS != nil && l.TLS.ClientSessionCache != nil; err == nil && resumes && result.Resumed < result.Requests/2 {
						err = fmt.Errorf("%d sessions of %d were resumed", result.Resumed, result.Requests)
					}
					return row.figure(result), err
				}
			}
			row.Against = rival.name
			ours := row.ours
			if ours == "" {
				ours = s.at(portOurs, row.kind)
			}
			done, err := measure(row.Row, o.Runs, load(ours), load(rival.addr))
			if err != nil {
				return r, err
			}
			r.Rows = append(r.Rows, done)
		}
	}
	return r, nil
}
