package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDataIsDeterministic(t *testing.T) {
	read := func(seed uint64, n int64) []byte {
		b, err := io.ReadAll(Data(seed, n))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a := read(7, 10_001)
	if len(a) != 10_001 || !bytes.Equal(a, read(7, 10_001)) {
		t.Errorf("Data(7, 10001): %d bytes, or not the same twice", len(a))
	}
	if !bytes.Equal(a[:100], read(7, 100)) || bytes.Equal(a, read(8, 10_001)) {
		t.Error("Data: want a prefix for a smaller n, and other bytes for another seed")
	}
}

func TestPingThroughRouter(t *testing.T) {
	l := up(t, Options{})
	for _, network := range []string{"ip4", "ip6"} {
		for _, size := range []int{1, 56, 1400, 4000} {
			got, err := l.Client.Ping(t.Context(), l.Server.Addr(network), EchoOptions{Count: 3, Size: size})
			if err != nil || got.Sent != 3 || got.Received != 3 || len(got.RTTs) != 3 {
				t.Errorf("Ping(%v, %d bytes): got %+v, %v, want 3 answers", l.Server.Addr(network), size, got, err)
			}
		}
	}
	got, err := l.Client.Ping(t.Context(), l.Client.IPv4.Next(), EchoOptions{Timeout: time.Millisecond})
	if err != nil || got.Sent != 1 || got.Received != 0 {
		t.Errorf("Ping of an address that nobody has: got %+v, %v, want no answer and no error", got, err)
	}
}

func TestInlineCarriesNothingByItself(t *testing.T) {
	l := up(t, Options{Inline: true})
	for _, network := range []string{"ip4", "ip6"} {
		got, err := l.Client.Ping(t.Context(), l.Server.Addr(network), EchoOptions{Timeout: 20 * time.Millisecond})
		if got.Received != 0 {
			t.Errorf("Ping(%v): got %+v, %v, want no answer", l.Server.Addr(network), got, err)
		}
	}
}

func TestBridge(t *testing.T) {
	l := up(t, Options{Inline: true})
	if err := l.Proxy.Bridge(ClientInterface, "nosuch0"); err == nil {
		t.Error("Bridge with an interface that is not there: no error")
	}
	if err := l.Proxy.Bridge(ClientInterface, ServerInterface); err != nil {
		t.Fatal(err)
	}
	got, err := l.Client.Ping(t.Context(), l.Server.IPv4, EchoOptions{})
	if err != nil || got.Received != 1 {
		t.Errorf("Ping(%v): got %+v, %v, want an answer", l.Server.IPv4, got, err)
	}
}

func TestUDPEcho(t *testing.T) {
	l := up(t, Options{})
	for _, network := range []string{"udp4", "udp6"} {
		s, err := l.Server.StartUDPEcho(t.Context(), net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{2, 1000, 5000} {
			got, err := l.Client.UDPEcho(t.Context(), s.Addr, EchoOptions{Count: 3, Size: size})
			if err != nil || got.Received != 3 {
				t.Errorf("UDPEcho(%s, %d bytes): got %+v, %v, want 3 answers", s.Addr, size, got, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOneWays: both directions have as many messages, and a server that does not keep
// to the clock's protocol is noticed.
func TestOneWays(t *testing.T) {
	l := up(t, Options{})
	any4 := net.JoinHostPort(l.Server.IPv4.String(), "0")
	s, err := l.Server.StartClock(t.Context(), any4)
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.Client.OneWays(t.Context(), s.Addr, 10*time.Millisecond)
	if err != nil || len(w.Up) == 0 || len(w.Up) != len(w.Down) || !slices.IsSorted(w.Up) || !slices.IsSorted(w.Down) || w.Up[0] < 0 || w.Down[0] < 0 {
		t.Errorf("OneWays: got %d and %d, %v", len(w.Up), len(w.Down), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	echo, err := l.Server.StartEcho(t.Context(), any4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Client.OneWays(t.Context(), echo.Addr, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OneWays to a server without a clock: got %v, want ErrCorrupt", err)
	}
	if err := echo.Close(); err != nil {
		t.Error(err)
	}
}

func TestHTTP(t *testing.T) {
	l := up(t, Options{})
	for _, network := range []string{"tcp4", "tcp6"} {
		s, err := l.Server.StartHTTP(t.Context(), net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		var sums []string
		for _, n := range []int64{0, 1, 5 << 20} {
			down, err := l.Client.Download(t.Context(), s.DataURL(n, 3))
			if err != nil || down.Bytes != n {
				t.Errorf("Download of %d bytes: got %d, %v", n, down.Bytes, err)
			}
			up, err := l.Client.Upload(t.Context(), s.UploadURL(), n, 3)
			if err != nil || up.Bytes != n || up.SHA256 != down.SHA256 {
				t.Errorf("Upload of %d bytes: got %d, %v, or another hash than the download", n, up.Bytes, err)
			}
			sums = append(sums, string(down.SHA256[:]))
		}
		if sums[1] == sums[2] {
			t.Error("different bodies have one hash")
		}
		if _, err := l.Client.Download(t.Context(), "http://"+s.Addr+"/data?bytes=x&seed=1"); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("Download of nonsense: got %v, want status 400", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Client.Download(ctx, s.DataURL(1, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("Download with an ended context: got %v, want context.Canceled", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTransfersNoticeChanges has a server that lies.
func TestTransfersNoticeChanges(t *testing.T) {
	l := up(t, Options{})
	listener, err := l.Server.Listen(t.Context(), "tcp", net.JoinHostPort(l.Server.IPv4.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]byte, 32)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(digestField, digest(sum))
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "changed")
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-served })
	url := "http://" + listener.Addr().String() + "/"
	if got, err := l.Client.Download(t.Context(), url); !errors.Is(err, ErrCorrupt) || got.Bytes != 7 {
		t.Errorf("Download of changed data: got %d bytes, %v, want 7 and ErrCorrupt", got.Bytes, err)
	}
	if _, err := l.Client.Upload(t.Context(), url, 100, 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Upload of changed data: got %v, want ErrCorrupt", err)
	}
}

func TestShortConnections(t *testing.T) {
	l := up(t, Options{})
	s, err := l.Server.StartEcho(t.Context(), net.JoinHostPort(l.Server.IPv4.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Client.ShortConnections(t.Context(), s.Addr, 200, 8, 100)
	if err != nil || got.Connections != 200 || got.Failed != 0 || got.P50 == 0 || got.P50 > got.P99 || got.P99 > got.Max {
		t.Errorf("ShortConnections: got %+v, %v, want 200", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	got, err = l.Client.ShortConnections(t.Context(), s.Addr, 30, 4, 100)
	if err == nil || got.Failed != 30 || !strings.Contains(err.Error(), "and 20 more") {
		t.Errorf("ShortConnections to nobody: got %+v, %v, want 30 failures, 10 of them told", got, err)
	}
}

func TestBulk(t *testing.T) {
	l := up(t, Options{})
	s, err := l.Server.StartBulk(t.Context(), net.JoinHostPort(l.Server.IPv6.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reverse := range []bool{false, true} {
		for _, n := range []int64{1, 7, 8, 9, 3_000_001} {
			got, err := l.Client.Bulk(t.Context(), s.Addr, BulkOptions{Streams: 3, Reverse: reverse, Bytes: n})
			if err != nil || got.Bytes != 3*n || got.BitsPerSecond() <= 0 {
				t.Errorf("Bulk(reverse %v, %d bytes): got %+v, %v, want %d bytes", reverse, n, got, err, 3*n)
			}
		}
		got, err := l.Client.Bulk(t.Context(), s.Addr, BulkOptions{Reverse: reverse, Duration: 20 * time.Millisecond})
		if err != nil || got.Bytes == 0 || got.Duration < 20*time.Millisecond {
			t.Errorf("Bulk(reverse %v, 20 ms): got %+v, %v", reverse, got, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		before, err := l.Server.Received("")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for now := before; err == nil && now < before+100; { // until it transfers
				now, err = l.Server.Received("")
			}
			cancel(errPlanted)
		}()
		if _, err := l.Client.Bulk(ctx, s.Addr, BulkOptions{Reverse: reverse, Duration: time.Hour}); !errors.Is(err, errPlanted) {
			t.Errorf("Bulk(reverse %v) past its context: got %v, want the cause", reverse, err)
		}
		<-ended
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Client.Bulk(t.Context(), s.Addr, BulkOptions{}); err == nil {
		t.Error("Bulk of nothing: got no error")
	}
	// The streams that ended early are errors of the server too.
	if err := s.Close(); err == nil {
		t.Error("server of broken streams: got no error")
	}
}

var errPlanted = errors.New("planted")

func TestReceiveBulkNoticesLoss(t *testing.T) {
	for name, sent := range map[string][]byte{
		"nothing":       {},
		"half trailer":  {0, 0, 0, 0},
		"wrong trailer": {1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 4},
	} {
		a, b := net.Pipe()
		go func() { _, _ = a.Write(sent); a.Close() }()
		if n, err := receiveBulk(b); err == nil {
			t.Errorf("receiveBulk(%s): got %d bytes and no error", name, n)
		}
		b.Close()
	}
}
