package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTutorial does what docs/writing-a-module.md says in an empty folder, from
// the text alone: it writes the files and runs the commands, in order. There is
// no network in it.
func TestTutorial(t *testing.T) {
	text := string(must(os.ReadFile("../docs/writing-a-module.md"))(t))
	path := filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH")
	dir := t.TempDir()
	tests, files := 0, 0
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)(?: (\\S+))?\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		language, file, body := m[1], m[2], m[3]
		if language != "sh" {
			if file == "" {
				t.Fatalf("a block of %s has no file:\n%s", language, body)
			}
			files++
			if err := os.WriteFile(filepath.Join(dir, file), []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
			if to, ok := strings.CutPrefix(line, "cd "); ok {
				dir = filepath.Join(dir, to)
				continue
			}
			c := exec.Command("sh", "-c", line)
			c.Dir = dir
			c.Env = append(os.Environ(), "PATH="+path, "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			if strings.Contains(line, " check ") && strings.Contains(string(out), "module_dirs") {
				t.Errorf("%s:\n%s", line, out)
			}
			if strings.Contains(line, "module test") {
				tests++
				if strings.Count(string(out), "ok ") != 3 || strings.Contains(string(out), "FAILED") {
					t.Errorf("%s:\n%s", line, out)
				}
			}
		}
	}
	if tests != 4 || files != 5 {
		t.Errorf("%d runs of the kit and %d files", tests, files)
	}
	attackCapture(t, filepath.Join(dir, "sensor.pcapng"))
	capture := exec.Command(program, "module", "test", "-r", "sensor.pcapng", "quota.wasm")
	capture.Dir = dir
	if out, err := capture.CombinedOutput(); err != nil || !strings.Contains(string(out), "packets") {
		t.Errorf("a capture: %v\n%s", err, out)
	}
	// What `module new` wrote beside it passes too.
	c := exec.Command("go", "test", "./...")
	c.Dir = t.TempDir()
	if out, err := (&exec.Cmd{Path: program, Args: []string{program, "module", "new", "other"}, Dir: c.Dir}).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.Dir = filepath.Join(c.Dir, "other")
	c.Env = append(os.Environ(), "PROMETHOS="+program, "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok") {
		t.Errorf("%v\n%s", err, out)
	}
}
