package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	codeSpan  = regexp.MustCompile("`((?:\\./|sudo )*promethos [^`]+)`")
	codeBlock = regexp.MustCompile("(?ms)^\\s*```[a-z]*\n(.*?)^\\s*```")
	ourLine   = regexp.MustCompile(`^\s*(?:\$ )?((?:\./|sudo )*promethos .+)$`)
)

// documented lists the commands that a document names, in its text and in blocks.
func documented(text string) (list []string) {
	for _, b := range codeBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(b[1]) {
			if m := ourLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				list = append(list, m[1])
			}
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		list = append(list, m[1])
	}
	return list
}

// wrongCommand says what is wrong with a command as a document writes it: a command
// or a flag that there is not. What stands for something, such as FILE, may be
// anything.
func wrongCommand(line string) error {
	line, _, _ = strings.Cut(line, " # ")
	line, _, _ = strings.Cut(line, " < ")
	line, _, _ = strings.Cut(line, " | ")
	words := strings.Fields(strings.NewReplacer("[", "", "]", "", "…", "").Replace(line))
	for len(words) > 0 && !strings.HasSuffix(words[0], "promethos") {
		words = words[1:]
	}
	c, rest, err := newRoot().Find(words[1:])
	if err != nil || c.DisableFlagParsing {
		return err
	}
	if c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && !strings.ContainsAny(rest[0], "|") {
		return c.Args(c, rest)
	}
	// A flag may stand without its value where its purpose is told.
	if last := len(rest) - 1; last >= 0 && strings.HasPrefix(rest[last], "-") {
		rest = append(rest, "1")
	}
	return c.ParseFlags(rest)
}

// TestDocumentedCommands: each command that a document of the project names is there,
// with its flags. Guides are executed by the tests of e2e; this finds what stands
// between the lines of all others, too.
func TestDocumentedCommands(t *testing.T) {
	for line, good := range map[string]bool{
		"promethos check -c promethos.yaml": true, "./promethos show instance N": true, "promethos module load|unload NAME": true,
		"promethos chek -c FILE": false, "promethos check --sideways": false, "promethos show sideways": false, "promethos connections --stat X": false,
	} {
		if err := wrongCommand(line); (err == nil) != good {
			t.Errorf("%s: %v, want good %v", line, err, good)
		}
	}
	found := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range documented(string(text)) {
			found++
			if err := wrongCommand(line); err != nil {
				t.Errorf("%s: %s: %v", path, line, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 100 {
		t.Errorf("found %d commands in all documents", found)
	}
	t.Logf("%d commands", found)
}
