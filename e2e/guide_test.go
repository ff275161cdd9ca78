package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestOperatorGuide runs the commands of docs/operator-guide.md, in a lab's proxy
// host and with traffic; only the server's address is another.
func TestOperatorGuide(t *testing.T) {
	text := string(must(os.ReadFile("../docs/operator-guide.md"))(t))
	l := up(t, lab.Options{})
	p := port(t, web(t, l.Server).Addr)
	configuration := "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: " + l.Server.IPv4.String() + "}\n    chain: [tcp]\n"
	// However long it takes, the client does not run out of ports.
	check(t, l.Client.Sysctl("net/ipv4/tcp_tw_reuse", "1"))
	d := start(t, l, configuration)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "promethos.yaml"), configuration)
	var client sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	client.Go(func() {
		for ctx.Err() == nil {
			if _, err := l.Client.Download(ctx, at(hostPort(l.Server, "tcp4", p)).DataURL(10_000, 1)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	defer client.Wait()
	defer stop()
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			words := strings.Fields(strings.ReplaceAll(line, "192.0.2.10", l.Server.IPv4.String()))
			if words[0] != "promethos" {
				t.Errorf("%q is not a command of ours", line)
				continue
			}
			c := l.Proxy.Command(within(t, patience), program, append([]string{"--control", d.Control}, words[1:]...)...)
			c.Dir = dir
			out, err := c.CombinedOutput()
			// doctor's status says whether this machine has everything.
			if err != nil && words[1] != "doctor" || len(out) == 0 && words[1] != "override" {
				t.Errorf("%s%v\n%s", line, err, out)
			}
			ran++
		}
	}
	if ran < 18 {
		t.Errorf("ran %d commands of the guide", ran)
	}
	if _, err := os.Stat(filepath.Join(dir, "trace.pcapng")); err != nil {
		t.Error(err)
	}
	for _, link := range regexp.MustCompile(`\]\(([a-z.-]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", "docs", link[1])); err != nil {
			t.Error(err)
		}
	}
}
