package https_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// serveTLS answers on the rig's server as plc.example.com would: with a certificate
// of its own, and each line with itself.
func (r *rig) serveTLS() {
	r.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "other.crt"), filepath.Join(r.dir, "other.key"))
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		for {
			c, err := r.server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
}

// TestPass: a client that names a host of the list speaks with the server's own TLS,
// which we do not end; others speak with ours, or are refused.
func TestPass(t *testing.T) {
	r := newRig(t, "[https, relay]", "pass_names: [other.example.com]")
	r.serveTLS()
	c := r.mustDial(r.trust("other", "other.example.com"))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d octets came back of %d: %v", len(got), len(sent), err)
	}
	own := r.mustDial(r.trust("web", "www.example.com"))
	if name := own.ConnectionState().PeerCertificates[0].DNSNames; len(name) == 0 || name[0] != "www.example.com" {
		t.Errorf("a name of ours got the certificate of %v", name)
	}
	if _, err := r.dial(&tls.Config{ServerName: "else.example.com", InsecureSkipVerify: true}); err == nil {
		t.Error("a name that is in no list was served")
	}
	r.wantReason("https.name.unknown")
}

// TestPassAlone: a chain that passes names through needs no certificate; who names
// none of them is refused, and so is what is no ClientHello.
func TestPassAlone(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		passes       bool
	}{
		{"below the list's domain", "a.example.com", true},
		{"two labels below it", "b.a.example.com", false},
		{"the domain itself", "example.com", false},
		{"no name", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "[https, relay]", "pass_names: ['*.example.com'], key: ''")
			r.serveTLS()
			c, err := r.dial(&tls.Config{ServerName: tt.server, InsecureSkipVerify: true})
			if (err == nil) != tt.passes {
				t.Fatalf("got %v, want it to pass: %v", err, tt.passes)
			}
			if err != nil {
				r.wantReason("https.name.unknown")
				return
			}
			defer c.Close()
			for _, info := range r.engine.Connections("front", 10) {
				if !strings.Contains(info.About, "passed through "+tt.server) {
					t.Errorf("connections says %q", info.About)
				}
			}
		})
	}
	t.Run("no ClientHello", func(t *testing.T) {
		r := newRig(t, "[https, relay]", "pass_names: ['*.example.com'], key: ''")
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); !bytes.Equal(b, []byte{21, 3, 1, 0, 2, 2, 50}) && err == nil {
			t.Errorf("got %x, %v, want the alert decode_error", b, err)
		}
		r.wantReason("https.handshake.malformed")
	})
}

// TestPassPieces: a ClientHello that comes octet by octet, each in a record of its
// own, reaches the server in one of ours.
func TestPassPieces(t *testing.T) {
	r := newRig(t, "[https, relay]", "pass_names: [other.example.com], key: ''")
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pieces := &splitter{Conn: c}
	go tls.Client(pieces, &tls.Config{ServerName: "other.example.com"}).Handshake() // it is never answered
	server := r.accept()
	head := make([]byte, 9)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	if record, message := int(head[3])<<8|int(head[4]), int(head[7])<<8|int(head[8]); head[0] != 22 || record != message+4 {
		t.Errorf("the server got a record of %d octets for a message of %d: %x", record, message, head)
	}
}

// splitter writes each octet of a record in a record of its own.
type splitter struct{ net.Conn }

func (s *splitter) Write(b []byte) (int, error) {
	if len(b) < 6 {
		return 0, errors.New("no record")
	}
	for _, octet := range b[5:] {
		if _, err := s.Conn.Write(append(bytes.Clone(b[:3]), 0, 1, octet)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// TestPassSettings: the list holds names, and without a certificate it must hold one.
func TestPassSettings(t *testing.T) {
	r := newRig(t, "[https, relay]", "")
	for settings, want := range map[string]string{
		"pass_names: ['192.0.2.1'], key: ''":     "is no name of a host",
		"pass_names: ['*'], key: ''":             "is no name of a host",
		"pass_names: [PLC.example.com], key: ''": "in small letters",
		"pass_names: [], key: ''":                "certificate: it is missing",
		"pass_names: [plc.example.com], key: ''": "",
	} {
		_, problems := r.parse("[https, relay]", settings)
		text := ppf.DecodeError(problems).Error()
		if want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%s: got %q, want %q", settings, text, want)
		}
	}
}
