package http

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

// sink is a server that notes each write, and answers at the end of a body.
type sink struct {
	tape
	writes [][]byte
	end    string
	whole  chan struct{}
}

func (s *sink) Write(b []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(b))
	if bytes.HasSuffix(b, []byte(s.end)) {
		close(s.whole)
	}
	return len(b), nil
}

func (s *sink) Read(b []byte) (int, error) {
	if s.in == nil {
		<-s.whole
		s.in = []byte(okAnswer)
	}
	return s.tape.Read(b)
}

// TestUploadChunks: what is read at once of a body that is not held is sent in one
// chunk, whatever the client's chunks are and where buffers end in them.
func TestUploadChunks(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("0123456789abcdef", size/16) + "end"
	for _, tt := range []struct {
		name  string
		chunk int // of the client's, 0: a body with a length
		piece int // that is read at once, 0: as much as there is room for
		most  int // writes
	}{
		{"small chunks", 16, 0, 64},
		{"chunks of a buffer", largeBuffer, 0, 40},
		{"one chunk", size + 3, 0, 40},
		{"small pieces", largeBuffer, 1000, 1100},
		{"a length", 0, 0, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := bytes.NewBufferString("POST / HTTP/1.1\r\nHost: a\r\n")
			end := "0\r\n\r\n"
			if tt.chunk == 0 {
				end = "end"
				fmt.Fprintf(request, "Content-Length: %d\r\n\r\n%s", len(body), body)
			} else {
				fmt.Fprintf(request, "Transfer-Encoding: chunked\r\n\r\n")
				for rest := body; rest != ""; {
					n := min(tt.chunk, len(rest))
					fmt.Fprintf(request, "%x\r\n%s\r\n", n, rest[:n])
					rest = rest[n:]
				}
				request.WriteString(end)
			}
			cfg := DefaultConfig()
			cfg.Buffer = 0
			p, err := newPolicy(cfg)
			if err != nil {
				t.Fatal(err)
			}
			client := &tape{in: request.Bytes(), piece: tt.piece}
			server := &sink{end: end, whole: make(chan struct{})}
			serve(link{
				conn: client, env: liveEnv{}, do: (&rig{mode: ppf.Repair}).do, report: t.Logf, note: func(f Defect, _ ppf.Do, _ *Request) { t.Errorf("found: %v", f.Reason) },
				dial: func(context.Context) (net.Conn, error) { return server, nil },
			}, p, &budget{limit: 1 << 20})
			if !strings.HasPrefix(client.out.String(), "HTTP/1.1 200 ") {
				t.Errorf("the client got %q", client.out.String())
			}
			r, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.Join(server.writes, nil))))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
				t.Errorf("%d octets arrive, %v, want %d", len(got), err, len(body))
			}
			if len(server.writes) > tt.most {
				t.Errorf("it takes %d writes, want no more than %d", len(server.writes), tt.most)
			}
		})
	}
}

// TestFillAtEnd: what is left of a read stays in front of the next one, which has
// nearly all of the buffer.
func TestFillAtEnd(t *testing.T) {
	s := reader{conn: &tape{in: make([]byte, 2*largeBuffer)}, buf: getBuffer(largeBuffer), r: largeBuffer - 602, w: largeBuffer - 600}
	copy(s.buf[s.r:], "80")
	if err := s.fill(largeBuffer); err != nil {
		t.Fatal(err)
	}
	if b := s.unread(); len(b) != largeBuffer || string(b[:2]) != "80" {
		t.Errorf("%d octets are there that begin with %q, want %d with 80", len(b), b[:2], largeBuffer)
	}
	s.free()
}
