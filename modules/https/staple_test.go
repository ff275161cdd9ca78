package https_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
	t.Run("the clock is set", func(t *testing.T) {
		r := newRigWith(t, "[https, relay]", settings, func(dir string) error { return answer(dir, "web", "V") })
		for _, tt := range []struct {
			wall time.Duration
			want bool
			told string
		}{
			{-48 * time.Hour, false, "is stapled no more: it is good from"}, {0, true, "is good now, and is stapled"},
			{2 * time.Hour, false, "is stapled no more: it was good until"}, {time.Minute, true, "is good now, and is stapled"},
		} {
			r.clock.set.Store(int64(tt.wall))
			r.clock.ahead.Add(int64(2 * time.Second))
			if got := stapled(r); got != tt.want {
				t.Errorf("the clock is set to %v from now: stapled %v, want %v", tt.wall, got, tt.want)
			}
			r.told(tt.told)
		}
		// One that comes before its time waits for it.
		r.clock.set.Store(int64(-48 * time.Hour))
		if err := answer(r.dir, "web", "V"); err != nil {
			t.Fatal(err)
		}
		r.clock.ahead.Add(int64(2 * time.Second))
		if stapled(r) {
			t.Error("it is stapled two days before its time")
		}
		r.told("is not stapled: it is good from")
		r.clock.set.Store(0)
		r.clock.ahead.Add(int64(2 * time.Second))
		if !stapled(r) {
			t.Error("it is not stapled when its time has come")
		}
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
