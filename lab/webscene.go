package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// WebPort is the server's port that requests go to.
const WebPort = 80

// webTrigger is a request that a web server's vulnerability reacts to, and its twin
// without the fault.
type webTrigger struct {
	name          string
	request, twin string
	fault         string // in what arrived
}

// webTriggers lists them.
func webTriggers() []webTrigger {
	request := func(line string, rest ...string) string {
		return line + " HTTP/1.1\r\nHost: device\r\n" + strings.Join(rest, "\r\n")
	}
	get, post := request("GET /", "\r\n"), request("POST /", "Content-Length: 2", "", "ab")
	many := "Range: bytes=0-9" + strings.Repeat(",5-9", 200)
	return []webTrigger{
		{name: "http-method", twin: get, request: request("EXPLODE /", "\r\n"), fault: "EXPLODE"},
		{name: "http-length-negative", twin: post, request: request("POST /", "Content-Length: -1", "", "ab"), fault: "Content-Length: -1"},
		{name: "http-length-beyond", twin: post, request: request("POST /", "Content-Length: 4294967295", "", "ab"), fault: "4294967295"},
		{name: "http-ranges", twin: request("GET /", "Range: bytes=0-9", "\r\n"), request: request("GET /", many, "\r\n"), fault: many},
		// The second request is one to who ends the extension of a chunk at LF alone.
		{name: "http-chunk-extension", twin: request("POST /", "Transfer-Encoding: chunked", "", "2", "ab", "0", "\r\n"),
			request: request("POST /", "Transfer-Encoding: chunked", "", "2;\nxx", "ab", "0", "", "GET /hidden HTTP/1.1", "Host: device", "\r\n"), fault: ";\nxx"},
	}
}

// webServer answers every request, whatever it is, and keeps what it got.
type webServer struct {
	*StreamServer
	mu    sync.Mutex
	heard bytes.Buffer
}

// startWeb starts one on the host. The caller calls Close.
func (h *Host) startWeb(ctx context.Context) (w *webServer, err error) {
	w = &webServer{}
	w.StreamServer, err = h.startStream(ctx, fmt.Sprintf("[::]:%d", WebPort), w.serve)
	return w, err
}

// serve answers when a head has ended, and listens until the client has.
func (w *webServer) serve(c net.Conn) error {
	var got []byte
	buf := make([]byte, 4<<10)
	for answered := false; ; {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		w.mu.Lock()
		w.heard.Write(buf[:n])
		w.mu.Unlock()
		if !answered && bytes.Contains(got, []byte("\r\n\r\n")) {
			answered = true
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); err != nil {
				return nil // who has gone has been heard
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return err
		}
	}
}

// take gives what was heard since it was last asked.
func (w *webServer) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.heard.Reset()
	return w.heard.String()
}

// runWebScene sends requests through what stands in front of a web server.
func runWebScene(ctx context.Context, s scene, options *SelftestOptions) (results map[string]outcome, err error) {
	l, err := Up(ctx, Options{Anonymous: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	server, err := l.Server.startWeb(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	switch s {
	case sceneConntrack:
		err = Firewall(l.Proxy, CTInvalidDrop)
	case sceneRelay:
		var relay *Relay
		if relay, err = l.Proxy.StartRelay(ctx, WebPort); err == nil {
			defer func() { err = errors.Join(err, relay.Close()) }()
		}
	case sceneProxy:
		var p *Proxy
		if p, err = options.startProxy(ctx, l, options.Web); err == nil {
			defer func() { err = errors.Join(err, p.Stop()) }()
		}
	}
	if err != nil {
		return nil, err
	}
	results = map[string]outcome{}
	for _, t := range webTriggers() {
		if results[t.name], err = server.play(ctx, l, t); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return results, nil
}

// play sends a request and its twin, each over a connection of its own.
func (w *webServer) play(ctx context.Context, l *Lab, t webTrigger) (o outcome, err error) {
	got, err := w.ask(ctx, l, t.request)
	if err != nil {
		return o, err
	}
	o.trigger = judgeRequest(got, t.fault)
	got, err = w.ask(ctx, l, t.twin)
	o.twin = judgeRequest(got, t.fault) == Rebuilt
	return o, err
}

// judgeRequest says what became of one.
func judgeRequest(got, fault string) Outcome {
	switch {
	case got == "":
		return Stopped
	case strings.Contains(got, fault):
		return Arrived
	}
	return Rebuilt
}

// ask lets the client send a request, and says what the server has got of it when
// the connection has ended.
func (w *webServer) ask(ctx context.Context, l *Lab, request string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := l.Client.Dial(ctx, "tcp4", netip.AddrPortFrom(l.Server.IPv4, WebPort).String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	// Who refuses may close before all is sent.
	if _, err := io.WriteString(c, request); err == nil {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, unix.ECONNRESET) {
		return "", err
	}
	return w.take(), nil
}
