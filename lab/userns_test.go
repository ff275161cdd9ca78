package lab

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is an ordinary user on every system.
const nobody = 65534

// asNobody prepares a copy of this test binary that an ordinary user can run;
// args select a test.
func asNobody(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 || os.Getenv(userNamespaceMark) != "" {
		t.Skip("needs CAP_SETUID to become another user")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // MkdirTemp makes them private
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil { // it becomes TMPDIR
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "lab.test")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// TestAsOrdinaryUser runs tests of this package as nobody, in the user namespace
// that TestMain enters by itself.
func TestAsOrdinaryUser(t *testing.T) {
	Require(t)
	cmd := asNobody(t, "-test.v", "-test.run=^(TestUpLayouts|TestNamedLab|TestPingThroughRouter|TestHTTP|TestCapture|TestNoOffloads|TestFirewalls|TestAttacksArriveWithoutProxy)$")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if strings.Contains(text, "needs a lab: ") {
		// The kernel does not allow it here; then the text must say what is missing.
		if !strings.Contains(text, "sysctl -w") && !strings.Contains(text, "run as root") {
			t.Errorf("skips do not say what is missing:\n%s", text)
		}
		t.Skipf("needs user namespaces for ordinary users:\n%s", text)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range []string{"TestUpLayouts", "TestPingThroughRouter", "TestHTTP", "TestCapture", "TestNoOffloads", "TestFirewalls", "TestAttacksArriveWithoutProxy"} {
		if !strings.Contains(text, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass as an ordinary user:\n%s", name, text)
		}
	}
	if !strings.Contains(text, "--- SKIP: TestNamedLab ") {
		t.Errorf("a lab with names in a user namespace: want a skip\n%s", text)
	}
}

// TestExitStatusPassesThrough starts the child below as nobody.
func TestExitStatusPassesThrough(t *testing.T) {
	Require(t)
	for _, tt := range []struct {
		what   string
		status int
	}{{"exit", 7}, {"kill", 128 + int(syscall.SIGKILL)}} {
		cmd := asNobody(t, "-test.run=^TestChildEnds$")
		cmd.Env = append(cmd.Env, childVariable+"="+tt.what)
		cmd.Stdin = strings.NewReader("through standard input")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if strings.Contains(out.String(), "not entered") {
			t.Skipf("needs user namespaces for ordinary users: %s", out.String())
		}
		if !ok || exit.ExitCode() != tt.status {
			t.Errorf("%s in a user namespace: got %v, want exit status %d\n%s", tt.what, err, tt.status, out.String())
		}
		if !strings.Contains(out.String(), "uid 0: through standard input") {
			t.Errorf("%s: got %q, want uid 0 and the standard input", tt.what, out.String())
		}
	}
}

const childVariable = "PROMETHOS_LAB_TEST_CHILD"

// TestChildEnds is no test but what TestExitStatusPassesThrough runs.
func TestChildEnds(t *testing.T) {
	what := os.Getenv(childVariable)
	if what == "" {
		t.Skip("not started as a child")
	}
	if os.Getenv(userNamespaceMark) == "" {
		t.Fatal("not entered")
	}
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("uid " + string(rune('0'+os.Getuid())) + ": " + string(in) + "\n")
	if what == "kill" {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	os.Exit(7)
}

// TestUnavailable runs where nothing is allowed: as nobody who believes to be in a
// user namespace already.
func TestUnavailable(t *testing.T) {
	cmd := asNobody(t, "-test.v", "-test.run=^TestUpLayouts$")
	cmd.Env = append(cmd.Env, userNamespaceMark+"=1")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil || !strings.Contains(text, "--- SKIP: TestUpLayouts") ||
		!strings.Contains(text, "missing CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN") || !strings.Contains(text, "run as root") {
		t.Errorf("without capabilities: got %v and\n%s\nwant a skip that names them", err, text)
	}
}

func TestEnterWhereNothingIsToDo(t *testing.T) {
	Require(t)
	if status, ran, err := EnterUserNamespace(); status != 0 || ran || err != nil {
		t.Errorf("EnterUserNamespace: got %d, %v, %v, want nothing done", status, ran, err)
	}
}
