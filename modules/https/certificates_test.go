package https_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// TestChangeIsSeen: what the files hold decides, not their times or lengths. A name
// that leads to another file counts too.
func TestChangeIsSeen(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	file := func(name string) string { return filepath.Join(r.dir, name) }
	before := must(os.Stat(file("web.crt")))(t)
	for same := false; !same; {
		if err := lab.WriteCertificate(r.dir, "web", "www.example.com", "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		same = must(os.Stat(file("web.crt")))(t).Size() == before.Size()
	}
	for _, name := range []string{"web.crt", "web.key"} {
		if err := os.Chtimes(file(name), before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	want := must(tls.LoadX509KeyPair(file("web.crt"), file("web.key")))(t).Leaf.SerialNumber.String()
	r.clock.ahead.Add(int64(2 * time.Second))
	if got := r.shown(); got != want {
		t.Errorf("a file of the same length and time: the certificate shown is %s, want %s", got, want)
	}
	// The new certificate is there and its key is not yet: the old pair stays.
	if err := lab.WriteCertificate(r.dir, "next", "www.example.com"); err != nil {
		t.Fatal(err)
	}
	replace := func(kind string) {
		t.Helper()
		if err := os.Symlink(file("next"+kind), file("link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file("link"), file("web"+kind)); err != nil {
			t.Fatal(err)
		}
		r.clock.ahead.Add(int64(2 * time.Second))
	}
	replace(".crt")
	if got := r.shown(); got != want {
		t.Errorf("half a change: the certificate shown is %s, want the old %s", got, want)
	}
	r.told("what was read before stays")
	replace(".key")
	want = must(tls.LoadX509KeyPair(file("next.crt"), file("next.key")))(t).Leaf.SerialNumber.String()
	if got := r.shown(); got != want {
		t.Errorf("a link: the certificate shown is %s, want %s", got, want)
	}
	r.told("was read again")
}

// TestKeyIsOurs: a key that others may read or change is refused, when it is
// configured and when it comes later.
func TestKeyIsOurs(t *testing.T) {
	const stranger = 54321
	for _, tt := range []struct {
		name         string
		mode         os.FileMode
		owner, group int
		want         string // "" where it is good
	}{
		{"ours alone", 0o400, -1, -1, ""},
		{"our group", 0o640, -1, os.Getegid(), ""},
		{"another group", 0o640, -1, stranger, "chmod 600"},
		{"our group may write", 0o660, -1, -1, "may change it"},
		{"everybody may read", 0o604, -1, -1, "everybody"},
		{"everybody may write", 0o602, -1, -1, "everybody"},
		{"another owner", 0o600, stranger, -1, "chown it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if (tt.owner == stranger || tt.group == stranger) && os.Geteuid() != 0 {
				t.Skip("not root: CAP_CHOWN is missing")
			}
			r := newRig(t, "[https, relay]", "")
			key := filepath.Join(r.dir, "other.key")
			if err := os.Chown(key, tt.owner, tt.group); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(key, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, problems := r.parse("[https, relay]", "certificate: DIR/other.crt, key: DIR/other.key")
			if text := ppf.DecodeError(problems); (text == nil) != (tt.want == "") || text != nil && !strings.Contains(text.Error(), tt.want) {
				t.Errorf("configured: got %v, want %q", text, tt.want)
			}
			before := r.shown()
			for _, kind := range []string{".crt", ".key"} {
				if err := os.Rename(filepath.Join(r.dir, "other"+kind), filepath.Join(r.dir, "web"+kind)); err != nil {
					t.Fatal(err)
				}
			}
			r.clock.ahead.Add(int64(2 * time.Second))
			c := r.mustDial(&tls.Config{InsecureSkipVerify: true})
			if after := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); (after == before) != (tt.want != "") {
				t.Errorf("later: the certificate changed: %v, want %v", after != before, tt.want == "")
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "")
		if err := syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := r.parse("[https, relay]", "certificate: DIR/web.crt, key: DIR/pipe")
		if text := ppf.DecodeError(problems); text == nil || !strings.Contains(text.Error(), "no file") {
			t.Errorf("got %v, want that it is no file", text)
		}
	})
}

// TestKeyIsNotTold: whatever is wrong, nothing of a key is in what is said of it.
func TestKeyIsNotTold(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	key := must(os.ReadFile(filepath.Join(r.dir, "web.key")))(t)
	secret := strings.Split(string(key), "\n")[1]
	var said strings.Builder
	tell := func(settings string) {
		t.Helper()
		_, problems := r.parse("[https, relay]", settings)
		if len(problems) == 0 {
			t.Errorf("%.40s: nothing is wrong with it", settings)
		}
		said.WriteString(ppf.DecodeError(problems).Error())
	}
	inline := "'" + strings.ReplaceAll(string(key), "\n", "\n\n ") + "'"
	tell("certificate: DIR/web.crt, key: " + inline)
	if !strings.Contains(said.String(), "write the name") {
		t.Errorf("a key in place of its name: %.60s", said.String())
	}
	tell("certificate: " + inline + ", key: DIR/web.key")
	tell("certificates: [{certificate: DIR/web.crt, key: " + inline + "}], pass_names: ['-'], key: ''")
	tell("certificate: DIR/web.key, key: DIR/web.key")
	tell("certificate: DIR/web.crt, key: DIR/web.key, client_ca: DIR/web.key")
	tell("certificate: DIR/web.crt, key: DIR/web.key, ocsp: DIR/web.key")
	// Later: a damaged key, and the key where the certificate was.
	for _, file := range []string{"web.key", "web.crt"} {
		if err := os.WriteFile(filepath.Join(r.dir, file), bytes.Replace(key, []byte(secret), []byte(secret[1:]), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		r.clock.ahead.Add(int64(2 * time.Second))
		r.shown()
	}
	list, _ := r.engine.Events().Since(0)
	for _, e := range list {
		said.WriteString(e.Text)
	}
	for at := 0; at+16 < len(secret); at++ {
		if strings.Contains(said.String(), secret[at:at+16]) {
			t.Fatalf("%q is told of the key", secret[at:at+16])
		}
	}
}

// TestClientAuthority: authorities are read again too, and hold for who resumes a
// session; so does the time of a client's certificate.
func TestClientAuthority(t *testing.T) {
	client := func(r *rig) *tls.Config {
		cfg := r.trust("web", "www.example.com")
		pair := must(tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key")))(t)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		return cfg
	}
	for _, tt := range []struct {
		name, reason string
		change       func(*rig)
	}{
		{"another authority", "https.client-certificate", func(r *rig) {
			if err := lab.WriteCertificate(r.dir, "authority", "x"); err != nil {
				t.Fatal(err)
			}
			r.clock.ahead.Add(int64(2 * time.Second))
		}},
		{"out of time", "https.client-certificate.expired", func(r *rig) { r.clock.ahead.Add(int64(48 * time.Hour)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", "certificate: DIR/web.crt, key: DIR/web.key, client_ca: DIR/other.crt")
			if err := os.Rename(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "authority.crt")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("authority.crt", filepath.Join(r.dir, "other.crt")); err != nil {
				t.Fatal(err)
			}
			cfg := client(r)
			for i := range 2 {
				c := r.mustDial(cfg)
				s := r.accept()
				s.Write([]byte("x")) // with it the ticket comes
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				if got := c.ConnectionState().DidResume; got != (i > 0) {
					t.Errorf("connection %d: resumed %v", i+1, got)
				}
			}
			tt.change(r)
			c, err := r.dial(cfg)
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err == nil {
				t.Error("it was let in")
			}
			r.wantReason(tt.reason)
		})
	}
}

// TestTickets: a session is resumed a day later, with keys that have changed since,
// and no more after a week; where tickets are off, never.
func TestTickets(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		later          time.Duration
		want           bool
	}{
		{"at once", "", 0, true},
		{"a day later", "", 25 * time.Hour, true},
		{"eight days later", "", 8 * 24 * time.Hour, false},
		{"off", "tickets: false", 0, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+"/"+tls.VersionName(version), func(t *testing.T) {
				r := newRig(t, "[https, relay]", tt.settings)
				cfg := r.trust("web", "www.example.com")
				cfg.ClientSessionCache, cfg.MaxVersion = tls.NewLRUClientSessionCache(1), version
				connect := func() bool {
					c := r.mustDial(cfg)
					r.accept().Write([]byte("x")) // with it the ticket comes
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
					return c.ConnectionState().DidResume
				}
				connect()
				r.clock.ahead.Add(int64(tt.later))
				if got := connect(); got != tt.want {
					t.Errorf("resumed: got %v, want %v", got, tt.want)
				}
			})
		}
	}
}
