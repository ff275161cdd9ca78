package e2e

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/promethos/promethos/internal/docs"
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
	open := must(l.Client.Dial(within(t, patience), "tcp", hostPort(l.Server, "tcp4", p)))(t)
	defer open.Close()
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
	sh := newShell(t, dir, l.Proxy, d.Control, "192.0.2.10", l.Server.IPv4.String())
	ran := 0
	for _, block := range docs.Blocks(text, "sh") {
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			judge(t, line, sh.run(t, line))
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

// TestGuideProtect runs the guide's commands that go on until they are ended, as they
// are typed: in the machine's three places before a server. TestBoot runs systemctl's,
// where systemd is process 1.
func TestGuideProtect(t *testing.T) {
	text := string(must(os.ReadFile("../docs/operator-guide.md"))(t))
	ran := 0
	for _, block := range docs.Blocks(text, "") {
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "systemctl ") {
				continue
			}
			ran++
			t.Run(line, func(t *testing.T) {
				routed := strings.Contains(line, "--try")
				l := up(t, lab.Options{Inline: !routed})
				addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
				file := filepath.Join(t.TempDir(), "etc", "promethos.yaml")
				p := strings.NewReplacer("192.0.2.10", l.Server.IPv4.String(), "--tcp 80", "--tcp "+addr[strings.LastIndex(addr, ":")+1:],
					"eth1", lab.ClientInterface, "eth2", lab.ServerInterface, "--save", "--save --config "+file).Replace(line)
				steps := []string{"promethos: protecting\n"}
				switch {
				case routed:
					steps = []string{"promethos: confirmed\n", "saved to " + file}
				case !strings.Contains(line, "--inline"): // a bridge, and a way to the server by it
					need(t, "ip")
					check(t, l.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface))
					if r := execute(t, l.Proxy, "ip", "route", "add", l.Server.IPv4.String()+"/32", "dev", "bridge0"); r.status != 0 {
						t.Fatal(r)
					}
				}
				command := startProtect(t, l, nil, strings.Fields(p)[2:]...)
				must(io.WriteString(command.stdin, "\n"))(t)
				for _, step := range steps {
					eventually(t, step, func() (bool, string) { return strings.Contains(command.text(), step), command.text() })
				}
				if !reaches(t, l.Client, addr) {
					t.Errorf("the server cannot be reached:\n%s", command.text())
				}
				check(t, command.cmd.Process.Signal(os.Interrupt))
				command.end(t)
			})
		}
	}
	if ran < 3 {
		t.Errorf("ran %d commands of the guide", ran)
	}
}
