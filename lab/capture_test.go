package lab

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// marked is a valid frame from the client whose IP protocol nobody serves.
func marked(e AttackEnv, n byte) []byte {
	return e.ethernet(hostileIP{src: e.Source4, dst: e.Server4, proto: 253, id: uint16(n), payload: []byte{n}}.bytes())
}

func isMarked(frame []byte) bool {
	s, ok := dissect(frame)
	return ok && s.proto == 253
}

func TestCapture(t *testing.T) {
	l := up(t, Options{NoOffloads: true})
	env, err := l.AttackEnv(80)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	in, err := l.Server.Capture(CaptureOptions{Writer: &file, Filter: isMarked})
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.Client.Capture(CaptureOptions{Filter: isMarked})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := l.Client.RawSender("")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := l.Client.Ping(t.Context(), l.Server.IPv4, EchoOptions{}); err != nil { // not wanted by the filter
		t.Fatal(err)
	}
	const n = 100
	before := time.Now()
	for i := range n {
		if err := sender.Send(marked(env, byte(i))); err != nil {
			t.Fatal(err)
		}
		// One after the other: two in a row may go by way of two processors.
		if _, err := in.Wait(t.Context(), func(f Frame) bool { return f.Data[len(f.Data)-1] == byte(i) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*Capture{in, out} {
		stats, err := c.Stop()
		if err != nil || stats.Frames != n || stats.Skipped == 0 || stats.Dropped != 0 {
			t.Errorf("%s: got %+v, %v, want %d frames, some skipped, none dropped", c.name, stats, err, n)
		}
		if again, err := c.Stop(); again != stats || err != nil {
			t.Errorf("%s: second Stop: got %+v, %v, want %+v", c.name, again, err, stats)
		}
		for i, f := range c.Frames() {
			if want := marked(env, byte(i)); f.Data[len(f.Data)-1] != byte(i) || len(f.Data) != len(want) {
				t.Errorf("%s: frame %d: got %x, want %x", c.name, i, f.Data, want)
			}
			if f.Outgoing != (c == out) || f.Time.Before(before.Add(-time.Minute)) || f.Time.After(time.Now().Add(time.Minute)) {
				t.Errorf("%s: frame %d: outgoing %v at %v", c.name, i, f.Outgoing, f.Time)
			}
		}
	}
	if _, err := in.Wait(t.Context(), func(Frame) bool { return false }); err == nil {
		t.Error("Wait after Stop: got no error")
	}

	path := filepath.Join(t.TempDir(), "in.pcapng")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	sameFrames(t, path, in.Frames())
	both := append(in.Frames(), out.Frames()...)
	var again bytes.Buffer
	if err := WriteCapture(&again, both); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, again.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	sameFrames(t, path, both)
}

func sameFrames(t *testing.T, path string, want []Frame) {
	t.Helper()
	got, err := ReadCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("ReadCapture: got %d frames, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i].Data, want[i].Data) || !got[i].Time.Equal(want[i].Time) || got[i].Outgoing != want[i].Outgoing {
			t.Errorf("ReadCapture: frame %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

// TestCaptureKeepsVLANTags: the kernel takes tags out of received frames.
func TestCaptureKeepsVLANTags(t *testing.T) {
	l := up(t, Options{})
	env, err := l.AttackEnv(80)
	if err != nil {
		t.Fatal(err)
	}
	plain := marked(env, 1)
	for _, tag := range [][]byte{{0x81, 0x00, 0x60, 0x2a}, {0x88, 0xa8, 0x00, 0x07}} {
		want := slices.Concat(plain[:12], tag, plain[12:])
		c, err := l.Proxy.Capture(CaptureOptions{Interface: ClientInterface})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := l.Client.RawSender("")
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.Send(want); err != nil {
			t.Fatal(err)
		}
		if err := sender.Close(); err != nil {
			t.Error(err)
		}
		f, err := c.Wait(t.Context(), func(f Frame) bool { return isMarked(f.Data) })
		if err != nil || !bytes.Equal(f.Data, want) {
			t.Errorf("tagged frame: got %x, %v, want %x", f.Data, err, want)
		}
		if _, err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestCaptureWaitEndsWithContext(t *testing.T) {
	l := up(t, Options{})
	c, err := l.Server.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Wait(ctx, func(Frame) bool { return false }); err == nil {
		t.Error("Wait: got no error")
	}
	if _, err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func TestCaptureOutlivesItsLab(t *testing.T) {
	l := up(t, Options{})
	c, err := l.Server.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stop(); err != nil {
		t.Errorf("Stop after Down: %v", err)
	}
}

func TestCaptureErrors(t *testing.T) {
	l := up(t, Options{})
	if _, err := l.Server.Capture(CaptureOptions{Interface: "eth9"}); err == nil {
		t.Error("Capture on an interface that is not there: got no error")
	}
	if _, err := l.Server.RawSender("eth9"); err == nil {
		t.Error("RawSender on an interface that is not there: got no error")
	}
	s, err := l.Client.RawSender("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(make([]byte, 4000)); err == nil {
		t.Error("Send of a frame above the MTU: got no error")
	}
}

// TestNoOffloads looks at what TCP hands to the wire.
func TestNoOffloads(t *testing.T) {
	for _, off := range []bool{true, false} {
		l := up(t, Options{NoOffloads: off})
		s, err := l.Server.StartBulk(t.Context(), l.Server.IPv4.String()+":0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Client.Capture(CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Client.Bulk(t.Context(), s.Addr, BulkOptions{Bytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		longest, pending := 0, false
		for _, f := range c.Frames() {
			longest, pending = max(longest, len(f.Data)), pending || f.ChecksumPending
		}
		if (longest <= 1514) != off || pending == off {
			t.Errorf("NoOffloads %v: longest frame %d bytes, checksums pending %v", off, longest, pending)
		}
	}
}
