package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// secure is TLS on a port of the proxy's own, in front of the function named
// last.
const secure = `version: 1
instances:
  - name: front
    source: listen
    listen: '%[1]s'
    upstream: '%[2]s'
    chain: [https, %[4]s]
    modules: {https: {certificate: %[3]s/web.crt, key: %[3]s/web.key}}
`

// TestHTTPS: curl, which has another TLS library, loads a large body through
// https with http and with relay behind it; sslscan finds nothing weak; with the
// daemon killed nobody answers.
func TestHTTPS(t *testing.T) {
	need(t, "curl")
	need(t, "sslscan")
	l := up(t, lab.Options{})
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			dir := t.TempDir()
			check(t, lab.WriteCertificate(dir, "web", l.Proxy.Addr(network).String()))
			server := web(t, l.Server)
			upstream, listen := hostPort(l.Server, network, port(t, server.Addr)), hostPort(l.Proxy, network, 8443)
			d := start(t, l, fmt.Sprintf(secure, listen, upstream, dir, "http"))
			want := filepath.Join(dir, "want")
			if r := execute(t, l.Server, "curl", "-sS", "--globoff", "-o", want, at(upstream).DataURL(5_000_000, 3)); r.status != 0 {
				t.Fatal(r)
			}
			load := func(function string) {
				t.Helper()
				got := filepath.Join(dir, function)
				url := strings.Replace(at(listen).DataURL(5_000_000, 3), "http:", "https:", 1)
				if r := execute(t, l.Client, "curl", "-sS", "--globoff", "--cacert", filepath.Join(dir, "web.crt"), "-o", got, url); r.status != 0 {
					t.Errorf("%s: %v", function, r)
				}
				if string(must(os.ReadFile(got))(t)) != string(must(os.ReadFile(want))(t)) {
					t.Errorf("%s: the body has changed on its way", function)
				}
			}
			load("http")
			scan := execute(t, l.Client, "sslscan", "--no-colour", listen)
			if !strings.Contains(scan.out, "TLSv1.2   enabled") || !strings.Contains(scan.out, "TLSv1.3   enabled") {
				t.Errorf("sslscan has seen no server: %v", scan)
			}
			for _, weak := range []string{"SSLv2     enabled", "SSLv3     enabled", "TLSv1.0   enabled", "TLSv1.1   enabled", "CBC", "RC4", "DES-", "NULL", "Insecure", " is vulnerable"} {
				if strings.Contains(scan.out, weak) {
					t.Errorf("sslscan found %q:\n%s", weak, scan.out)
				}
			}
			d.configure(t, fmt.Sprintf(secure, listen, upstream, dir, "relay"))
			d.do(t, "reload")
			load("relay")
			d.kill(t)
			if c, err := l.Client.Dial(t.Context(), network, listen); err == nil {
				c.Close()
				t.Error("the daemon is dead, and somebody answers")
			}
		})
	}
}
