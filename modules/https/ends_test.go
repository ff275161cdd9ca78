package https_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// damaging is a connection on whose way an octet changes.
type damaging struct {
	net.Conn
	damages atomic.Bool
}

func (c *damaging) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.damages.Load() {
		b[n-1] ^= 1
	}
	return n, err
}

// TestEnds: close_notify is a FIN and the other way round; what is cut is cut on
// the other side.
func TestEnds(t *testing.T) {
	pair := func(t *testing.T) (*tls.Conn, *net.TCPConn) {
		r := newRig(t, "[https, relay]", "")
		client := r.mustDial(r.trust("web", "www.example.com"))
		server := r.accept()
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	t.Run("close_notify of the client", func(t *testing.T) {
		client, server := pair(t)
		client.CloseWrite()
		if n, err := io.Copy(io.Discard, server); n != 0 || err != nil {
			t.Errorf("the server got %d bytes, %v, want a FIN", n, err)
		}
		server.Write([]byte("rest"))
		server.Close()
		if got, err := io.ReadAll(client); string(got) != "rest" || err != nil {
			t.Errorf("the client got %q, %v, want the rest and close_notify", got, err)
		}
	})
	t.Run("FIN of the client without close_notify", func(t *testing.T) {
		client, server := pair(t)
		client.NetConn().(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
	})
	t.Run("alert of the client", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "")
		below := &damaging{Conn: must(net.Dial("tcp", r.addr))(t)}
		client := tls.Client(below, r.trust("web", "www.example.com"))
		defer client.Close()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		server := r.accept()
		server.Write([]byte("x"))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		below.damages.Store(true)
		server.Write([]byte("x"))
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("a damaged record was read")
		}
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
		if list := r.engine.ReasonCounts(); len(list) > 0 {
			t.Errorf("reasons: %+v", list)
		}
	})
	t.Run("reset of the client", func(t *testing.T) {
		client, server := pair(t)
		client.NetConn().(*net.TCPConn).SetLinger(0)
		client.NetConn().Close()
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want a reset", err)
		}
	})
	t.Run("reset of the server", func(t *testing.T) {
		client, server := pair(t)
		server.SetLinger(0)
		server.Close()
		if _, err := io.ReadAll(client); err == nil {
			t.Error("the client got close_notify for what was cut off")
		}
	})
	t.Run("a response that is cut", func(t *testing.T) {
		r := newRig(t, "[https, http]", "")
		client := r.mustDial(r.trust("web", "www.example.com"))
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
		server := r.accept()
		fmt.Fprint(server, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		server.Close()
		if got, err := io.ReadAll(client); err == nil {
			t.Errorf("the client got %q and close_notify", got)
		}
	})
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
