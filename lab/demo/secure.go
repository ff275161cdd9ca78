package demo

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
)

// securePort is where the instance with the chain [https, http] listens on the proxy.
const securePort = 8443

// secureName is the name in both certificates, that of the server and ours.
const secureName = "www.example"

// secureConfiguration is one more instance; the server's TLS is verified.
const secureConfiguration = `  - name: secure
    source: listen
    listen: '%[1]s'
    upstream: '%[2]s'
    chain: [https, http]
    modules: {https: {certificate: %[3]s/web.crt, key: %[3]s/web.key, upstream: tls, upstream_tls: {ca: %[3]s/old.crt, name: ` + secureName + `}}}
`

// HandshakeRow is one client's line of the third result table.
type HandshakeRow struct {
	Name    string `json:"name"`
	Without string `json:"without"` // version and status code at the server, or refused
	With    string `json:"with"`    // at ours
	Reason  string `json:"reason"`
	Counted uint64 `json:"counted"`
	Held    bool   `json:"held"`
}

// refused stands for a handshake that was not made.
const refused = "refused"

// handshakes are clients of an old server with TLS, and what becomes of them.
var handshakes = []struct {
	name, text, without, with, reason string
	change                            func(*tls.Config)
}{
	{"a client of today", goodRequest, "TLS 1.2, 200", "TLS 1.3, 200", "", func(*tls.Config) {}},
	{"TLS 1.0 alone", goodRequest, "TLS 1.0, 200", refused, "https.handshake.version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }},
	{"without forward secrecy", goodRequest, "TLS 1.2, 200", refused, "https.handshake.cipher", func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	}},
	{"the name of another host", goodRequest, "TLS 1.2, 200", refused, "https.name.unknown", func(c *tls.Config) {
		c.ServerName, c.InsecureSkipVerify = "else.example", true // the server shows what it has
	}},
	{"two equal lengths, encrypted", "GET /data?bytes=1&seed=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "TLS 1.2, 200", "TLS 1.3, 400",
		"http.content-length.duplicate", func(*tls.Config) {}},
}

// oldServer starts a web server that still speaks what nobody should.
func oldServer(ctx context.Context, l *lab.Lab, dir string) (*lab.HTTPServer, error) {
	if err := errors.Join(lab.WriteCertificate(dir, "web", secureName), lab.WriteRSACertificate(dir, "old", secureName)); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "old.crt"), filepath.Join(dir, "old.key"))
	if err != nil {
		return nil, err
	}
	return l.Server.StartHTTPS(ctx, net.JoinHostPort(l.Server.IPv4.String(), "0"), &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	})
}

// tries makes a handshake, sends a request, and tells what came of them.
func (d *show) tries(addr, text string, cfg *tls.Config) (string, error) {
	plain, err := d.lab.Client.Dial(d.ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	c := tls.Client(plain, cfg)
	if c.HandshakeContext(d.ctx) != nil {
		return refused, nil
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	res, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d", tls.VersionName(c.ConnectionState().Version), res.StatusCode), res.Body.Close()
}

// askSecurely sends each client to the old server itself and to the chain [https,
// http] in front of it.
func (d *show) askSecurely(client *control.Client) error {
	front := net.JoinHostPort(d.lab.Proxy.IPv4.String(), strconv.Itoa(securePort))
	authorities := x509.NewCertPool()
	for _, name := range []string{"web.crt", "old.crt"} {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		authorities.AppendCertsFromPEM(b)
	}
	before, err := client.Reasons(d.ctx)
	if err != nil {
		return err
	}
	want := map[string]uint64{}
	for _, h := range handshakes {
		row := HandshakeRow{Name: h.name, Reason: h.reason}
		cfg := &tls.Config{ServerName: secureName, RootCAs: authorities}
		h.change(cfg)
		if row.Without, err = d.tries(d.old.Addr, h.text, cfg); err != nil {
			return fmt.Errorf("demo: %s, to the server: %w", h.name, err)
		}
		if row.With, err = d.tries(front, h.text, cfg); err != nil {
			return fmt.Errorf("demo: %s, to the proxy: %w", h.name, err)
		}
		d.result.Handshakes = append(d.result.Handshakes, row)
		if h.reason != "" {
			want[h.reason] = counted(before, h.reason) + 1
		}
	}
	// A client may know that it is refused before that is counted.
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	if err := await(ctx, client, want); err != nil && ctx.Err() == nil {
		return err
	}
	after, err := client.Reasons(d.ctx)
	if err != nil {
		return err
	}
	for i, h := range handshakes {
		row := &d.result.Handshakes[i]
		row.Counted = counted(after, h.reason) - counted(before, h.reason)
		row.Held = row.Without == h.without && row.With == h.with && (h.reason == "" || row.Counted == 1)
		if !row.Held {
			d.problem("client %s: %s at the server, %s at the proxy, reason %s counted %d times", row.Name, row.Without, row.With, row.Reason, row.Counted)
		}
	}
	return nil
}

// tellHandshakes prints the table of clients with TLS.
func (d *show) tellHandshakes() error {
	fmt.Fprintln(d.w, "6. HTTPS: clients at an old server itself, and at an instance with the chain [https, http] in front of it:")
	fmt.Fprintln(d.w)
	t := tabwriter.NewWriter(d.w, 3, 0, 2, ' ', 0)
	fmt.Fprintln(t, "   CLIENT\tSERVER\tPROXY\tREASON\tCOUNTED")
	for _, h := range d.result.Handshakes {
		fmt.Fprintf(t, "   %s\t%s\t%s\t%s\t%d\n", h.Name, h.Without, h.With, h.Reason, h.Counted)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(d.w)
	return nil
}
