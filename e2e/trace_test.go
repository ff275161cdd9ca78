package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestTrace: received and sent packets of a real download, on the terminal and as
// a file that tshark opens.
func TestTrace(t *testing.T) {
	l := up(t, lab.Options{})
	// What ends the connection of the first trace must not stand in the second one: an
	// instance for each.
	p, q := port(t, web(t, l.Server).Addr), port(t, web(t, l.Server).Addr)
	d := start(t, l, protect("forward", p, "", l.Server)+echoInstance("forward", l.Server, q))
	download := func(p uint16) error {
		_, err := l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", p)).DataURL(1000, 1))
		return err
	}
	// trace runs the command and downloads once it says that it watches.
	trace := func(instance string, p uint16, args ...string) result {
		t.Helper()
		args = append([]string{"--control", d.Control, "trace", instance, "-n", "6"}, args...)
		c := l.Proxy.Command(within(t, patience), program, args...)
		downloaded, ended := false, make(chan error, 1)
		c.Stderr = writerFunc(func(b []byte) (int, error) {
			if !downloaded && strings.Contains(string(b), "tracing") {
				downloaded = true
				go func() { ended <- download(p) }()
			}
			return len(b), nil
		})
		var out strings.Builder
		c.Stdout = &out
		if err := c.Run(); err != nil {
			t.Fatalf("trace: %v\n%s", err, out.String())
		}
		check(t, <-ended)
		return result{args: args, out: out.String()}
	}
	text := trace("web", p).out
	for _, want := range []string{"instance web, flow cs: accept", "instance web, flow sc: accept", "tcp.flags", "SYN", "RECEIVED", "SENT", "ip.src", l.Client.IPv4.String()} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal does not show %q:\n%s", want, text)
		}
	}
	// IPv4 packets with DF are sent with identification 0: a rewrite that shows.
	if !strings.Contains(text, "*  ip.id") {
		t.Errorf("nothing is marked as changed:\n%s", text)
	}
	need(t, "tshark")
	file := filepath.Join(t.TempDir(), "t.pcapng")
	trace("echo", q, "-w", file)
	r := executeHere(t, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.comment", "-e", "tcp.flags.syn")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.status != 0 || len(lines) != 12 || !strings.HasPrefix(lines[0], "instance echo, flow cs: accept") || !strings.HasPrefix(lines[1], "sent in place of packet 1") {
		t.Errorf("tshark reads %d packets, want 12: %v", len(lines), r)
	}
	if out := d.try(t, "trace", "none", "-n", "1"); out.status != 1 || !strings.Contains(out.errors, "there is none") {
		t.Errorf("%v", out)
	}
	if fmt.Sprint(d.accounted(t).Packets.Dropped) != "0" {
		t.Error("tracing dropped something")
	}
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
