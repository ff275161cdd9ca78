package wasm

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// dialogue sends a line and wants what comes back of it.
func dialogue(t *testing.T, c net.Conn, line, want string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	buf := make([]byte, len(want))
	if n, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Errorf("%q: %q, %v, want %q", line, buf[:n], err, want)
	}
}

// TestStreamReply: a module answers in the server's place, in order with what the
// server says, as much as its window holds, and is woken while nothing comes; a
// reload between changes nothing.
func TestStreamReply(t *testing.T) {
	for _, form := range ferryForms {
		t.Run(form.name, func(t *testing.T) {
			dir := t.TempDir()
			server := newPeer(t)
			f := newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, form.load(t, dir), nil)
			c := f.dial()
			dialogue(t, c, "deny\n", "no\n")
			dialogue(t, c, "pass\n", "yes\n")
			dialogue(t, c, "deny\ndeny\n", "no\nno\n")
			dialogue(t, c, "full\n", strings.Repeat("full\n", 1024/5))
			dialogue(t, c, "later\n", "still there\nyes\n")
			if form.name == "guest" {
				if err := f.engine.ReloadModule(t.Context(), "ferry"); err != nil {
					t.Fatal(err)
				}
			}
			dialogue(t, c, "deny\n", "no\n")
			dialogue(t, c, "bye\n", "bye\n")
			if got := readAll(c); got != "" {
				t.Errorf("behind the end came %q", got)
			}
			if got := <-server.got; got != "pass\nwoken\n" {
				t.Errorf("the server got %q: %q", got, f.said("fault"))
			}
			if n := f.count("ferry.denied"); n != 4 {
				t.Errorf("%d were counted as denied", n)
			}
		})
	}
}

// TestStreamReplyLate: nobody is answered whose flow is over, and in monitor mode
// the server is asked.
func TestStreamReplyLate(t *testing.T) {
	for _, form := range ferryForms {
		t.Run(form.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				c.(*net.TCPConn).CloseWrite()
				got <- readAll(c)
			}()
			dir := t.TempDir()
			f := newFront(t, l.Addr().String(), dir, []string{"ferry", "relay"}, form.load(t, dir), nil)
			c := f.dial()
			if rest := readAll(c); rest != "" {
				t.Errorf("the client got %q", rest)
			}
			if _, err := io.WriteString(c, "full\npass\n"); err != nil {
				t.Fatal(err)
			}
			c.CloseWrite()
			if text := <-got; text != "pass\nended\n" {
				t.Errorf("the server got %q", text)
			}

			dir = t.TempDir()
			server := newPeer(t)
			f = newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, form.load(t, dir), func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor })
			c = f.dial()
			dialogue(t, c, "deny\n", "yes\n")
			if f.count("ferry.denied") != 1 {
				t.Errorf("%+v", f.engine.ReasonCounts())
			}
		})
	}
}
