package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
)

// stateful is a daemon with an engine and a state folder, as openState finds it.
func stateful(t *testing.T, dir string) *Daemon {
	t.Helper()
	d := withEngine(t, instance("plc", ppf.Forward, "tcp"))
	d.spec.State, d.spec.OnExit = dir, ppf.ExitBlock
	return d
}

// said tells whether the daemon has said a text.
func said(d *Daemon, text string) bool {
	list, _ := d.engine.Events().Since(0)
	for _, e := range list {
		if strings.Contains(e.Text, text) {
			return true
		}
	}
	return false
}

// TestState: which file stands in the folder, and what the next start makes of it.
func TestState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	files := func(want ...string) {
		t.Helper()
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list {
			got = append(got, e.Name())
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("files %v, want %v", got, want)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	d := stateful(t, dir)
	d.openState(rules.StateNone)
	files(runningFile)
	if said(d, "was not stopped") || said(d, "taken up") {
		t.Error("the first start found something")
	}
	check(d.closeState())
	files(savedFile)

	next := stateful(t, dir)
	next.openState(rules.StateBlock)
	files(savedFile, runningFile)
	if !said(next, "0 connections are taken up from") {
		t.Error("what was saved is not used")
	}
	check(next.state.started())
	files(runningFile)

	// It was killed, and the next start comes to nothing.
	crashed := stateful(t, dir)
	crashed.openState(rules.StateBlock)
	if !said(crashed, "was not stopped") {
		t.Error("a crash was not noticed")
	}
	check(crashed.endState())
	files(runningFile)
	again := stateful(t, dir)
	again.openState(rules.StateBlock)
	if !said(again, "was not stopped") {
		t.Error("a crash was forgotten")
	}
	check(again.closeState())
	files(savedFile)

	open := stateful(t, dir)
	open.openState(rules.StateNone)
	if !said(open, "the rules that kept the servers closed are gone") {
		t.Error("what was saved is used though packets passed meanwhile")
	}
	open.spec.OnExit = ppf.ExitRemove
	check(open.state.started())
	check(open.closeState())
	files()
}

// TestStateDamaged: a file that cannot be read is told of, and not used.
func TestStateDamaged(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{savedFile: ppf.ErrSaved.Error(), runningFile: "has 0 bytes"} {
		content := "something else"
		if name == runningFile {
			content = ""
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d := stateful(t, dir)
		d.openState(rules.StateBlock)
		if !said(d, want) || !said(d, "are not taken up") {
			t.Errorf("%s: nothing was said", name)
		}
		if err := errors.Join(d.state.started(), d.endState()); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, runningFile)); err != nil {
			t.Fatal(err)
		}
	}
	// A place where no folder can be is no reason not to start.
	d := stateful(t, filepath.Join(os.DevNull, "folder"))
	d.openState(rules.StateNone)
	if !said(d, "will not survive a crash") {
		t.Error("nothing was said of a journal that is not kept")
	}
}
