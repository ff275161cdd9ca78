package e2e

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// endlessBytes is more than any test transfers.
const endlessBytes = 1 << 50

// endless starts a server on a host that sends lab.Data to whoever connects, until
// the client closes. It gives the port.
func endless(t *testing.T, h *lab.Host) uint16 {
	t.Helper()
	listener := must(h.Listen(t.Context(), "tcp", "[::]:0"))(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for seed := uint64(1); ; seed++ {
			c, err := listener.Accept()
			if err != nil {
				return // the test closed it
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, lab.Data(seed, endlessBytes)) // it ends when the client does
			}()
		}
	}()
	t.Cleanup(func() {
		check(t, listener.Close())
		<-ended
	})
	return port(t, listener.Addr().String())
}

// transfer is a connection to an endless server while a test does something else.
type transfer struct {
	got  atomic.Int64 // bytes that came as they were sent
	stop atomic.Bool
	done chan error
}

// download starts a transfer; connections says how many the server had before.
func download(t *testing.T, client *lab.Host, addr string, connections int) *transfer {
	t.Helper()
	c := must(client.Dial(within(t, patience), "tcp", addr))(t)
	x := &transfer{done: make(chan error, 1)}
	go func() {
		defer c.Close()
		want := lab.Data(uint64(connections)+1, endlessBytes)
		got, expected := make([]byte, 1<<16), make([]byte, 1<<16)
		for !x.stop.Load() {
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				x.done <- err
				return
			}
			n, err := c.Read(got)
			if err != nil {
				x.done <- fmt.Errorf("after %d bytes: %w", x.got.Load(), err)
				return
			}
			if _, err := io.ReadFull(want, expected[:n]); err != nil || !bytes.Equal(got[:n], expected[:n]) {
				x.done <- fmt.Errorf("bytes %d to %d came changed", x.got.Load(), x.got.Load()+int64(n))
				return
			}
			x.got.Add(int64(n))
		}
		x.done <- nil
	}()
	return x
}

// flowing waits until some megabytes more have come as they were sent.
func (x *transfer) flowing(t *testing.T) {
	t.Helper()
	enough := x.got.Load() + 5_000_000
	eventually(t, "the transfer flows", func() (bool, string) {
		select {
		case err := <-x.done:
			t.Fatalf("the transfer ended: %v", err)
		default:
		}
		return x.got.Load() > enough, fmt.Sprintf("%d of %d bytes", x.got.Load(), enough)
	})
}

// finish lets some more come, and ends the transfer.
func (x *transfer) finish(t *testing.T) {
	t.Helper()
	x.flowing(t)
	x.stop.Store(true)
	if err := <-x.done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", x.got.Load())
}
