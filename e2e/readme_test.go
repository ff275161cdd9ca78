package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/lab"
	_ "github.com/promethos/promethos/modules/builtin"
)

// blocks gives the README's code blocks of a language, in order.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		list = append(list, m[1])
	}
	return list
}

// TestReadmeOperator does what the README tells an operator, in a lab's proxy
// host, command by command; only the server's address is another.
func TestReadmeOperator(t *testing.T) {
	lab.Require(t)
	l, err := lab.Up(t.Context(), lab.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	dir := t.TempDir()
	yaml := strings.ReplaceAll(blocks(t, "yaml")[0], "192.168.4.2", l.Server.IPv4.String())
	attackCapture(t, filepath.Join(dir, "in.pcap")) // a pcapng file, whatever its name
	file := filepath.Join(dir, "promethos.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, b := range blocks(t, "sh") {
		commands = append(commands, strings.Split(strings.TrimSpace(b), "\n")...)
	}
	var proxy *lab.Proxy
	ran := 0
	sh := newShell(t, dir, l.Proxy, "/nonexistent", "192.168.4.2", l.Server.IPv4.String())
	for _, line := range commands {
		words := strings.Fields(line)
		if words[0] != "./promethos" {
			continue // the two commands at the top and the build; see below
		}
		if words[1] == "run" {
			if proxy, err = l.Proxy.StartProxy(t.Context(), program, yaml); err != nil {
				t.Fatal(err)
			}
			defer proxy.Stop()
			sh = newShell(t, dir, l.Proxy, proxy.Control, "192.168.4.2", l.Server.IPv4.String())
			continue
		}
		judge(t, line, sh.run(t, line))
		ran++
	}
	if proxy == nil || ran < 6 {
		t.Errorf("ran %d of the README's commands, daemon started: %v", ran, proxy != nil)
	}
	for _, want := range []string{"go run ./cmd/promethos demo", "go test ./...", "go build ./cmd/promethos"} {
		if !strings.Contains(strings.Join(commands, "\n"), want) {
			t.Errorf("the README does not say %q", want)
		}
	}
}

// TestReadmeYAML reads every piece of configuration in the README.
func TestReadmeYAML(t *testing.T) {
	list := blocks(t, "yaml")
	t.Chdir(t.TempDir())
	check(t, lab.WriteCertificate(".", "web", "localhost")) // the files that one of them names
	for i, y := range append(list, list[0]+list[1]) {
		if !strings.HasPrefix(y, "version") {
			continue // a piece, read together with the first below
		}
		_, problems := config.Parse("README.md", []byte(y))
		for _, p := range problems {
			if !p.Warning {
				t.Errorf("block %d: %v\n%s", i, p, y)
			}
		}
	}
}

// TestReadmeModule builds the README's module into the program and uses it.
func TestReadmeModule(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The module and the program's own main, laid over the checkout.
	write("oneport.go", blocks(t, "go")[0])
	main, err := os.ReadFile("../cmd/promethos/main.go")
	if err != nil {
		t.Fatal(err)
	}
	write("main.go", strings.Replace(string(main), `	_ "github.com/promethos/promethos/modules/builtin"`,
		"\t_ \"github.com/promethos/promethos/modules/builtin\"\n\t_ \"github.com/promethos/promethos/modules/oneport\"", 1))
	write("overlay.json", `{"Replace": {"`+root+`/modules/oneport/oneport.go": "`+dir+`/oneport.go", "`+root+`/cmd/promethos/main.go": "`+dir+`/main.go"}}`)
	binary := filepath.Join(dir, "promethos")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/promethos")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}

	lab.Require(t)
	l, err := lab.Up(t.Context(), lab.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	good, err := l.Server.StartEcho(t.Context(), l.Server.IPv4.String()+":502")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	other, err := l.Server.StartEcho(t.Context(), l.Server.IPv4.String()+":503")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	proxy, err := l.Proxy.StartProxy(t.Context(), binary, "version: 1\ninstances:\n  - name: plc\n    match: {protocol: tcp, server: "+
		l.Server.IPv4.String()+"}\n    chain: [tcp, oneport]\n    modules: {oneport: {port: 502}}\n")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	if _, err := l.Client.ShortConnections(t.Context(), good.Addr, 3, 1, 10); err != nil {
		t.Errorf("port 502: %v", err)
	}
	if c, err := l.Client.Dial(within(t, refusedWithin), "tcp", other.Addr); err == nil {
		c.Close()
		t.Error("port 503 was reached")
	}
	eventually(t, "oneport.refused counted", func() (bool, string) {
		r := execute(t, l.Client, binary, "reasons", "--control", proxy.Control)
		return strings.Contains(r.out, "oneport.refused"), r.String()
	})
}
