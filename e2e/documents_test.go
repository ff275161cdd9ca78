package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/internal/docs"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/bench"
)

// shell runs lines of documents as an operator types them: `promethos` is the program
// under test, which talks to one daemon.
type shell struct {
	host *lab.Host
	dir  string
	says *strings.Replacer // addresses and names of the lab, for those of documents
}

// newShell works in a folder on a host.
func newShell(t *testing.T, dir string, h *lab.Host, control string, says ...string) *shell {
	t.Helper()
	s := &shell{host: h, dir: dir, says: strings.NewReplacer(says...)}
	script := fmt.Sprintf("#!/bin/sh\nexec %q --control %q \"$@\"\n", program, control)
	check(t, os.WriteFile(filepath.Join(s.dir, "promethos"), []byte(script), 0o755))
	return s
}

// command is a line, to be run.
func (s *shell) command(t *testing.T, line string) *lab.Cmd {
	t.Helper()
	c := s.host.Command(within(t, patience), "sh", "-c", s.says.Replace(line))
	c.Dir = s.dir
	c.Env = append(os.Environ(), "PATH="+s.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return c
}

// run runs a line to its end.
func (s *shell) run(t *testing.T, line string) result {
	t.Helper()
	c := s.command(t, line)
	return finish(t, c.Cmd, c.Run, []string{line})
}

// until runs a line that goes on by itself until it prints a word, and interrupts it;
// it must end well.
func (s *shell) until(t *testing.T, line, word string) {
	t.Helper()
	c := s.command(t, "exec "+line)
	ctx := within(t, patience)
	var out bytes.Buffer
	seen := make(chan struct{})
	c.Stdout = writerFunc(func(b []byte) (int, error) {
		before := strings.Contains(out.String(), word)
		n, err := out.Write(b)
		if !before && strings.Contains(out.String(), word) {
			close(seen)
		}
		return n, err
	})
	if err := c.Start(); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	select {
	case <-seen:
	case <-ctx.Done():
		t.Errorf("%s does not print %q", line, word)
	}
	check(t, c.Process.Signal(os.Interrupt))
	if err := c.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, out.String())
	}
}

// typed is a line of a document with what comes of it.
type typed struct {
	line   string
	status int
	word   string // in what it prints
}

// answers is what commands print, by how they begin; the longest that fits counts.
var answers = []typed{
	{"doctor", 0, "CAP_NET_ADMIN"}, {"protect", 0, "# Written by `promethos protect"}, {"check", 0, "others: refuse"}, {"check -c promethos.yaml --plan", 0, "table inet promethos"},
	{"instances", 0, "CHAIN"}, {"reasons", 0, "REASON"}, {"ledger", 0, "SERVER"}, {"events", 0, "ready:"}, {"top", 0, "INSTANCE"}, {"reload", 0, "keep "},
	{"replay", 0, "= out 39 +"}, {"show instance", 0, "functions"}, {"connections", 0, "ESTABLISHED"}, {"stats", 0, "KERNEL DROPPED"},
	{"trace", 0, "RECEIVED"}, {"trace web -n 2 -w", 0, "tracing"}, {"override", 0, ""}, {"module load", 0, ""}, {"module unload", 0, ""}, {"iptables", 0, ""},
	{"iptables -t promethos -A", 0, "got unique instance"}, {"iptables -t promethos -L", 0, "Chain OUTPUT"},
}

// judge checks what came of a line by the answer that begins as it does.
func judge(t *testing.T, line string, r result) {
	t.Helper()
	line = strings.TrimPrefix(strings.TrimPrefix(line, "./"), "promethos ")
	best := typed{status: -1}
	for _, a := range answers {
		if strings.HasPrefix(line, a.line) && (best.status < 0 || len(a.line) > len(best.line)) {
			best = a
		}
	}
	switch {
	case best.status < 0:
		t.Errorf("%s: this test does not know what it prints", line)
	case r.status != best.status && !strings.HasPrefix(line, "doctor"): // whose status says whether this machine has everything
		t.Errorf("%v\nwant status %d", r, best.status)
	case !strings.Contains(r.out+r.errors, best.word):
		t.Errorf("%v\nwant %q", r, best.word)
	}
}

// TestModuleReadmes runs the commands of the modules' READMEs, in order.
func TestModuleReadmes(t *testing.T) {
	need(t, "ping")
	l := up(t, lab.Options{})
	d, dir := start(t, l, empty), t.TempDir()
	for _, file := range must(filepath.Glob("../modules/*/README.md"))(t) {
		number := "none"
		for _, block := range docs.Blocks(string(must(os.ReadFile(file))(t)), "") {
			for line := range strings.Lines(block) {
				line = strings.TrimSuffix(line, "\n")
				// Nobody answers the ping, and it would wait for ten seconds.
				s := newShell(t, dir, l.Proxy, d.Control, "192.0.2.2", l.Server.IPv4.String(), "2001:db8::2", l.Server.IPv6.String(), "<instance-nr>", number, "ping -c 3", "ping -c 3 -i 0.2 -W 1")
				r := s.run(t, line)
				switch {
				case strings.HasPrefix(line, "ping"):
					if r.status != 1 || !strings.Contains(r.out, "100% packet loss") {
						t.Errorf("%s: %v", file, r)
					}
				case strings.HasPrefix(line, "promethos "):
					judge(t, line, r)
					if n, ok := strings.CutPrefix(r.out, "got unique instance "); ok {
						number = strings.TrimSpace(n)
					}
				default:
					t.Errorf("%s: %q is not run", file, line)
				}
			}
		}
		d.iptables(t, "-F")
	}
	d.accounted(t)
}

// TestDocumentedLab makes the lab with names, in a folder of names of its own.
func TestDocumentedLab(t *testing.T) {
	lab.Require(t)
	need(t, "unshare")
	if os.Getuid() != 0 {
		t.Skip("needs root: names of namespaces are mounted")
	}
	lines := `mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns || exit 77
promethos lab up && promethos lab run client -- cat /proc/net/dev && promethos lab down`
	c := exec.CommandContext(within(t, patience), "unshare", "--mount", "sh", "-c", strings.ReplaceAll(lines, "promethos lab", program+" lab"))
	r := finish(t, c, c.Run, []string{lines})
	if r.status == 77 {
		t.Skipf("needs mounts: %v", r)
	}
	if r.status != 0 || !strings.Contains(r.out, "promethos-server") || !strings.Contains(r.out, lab.EndInterface+":") {
		t.Error(r)
	}
}

// elsewhere are commands of documents that other tests run, and where.
var elsewhere = map[string]string{
	"demo": "../.ci/run", "selftest --cve": "selftest_test.go", "block -c": "package_test.go", "module test -r": "tutorial_test.go",
	"lab up": "documents_test.go", "lab run": "documents_test.go", "lab down": "documents_test.go",
}

// TestDocuments runs what documents name besides what their own tests run, and sees
// to it that a test runs each command of every document.
func TestDocuments(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	dir := t.TempDir()
	for _, name := range []string{"scanners", "blocklist", "quota"} {
		write(t, filepath.Join(dir, name+".data.json"), strings.ReplaceAll(string(must(os.ReadFile("../examples/blocklist/scanners.data.json"))(t)), "scanners", name))
	}
	d := start(t, l, "version: 1\nmodule_dirs: ["+dir+"]\ninstances:\n  - name: desk\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	s := newShell(t, t.TempDir(), l.Proxy, d.Control, "NUMBER", fmt.Sprint(d.instances(t)[0].Numbers[0]))
	write(t, filepath.Join(s.dir, "promethos.yaml"), "version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: 192.0.2.10}\n    chain: [tcp]\n")
	write(t, filepath.Join(s.dir, "request.raw"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if !reaches(t, l.Client, addr) {
		t.Fatal("the server cannot be reached")
	}
	lines := []typed{
		{"version", 0, "promethos "}, {"functions", 0, "desk"}, {"modules", 0, "scanners"}, {"reasons --all", 0, "tcp.option.length-zero"},
		{"iptables --help", 0, "appendix A"}, {"iptables -t promethos -L", 0, "Chain FORWARD"}, {"explain < request.raw", 0, "verdict: sent"},
		{"check", 2, "-c"}, {"check -c promethos.yaml --plan", 0, "table inet promethos"},
		{"module reload scanners", 0, ""}, {"module reload blocklist", 0, ""}, {"module reload quota", 0, ""}, {"module unload quota", 0, ""}, {"module load arp", 0, ""},
		{"reconfig NUMBER 'cs 2 ip,tcp.'", 1, "desk"}, {"replay", 2, "-c"}, {"protect", 2, "accepts 1 arg"}, {"connections", 0, "CLIENT SIDE"},
		{"stats", 0, "KERNEL DROPPED"}, {"ledger", 0, "SERVER"}, {"override", 0, "INSTANCE"}, {"events", 0, "ready:"}, {"doctor", -1, "CAP_NET_ADMIN"},
	}
	var benches []typed
	for _, name := range bench.Names() {
		benches = append(benches, typed{"bench " + name + " --runs 1 --duration 50ms", 0, "RATIO"})
	}
	if soak(t) > 0 { // they load a machine for seconds each
		lines = append(lines, benches...)
	}
	for _, line := range lines {
		r := s.run(t, "promethos "+line.line)
		if r.status != line.status && line.status >= 0 || !strings.Contains(r.out+r.errors, line.word) {
			t.Errorf("%v\nwant status %d and %q", r, line.status, line.word)
		}
	}
	// What goes on until it is interrupted.
	follow := []typed{{"events -f", 0, "ready:"}, {"top", 0, "desk"}}
	for _, line := range follow {
		s.until(t, "promethos "+line.line, line.word)
	}
	trace := typed{"trace desk -n 2", 0, "RECEIVED"}
	c := s.command(t, "promethos "+trace.line)
	var out bytes.Buffer
	c.Stdout = &out
	c.Stderr = writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "tracing") {
			go reaches(t, l.Client, addr)
		}
		return len(b), nil
	})
	if err := c.Run(); err != nil || !strings.Contains(out.String(), trace.word) {
		t.Errorf("%s: %v\n%s", trace.line, err, out.String())
	}
	d.kill(t)
	unblocked := typed{"unblock", 0, ""}
	if r := s.run(t, "promethos "+unblocked.line); r.status != unblocked.status || !reaches(t, l.Client, addr) {
		t.Error(r)
	}

	ran := append(slices.Concat(lines, follow, benches), trace, unblocked)
	list := must(docs.Commands(".."))(t)
	for _, c := range list {
		if runInOrder(c) {
			ran = append(ran, typed{line: named(c.Line)})
		}
	}
	for line, file := range elsewhere {
		quoted := `"` + strings.ReplaceAll(line, " ", `", "`) + `"`
		if text := string(must(os.ReadFile(file))(t)); !strings.Contains(text, quoted) && !strings.Contains(text, "promethos "+line) {
			t.Errorf("%s does not run %s", file, line)
		}
		ran = append(ran, typed{line: line})
	}
	for _, c := range list {
		// Records of decisions tell what was done, and nobody what to do.
		if !strings.HasPrefix(c.File, "docs/adr/") && !covered(named(c.Line), ran) {
			t.Errorf("%s: %s: no test runs it", c.File, c.Line)
		}
	}
}

// runInOrder says whether a test of its own runs the document's blocks, line by line:
// TestReadmeOperator, TestOperatorGuide, TestGuideProtect, TestTutorial and
// TestModuleReadmes. They fail at a line that they do not know.
func runInOrder(c docs.Command) bool {
	switch {
	case !c.Block:
		return false
	case c.File == "README.md", c.File == "docs/operator-guide.md", c.File == "docs/writing-a-module.md":
		return true
	}
	module, _ := filepath.Match("modules/*/README.md", c.File)
	return module && c.Language == ""
}

// named is a line without what comes before the command's name.
func named(line string) string {
	_, after, _ := strings.Cut(line, "promethos ")
	return after
}

// placeholder is what stands for something in a document.
var placeholder = regexp.MustCompile(`^[\[<'…A-Z]|\||^[0-9]`)

// covered says whether a line that was run begins with the same words as one of a
// document, up to what stands for something there, and has the same flags.
func covered(line string, ran []typed) bool {
	var words, flags []string
	for _, w := range strings.Fields(line) {
		switch {
		case strings.HasPrefix(w, "-"):
			flags = append(flags, w)
		case len(flags) == 0 && !placeholder.MatchString(w):
			words = append(words, w)
			continue
		}
		if len(flags) == 0 {
			break
		}
	}
	for _, r := range ran {
		done := strings.Fields(r.line)
		if len(done) < len(words) || strings.Join(done[:len(words)], " ") != strings.Join(words, " ") {
			continue
		}
		all := true
		for _, f := range flags {
			all = all && strings.Contains(" "+r.line+" ", " "+f+" ")
		}
		if all {
			return true
		}
	}
	return false
}
