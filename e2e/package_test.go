package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// TestUnits: systemd finds the units hardened, and nothing in them that it does not
// know.
func TestUnits(t *testing.T) {
	need(t, "systemd-analyze")
	for _, unit := range []string{"promethos.service", "promethos-block.service"} {
		file := filepath.Join("..", "packaging", unit)
		r := executeHere(t, "systemd-analyze", "security", "--offline=true", "--no-pager", file)
		m := regexp.MustCompile(`Overall exposure level for \S+ ([\d.]+)`).FindStringSubmatch(r.out)
		if m == nil {
			t.Fatalf("%s: %v", unit, r)
		}
		if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > 3.0 {
			t.Errorf("%s: exposure %s, want at most 3.0", unit, m[1])
		}
		if r := executeHere(t, "systemd-analyze", "verify", "--man=no", file); strings.Contains(r.errors, "Unknown") || strings.Contains(r.errors, "Failed to parse") {
			t.Errorf("%s: %s", unit, r.errors)
		}
	}
}

// buildPackage builds the Debian package into a folder and gives its file.
func buildPackage(t *testing.T, folder string) string {
	t.Helper()
	need(t, "dpkg-deb")
	build := exec.CommandContext(within(t, 5*patience), "../packaging/deb", folder) // it compiles everything once more
	r := finish(t, build, build.Run, build.Args[1:])
	if r.status != 0 {
		t.Fatal(r)
	}
	return strings.TrimSpace(r.out)
}

// TestDebianPackage builds the package and looks into it.
func TestDebianPackage(t *testing.T) {
	out := t.TempDir()
	deb := buildPackage(t, out)
	list := executeHere(t, "dpkg-deb", "-c", deb).out
	for _, want := range []string{
		"root/root", " ./usr/bin/promethos\n", " ./usr/lib/systemd/system/promethos.service\n", " ./usr/lib/systemd/system/promethos-block.service\n",
		" ./usr/lib/sysusers.d/promethos.conf\n", " ./usr/share/man/man1/promethos.1.gz\n", " ./usr/share/man/man1/promethos-show-instance.1.gz\n",
		" ./usr/share/bash-completion/completions/promethos\n", " ./usr/share/zsh/vendor-completions/_promethos\n",
		" ./usr/share/doc/promethos/examples/",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("the package has no %q:\n%s", want, list)
		}
	}
	root := filepath.Join(out, "root")
	if r := executeHere(t, "dpkg-deb", "-x", deb, root); r.status != 0 {
		t.Fatal(r)
	}
	binary := filepath.Join(root, "usr/bin/promethos")
	if r := executeHere(t, binary, "version"); r.status != 0 || !strings.HasPrefix(r.out, "promethos ") {
		t.Errorf("%v", r)
	}
	if text := string(must(os.ReadFile(binary))(t)); strings.Contains(text, "ld-linux") {
		t.Error("the binary is not static")
	}
}

// TestManPages: each command has a page, and a page says what the command does.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if r := here(t, "man", dir); r.status != 0 {
		t.Fatal(r)
	}
	for page, want := range map[string]string{
		"promethos.1": ".TP\n.B protect", "promethos-protect.1": `\-\-try`, "promethos-module-load.1": ".SH NAME", "promethos-trace.1": "pcapng",
	} {
		if text := string(must(os.ReadFile(filepath.Join(dir, page)))(t)); !strings.Contains(text, want) {
			t.Errorf("%s has no %q:\n%s", page, want, text)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := here(t, "completion", shell); r.status != 0 || !strings.Contains(r.out, "promethos") {
			t.Errorf("%v", r)
		}
	}
}

// TestBlock: without a daemon, what it would protect is closed; the daemon replaces
// that, and leaves it behind again.
func TestBlock(t *testing.T) {
	need(t, "curl")
	l := up(t, lab.Options{})
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	configuration := "version: 1\non_exit: block\ninstances:\n  - name: web\n    match: {protocol: tcp, server: " + l.Server.IPv4.String() + "}\n    chain: [tcp]\n"
	file := filepath.Join(t.TempDir(), "promethos.yaml")
	write(t, file, configuration)
	if r := run(t, l.Proxy, "block", "-c", file); r.status != 0 || !unreached(t, l.Client, addr) {
		t.Errorf("the server is open: %v", r)
	}
	d := start(t, l, configuration)
	if !reaches(t, l.Client, addr) {
		t.Error("the daemon did not replace the block")
	}
	if r := run(t, l.Proxy, "block", "-c", file); r.status != 1 || !strings.Contains(r.errors, d.Control) {
		t.Errorf("%v", r)
	}
	d.stop(t)
	if !unreached(t, l.Client, addr) {
		t.Error("the end of the daemon opened the server")
	}
	unblock(t, l)
	if !reaches(t, l.Client, addr) {
		t.Error("unblock did not open the server")
	}
	write(t, file, "version: 2\n")
	if r := run(t, l.Proxy, "block", "-c", file); r.status != 2 {
		t.Errorf("%v", r)
	}
}

// TestOwnUser runs the daemon as the unit does: as a user of its own with three
// capabilities, and with systemd's socket for READY=1 and WATCHDOG=1.
func TestOwnUser(t *testing.T) {
	need(t, "setpriv")
	need(t, "curl")
	l := up(t, lab.Options{})
	addr := hostPort(l.Server, "tcp4", port(t, web(t, l.Server).Addr))
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const user = 65534
	dir, err := os.MkdirTemp("", "promethos-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	file, binary, socket := filepath.Join(dir, "promethos.yaml"), filepath.Join(dir, "promethos"), filepath.Join(dir, "notify")
	write(t, file, "version: 1\ncontrol: "+dir+"/s\ninstances:\n  - name: web\n    match: {protocol: tcp, server: "+l.Server.IPv4.String()+"}\n    chain: [tcp]\n")
	check(t, os.WriteFile(binary, must(os.ReadFile(program))(t), 0o755))
	systemd := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}))(t)
	defer systemd.Close()
	for _, path := range []string{dir, file, socket} {
		check(t, os.Chown(path, user, user))
	}
	const caps = "+net_admin,+net_raw,+net_bind_service"
	c := l.Proxy.Command(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--groups=0", "--inh-caps="+caps, "--ambient-caps="+caps,
		"--bounding-set=-all,"+caps, "--no-new-privs", binary, "run", "-c", file)
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=20000")
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		check(t, c.Process.Signal(os.Interrupt))
		if err := c.Wait(); err != nil {
			t.Errorf("%v\n%s", err, said.String())
		}
	}()
	seen := map[string]bool{}
	buf := make([]byte, 100)
	eventually(t, "READY=1 and WATCHDOG=1", func() (bool, string) {
		check(t, systemd.SetReadDeadline(time.Now().Add(time.Second)))
		n, err := systemd.Read(buf)
		if err != nil {
			return false, err.Error()
		}
		seen[string(buf[:n])] = true
		return seen["READY=1"] && seen["WATCHDOG=1"], fmt.Sprint(seen)
	})
	// A systemd that reads no more must not keep the daemon from its work or its end.
	full := must(net.Dial("unixgram", socket))(t)
	defer full.Close()
	for err = nil; err == nil; _, err = full.Write([]byte("full")) {
		check(t, full.SetWriteDeadline(time.Now().Add(settled)))
	}
	if !reaches(t, l.Client, addr) {
		t.Error("the server cannot be reached")
	}
	if r := run(t, l.Proxy, "--control", dir+"/s", "instances"); r.status != 0 || !strings.Contains(r.out, "web") {
		t.Errorf("root may not control it: %v", r)
	}
	stranger := execute(t, l.Proxy, "setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", binary, "--control", dir+"/s", "instances")
	if stranger.status != 1 || !strings.Contains(stranger.errors, "not permitted") {
		t.Errorf("a stranger: %v", stranger)
	}
}
