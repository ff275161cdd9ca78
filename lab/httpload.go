package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// BigPage is the length of the body that StartPages serves at /big.
const BigPage = 1 << 20

// StartPages starts a web server that does as little as it can: each request gets
// the same small page, and /big a large one. It reads requests without a body.
func (h *Host) StartPages(ctx context.Context, addr string) (*StreamServer, error) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "
	small := []byte(head + "13\r\n\r\nhello, world\n")
	big := append([]byte(head+strconv.Itoa(BigPage)+"\r\n\r\n"), bytes.Repeat([]byte("x"), BigPage)...)
	return h.startStream(ctx, addr, func(c net.Conn) error {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return nil // the proxy closes when it likes
			}
			page := small
			if bytes.HasPrefix(line, []byte("GET /big ")) {
				page = big
			}
			last := false
			for len(bytes.TrimSpace(line)) > 0 {
				last = last || bytes.Equal(line, []byte("Connection: close\r\n"))
				if line, err = r.ReadSlice('\n'); err != nil {
					return nil
				}
			}
			if _, err := c.Write(page); err != nil || last {
				return nil
			}
		}
	})
}

// HTTPLoad is a load of GET requests.
type HTTPLoad struct {
	Path        string
	Connections int
	Duration    time.Duration
	Fresh       bool // each request on a connection of its own
	// TLS is what the client speaks TLS by; nil: none. Connections resume sessions
	// where it has a cache of them.
	TLS *tls.Config
}

// HTTPResult is what a load came to.
type HTTPResult struct {
	Requests int
	Octets   int64 // of bodies
	Resumed  int   // TLS sessions
	Duration time.Duration
	P50, P99 time.Duration
}

// LoadHTTP sends requests to a web server, each connection the next one when the
// answer is there, and at least one. An answer that is not 200 or is incomplete is an error.
func (h *Host) LoadHTTP(ctx context.Context, addr string, o HTTPLoad) (HTTPResult, error) {
	var mu sync.Mutex
	var errs []error
	var took []time.Duration
	result := HTTPResult{}
	start := time.Now()
	end := start.Add(o.Duration)
	var wg sync.WaitGroup
	for range o.Connections {
		wg.Go(func() {
			mine, part, err := h.loadOne(ctx, addr, o, end)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			result.Octets += part.Octets
			result.Resumed += part.Resumed
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	result.Duration, result.Requests = time.Since(start), len(took)
	if len(took) > 0 {
		slices.Sort(took)
		result.P50, result.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	if err := someErrors(errs[:min(len(errs), maxKeptErrors)], len(errs)); err != nil {
		return result, err
	}
	return result, context.Cause(ctx)
}

// loadOne is the part of one connection, or of one after another.
func (h *Host) loadOne(ctx context.Context, addr string, o HTTPLoad, end time.Time) (took []time.Duration, r HTTPResult, err error) {
	request := []byte("GET " + o.Path + " HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: promethos-lab\r\nAccept: */*\r\n\r\n")
	if o.Fresh {
		request = bytes.Replace(request, []byte("Accept:"), []byte("Connection: close\r\nAccept:"), 1)
	}
	var c net.Conn
	var in *bufio.Reader
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for began := time.Now(); ctx.Err() == nil && (len(took) == 0 || began.Before(end)); began = time.Now() {
		if c == nil {
			if c, err = h.Dial(ctx, "tcp", addr); err != nil {
				return took, r, err
			}
			if o.TLS != nil {
				c = tls.Client(c, o.TLS) // the handshake comes with the first request
			}
			in = bufio.NewReaderSize(c, 64<<10)
			if err = c.SetDeadline(end.Add(loadPatience)); err != nil {
				return took, r, err
			}
		}
		if _, err = c.Write(request); err != nil {
			return took, r, err
		}
		n, err := readAnswer(in)
		if err != nil {
			return took, r, err
		}
		took = append(took, time.Since(began))
		r.Octets += n
		if o.Fresh {
			if t, ok := c.(*tls.Conn); ok && t.ConnectionState().DidResume {
				r.Resumed++
			}
			c.Close()
			c = nil
		}
	}
	return took, r, nil
}

// loadPatience is how long the last answer may take.
const loadPatience = 10 * time.Second

// readAnswer reads a response with Content-Length and counts its body.
func readAnswer(r *bufio.Reader) (int64, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("the answer is %q", line)
	}
	length := int64(-1)
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("the answer has no Content-Length")
	}
	n, err := io.CopyN(io.Discard, r, length)
	return n, err
}
