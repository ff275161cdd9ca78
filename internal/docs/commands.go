package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Command is one that a document tells somebody to type, or names.
type Command struct {
	File     string // from the folder that Commands was given
	Line     string // as it is written
	Block    bool   // in a block of code, else in the text
	Language string // that the block says it is in
}

var (
	codeSpan  = regexp.MustCompile("`((?:\\./|sudo )*promethos [^`]+)`")
	codeBlock = regexp.MustCompile("(?ms)^\\s*```([a-z]*)[^\n]*\n(.*?)^\\s*```")
	ourLine   = regexp.MustCompile(`^\s*(?:\$ )?((?:\./|sudo )*promethos .+)$`)
)

// Commands finds those of the program in all documents below a folder.
func Commands(root string) (list []Command, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		list = append(list, commandsIn(file, string(text))...)
		return err
	})
	return list, err
}

// Blocks finds the blocks of code of a document that say to be in a language; "" are
// those that say nothing.
func Blocks(text, language string) (list []string) {
	for _, b := range codeBlock.FindAllStringSubmatch(text, -1) {
		if b[1] == language {
			list = append(list, b[2])
		}
	}
	return list
}

func commandsIn(file, text string) (list []Command) {
	for _, b := range codeBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(b[2]) {
			if m := ourLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				list = append(list, Command{file, m[1], true, b[1]})
			}
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		list = append(list, Command{File: file, Line: m[1]})
	}
	return list
}
