package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/pfm"
)

// skeletons are the files of a new module; NAME stands for its name.
//
//go:embed skeleton
var skeletons embed.FS

// newFiles tells where each skeleton goes; LEVEL stands for what the module works
// on.
var newFiles = map[string]string{
	"module.LEVEL.go.tmpl": "NAME.go", "main.go.tmpl": "guest/main.go", "test.go.tmpl": "NAME_test.go",
	"manifest.LEVEL.json.tmpl": "NAME.json", "module.LEVEL.trace.tmpl": "testdata/NAME.trace", "README.md.tmpl": "README.md",
}

type newLevel struct{ name, what, where, chain, begin, why string }

// newLevels are the levels, and what the README says of a module of each: what it
// does, where it stands, its chain, its setting, and what its reason says.
var newLevels = []newLevel{
	{"packet", "refuses payloads that begin with a text, and builds everything else anew",
		"match: {protocol: udp, server: 192.0.2.1, port: 7}", "NAME", "bad", "the payload begins"},
	{"stream", "hands lines on, and refuses those that begin with a text",
		"match: {protocol: tcp, server: 192.0.2.1, port: 7}", "tcp, NAME, relay", "bad", "a line begins"},
	{"message", "refuses HTTP requests for paths that begin with a text",
		"match: {protocol: tcp, server: 192.0.2.1, port: 80}", "tcp, http, NAME", "/bad", "the path begins"},
}

// kitVersion is the version of the kit that a new module asks for and brings.
const kitVersion = "v0.1.0"

var newModuleName = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

func newModuleNew() *cobra.Command {
	level := ""
	c := &cobra.Command{
		Use: "new NAME", Short: "write a working module into a new folder", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			i := slices.IndexFunc(newLevels, func(l newLevel) bool { return l.name == level })
			if i < 0 {
				return usageError{fmt.Errorf("module new: level %q is unknown (packet, stream or message)", level)}
			}
			if !newModuleName.MatchString(name) {
				return usageError{fmt.Errorf("module new: %q is no name (use a lowercase letter, then letters and digits, 32 at most)", name)}
			}
			if err := os.Mkdir(name, 0o755); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("module new: %s is there already (choose another name, or remove it)", name)
			} else if err != nil {
				return fmt.Errorf("module new: %w", err)
			}
			if err := writeModule(name, newLevels[i]); err != nil {
				return fmt.Errorf("module new: %w", err)
			}
			fmt.Printf("%s is written; its README.md says how to build, test and use it\n", name)
			return nil
		},
	}
	c.Flags().StringVar(&level, "level", "packet", "what it works on: packet, stream or message")
	return c
}

func writeModule(name string, l newLevel) error {
	write := func(path string, data []byte) error {
		path = filepath.Join(name, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o644)
	}
	level := strings.NewReplacer("LEVEL", l.name, "WHAT", l.what, "WHERE", l.where, "CHAIN", l.chain, "BEGIN", l.begin, "WHY", l.why)
	named := strings.NewReplacer("NAME", name)
	for from, to := range newFiles {
		text, err := skeletons.ReadFile("skeleton/" + level.Replace(from))
		if err != nil {
			return err
		}
		if err := write(named.Replace(to), []byte(named.Replace(level.Replace(string(text))))); err != nil {
			return err
		}
	}
	const kit = "github.com/promethos/promethos"
	goVersion := strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go")
	for path, text := range map[string]string{
		"go.mod":             fmt.Sprintf("module example.com/%s\n\ngo %s\n\nrequire %s %s\n", name, goVersion, kit, kitVersion),
		"vendor/modules.txt": fmt.Sprintf("# %s %s\n## explicit; go %s\n%s/pfm\n", kit, kitVersion, goVersion, kit),
	} {
		if err := write(path, []byte(text)); err != nil {
			return err
		}
	}
	sources, err := pfm.Sources.ReadDir(".")
	if err != nil {
		return err
	}
	for _, entry := range sources {
		if entry.IsDir() || entry.Name() == "sources.go" || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		text, err := pfm.Sources.ReadFile(entry.Name())
		if err != nil {
			return err
		}
		if err := write("vendor/"+kit+"/pfm/"+entry.Name(), text); err != nil {
			return err
		}
	}
	return nil
}
