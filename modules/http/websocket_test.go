package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const upgradeRequest = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

const upgradeResponse = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// newChat is a rig whose origin switches to frames: it sends those given, and
// then keeps what it gets.
func newChat(t *testing.T, mode ppf.Mode, frames string, change func(*Config)) (r *rig, got chan string) {
	r = newRig(t, mode, func(c *Config) {
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
	r, got := newChat(t, ppf.Repair, "\x81\x05hello\x89\x00", nil)
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
	if want, text := "1:wo … a: 0:rld 8:\x03\xe8 ", describeFrames(t, <-got); text != want {
		t.Errorf("the origin got %q, want %q", text, want)
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
		{"text that is not UTF-8", maskedFrame(0x81, "a\xff"), false, "http.websocket.text"},
		{"text of the server that is not UTF-8", "\x81\x02\xc3\x28", true, "http.websocket.text"},
		{"text with a character cut at the end", maskedFrame(0x01, "\xe2\x82") + maskedFrame(0x80, ""), false, "http.websocket.text"},
		{"text with a surrogate in two frames", maskedFrame(0x01, "\xed") + maskedFrame(0x80, "\xa0\x80"), false, "http.websocket.text"},
		{"close with half a code", maskedFrame(0x88, "\x03"), false, "http.websocket.close"},
		{"close with code 1005", maskedFrame(0x88, "\x03\xed"), false, "http.websocket.close"},
		{"close with code 999", "\x88\x02\x03\xe7", true, "http.websocket.close"},
		{"close with code 5000", "\x88\x02\x13\x88", true, "http.websocket.close"},
		{"close with a text that is not UTF-8", maskedFrame(0x88, "\x03\xe8\xff"), false, "http.websocket.close"},
		{"length of 64 bits", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", true, "http.websocket.too-long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := ""
			if tt.fromServer {
				frames = tt.frame
			}
			r, got := newChat(t, ppf.Repair, frames, small)
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

// TestWebSocketText: characters may be cut anywhere, between frames and segments, and
// what is not text may be anything; monitor lets text pass that is none.
func TestWebSocketText(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode ppf.Mode
		sent string
		want string
	}{
		{"cut between frames", ppf.Repair, maskedFrame(0x01, "\xf0\x9f") + maskedFrame(0x89, "\xff") + maskedFrame(0x00, "\x98") + maskedFrame(0x80, "\x80.\xc3\xa9"), "1:\xf0\x9f … 9:\xff 0:\x98 … 0:\x80.\xc3\xa9 "},
		{"binary", ppf.Repair, maskedFrame(0x82, "\xff\xfe"), "2:\xff\xfe "},
		{"empty", ppf.Repair, maskedFrame(0x81, ""), "1: "},
		{"monitor", ppf.Monitor, maskedFrame(0x81, "a\xff"), "1:a\xff "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, got := newChat(t, tt.mode, "", nil)
			c := r.dial(t)
			c.write(upgradeRequest)
			if status, _ := c.response("GET"); status != 101 {
				t.Fatalf("got status %d", status)
			}
			c.conn.(*net.TCPConn).SetNoDelay(true)
			for _, octet := range []byte(tt.sent) {
				c.write(string([]byte{octet}))
			}
			c.conn.(*net.TCPConn).CloseWrite()
			if text := describeFrames(t, <-got); text != tt.want {
				t.Errorf("the origin got %q, want %q", text, tt.want)
			}
			if tt.mode == ppf.Monitor && r.count("http.websocket.text") != 1 {
				t.Errorf("got reasons %v", r.reasons)
			}
		})
	}
}

// describeFrames lists what the origin got as opcode and payload.
func describeFrames(t *testing.T, frames string) string {
	t.Helper()
	var text strings.Builder
	d := frameDecoder{masked: true, limit: 100}
	for b := []byte(frames); len(b) > 0; {
		f, n, reason := d.head(b)
		if reason != packet.ReasonNone || n == 0 {
			t.Fatalf("the origin got %x: %v", frames, reason)
		}
		if f.mask != [4]byte{5, 6, 7, 8} {
			t.Errorf("a frame has the mask %x, want one of ours", f.mask)
		}
		data := b[n : n+int(f.length)]
		applyMask(data, f.mask, 0)
		if fmt.Fprintf(&text, "%x:%s ", f.opcode, data); !f.fin {
			text.WriteString("… ")
		}
		b = b[n+int(f.length):]
	}
	return text.String()
}

// TestWebSocketLeaves: a websocket that drains, or whose ends are silent, ends with a
// close frame to both, at the boundary of a frame, and not with a cut.
func TestWebSocketLeaves(t *testing.T) {
	const goingAway = "\x88\x02\x03\xe9"
	for _, tt := range []struct {
		name, before, late string // of the client, before and after it is to end
		origin             string // what it gets
	}{
		{"idle", "", "", "8:\x03\xe9 "},
		{"in a message", maskedFrame(0x01, "a"), "", "1:a … 8:\x03\xe9 "},
		{"in a frame", maskedFrame(0x81, "hello")[:8], maskedFrame(0x81, "hello")[8:], "1:hello 8:\x03\xe9 "},
		{"after the client's close", maskedFrame(0x88, "\x03\xe8"), "", "8:\x03\xe8 "},
		{"silent", "", "", "8:\x03\xe9 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newChat(t, ppf.Repair, "", func(c *Config) {
				if tt.name == "silent" {
					c.WebSocketIdle = time.Millisecond
				}
			})
			begun, closed, got := make(chan struct{}), make(chan struct{}), make(chan string, 1)
			r.script = func(conn net.Conn) {
				io.WriteString(conn, upgradeResponse)
				var all []byte
				tell := sync.OnceFunc(func() { close(begun) })
				answer := sync.OnceFunc(func() {
					io.WriteString(conn, goingAway)
					close(closed)
				})
				for {
					if len(all) >= len(tt.before) {
						tell()
					}
					if n := len(all) - len(maskedFrame(0x88, "..")); n >= 0 && all[n] == 0x88 {
						answer()
					}
					buf := make([]byte, 100)
					n, err := conn.Read(buf)
					if all = append(all, buf[:n]...); err != nil {
						got <- string(all)
						return
					}
				}
			}
			c := r.dial(t)
			c.write(upgradeRequest)
			if status, _ := c.response("GET"); status != 101 {
				t.Fatalf("got status %d", status)
			}
			c.write(tt.before)
			<-begun
			if tt.name != "silent" {
				r.drain()
			}
			c.write(tt.late)
			<-closed
			if tt.before != maskedFrame(0x88, "\x03\xe8") { // who sends behind its own is refused
				io.WriteString(c.conn, maskedFrame(0x81, "behind the end")+maskedFrame(0x88, "\x03\xe9"))
			}
			if b, err := io.ReadAll(c.r); err != nil || string(b) != goingAway {
				t.Errorf("the client got %q, %v, want %q and the end", b, err, goingAway)
			}
			if text := describeFrames(t, <-got); text != tt.origin {
				t.Errorf("the origin got %q, want %q", text, tt.origin)
			}
			r.close()
			if len(r.reasons) > 0 || r.opened != 1 { // what is behind the end is no request
				t.Errorf("reasons %v, want none; %d connections to the origin", r.reasons, r.opened)
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
	for i, answer := range []string{strings.Replace(upgradeResponse, "Sec-WebSocket-Accept", "X-Other", 1), strings.Replace(upgradeResponse, "s3pPL", "s3pPm", 1)} {
		r.answers(answer, 0)
		if got := statusOf(r.send(upgradeRequest, 0)); got != 502 || r.count("http.response.unasked-101") != i+1 {
			t.Errorf("a 101 without its key, or with another: got %d, reasons %v", got, r.reasons)
		}
	}
}
