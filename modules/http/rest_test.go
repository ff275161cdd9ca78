package http

import (
	"context"
	"io"
	"net"
	"os"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// TestRest: a connection that is idle holds nothing that an exchange needs, and has it
// again afterwards; octets that were read and not used stay.
func TestRest(t *testing.T) {
	c := &connection{}
	c.in.conn = &tape{in: []byte("GET")}
	c.rise()
	c.out.b = append(c.out.b, make([]byte, 5000)...)
	c.held = append(c.held, make([]byte, 2*largeBuffer)...)
	c.req.fields = append(c.req.fields, Field{})
	if err := c.in.fill(1); err != nil {
		t.Fatal(err)
	}
	c.rest()
	if string(c.in.unread()) != "GET" {
		t.Errorf("unread: got %q", c.in.unread())
	}
	c.in.r = c.in.w
	c.rest()
	if c.in.buf != nil || c.up.buf != nil || c.out.b != nil || c.ahead.b != nil || c.held != nil || c.req.fields != nil || c.res.fields != nil || c.spare != nil {
		t.Errorf("it holds: %+v", c)
	}
	c.rise()
	if c.spare == nil || len(c.out.b) > 0 || len(c.req.fields) > 0 || cap(c.held) > largeBuffer {
		t.Errorf("it rises with %d octets, %d fields and room for a body of %d", len(c.out.b), len(c.req.fields), cap(c.held))
	}
	c.rest()
}

// sleeper is a client that sends requests in several parts, and can wait.
type sleeper struct {
	tape
	parts  []string
	awaits int
	reads  int
	err    error // of the last wait
}

func (s *sleeper) Await(rest func()) error {
	s.awaits++
	rest()
	if len(s.parts) == 0 {
		return s.err
	}
	return nil
}

func (s *sleeper) Read(b []byte) (int, error) {
	s.reads++
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}

// TestAwait: a connection waits once for each request that was not there yet, and not
// within one. Where a wait ends by its deadline, there is no other.
func TestAwait(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
	for _, tt := range []struct {
		err   error
		reads int
	}{{nil, 6}, {os.ErrDeadlineExceeded, 5}} {
		client := &sleeper{parts: []string{request + request, request[:20], request[20:], request + request[:10], request[10:]}, err: tt.err}
		p, err := newPolicy(DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, mode: ppf.Repair}
		var asked int
		serve(link{
			conn: client, env: liveEnv{}, do: r.do, report: func(string, ...any) {}, note: func(Defect, ppf.Do, *Request) {},
			dial: func(context.Context) (net.Conn, error) {
				return &counting{canned{response: []byte(plainResponse)}, &asked}, nil
			},
		}, p, &budget{limit: 1 << 20})
		if asked != 5 || client.awaits != 4 || client.reads != tt.reads {
			t.Errorf("at the end %v: %d requests, %d waits and %d reads, want 5, 4 and %d: waits for the first request, the third, the fourth, and what comes after the last",
				tt.err, asked, client.awaits, client.reads, tt.reads)
		}
	}
}

// counting is a server that counts requests.
type counting struct {
	canned
	asked *int
}

func (c *counting) Write(b []byte) (int, error) {
	*c.asked++
	return c.canned.Write(b)
}
