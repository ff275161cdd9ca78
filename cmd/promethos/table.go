package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// printTable writes rows aligned under their headings, numbers to the right.
func printTable(w io.Writer, headings []string, rows [][]string) error {
	width := make([]int, len(headings))
	numeric := make([]bool, len(headings))
	for i, h := range headings {
		width[i], numeric[i] = utf8.RuneCountInString(h), slices.ContainsFunc(rows, func(row []string) bool { return row[i] != "" && row[i] != "-" })
	}
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i], cell = "-", "-"
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
			numeric[i] = numeric[i] && strings.Trim(cell, "0123456789./") == "" || numeric[i] && cell == "-"
		}
	}
	p := painter{terminal(w)}
	out := bufio.NewWriter(w)
	line := func(cells []string, paint func(string) string) {
		for i, cell := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			switch {
			case numeric[i]:
				out.WriteString(pad + paint(cell))
			case i == len(cells)-1:
				out.WriteString(paint(cell))
			default:
				out.WriteString(paint(cell) + pad)
			}
			if i < len(cells)-1 {
				out.WriteString("  ")
			}
		}
		out.WriteByte('\n')
	}
	line(headings, p.bold)
	for _, row := range rows {
		line(row, p.word)
	}
	return out.Flush()
}

// terminal reports whether w is one that wants colour (https://no-color.org).
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// painter colours for a terminal (ECMA-48 SGR) and for nothing else.
type painter struct{ on bool }

func (p painter) sgr(code, text string) string {
	if !p.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p painter) bold(text string) string  { return p.sgr("1", text) }
func (p painter) bad(text string) string   { return p.sgr("31", text) }
func (p painter) doubt(text string) string { return p.sgr("33", text) }
func (p painter) good(text string) string  { return p.sgr("32", text) }

// word colours what an operator looks for in a table.
func (p painter) word(cell string) string {
	switch {
	case cell == "drop", cell == "NO", strings.Contains(cell, "NOT PROTECTING"):
		return p.bad(cell)
	case strings.HasPrefix(cell, "would-"):
		return p.doubt(cell)
	case cell == "repair", cell == "ESTABLISHED":
		return p.good(cell)
	}
	return cell
}

// printJSON writes a value as indented JSON.
func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// show prints a list as a table, or with --json as it is.
func show[T any](g *global, list []T, headings []string, row func(T) []string) error {
	if g.json {
		if list == nil {
			list = []T{}
		}
		return printJSON(os.Stdout, list)
	}
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = row(v)
	}
	return printTable(os.Stdout, headings, rows)
}
