package https_test

import (
	"crypto/tls"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestUpstream: TLS to a server is verified.
func TestUpstream(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		good           bool
	}{
		{"its own certificate", "upstream: tls, upstream_tls: {ca: DIR/other.crt}", true},
		{"a name", "upstream: tls, upstream_tls: {ca: DIR/other.crt, name: other.example.com}", true},
		{"another name", "upstream: tls, upstream_tls: {ca: DIR/other.crt, name: www.example.com}", false},
		{"not trusted", "upstream: tls, upstream_tls: {ca: DIR/web.crt}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", tt.settings)
			pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key"))
			if err != nil {
				t.Fatal(err)
			}
			client := r.mustDial(r.trust("web", "www.example.com"))
			server := tls.Server(r.accept(), &tls.Config{Certificates: []tls.Certificate{pair}})
			if err := server.Handshake(); tt.good != (err == nil) {
				t.Fatalf("handshake with the server: %v", err)
			}
			if !tt.good {
				if _, err := io.ReadAll(client); err == nil {
					t.Error("the client got close_notify")
				}
				return
			}
			client.Write([]byte("hello"))
			client.CloseWrite()
			if got, err := io.ReadAll(server); string(got) != "hello" || err != nil {
				t.Errorf("the server got %q, %v, want hello and close_notify", got, err)
			}
		})
	}
}

// TestOldServer: a server that has nothing but the first version of TLS is reached
// where that is set, and the operator is told.
func TestOldServer(t *testing.T) {
	for _, old := range []bool{true, false} {
		settings := "upstream: tls, upstream_tls: {ca: DIR/rsa.crt, name: rsa.example.com}, certificate: DIR/web.crt, key: DIR/web.key"
		if old {
			settings = strings.Replace(settings, "{ca:", "{min_version: 1.0, ca:", 1)
		}
		r := newRigWith(t, "[https, relay]", settings, func(dir string) error { return lab.WriteRSACertificate(dir, "rsa", "rsa.example.com") })
		pair := must(tls.LoadX509KeyPair(filepath.Join(r.dir, "rsa.crt"), filepath.Join(r.dir, "rsa.key")))(t)
		client := r.mustDial(r.trust("web", "www.example.com"))
		server := tls.Server(r.accept(), &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		})
		if err := server.Handshake(); (err == nil) != old {
			t.Fatalf("allowed %v: %v", old, err)
		}
		if !old {
			r.told("https.server.tls")
			continue
		}
		r.told("can read and change everything")
		client.Write([]byte("hello"))
		client.CloseWrite()
		if got, err := io.ReadAll(server); string(got) != "hello" || err != nil {
			t.Errorf("the server got %q, %v", got, err)
		}
	}
}
