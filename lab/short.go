package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ShortResult is what many short connections came to.
type ShortResult struct {
	Connections int // that did all they should
	Failed      int
	Duration    time.Duration
	// Latency of a connection from SYN to the server's FIN.
	P50, P99, Max time.Duration
}

// ShortConnections makes n connections to a StartEcho server, at most concurrency
// at a time, each with a request of size bytes, its echo compared, and a close
// from both sides. The error joins those of the first failed connections; the
// others go on.
func (h *Host) ShortConnections(ctx context.Context, addr string, n, concurrency, size int) (ShortResult, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var kept []error
	var wg sync.WaitGroup
	result := ShortResult{}
	start := time.Now()
	for range min(concurrency, n) {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) || ctx.Err() != nil {
					return
				}
				began := time.Now()
				err := h.shortConnection(ctx, addr, uint64(i), size)
				d := time.Since(began)
				mu.Lock()
				if err == nil {
					took = append(took, d)
				} else {
					result.Failed++
					if len(kept) < maxKeptErrors {
						kept = append(kept, fmt.Errorf("connection %d of %d: %w", i, n, err))
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	result.Duration, result.Connections = time.Since(start), len(took)
	if len(took) > 0 {
		slices.Sort(took)
		result.P50, result.P99, result.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	if err := someErrors(kept, result.Failed); err != nil {
		return result, err
	}
	return result, context.Cause(ctx)
}

func (h *Host) shortConnection(ctx context.Context, addr string, seed uint64, size int) error {
	c, err := h.Dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer closeWith(ctx, c)()
	request, err := io.ReadAll(Data(seed, int64(size)))
	if err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(request, answer) {
		return fmt.Errorf("echo of %d bytes for %d: %w", len(answer), len(request), ErrCorrupt)
	}
	return nil
}

// closeWith makes blocked calls on c fail when ctx ends, until the returned
// function is called.
func closeWith(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}
