package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// StreamServer runs a handler for each connection of a listener.
type StreamServer struct {
	Addr string // "ADDRESS:PORT"

	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
	errs     []error
	failed   int
	closed   bool
}

// maxKeptErrors bounds the errors that a server or a client run keeps in full;
// the others are counted.
const maxKeptErrors = 10

// startStream starts a server on the host. handle need not close its connection.
func (h *Host) startStream(ctx context.Context, addr string, handle func(net.Conn) error) (*StreamServer, error) {
	l, err := h.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return serveStream(l, handle), nil
}

// serveStream starts a server on a listener.
func serveStream(l net.Listener, handle func(net.Conn) error) *StreamServer {
	s := &StreamServer{Addr: l.Addr().String(), listener: l, conns: map[net.Conn]bool{}}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				s.note(err)
				return
			}
			if !s.track(c) {
				c.Close()
				return
			}
			go func() {
				defer s.wg.Done()
				if err := handle(c); err != nil {
					s.note(fmt.Errorf("connection from %v: %w", c.RemoteAddr(), err))
				}
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			}()
		}
	}()
	return s
}

func (s *StreamServer) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = true
	s.wg.Add(1)
	return true
}

// note keeps an error; after Close they are its own doing.
func (s *StreamServer) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.failed++
	if len(s.errs) < maxKeptErrors {
		s.errs = append(s.errs, err)
	}
}

// Close ends the server and its connections and gives the errors met before.
func (s *StreamServer) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		s.listener.Close()
		for c := range s.conns {
			c.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return someErrors(s.errs, s.failed)
}

// someErrors joins errors of which only the first were kept.
func someErrors(kept []error, n int) error {
	if n > len(kept) {
		return errors.Join(append(kept, fmt.Errorf("and %d more", n-len(kept)))...)
	}
	return errors.Join(kept...)
}

// StartEcho starts a TCP server that returns what it gets until the client's
// FIN. The caller calls Close.
func (h *Host) StartEcho(ctx context.Context, addr string) (*StreamServer, error) {
	return h.startStream(ctx, addr, echoBack)
}

// echoBack returns what a connection brings until its end.
func echoBack(c net.Conn) error {
	// Not splice, whose pipe per connection costs more than a short echo.
	_, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 4<<10))
	return err
}
