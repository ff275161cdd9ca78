package https_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestServerWaits: no connection to the server before the handshake is complete.
func TestServerWaits(t *testing.T) {
	r := newRig(t, "[https, relay]", "handshake_timeout: 100ms")
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{22, 3, 1})
	io.Copy(io.Discard, c)
	r.wantReason("https.handshake.timeout")
	r.server.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
	if conn, err := r.server.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server got a connection: %v, %v", conn, err)
	}
}

// TestRefused: each handshake that cannot be has its reason.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, settings, reason string
		change                 func(*tls.Config)
	}{
		{"version", "min_version: 1.3", "https.handshake.version", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"old version", "", "https.handshake.version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
		{"cipher", "ciphers: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", "https.handshake.cipher", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		}},
		{"weak cipher", "", "https.handshake.cipher", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}},
		{"protocol", "", "https.handshake.alpn", func(c *tls.Config) { c.NextProtos = []string{"ftp"} }},
		{"name", "", "https.name.unknown", func(c *tls.Config) { c.ServerName = "nobody.example.com" }},
		{"not trusted", "", "https.handshake.alert", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }},
		{"HTTP/2 alone", "", "https.handshake.alpn", func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
		{"no certificate of the client", "client_ca: DIR/other.crt", "https.client-certificate.missing", func(*tls.Config) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", tt.settings)
			cfg := r.trust("web", "www.example.com")
			tt.change(cfg)
			c, err := r.dial(cfg)
			if err == nil { // in TLS 1.3 a client is ready before the server is content
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if err == nil {
				t.Error("the handshake was made")
			}
			r.wantReason(tt.reason)
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "")
		if _, err := http.Get("http://" + r.addr); err == nil {
			t.Error("it was answered")
		}
		r.wantReason("https.handshake.malformed")
	})
	t.Run("another authority's client certificate", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "client_ca: DIR/other.crt")
		cfg := r.trust("web", "www.example.com")
		pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "web.crt"), filepath.Join(r.dir, "web.key"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		if c, err := r.dial(cfg); err == nil {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("it was let in")
			}
			c.Close()
		}
		r.wantReason("https.client-certificate")
	})
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

// TestClientCertificate lets in who shows the right one.
func TestClientCertificate(t *testing.T) {
	r := newRig(t, "[https, relay]", "client_ca: DIR/other.crt")
	cfg := r.trust("web", "www.example.com")
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	client := r.mustDial(cfg)
	client.Write([]byte("x"))
	if _, err := io.ReadFull(r.accept(), make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestNames: the client's name chooses; who names nobody known gets the first
// where that is set.
func TestNames(t *testing.T) {
	r := newRig(t, "[https, relay]", "unknown_name: first, certificates: [{certificate: DIR/other.crt, key: DIR/other.key}], certificate: DIR/web.crt, key: DIR/web.key")
	for _, tt := range []struct{ name, want string }{
		{"www.example.com", "web"}, {"other.example.com", "other"}, {"nobody.example.com", "web"}, {"127.0.0.1", "web"},
	} {
		cfg := r.trust(tt.want, tt.name)
		cfg.InsecureSkipVerify = true // which one comes is the question
		c := r.mustDial(cfg)
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
			t.Errorf("%s: got the certificate of %s, want %s", tt.name, got, tt.want)
		}
	}
}
