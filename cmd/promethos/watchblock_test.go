package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/ppf"
)

// TestWatchedFiles: interfaces that come do not make the files be read again, a change
// of one, or a file that comes into a folder which is included, does.
func TestWatchedFiles(t *testing.T) {
	dir := t.TempDir()
	file, included := filepath.Join(dir, "promethos.yaml"), filepath.Join(dir, "conf.d")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What has just changed may change again within the same tick of its clock.
	settle := func(paths ...string) {
		t.Helper()
		for _, p := range append(paths, dir, included) {
			if err := os.Chtimes(p, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	pair := func(name string) string {
		return "version: 1\ninstances:\n  - name: " + name + "\n    source: inline\n    inline: {client: " + name + "0, server: " + name + "1}\n    chain: [tcp]\n"
	}
	if err := os.Mkdir(included, 0o700); err != nil {
		t.Fatal(err)
	}
	put(file, pair("first")+"include: [conf.d/*.yaml]\n")
	settle(file)
	loads := 0
	w := portWatch{looked: map[string]int{}, load: func() (*ppf.Spec, []ppf.Problem) {
		loads++
		return config.LoadSelection(file)
	}}
	spec, problems := w.load()
	if len(spec.Instances) != 1 {
		t.Fatalf("%v", problems)
	}
	w.take(spec)
	index := 1000
	comes := func(n int) {
		t.Helper()
		for range n {
			index++
			u := netlink.LinkUpdate{Link: &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("other", index), Index: index}}}
			u.Header.Type = syscall.RTM_NEWLINK
			if err := w.seen(u); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		what  string
		do    func()
		ports []string
	}{
		{"the first one", func() {}, []string{"first0", "first1"}},
		{"a file that is included", func() {
			put(filepath.Join(included, "second.yaml"), pair("second"))
			settle(filepath.Join(included, "second.yaml"))
		}, []string{"first0", "first1", "second0", "second1"}},
		{"a mistake", func() { put(file, "version: 2\n"); settle(file) }, []string{"first0", "first1", "second0", "second1"}},
		{"another file", func() { put(file, pair("third")); settle(file) }, []string{"third0", "third1"}},
	} {
		step.do()
		comes(3)
		if !slices.Equal(w.ports, step.ports) {
			t.Errorf("%s: ports %v, want %v", step.what, w.ports, step.ports)
		}
		comes(3) // the list of files may be another one now: it is read once more
		before := loads
		if comes(100); loads != before {
			t.Errorf("%s: 100 interfaces made the files be read %d times", step.what, loads-before)
		}
	}
}
