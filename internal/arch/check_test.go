package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checker finds what the source tree does against the tables of this package.
type checker struct {
	tree     fs.FS
	module   string // the module's path
	problems []string
}

// check returns one line per violation, in file order.
func check(tree fs.FS, module string) ([]string, error) {
	c := &checker{tree: tree, module: module}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		return c.file(name)
	})
	return c.problems, err
}

// skipped tells the folders that the go command does not look into.
func skipped(dir string) bool {
	return dir == "testdata" || dir == "vendor" || strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")
}

func (c *checker) add(fset *token.FileSet, pos token.Pos, format string, args ...any) {
	p := fset.Position(pos)
	c.problems = append(c.problems, fmt.Sprintf("%s:%d: ", p.Filename, p.Line)+fmt.Sprintf(format, args...))
}

// file checks one file. All files count, whatever their build constraints.
func (c *checker) file(name string) error {
	src, err := fs.ReadFile(c.tree, name)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	here := roomOf(dir)
	if here == nil {
		c.add(fset, f.Package, "folder %s: stands in no room (give it a place in internal/arch/rooms_test.go)", dir)
		return nil
	}
	test := strings.HasSuffix(name, "_test.go")
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		if ours, ok := strings.CutPrefix(imported, c.module+"/"); ok {
			if !test && !mayImport(here, dir, ours) {
				c.add(fset, spec.Pos(), "%s imports %s: %s", dir, ours, here.why)
			}
			continue
		}
		if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || slices.Contains(processor, imported) {
			continue // the standard library, and what is like it
		}
		lib := libraryOf(imported)
		switch {
		case lib == nil:
			c.add(fset, spec.Pos(), "%s imports %s: not a known dependency (write an ADR, then list it in internal/arch/rooms_test.go)", dir, imported)
		case test && lib.tests, matchesAny(lib.may, dir):
		default:
			c.add(fset, spec.Pos(), "%s imports %s: %s", dir, imported, lib.why)
		}
	}
	if !test {
		c.clock(fset, f, dir)
	}
	return nil
}

// clock finds uses of the real clock, calls as well as values.
func (c *checker) clock(fset *token.FileSet, f *ast.File, dir string) {
	for _, a := range clockAllowed {
		if within(a.path, dir) {
			return
		}
	}
	name := ""
	for _, spec := range f.Imports {
		if spec.Path.Value == `"time"` {
			name = "time"
			if spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	if name == "" {
		return
	}
	if name == "." {
		c.add(fset, f.Package, "package time is imported with a dot: its uses cannot be told")
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && clockReaders[sel.Sel.Name] {
			c.add(fset, sel.Pos(), "%s uses time.%s: the time comes as a value or from ppf.Env", dir, sel.Sel.Name)
		}
		return true
	})
}

// within reports whether a folder lies in the part of the tree that a path of
// the tables names.
func within(pattern, dir string) bool {
	parts := strings.Split(pattern, "/")
	folders := strings.Split(dir, "/")
	if len(folders) < len(parts) {
		return false
	}
	for i, p := range parts {
		if p != "*" && p != folders[i] {
			return false
		}
	}
	return true
}

func matchesAny(patterns []string, dir string) bool {
	for _, p := range patterns {
		if within(p, dir) {
			return true
		}
	}
	return false
}

// roomOf finds the room of a folder; nil where it has none. The longest path
// wins, and of two as long a plain name over a star.
func roomOf(dir string) *room {
	var best *room
	rank := 0
	for i := range rooms {
		r := &rooms[i]
		if !within(r.path, dir) {
			continue
		}
		n := 2 * len(strings.Split(r.path, "/"))
		if !strings.HasSuffix(r.path, "*") {
			n++
		}
		if n > rank {
			best, rank = r, n
		}
	}
	return best
}

// mayImport reports whether product code in folder dir of room r may import
// folder ours.
func mayImport(r *room, dir, ours string) bool {
	if matchesAny(r.may, ours) {
		return true
	}
	// Its own folders: for a room with a star the folder that stands for it.
	own := r.path
	if root, star := strings.CutSuffix(own, "*"); star {
		own = root + strings.Split(strings.TrimPrefix(dir, root), "/")[0]
	}
	return within(own, ours)
}

func libraryOf(imported string) *library {
	for i := range libraries {
		if p := libraries[i].path; imported == p || strings.HasPrefix(imported, p+"/") {
			return &libraries[i]
		}
	}
	return nil
}
