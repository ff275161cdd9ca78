package e2e

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/promethos/promethos/lab"
)

// protection is `promethos protect` running in a lab's proxy host.
type protection struct {
	daemon
	cmd   *lab.Cmd
	stdin io.WriteCloser
	ended chan error
	mu    sync.Mutex
	said  bytes.Buffer
}

// Write collects what the command prints.
func (p *protection) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *protection) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// startProtect runs the command until the test ends and returns when it is ready.
func startProtect(t *testing.T, l *lab.Lab, env []string, args ...string) *protection {
	t.Helper()
	return startProtectAt(t, l, filepath.Join(t.TempDir(), "s"), env, args...)
}

// startProtectAt is startProtect with a control socket, which may be a daemon's.
func startProtectAt(t *testing.T, l *lab.Lab, socket string, env []string, args ...string) *protection {
	t.Helper()
	p := &protection{ended: make(chan error, 1)}
	p.daemon = daemon{Proxy: &lab.Proxy{Control: socket}, host: l.Proxy}
	p.cmd = l.Proxy.Command(t.Context(), program, append([]string{"--control", socket, "protect"}, args...)...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.stdin = must(p.cmd.StdinPipe())(t)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	eventually(t, "ready", func() (bool, string) { return strings.Contains(p.text(), "\nready\n"), p.text() })
	return p
}

// end waits for the end of the command; it must have gone well.
func (p *protection) end(t *testing.T) {
	t.Helper()
	if err := <-p.ended; err != nil {
		t.Errorf("%v\n%s", err, p.text())
	}
}

// reaches says whether the client gets an answer of a server at a port, however
// long that takes.
func reaches(t *testing.T, from *lab.Host, addr string) bool {
	t.Helper()
	return execute(t, from, "curl", "-s", "http://"+addr+"/").status == 0
}

// unreached says whether it gets none for a while.
func unreached(t *testing.T, from *lab.Host, addr string) bool {
	t.Helper()
	return execute(t, from, "curl", "-s", "-m", "1", "http://"+addr+"/").status != 0
}

// TestProtect: one command protects a server, and its end leaves nothing behind.
func TestProtect(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	allowed, other, ofClient := web(t, l.Server), web(t, l.Server), web(t, l.Client)
	server := l.Server.IPv4.String()
	at4 := func(h *lab.Host, s *lab.HTTPServer) string { return hostPort(h, "tcp4", port(t, s.Addr)) }
	for _, s := range []*lab.HTTPServer{allowed, other} {
		if !reaches(t, l.Client, at4(l.Server, s)) {
			t.Fatal("the server cannot be reached without a proxy")
		}
	}
	_, p80, err := net.SplitHostPort(allowed.Addr)
	check(t, err)
	p := startProtect(t, l, nil, server, "--tcp", p80)
	if !reaches(t, l.Client, at4(l.Server, allowed)) {
		t.Error("the allowed port cannot be reached")
	}
	if !unreached(t, l.Client, at4(l.Server, other)) {
		t.Error("another port can be reached")
	}
	if !reaches(t, l.Server, at4(l.Client, ofClient)) {
		t.Error("the server cannot open connections")
	}
	if n := table[stats](t, &p.daemon, "stats").Packets; n.Sent == 0 || n.Dropped == 0 {
		t.Errorf("packets %+v", n)
	}
	check(t, p.cmd.Process.Signal(syscall.SIGHUP)) // the terminal is gone
	p.end(t)
	if !reaches(t, l.Client, at4(l.Server, other)) {
		t.Error("something is left behind")
	}
}

// TestProtectTry: what nobody confirms is taken back; what is confirmed stays, and
// is saved.
func TestProtectTry(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	s := web(t, l.Server)
	addr := hostPort(l.Server, "tcp4", port(t, s.Addr))
	p := startProtect(t, l, nil, l.Server.IPv4.String(), "--tcp", "1", "--try", "1")
	p.end(t) // by itself
	if !strings.Contains(p.text(), "not confirmed: everything is as it was") || !reaches(t, l.Client, addr) {
		t.Errorf("after an unconfirmed trial:\n%s", p.text())
	}
	file := filepath.Join(t.TempDir(), "etc", "promethos.yaml")
	p = startProtect(t, l, nil, l.Server.IPv4.String(), "--tcp", "1", "--try", "3600", "--save", "--config", file)
	if _, err := os.Stat(file); err == nil {
		t.Error("saved before it was confirmed")
	}
	must(io.WriteString(p.stdin, "\n"))(t)
	eventually(t, "saved", func() (bool, string) { return strings.Contains(p.text(), "saved to "+file), p.text() })
	if !unreached(t, l.Client, addr) {
		t.Error("what was confirmed does not hold")
	}
	if text := string(must(os.ReadFile(file))(t)); !strings.Contains(text, "on_exit: block") {
		t.Errorf("saved:\n%s", text)
	}
	if r := here(t, "check", "-c", file); r.status != 0 {
		t.Errorf("%v", r)
	}
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
	write(t, file, "version: 1\n")
	if r := run(t, l.Proxy, "--control", "/nonexistent", "protect", l.Server.IPv4.String(), "--save", "--config", file); r.status != 1 || !strings.Contains(r.errors, "was not written by protect") {
		t.Errorf("%v", r)
	}
}

// TestProtectSession: the SSH session goes on, on a machine that protects itself.
func TestProtectSession(t *testing.T) {
	l := up(t, lab.Options{})
	proxy := l.Proxy.IPv4.String()
	echo := must(l.Proxy.StartEcho(t.Context(), proxy+":0"))(t)
	defer echo.Close()
	c := must(l.Client.Dial(within(t, patience), "tcp", echo.Addr))(t)
	defer c.Close()
	session := must(net.ResolveTCPAddr("tcp", c.LocalAddr().String()))(t)
	talk := func() {
		t.Helper()
		must(io.WriteString(c, "hello"))(t)
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatalf("the session is cut: %v", err)
		}
	}
	talk()
	_, p22, err := net.SplitHostPort(echo.Addr)
	check(t, err)
	env := "SSH_CONNECTION=" + session.IP.String() + " " + c.LocalAddr().String()[strings.LastIndex(c.LocalAddr().String(), ":")+1:] + " " + proxy + " " + p22
	p := startProtect(t, l, []string{env}, proxy, "--tcp", "1")
	for range 5 {
		talk()
	}
	if !strings.Contains(p.text(), "session-1") {
		t.Errorf("no instance of the session:\n%s", p.text())
	}
	check(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.end(t)
}
