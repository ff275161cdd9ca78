package https_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openssl runs the program of that name in the rig's folder, and gives what it says.
func (r *rig) openssl(args ...string) string {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), "openssl", args...)
	c.Dir = r.dir
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", c, err, out)
	}
	return string(out)
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
}

// conversation is a client of another TLS library that is told what to do.
type conversation struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// talk starts openssl's client; it ends with the test.
func (r *rig) talk(args ...string) *conversation {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	c := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", r.addr, "-servername", "www.example.com", "-CAfile", filepath.Join(r.dir, "web.crt")}, args...)...)
	in, err := c.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cancel()
		in.Close()
		c.Wait()
	})
	return &conversation{r.t, in, bufio.NewReader(out)}
}

func (c *conversation) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, text); err != nil {
		c.t.Fatal(err)
	}
}

// hear waits for a line with a text.
func (c *conversation) hear(text string) {
	c.t.Helper()
	for {
		line, err := c.out.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			c.t.Fatalf("openssl ends before it says %q: %v", text, err)
		}
	}
}

// TestKeyUpdate: keys of TLS 1.3 change within a connection, of one direction and of
// both, and what follows is read.
func TestKeyUpdate(t *testing.T) {
	needOpenSSL(t)
	r := newRig(t, "[https, relay]", "")
	c := r.talk("-tls1_3")
	server := r.accept()
	go io.Copy(server, server)
	for i, command := range []string{"", "k\n", "K\n", "K\n", "k\n"} {
		if command != "" {
			c.say(command)
			c.hear("KEYUPDATE")
		}
		line := fmt.Sprintf("line %d", i)
		c.say(line + "\n")
		c.hear(line)
	}
	if list := r.engine.ReasonCounts(); len(list) > 0 {
		t.Errorf("reasons: %+v", list)
	}
}

// TestRenegotiation: who wants to negotiate anew is refused, and the server's
// connection is reset.
func TestRenegotiation(t *testing.T) {
	needOpenSSL(t)
	r := newRig(t, "[https, relay]", "")
	c := r.talk("-tls1_2")
	server := r.accept()
	c.say("hello\n")
	if _, err := io.ReadFull(server, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	c.say("R\n")
	if n, err := io.Copy(io.Discard, server); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server got %d octets and %v, want a reset", n, err)
	}
	r.wantReason("https.renegotiation")
}
