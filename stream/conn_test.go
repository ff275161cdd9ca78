package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
)

// pair gives both ends of a connection, the first one wrapped.
func pair(t testing.TB) (*conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	c, err := wrap(ppf.DryEnv(), near)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*conn), far.(*net.TCPConn)
}

// TestConn: what is written arrives, also where the kernel takes it in parts, and
// the end is one.
func TestConn(t *testing.T) {
	c, far := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	var got []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		if got, err = io.ReadAll(far); err != nil {
			t.Error(err)
		}
		if _, err = far.Write(got); err != nil {
			t.Error(err)
		}
		far.Close()
	})
	if n, err := c.Write(sent); n != len(sent) || err != nil {
		t.Fatalf("Write: got %d, %v, want %d", n, err, len(sent))
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(struct{ io.Reader }{c})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !bytes.Equal(got, sent) || !bytes.Equal(back, sent) {
		t.Errorf("%d octets arrived and %d came back, of %d", len(got), len(back), len(sent))
	}
}

// TestConnDeadline: deadlines and the end of the other side are the errors that
// net gives.
func TestConnDeadline(t *testing.T) {
	c, far := pair(t)
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: got %v, want a deadline", err)
	}
	if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: got %v, want a deadline", err)
	}
	if idle, _, _, err := c.Ask(b, b); idle || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Ask: got %v, %v, want a deadline", idle, err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := c.Read(b); err != io.EOF {
		t.Errorf("Read at the end: got %v, want EOF", err)
	}
	c.Close()
	if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read of a closed one: got %v, want net.ErrClosed", err)
	}
}

// stray is a world in which the clock on the wall was set since the program began.
type stray struct {
	ppf.Env
	set time.Duration
}

func (s stray) Now() int64                      { return time.Now().Add(-s.set).UnixNano() }
func (stray) Wall() int64                       { return time.Now().UnixNano() }
func (s stray) Moment(now int64) time.Time      { return time.Unix(0, now).Add(s.set) }
func (s stray) later(d time.Duration) time.Time { return time.Unix(0, s.Now()).Add(d) }

// TestConnClock: a deadline is as far away as it was said to be, whatever the clock
// on the wall was set to since.
func TestConnClock(t *testing.T) {
	for _, set := range []time.Duration{1000 * time.Hour, -1000 * time.Hour} {
		c, far := pair(t)
		env := stray{ppf.DryEnv(), set}
		c.env = env
		b := []byte("x")
		for _, deadline := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline} {
			if err := deadline(env.later(time.Minute)); err != nil {
				t.Fatal(err)
			}
			answered := make(chan error)
			go func() { _, err := c.Read(b); answered <- err }()
			if _, err := far.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := <-answered; err != nil {
				t.Errorf("the clock was set by %v, a minute before the deadline: %v", set, err)
			}
			if err := deadline(env.later(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the clock was set by %v, at the deadline: %v", set, err)
			}
		}
		if err := c.SetWriteDeadline(env.later(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Errorf("the clock was set by %v, a minute before the deadline: %v", set, err)
		}
		if err := c.SetWriteDeadline(env.later(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the clock was set by %v, at the deadline: %v", set, err)
		}
	}
}

// TestAsk: a request is written only where nothing is there to be read.
func TestAsk(t *testing.T) {
	request, answer := []byte("question"), make([]byte, 100)
	t.Run("idle", func(t *testing.T) {
		c, far := pair(t)
		go func() {
			b := make([]byte, len(request))
			if _, err := io.ReadFull(far, b); err == nil {
				far.Write(bytes.ToUpper(b))
			}
		}()
		idle, sent, n, err := c.Ask(request, answer)
		if !idle || sent != len(request) || err != nil || string(answer[:n]) != "QUESTION" {
			t.Errorf("got %v, %d, %q, %v", idle, sent, answer[:n], err)
		}
	})
	for _, tt := range []struct {
		name string
		act  func(*net.TCPConn)
	}{
		{"octets nobody asked for", func(far *net.TCPConn) { far.Write([]byte("x")) }},
		{"ended", func(far *net.TCPConn) { far.CloseWrite() }},
		{"reset", func(far *net.TCPConn) { far.SetLinger(0); far.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, far := pair(t)
			tt.act(far)
			if err := c.raw.Read(func(fd uintptr) bool { return c.in.recv(fd, syscall.MSG_PEEK) }); err != nil { // until it is here
				t.Fatal(err)
			}
			idle, sent, n, _ := c.Ask(request, answer)
			if idle || sent != 0 || n != 0 {
				t.Errorf("got %v, %d, %d, want nothing to be sent", idle, sent, n)
			}
		})
	}
	t.Run("more than the kernel takes", func(t *testing.T) {
		c, far := pair(t)
		long := bytes.Repeat([]byte("x"), 16<<20)
		idle, sent, n, err := c.Ask(long, answer)
		if !idle || sent == 0 || sent >= len(long) || n != 0 || err != nil {
			t.Fatalf("got %v, %d, %d, %v, want a part to be sent", idle, sent, n, err)
		}
		go c.Write(long[sent:])
		if n, err := io.CopyN(io.Discard, far, int64(len(long))); err != nil {
			t.Errorf("%d octets arrived of %d: %v", n, len(long), err)
		}
	})
}

// echo answers each octet with itself.
func echo(far net.Conn) {
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(far, b); err != nil {
			return
		}
		if _, err := far.Write(b); err != nil {
			return
		}
	}
}

// TestConnAllocs: reads and writes allocate nothing.
func TestConnAllocs(t *testing.T) {
	c, far := pair(t)
	var wg sync.WaitGroup
	wg.Go(func() { echo(far) })
	b := make([]byte, 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		if idle, _, _, err := c.Ask(b, b); !idle || err != nil {
			t.Fatal(idle, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	c.Close()
	wg.Wait()
}

// BenchmarkAsk is one octet there and back.
func BenchmarkAsk(b *testing.B) {
	c, far := pair(b)
	go echo(far)
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		if idle, _, _, err := c.Ask(buf, buf); !idle || err != nil {
			b.Fatal(idle, err)
		}
	}
}

// TestAwait: who waits is told before, and not where something is there already.
func TestAwait(t *testing.T) {
	await := func(t *testing.T, c *conn) (rested int, err error) {
		t.Helper()
		err = c.Await(func() { rested++ })
		return rested, err
	}
	t.Run("idle", func(t *testing.T) {
		c, far := pair(t)
		err := c.Await(func() { far.Write([]byte("x")) })
		b := make([]byte, 2)
		if n, readErr := c.Read(b); err != nil || readErr != nil || string(b[:n]) != "x" {
			t.Errorf("got %v, then %q, %v", err, b[:n], readErr)
		}
	})
	t.Run("octets", func(t *testing.T) {
		c, far := pair(t)
		far.Write([]byte("xy"))
		if _, err := c.Read(make([]byte, 1)); err != nil { // the other one is here too
			t.Fatal(err)
		}
		if rested, err := await(t, c); rested != 0 || err != nil {
			t.Errorf("rested %d times, %v", rested, err)
		}
	})
	t.Run("end", func(t *testing.T) {
		c, far := pair(t)
		err := c.Await(func() { far.CloseWrite() })
		if _, readErr := c.Read(make([]byte, 1)); err != nil || readErr != io.EOF {
			t.Errorf("got %v, then %v", err, readErr)
		}
		if rested, err := await(t, c); rested != 0 || err != nil {
			t.Errorf("at the end: rested %d times, %v", rested, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		c, far := pair(t)
		err := c.Await(func() {
			far.SetLinger(0)
			far.Close()
		})
		if _, readErr := c.Read(make([]byte, 1)); err != nil || !errors.Is(readErr, syscall.ECONNRESET) {
			t.Errorf("got %v, then %v", err, readErr)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		c, _ := pair(t)
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := await(t, c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a deadline", err)
		}
	})
}

// TestAwaitAllocs: waiting allocates nothing.
func TestAwaitAllocs(t *testing.T) {
	c, far := pair(t)
	b, one := make([]byte, 1), []byte("x")
	rest := func() { far.Write(one) }
	if got := testing.AllocsPerRun(100, func() {
		if c.Await(rest) != nil {
			t.Error("the wait failed")
		}
		if _, err := c.Read(b); err != nil {
			t.Error(err)
		}
	}); got > 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
