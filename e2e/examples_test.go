package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/lab"
)

// TestExamples runs each example in front of a server: what it lets through works,
// and what it does not is refused.
func TestExamples(t *testing.T) {
	files := must(filepath.Glob("../examples/*/promethos.yaml"))(t)
	if len(files) < 4 {
		t.Fatalf("examples %q", files)
	}
	index := string(must(os.ReadFile("../examples/README.md"))(t))
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "README.md")); err != nil {
				t.Error(err)
			}
			if !strings.Contains(index, "["+name+"]") {
				t.Error("examples/README.md does not name it")
			}
			l := up(t, lab.Options{})
			text := strings.ReplaceAll(string(must(os.ReadFile(file))(t)), "192.0.2.10", l.Server.IPv4.String())
			text = strings.ReplaceAll(text, "/var/lib/promethos/", t.TempDir()+"/")
			spec, problems := config.Parse(file, []byte(text))
			for _, p := range problems {
				if !p.Warning {
					t.Fatal(p)
				}
			}
			d := start(t, l, text)
			open := func(port uint16) bool {
				t.Helper()
				addr := net.JoinHostPort(l.Server.IPv4.String(), strconv.Itoa(int(port)))
				echo := must(l.Server.StartEcho(t.Context(), addr))(t)
				defer echo.Close()
				_, err := l.Client.ShortConnections(within(t, patience), addr, 1, 1, 100)
				return err == nil
			}
			const other = 4711
			if ports := spec.Instances[0].Match.Port; len(ports) == 0 {
				if !open(other) {
					t.Error("the server cannot be reached")
				}
			} else {
				for _, p := range ports {
					if !open(p.Lo) {
						t.Errorf("port %d cannot be reached", p.Lo)
					}
				}
				if c, err := l.Client.Dial(within(t, time.Second), "tcp", net.JoinHostPort(l.Server.IPv4.String(), strconv.Itoa(other))); err == nil {
					c.Close()
					t.Error("another port can be reached")
				}
			}
			if n := d.accounted(t).Packets; n.In == 0 {
				t.Error("no packet passed")
			}
		})
	}
}
