package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user without any privilege.
const nobody = 65534

// TestUnprivileged: a file with listeners only runs as an ordinary user, without
// queues and rules of the kernel, and refuses a reload that would need them.
func TestUnprivileged(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	defer server.Close()
	// Not t.TempDir: another user has to come in.
	dir, err := os.MkdirTemp("", "promethos-e2e-")
	check(t, err)
	defer os.RemoveAll(dir)
	check(t, os.Chmod(dir, 0o777))
	binary := filepath.Join(dir, "promethos")
	b, err := os.ReadFile(program)
	check(t, err)
	check(t, os.WriteFile(binary, b, 0o755))
	file, socket := filepath.Join(dir, "promethos.yaml"), filepath.Join(dir, "control.sock")
	listen := func() string { // a port that is free, at an address that nobody else takes one of
		l, err := net.Listen("tcp", "127.77.0.1:0")
		check(t, err)
		defer l.Close()
		return l.Addr().String()
	}()
	text := fmt.Sprintf("version: 1\ncontrol: %s\ninstances:\n  - {name: front, source: listen, listen: '%s', upstream: '%s', chain: [relay]}\n",
		socket, listen, strings.TrimPrefix(server.URL, "http://"))
	check(t, os.WriteFile(file, []byte(text), 0o644))

	user := func(ctx context.Context, args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, binary, args...)
		c.SysProcAttr = &syscall.SysProcAttr{}
		if os.Getuid() == 0 {
			c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		return c
	}
	ctx := t.Context()
	daemon := user(ctx, "run", "-c", file)
	stderr, err := daemon.StderrPipe()
	check(t, err)
	check(t, daemon.Start())
	lines, ready := bufio.NewScanner(stderr), false
	for !ready && lines.Scan() {
		t.Log(lines.Text())
		ready = lines.Text() == "ready"
	}
	if !ready {
		t.Fatalf("the daemon does not run: %v", daemon.Wait())
	}
	said := make(chan string)
	go func() {
		rest, _ := io.ReadAll(stderr)
		said <- string(rest)
	}()

	res, err := http.Get("http://" + listen)
	check(t, err)
	got, err := io.ReadAll(res.Body)
	check(t, err)
	res.Body.Close()
	if string(got) != "hello" {
		t.Errorf("got %q, want hello", got)
	}
	for _, command := range []string{"instances", "stats", "connections", "reasons"} {
		if out, err := user(ctx, command, "--control", socket).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if _, err := user(ctx, "iptables", "--control", socket, "-t", "promethos", "-A", "FORWARD", "-p", "tcp", "-d", "192.0.2.1",
		"-j", "PROMETHOS", "--plugin", "PROXY", "--autoinstance", "--config", "cs 4 tcp.").CombinedOutput(); err == nil {
		t.Error("a rule was made that nobody carries out")
	}
	check(t, os.WriteFile(file, []byte(text+"  - {name: plc, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [tcp]}\n"), 0o644))
	if out, err := user(ctx, "reload", "--control", socket).CombinedOutput(); err == nil || !strings.Contains(string(out), "as root") {
		t.Errorf("reload: got %v, %s, want a refusal that says what to do", err, out)
	}
	check(t, daemon.Process.Signal(syscall.SIGTERM))
	if rest, err := <-said, daemon.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, rest)
	}
}
