package https

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// client gives the first flight of a client of crypto/tls, in its record.
func client(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		tls.Client(near, cfg).Handshake() // it fails: nobody answers
		near.Close()
	}()
	head := make([]byte, recordHead)
	if _, err := io.ReadFull(far, head); err != nil {
		t.Fatal(err)
	}
	record := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(far, record); err != nil {
		t.Fatal(err)
	}
	return append(head, record...)
}

// read puts a ClientHello together from octets that are all there.
func read(b []byte) (h hello, rest []byte, ok bool) {
	var records helloReader
	for {
		taken, done, ok := records.next(b)
		if !ok || taken == 0 {
			return h, b, false
		}
		if b = b[taken:]; done {
			h, ok = parseHello(records.message)
			return h, b, ok
		}
	}
}

// TestHello: what clients send is read, in records of any length, and written in
// ours as the same message; nothing shorter is one.
func TestHello(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  *tls.Config
		want string
	}{
		{"a name", &tls.Config{ServerName: "plc.example.com"}, "plc.example.com"},
		{"in capitals", &tls.Config{ServerName: "PLC.Example.com"}, "plc.example.com"},
		{"TLS 1.2", &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, "a.example"},
		{"no name", &tls.Config{InsecureSkipVerify: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flight := client(t, tt.cfg)
			message := flight[recordHead:]
			for _, size := range []int{1, 3, 100, len(message)} {
				var b []byte
				for m := message; len(m) > 0; m = m[min(size, len(m)):] {
					n := min(size, len(m))
					b = append(append(b, recordHandshake, 3, 3, byte(n>>8), byte(n)), m[:n]...)
				}
				h, rest, ok := read(append(b, "early data"...))
				if !ok || h.name != tt.want || string(rest) != "early data" || !bytes.Equal(h.message, message) {
					t.Fatalf("records of %d: got %q, rest %q, %v", size, h.name, rest, ok)
				}
				if again, _, ok := read(appendRecords(nil, h.message)); !ok || !bytes.Equal(again.message, message) {
					t.Fatalf("records of ours do not hold the same message")
				}
			}
			for n := range message {
				if _, ok := parseHello(message[:n]); ok {
					t.Fatalf("%d octets of %d are a ClientHello", n, len(message))
				}
			}
		})
	}
}

// extension is one of a ClientHello.
func extension(kind int, value ...byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind), byte(len(value) >> 8), byte(len(value))}, value...)
}

// serverName is the extension for a name.
func serverName(name string) []byte {
	n := len(name)
	return extension(extensionName, append([]byte{byte((n + 3) >> 8), byte(n + 3), nameHost, byte(n >> 8), byte(n)}, name...)...)
}

// handshake is a ClientHello with these extensions.
func handshake(extensions ...[]byte) []byte {
	all := bytes.Join(extensions, nil)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0, byte(len(all)>>8), byte(len(all)))
	body = append(body, all...)
	return append([]byte{typeClientHello, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// TestHelloMalformed: what does not fit is refused.
func TestHelloMalformed(t *testing.T) {
	good := handshake(serverName("a.example"), extension(extensionVersions, 2, 3, 4), extension(extensionPSK, 0))
	if h, ok := parseHello(good); !ok || h.name != "a.example" {
		t.Fatalf("got %q, %v", h.name, ok)
	}
	change := func(at int, b byte) []byte {
		m := bytes.Clone(good)
		m[at] = b
		return m
	}
	for _, tt := range []struct {
		name    string
		message []byte
	}{
		{"not a ClientHello", change(0, 2)},
		{"longer than it says", append(bytes.Clone(good), 0)},
		{"version of no TLS", change(4, 2)},
		{"session too long", change(38, 33)},
		{"odd length of suites", change(40, 1)},
		{"no suites", change(40, 0)},
		{"compression without null", change(44, 1)},
		{"extensions longer than the message", change(46, 255)},
		{"a name twice", handshake(serverName("a.example"), serverName("b.example"))},
		{"an extension twice", handshake(extension(23), extension(23))},
		{"pre_shared_key is not the last one", handshake(extension(extensionPSK, 0), serverName("a.example"))},
		{"an empty name", handshake(serverName(""))},
		{"a name with NUL", handshake(serverName("a.example\x00.org"))},
		{"an address", handshake(serverName("192.0.2.1"))},
		{"a final dot", handshake(serverName("a.example."))},
		{"a list of two names", handshake(extension(extensionName, 0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'))},
		{"a name of another type", handshake(extension(extensionName, 0, 4, 1, 0, 1, 'a'))},
		{"a list longer than its extension", handshake(extension(extensionName, 0, 9, 0, 0, 1, 'a'))},
		{"octets behind the list", handshake(extension(extensionName, 0, 4, 0, 0, 1, 'a', 0))},
		{"odd versions", handshake(extension(extensionVersions, 3, 3, 4, 3))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if h, ok := parseHello(tt.message); ok {
				t.Errorf("it was read, with name %q", h.name)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		record []byte
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n")},
		{"SSL 2", []byte{0x80, 0x2e, 1, 3, 1}},
		{"an empty record", []byte{recordHandshake, 3, 1, 0, 0}},
		{"a record too long", []byte{recordHandshake, 3, 1, 0x40, 1}},
		{"another message", []byte{recordHandshake, 3, 1, 0, 1, 2}},
		{"octets behind the message", append([]byte{recordHandshake, 3, 1, 0, byte(len(good) + 1)}, append(bytes.Clone(good), 0)...)},
		{"a message too long", []byte{recordHandshake, 3, 1, 0, 4, 1, 1, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, ok := new(helloReader).next(tt.record); ok {
				t.Error("it was taken")
			}
		})
	}
}

// tape is a connection from which a client's octets are read.
type tape struct {
	net.Conn
	io.Reader
}

func (t tape) Read(b []byte) (int, error)     { return t.Reader.Read(b) }
func (tape) Write(b []byte) (int, error)      { return len(b), nil }
func (tape) SetWriteDeadline(time.Time) error { return nil }
func (tape) Close() error                     { return nil }

// FuzzHello: what ours reads is what crypto/tls reads, with the same name; and it
// is written as it was.
func FuzzHello(f *testing.F) {
	f.Add(client(f, &tls.Config{ServerName: "plc.example.com"})[recordHead:])
	f.Add(client(f, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12})[recordHead:])
	f.Add(handshake(serverName("a.example"), extension(extensionVersions, 2, 3, 4)))
	stop := errors.New("seen")
	f.Fuzz(func(t *testing.T, message []byte) {
		h, ok := parseHello(message)
		if !ok {
			return
		}
		records := appendRecords(nil, message)
		if again, rest, ok := read(records); !ok || len(rest) > 0 || !bytes.Equal(again.message, message) {
			t.Fatalf("%x: our records hold %x", message, again.message)
		}
		tls.Server(tape{Reader: bytes.NewReader(records)}, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			if name := info.ServerName; !bytes.EqualFold([]byte(name), []byte(h.name)) {
				t.Errorf("%x: got name %q, crypto/tls %q", message, h.name, name)
			}
			return nil, stop
		}}).Handshake() // it fails: nothing comes behind it
	})
}
