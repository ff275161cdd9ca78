package main

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/internal/docs"
)

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
// with its flags. Tests of e2e run them.
func TestDocumentedCommands(t *testing.T) {
	for line, good := range map[string]bool{
		"promethos check -c promethos.yaml": true, "./promethos show instance N": true, "promethos module load|unload NAME": true,
		"promethos chek -c FILE": false, "promethos check --sideways": false, "promethos show sideways": false, "promethos connections --stat X": false,
	} {
		if err := wrongCommand(line); (err == nil) != good {
			t.Errorf("%s: %v, want good %v", line, err, good)
		}
	}
	list, err := docs.Commands("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if err := wrongCommand(c.Line); err != nil {
			t.Errorf("%s: %s: %v", c.File, c.Line, err)
		}
	}
	if len(list) < 100 {
		t.Errorf("found %d commands in all documents", len(list))
	}
}
