package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const upgradeRequest = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

const upgradeResponse = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// newChat is a rig whose origin switches to frames: it sends those given, and
// then keeps what it gets.
func newChat(t *testing.T, frames string, change func(*Config)) (r *rig, got chan string) {
	r = newRig(t, ppf.Repair, func(c *Config) {
		c.WebSocket = true
		if change != nil {
			change(c)
		}
	})
	got = make(chan string, 1)
	r.script = func(conn net.Conn) {
		io.WriteString(conn, upgradeResponse+frames)
		b, _ := io.ReadAll(conn)
		got <- string(b)
	}
	return r, got
}

// maskedFrame is a client's frame with the mask 1 2 3 4.
func maskedFrame(first byte, data string) string {
	b := []byte(data)
	applyMask(b, [4]byte{1, 2, 3, 4}, 0)
	return string([]byte{first, 0x80 | byte(len(data)), 1, 2, 3, 4}) + string(b)
}

// TestWebSocket carries frames both ways; a client's is masked anew.
func TestWebSocket(t *testing.T) {
	r, got := newChat(t, "\x81\x05hello\x89\x00", nil)
	c := r.dial(t)
	sent := maskedFrame(0x01, "wo") + maskedFrame(0x8a, "") + maskedFrame(0x80, "rld") + maskedFrame(0x88, "\x03\xe8")
	c.write(upgradeRequest + sent[:5])
	res, err := nethttp.ReadResponse(c.r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") == "" || res.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("got %v, %v", res, err)
	}
	if strings.Contains(r.received(), "Sec-WebSocket-Extensions") {
		t.Errorf("the origin is offered extensions: %q", r.received())
	}
	c.write(sent[5:])
	frames := make([]byte, 9)
	if _, err := io.ReadFull(c.r, frames); err != nil || string(frames) != "\x81\x05hello\x89\x00" {
		t.Errorf("the client got frames %q, %v", frames, err)
	}
	c.conn.(*net.TCPConn).CloseWrite()
	rest := <-got
	var text strings.Builder
	d := frameDecoder{masked: true, limit: 100}
	for b := []byte(rest); len(b) > 0; {
		f, n, reason := d.head(b)
		if reason != packet.ReasonNone || n == 0 {
			t.Fatalf("the origin got %x: %v", rest, reason)
		}
		if f.mask != [4]byte{5, 6, 7, 8} {
			t.Errorf("a frame has the mask %x, want one of ours", f.mask)
		}
		data := b[n : n+int(f.length)]
		applyMask(data, f.mask, 0)
		fmt.Fprintf(&text, "%x:%v:%s ", f.opcode, f.fin, data)
		b = b[n+int(f.length):]
	}
	if want := "1:false:wo a:true: 0:true:rld 8:true:\x03\xe8 "; text.String() != want {
		t.Errorf("the origin got %q, want %q", text.String(), want)
	}
}

// TestWebSocketRefused: a frame that is none ends both connections with a reason.
func TestWebSocketRefused(t *testing.T) {
	small := func(c *Config) { c.MaxBody = 100 }
	for _, tt := range []struct {
		name, frame string
		fromServer  bool
		want        string
	}{
		{"not masked", "\x81\x02hi", false, "http.websocket.frame"},
		{"masked by the server", maskedFrame(0x81, "hi"), true, "http.websocket.frame"},
		{"reserved bit", maskedFrame(0xc1, "hi"), false, "http.websocket.frame"},
		{"unknown opcode", maskedFrame(0x83, "hi"), false, "http.websocket.frame"},
		{"unknown control", "\x8b\x00", true, "http.websocket.frame"},
		{"fragmented ping", maskedFrame(0x09, "hi"), false, "http.websocket.order"},
		{"continuation of nothing", maskedFrame(0x80, "hi"), false, "http.websocket.order"},
		{"text inside a message", maskedFrame(0x01, "a") + maskedFrame(0x81, "b"), false, "http.websocket.order"},
		{"after close", maskedFrame(0x88, "") + maskedFrame(0x81, "b"), false, "http.websocket.order"},
		{"long ping", "\x89\x7e\x00\x7e", true, "http.websocket.order"},
		{"not the shortest length", "\x81\x7e\x00\x05hello", true, "http.websocket.too-long"},
		{"over the limit", "\x82\x7e\x01\x00", true, "http.websocket.too-long"},
		{"length of 64 bits", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", true, "http.websocket.too-long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := ""
			if tt.fromServer {
				frames = tt.frame
			}
			r, got := newChat(t, frames, small)
			c := r.dial(t)
			c.write(upgradeRequest)
			if _, err := nethttp.ReadResponse(bufio.NewReader(io.LimitReader(c.r, int64(len(upgradeResponse)))), nil); err != nil {
				t.Fatal(err)
			}
			if !tt.fromServer {
				c.write(tt.frame)
			}
			io.ReadAll(c.r)
			<-got
			r.close()
			if r.count(tt.want) != 1 {
				t.Errorf("got reasons %v, want %s", r.reasons, tt.want)
			}
		})
	}
}

// TestWebSocketUnasked: without the server's consent nothing is switched.
func TestWebSocketUnasked(t *testing.T) {
	r := newRig(t, ppf.Repair, func(c *Config) { c.WebSocket = true })
	if got := statusOf(r.send(upgradeRequest, 0)); got != 200 {
		t.Errorf("a server that does not switch: got %d", got)
	}
	r.answers(strings.Replace(upgradeResponse, "Sec-WebSocket-Accept", "X-Other", 1), 0)
	if got := statusOf(r.send(upgradeRequest, 0)); got != 502 || r.count("http.response.unasked-101") != 1 {
		t.Errorf("a 101 without its key: got %d, reasons %v", got, r.reasons)
	}
}
