package stream_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// proxied is what a header of the PROXY protocol, version 2, says; the layout is that
// of section 2.2 of its specification.
func proxied(t *testing.T, r io.Reader) (client, asked netip.AddrPort) {
	t.Helper()
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if string(head[:12]) != "\r\n\r\n\x00\r\nQUIT\n" || head[12] != 0x21 || head[13] != 0x11 || binary.BigEndian.Uint16(head[14:]) != 12 {
		t.Fatalf("got %x, want the head of one for TCP over IPv4", head)
	}
	b := make([]byte, 12)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	at := func(b []byte, port []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(port))
	}
	return at(b, b[8:]), at(b[4:], b[10:])
}

// TestAnnounce: each connection to the server begins with who the client is, before
// TLS too, and is not told again with the next request.
func TestAnnounce(t *testing.T) {
	dir := t.TempDir()
	if err := lab.WriteCertificate(dir, "web", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tt := range []struct{ name, chain, modules, begins string }{
		{"http", "http", "http: {proxy_protocol: true, via: false, forwarded: false}", request},
		{"relay", "relay", "relay: {proxy_protocol: true}", request},
		{"http over TLS", "https, http", fmt.Sprintf("http: {proxy_protocol: true}, https: {certificate: %[1]s/web.crt, key: %[1]s/web.key, upstream: tls}", dir), "\x16\x03"},
		{"relay over TLS", "https, relay", fmt.Sprintf("relay: {proxy_protocol: true}, https: {certificate: %[1]s/web.crt, key: %[1]s/web.key, upstream: tls}", dir), "\x16\x03"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			f := newFront(t, strings.Replace(instance(l.Addr().String(), "repair"), "chain: [http]", "chain: ["+tt.chain+"]\n    modules: {"+tt.modules+"}", 1))
			for range 2 { // clients
				c := f.dial()
				own := c.LocalAddr().String()
				if strings.HasPrefix(tt.chain, "https") {
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				}
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				server, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				r := bufio.NewReader(server)
				if client, asked := proxied(t, r); client.String() != own || asked.String() != f.addr() {
					t.Errorf("got client %v that asked %v, want %s and %s", client, asked, own, f.addr())
				}
				begins := make([]byte, len(tt.begins))
				if _, err := io.ReadFull(r, begins); err != nil || string(begins) != tt.begins {
					t.Errorf("behind it comes %q, %v, want %q", begins, err, tt.begins)
				}
				if tt.name == "http" {
					if _, err := io.WriteString(server, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					if res := readResponse(t, c); res.StatusCode != 204 {
						t.Errorf("got %v", res)
					}
					if _, err := io.WriteString(c, request); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(r, begins); err != nil || string(begins) != request {
						t.Errorf("the next request begins with %q, %v", begins, err)
					}
				}
				c.Close()
			}
		})
	}
}
