package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestClean judges what arrives at the server, with decoders that are not ours:
// nothing is malformed, each checksum is right, and packets with DF have ID 0.
func TestClean(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	t.Run("without the proxy", func(t *testing.T) {
		w := web(t, l.Server)
		capture := must(l.Server.Capture(lab.CaptureOptions{Filter: received(t, l)}))(t)
		must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], port(t, w.Addr), 1_000_000)))(t)
		must(capture.Stop())(t)
		if len(lab.JudgeFrames(capture.Frames())) == 0 {
			t.Error("the judge finds nothing in packets of a plain client, whose IDs are not 0")
		}
	})
	for _, p := range transitHooks {
		t.Run(p, func(t *testing.T) {
			// Ports of its own: what kernels repeat of connections through the daemon
			// before must not meet this one.
			w := web(t, l.Server)
			echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
			t.Cleanup(func() { check(t, echo.Close()) })
			d := start(t, l, protect(p, port(t, w.Addr), "", l.Server)+echoInstance(p, l.Server, port(t, echo.Addr)))
			var file bytes.Buffer
			capture := must(l.Server.Capture(lab.CaptureOptions{Writer: &file, Filter: received(t, l)}))(t)
			for _, f := range families {
				transfers(t, small, l.Client, l.Server, f.network, port(t, w.Addr), port(t, echo.Addr))
			}
			if s := must(capture.Stop())(t); s.Dropped > 0 || s.Frames == 0 {
				t.Fatalf("capture: %+v", s)
			}
			undisturbed(t, d)
			clean(t, capture.Frames(), file.Bytes())
			mssSurvives(t, capture.Frames())
		})
	}
}

// echoInstance is a second instance's lines.
func echoInstance(hook string, h *lab.Host, p uint16) string {
	text := protect(hook, p, "", h)
	_, instance, _ := bytes.Cut([]byte(text), []byte("instances:\n"))
	return string(bytes.Replace(instance, []byte("name: web"), []byte("name: echo"), 1))
}

// received chooses the TCP frames that the server gets: what it sends itself is
// not the proxy's.
func received(t *testing.T, l *lab.Lab) func([]byte) bool {
	t.Helper()
	mac := must(l.Server.MAC(""))(t)
	return func(frame []byte) bool {
		_, _, ok := segment(frame)
		return ok && bytes.Equal(frame[:6], mac)
	}
}

// clean wants no finding from either judge.
func clean(t *testing.T, frames []lab.Frame, file []byte) {
	t.Helper()
	for i, finding := range lab.JudgeFrames(frames) {
		if i == 10 {
			t.Error("and more")
			break
		}
		t.Errorf("judge: %v", finding)
	}
	path := filepath.Join(t.TempDir(), "server.pcapng")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	findings, err := lab.TsharkJudge(within(t, patience), path)
	if errors.Is(err, lab.ErrNoTshark) {
		t.Skip("needs tshark for the second judge")
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, finding := range findings {
		if i == 10 {
			t.Error("and more")
			break
		}
		t.Errorf("tshark: %v", finding)
	}
}

// segment gives the IP header's end and the TCP header of a frame.
func segment(frame []byte) (ip, tcp []byte, ok bool) {
	if len(frame) < 14 {
		return nil, nil, false
	}
	ip = frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		if len(ip) < 20 || ip[9] != 6 || len(ip) < int(ip[0]&15)*4+20 {
			return nil, nil, false
		}
		return ip, ip[int(ip[0]&15)*4:], true
	case 0x86dd:
		if len(ip) < 60 || ip[6] != 6 {
			return nil, nil, false
		}
		return ip, ip[40:], true
	}
	return nil, nil, false
}

// mss gives the maximum segment size that a SYN offers, 0 without one.
func mss(tcp []byte) int {
	options := tcp[20:min(len(tcp), int(tcp[12]>>4)*4)]
	for len(options) > 1 {
		switch kind, n := options[0], int(options[1]); {
		case kind == 0:
			return 0
		case kind == 1:
			options = options[1:]
		case kind == 2 && n == 4 && len(options) >= 4:
			return int(binary.BigEndian.Uint16(options[2:]))
		case n < 2 || n > len(options):
			return 0
		default:
			options = options[n:]
		}
	}
	return 0
}

// mssSurvives wants the SYNs to offer what the client's kernel offers on a link
// of 1500 bytes.
func mssSurvives(t *testing.T, frames []lab.Frame) {
	t.Helper()
	seen := map[byte]bool{}
	for _, f := range frames {
		ip, tcp, ok := segment(f.Data)
		if !ok || tcp[13]&0x12 != 0x02 {
			continue
		}
		want := 1500 - 20 - 20
		if ip[0]>>4 == 6 {
			want = 1500 - 40 - 20
		}
		seen[ip[0]>>4] = true
		if got := mss(tcp); got != want {
			t.Fatalf("a SYN over IPv%d offers MSS %d, want %d", ip[0]>>4, got, want)
		}
	}
	if !seen[4] || !seen[6] {
		t.Errorf("SYNs seen of versions %v, want 4 and 6", seen)
	}
}
