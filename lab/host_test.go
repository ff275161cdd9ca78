package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// threadNamespace identifies the calling thread's network namespace.
func threadNamespace(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink(threadNet)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDo(t *testing.T) {
	l := up(t, Options{})
	home := threadNamespace(t)
	seen := map[string]bool{home: true}
	for _, h := range l.Hosts() {
		var inside string
		if err := h.Do(func() (err error) { inside, err = os.Readlink(threadNet); return err }); err != nil {
			t.Fatal(err)
		}
		if seen[inside] {
			t.Errorf("%s: namespace %s is not its own", h.Name, inside)
		}
		seen[inside] = true
	}
	want := errors.New("planted")
	if err := l.Client.Do(func() error { return want }); !errors.Is(err, want) || !strings.Contains(err.Error(), l.Client.Name) {
		t.Errorf("Do: got %v, want the function's error and the host's name", err)
	}
	// A function that leaves its thread in the wrong place, panics or exits must
	// not leave a thread behind that other goroutines meet.
	if err := l.Client.Do(func() error { return unix.Setns(int(l.Server.ns.Fd()), unix.CLONE_NEWNET) }); err != nil {
		t.Error(err)
	}
	func() {
		defer func() {
			if p := recover(); p == nil || !strings.Contains(p.(string), "planted panic") {
				t.Errorf("panic in Do: got %v, want it in the caller", p)
			}
		}()
		_ = l.Client.Do(func() error { panic("planted panic") })
	}()
	exited := make(chan bool)
	go func() {
		defer close(exited)
		_ = l.Client.Do(func() error { runtime.Goexit(); return nil })
		t.Error("Goexit in Do: the caller went on")
	}()
	<-exited
	for range 100 {
		done := make(chan string)
		go func() { name, _ := os.Readlink(threadNet); done <- name }()
		if got := <-done; got != home {
			t.Fatalf("a goroutine outside runs in namespace %s, want %s", got, home)
		}
	}
}

func TestSockets(t *testing.T) {
	l := up(t, Options{})
	for _, network := range []string{"tcp4", "tcp6"} {
		listener, err := l.Server.Listen(t.Context(), network, net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			c.Close()
		}()
		local := net.JoinHostPort(l.Client.Addr(network).String(), "54321")
		c, err := l.Client.DialFrom(t.Context(), network, local, listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != local {
			t.Errorf("%s: server saw %q, %v, want %q", network, got, err, local)
		}
		c.Close()
		listener.Close()
		// The listener is the server's and nobody else's.
		if c, err := l.Client.Dial(t.Context(), network, listener.Addr().String()); err == nil {
			c.Close()
			t.Errorf("%s: dial after close: got a connection, want a refusal", network)
		}
	}
	for _, network := range []string{"udp4", "udp6"} {
		server, err := l.Server.ListenPacket(t.Context(), network, net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Client.Dial(t.Context(), network, server.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, network); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		if n, from, err := server.ReadFrom(buf); err != nil || string(buf[:n]) != network || from.String() != c.LocalAddr().String() {
			t.Errorf("%s: got %q from %v, %v, want %q from %v", network, buf[:n], from, err, network, c.LocalAddr())
		}
		c.Close()
		server.Close()
	}
	if _, err := l.Client.Dial(t.Context(), "tcp", "server.example:80"); err == nil {
		t.Error("Dial by name: got a connection, want an error")
	}
}

func TestCommand(t *testing.T) {
	l := up(t, Options{})
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs sh")
	}
	// /proc/net/dev lists the interfaces of the process that reads it.
	out, err := l.Proxy.Command(t.Context(), sh, "-c", "while read line; do echo \"$line\"; done < /proc/net/dev").Output()
	if err != nil || !strings.Contains(string(out), ClientInterface+":") || !strings.Contains(string(out), ServerInterface+":") {
		t.Errorf("interfaces in the proxy: got %q, %v, want %s and %s", out, err, ClientInterface, ServerInterface)
	}
	_, err = l.Proxy.Command(t.Context(), sh, "-c", "echo why >&2; exit 3").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 || string(exit.Stderr) != "why\n" {
		t.Errorf("failing command: got %v, want exit status 3 and its standard error", err)
	}
	out, err = l.Proxy.Command(t.Context(), sh, "-c", "echo a; echo b >&2").CombinedOutput()
	if err != nil || string(out) != "a\nb\n" {
		t.Errorf("CombinedOutput: got %q, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Proxy.Command(ctx, sh, "-c", "while :; do :; done").Run(); err == nil {
		t.Error("command past its context: got no error")
	}
}
