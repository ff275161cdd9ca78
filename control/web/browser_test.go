package web

import (
	"bytes"
	"fmt"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// browser is the flags of a Chromium that shows one page, talks to nobody else and
// leaves nothing behind.
func browser(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--virtual-time-budget=5000",
	}, args...)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	return cmd
}

// TestPageInBrowser: a browser under the page's own policy shows what the daemon
// counts, on a desk and on a phone. SCREENSHOTS names a folder to keep pictures in.
func TestPageInBrowser(t *testing.T) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("needs chromium: %v", err)
	}
	file := filepath.Join(t.TempDir(), "selftest.json")
	if err := os.WriteFile(file, []byte(selftest), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewServer(backend{engine: engine(t)}, Options{Selftest: file})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-ended
	}()
	url := "http://" + l.Addr().String() + "/"

	out, err := browser(t, program, "--dump-dom", url).Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(string(out), " ")
	for _, want := range []string{"version v, process 7", "plc", "tcp.flags.null", "drop", "repair", "192.0.2.1:40000", "CVE-2020-11896", "stopped", "04/03/2026", "version 0.9.9", "1 of 1 held", "FAILED: P1", "queue 7", "ip.options"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q:\n%s", want, text)
		}
	}
	if !regexp.MustCompile(`CVE-2020-11896\s+stopped\s`).MatchString(text) {
		t.Errorf("a phone would not show the verdict beside the vulnerability:\n%s", text)
	}
	if strings.Contains(text, "does not answer") {
		t.Error("the page could not ask the daemon")
	}
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	for _, size := range []struct{ name, window string }{{"desk", "1280,1600"}, {"phone", "390,2200"}} {
		picture := filepath.Join(folder, size.name+".png")
		if out, err := browser(t, program, "--window-size="+size.window, "--screenshot="+picture, url).CombinedOutput(); err != nil {
			t.Fatalf("chromium: %v\n%s", err, out)
		}
		b, err := os.ReadFile(picture)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d,%d", img.Bounds().Dx(), img.Bounds().Dy()); got != size.window {
			t.Errorf("%s: the picture has %s, want %s", size.name, got, size.window)
		}
		colours := map[any]bool{}
		for y := 0; y < img.Bounds().Dy(); y += 3 {
			for x := 0; x < img.Bounds().Dx(); x += 3 {
				colours[img.At(x, y)] = true
			}
		}
		if len(colours) < 20 {
			t.Errorf("%s: %d colours: the page is empty", size.name, len(colours))
		}
	}
}
