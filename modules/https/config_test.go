package https_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// TestSettings: what is wrong is told when the file is checked.
func TestSettings(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	if err := os.Chmod(filepath.Join(r.dir, "other.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ settings, want string }{
		{"certificate: DIR/other.crt, key: DIR/other.key", "chmod 600"},
		{"certificate: DIR/web.crt, key: DIR/nosuch.key", "no such file"},
		{"certificate: DIR/other.crt, key: DIR/web.key", "does not match"},
		{"certificate: DIR/web.crt, key: ''", "both are needed"},
		{"min_version: 1.1", "not offered to clients"},
		{"ciphers: [TLS_RSA_WITH_RC4_128_SHA]", "no good suite"},
		{"unknown_name: any", "(refuse, first)"},
		{"handshake_timeout: 1h", "out of range"},
		{"handshakes: 0", "out of range"},
		{"connections: -1", "negative"},
		{"upstream: open", "(plain, tls)"},
		{"upstream_tls: {min_version: 0.9}", "1.0, 1.1"},
		{"client_ca: DIR/web.key", "no certificate is in it"},
		{"upstream: tls, upstream_tls: {ca: DIR/nosuch}", "upstream_tls.ca"},
		{"ocsp: DIR/nosuch", "ocsp"},
	} {
		_, problems := r.parse("[https, relay]", tt.settings)
		if text := ppf.DecodeError(problems).Error(); !strings.Contains(text, tt.want) {
			t.Errorf("%s: got %q, want something with %q", tt.settings, text, tt.want)
		}
	}
}
