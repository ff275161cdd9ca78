package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWatch: a written and a renamed file are changes; one that is only looked at
// is none.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	w, err := watchFolders([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed, ended := make(chan struct{}, 8), make(chan error, 1)
	go func() { ended <- w.changes(ctx, func() { changed <- struct{}{} }) }()
	file := filepath.Join(dir, "promethos.yaml")
	if err := os.WriteFile(file+".new", []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-changed
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	<-changed
	if _, err := os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	<-changed
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(changed) != 0 {
		t.Errorf("%d changes that were none", len(changed))
	}
	if _, err := watchFolders([]string{filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "make the folder") {
		t.Errorf("a folder that is not there: %v", err)
	}
}
