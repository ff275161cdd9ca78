package https_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// TestBrokenRecord: what is no TLS after the handshake ends both connections.
func TestBrokenRecord(t *testing.T) {
	for _, tt := range []struct{ name, octets string }{
		{"forged", "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)},
		{"too long", "\x17\x03\x03\xff\xff"},
		{"of no type", "\x63\x03\x03\x00\x20" + strings.Repeat("x", 32)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", "")
			c := r.mustDial(r.trust("web", "www.example.com"))
			server := r.accept()
			io.WriteString(c.NetConn(), tt.octets)
			if n, err := io.Copy(io.Discard, server); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server got %d octets and %v, want a reset", n, err)
			}
			r.wantReason("https.record")
		})
	}
}

// TestSilentClient: who connects and says nothing has no handshake that could be
// refused; who ends in the middle of one has.
func TestSilentClient(t *testing.T) {
	for _, settings := range []string{"", "pass_names: [other.example.com]"} {
		r := newRig(t, "[https, relay]", settings)
		for _, said := range []string{"", "\x16\x03\x01"} {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, said)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c) // until it is over
			c.Close()
		}
		r.wantReason("https.handshake.malformed")
	}
}

// TestHandshakeLimit: one more than the limit is reset at once, and the place of one
// that is over is free.
func TestHandshakeLimit(t *testing.T) {
	r := newRig(t, "[https, relay]", "handshakes: 1")
	slow, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	slow.Write([]byte{22, 3, 1})
	for len(r.engine.Connections("front", 0)) == 0 {
		runtime.Gosched()
	}
	if c, err := r.dial(r.trust("web", "www.example.com")); err == nil {
		c.Close()
		t.Error("a handshake more than the limit was made")
	}
	r.wantReason("https.handshake.limit")
	slow.Close()
	for {
		c, err := r.dial(r.trust("web", "www.example.com"))
		if err == nil {
			c.Close()
			return
		}
	}
}

// TestStaple: a response of OCSP reaches clients as long as it is good; one that is
// not is told of and left out.
func TestStaple(t *testing.T) {
	needOpenSSL(t)
	const settings = "certificate: DIR/web.crt, key: DIR/web.key, ocsp: DIR/web.ocsp"
	// answer makes a response about a certificate, which is its own authority.
	answer := func(dir, name, state string) error {
		serial, err := exec.Command("openssl", "x509", "-in", filepath.Join(dir, name+".crt"), "-noout", "-serial").Output()
		if err != nil {
			return err
		}
		number := strings.TrimSpace(strings.TrimPrefix(string(serial), "serial="))
		revoked := ""
		if state == "R" {
			revoked = "200101000000Z"
		}
		if err := os.WriteFile(filepath.Join(dir, "index"), fmt.Appendf(nil, "%s\t490101000000Z\t%s\t%s\tunknown\t/CN=%s\n", state, revoked, number, name), 0o600); err != nil {
			return err
		}
		c := exec.Command("openssl", "ocsp", "-index", "index", "-CA", name+".crt", "-issuer", name+".crt", "-cert", name+".crt", "-rsigner", name+".crt", "-rkey", name+".key",
			"-nmin", "60", "-respout", "web.ocsp", "-noverify")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	stapled := func(r *rig) bool {
		t.Helper()
		out := r.openssl("s_client", "-connect", r.addr, "-servername", "www.example.com", "-status", "-CAfile", "web.crt")
		if !strings.Contains(out, "OCSP response:") {
			t.Fatalf("openssl says nothing of a response: %s", out)
		}
		return strings.Contains(out, "OCSP Response Status: successful") && strings.Contains(out, "Cert Status: good")
	}
	t.Run("good and then out of time", func(t *testing.T) {
		r := newRigWith(t, "[https, relay]", settings, func(dir string) error { return answer(dir, "web", "V") })
		if !stapled(r) {
			t.Error("it is not stapled")
		}
		r.clock.ahead.Add(int64(2 * time.Hour))
		if stapled(r) {
			t.Error("it is stapled an hour after its time")
		}
		r.told("is stapled no more")
	})
	for _, tt := range []struct {
		name, want string
		response   func(dir string) error
	}{
		{"another certificate's", "about another certificate", func(dir string) error { return answer(dir, "other", "V") }},
		{"revoked", "the certificate is revoked", func(dir string) error { return answer(dir, "web", "R") }},
		{"try later", "refused to answer: status 3", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "web.ocsp"), []byte{0x30, 3, 10, 1, 3}, 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigWith(t, "[https, relay]", settings, tt.response)
			if stapled(r) {
				t.Error("it is stapled")
			}
			r.told(tt.want)
			// One that is good takes its place.
			if err := answer(r.dir, "web", "V"); err != nil {
				t.Fatal(err)
			}
			r.clock.ahead.Add(int64(2 * time.Second))
			if !stapled(r) {
				t.Error("one that is good is not stapled")
			}
		})
	}
	r := newRig(t, "[https, relay]", "")
	_, problems := r.parse("[https, relay]", strings.Replace(settings, "web.ocsp", "web.crt", 1))
	if len(problems) == 0 || !strings.Contains(problems[0].Error(), "no response of OCSP") {
		t.Errorf("a file without a response: %v", problems)
	}
}
