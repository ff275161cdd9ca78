package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(lab.RunTests(builder{m})) }

// builder builds the program before the tests run.
type builder struct{ m *testing.M }

func (b builder) Run() int {
	dir, err := os.MkdirTemp("", "promethos-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "promethos")
	args := append([]string{"build", "-o", program}, buildFlags...)
	build := exec.Command("go", append(args, "../cmd/promethos")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}
	return b.m.Run()
}

// patience bounds what a test waits for; nothing that works takes so long, on
// however busy a machine.
const patience = 2 * time.Minute

// refusedWithin is how long a connection that cannot come about is tried.
const refusedWithin = time.Second

// within is a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// need skips a test whose program is not installed.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: %v", tool, err)
	}
}

// up gives a test a lab of its own.
func up(t *testing.T, options lab.Options) *lab.Lab {
	t.Helper()
	lab.Require(t)
	options.Anonymous = true
	l, err := lab.Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, l.Down()) })
	return l
}

// check fails the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// must ends the test on an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// family is one of the two address families.
type family struct {
	name    string
	network string // for lab.Host.Addr
}

var families = []family{{"ipv4", "tcp4"}, {"ipv6", "tcp6"}}

// port takes the port out of an address.
func port(t *testing.T, addr string) uint16 {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// hostPort writes an address of a host.
func hostPort(h *lab.Host, network string, port uint16) string {
	return net.JoinHostPort(h.Addr(network).String(), strconv.Itoa(int(port)))
}

// web starts a web server on a host, reachable by both families.
func web(t *testing.T, h *lab.Host) *lab.HTTPServer {
	t.Helper()
	s := must(h.StartHTTP(t.Context(), "[::]:0"))(t)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// at is the server seen at another address.
func at(addr string) *lab.HTTPServer {
	return &lab.HTTPServer{Addr: addr}
}

// eventually waits until ok; what goes wrong last is the failure's text.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		done, last := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %s", what, patience, last)
		}
	}
}

// difference gives the offset of the first byte in which two readers differ, or
// -1.
func difference(a, b io.Reader) (int64, error) {
	x, y := bufio.NewReader(a), bufio.NewReader(b)
	for n := int64(0); ; n++ {
		c, err1 := x.ReadByte()
		d, err2 := y.ReadByte()
		switch {
		case err1 == io.EOF && err2 == io.EOF:
			return -1, nil
		case err1 == io.EOF || err2 == io.EOF || err1 == nil && err2 == nil && c != d:
			return n, nil
		case err1 != nil || err2 != nil:
			return n, errors.Join(err1, err2)
		}
	}
}
