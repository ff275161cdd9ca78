package wasm

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// offsets finds numbers by name.
func offsets(text, pattern string) map[string]int {
	list := map[string]int{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[2])
		if err == nil {
			list[m[1]] = n
		}
	}
	return list
}

// TestLayout: the document, the host, the kit for Go and the kit for C agree on
// where everything is.
func TestLayout(t *testing.T) {
	doc := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| ([A-Z][A-Za-z]+) \|`).FindAllStringSubmatch(read(t, "../docs/abi.md"), -1) {
		doc[m[2]], _ = strconv.Atoi(m[1])
	}
	if len(doc) < 45 {
		t.Fatalf("the document has %d values", len(doc))
	}
	for where, have := range map[string]map[string]int{
		"area.go":     offsets(read(t, "area.go")+read(t, "message.go")+read(t, "stream.go"), `(?m)^\td([A-Z][A-Za-z]+)\s+= (\d+)`),
		"pfm package": offsets(read(t, "../pfm/exchange.go")+read(t, "../pfm/message.go")+read(t, "../pfm/stream.go"), `(?m)^\toff([A-Z][A-Za-z]+)\s+= (\d+)`),
	} {
		for name, at := range doc {
			if got, ok := have[name]; !ok || got != at {
				t.Errorf("%s: %s at %d (there: %v), the document says %d", where, name, got, ok, at)
			}
		}
		if len(have) != len(doc) {
			t.Errorf("%s has %d values, the document %d", where, len(have), len(doc))
		}
	}
}

// TestCallsDocumented: every call is in the document with what it needs, and no
// other.
func TestCallsDocumented(t *testing.T) {
	text := read(t, "../docs/abi.md")
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)\\(([^)]*)\\)( i32| i64)?` \\| (?:`([a-z-]+)`)? ?\\|").FindAllStringSubmatch(text, -1)
	found := map[string]bool{}
	for _, row := range rows {
		for _, c := range calls {
			if c.name != row[1] {
				continue
			}
			found[c.name] = true
			if n := strings.Count(row[2], ",") + 1; n != len(c.params) {
				t.Errorf("%s has %d parameters, the document says %d", c.name, len(c.params), n)
			}
			for i, p := range strings.Split(row[2], ",") {
				if wide := strings.Contains(p, "i64"); wide != (c.params[i] == 'I') {
					t.Errorf("%s: parameter %d", c.name, i)
				}
			}
			if string(c.needs) != row[4] {
				t.Errorf("%s needs %q, the document says %q", c.name, c.needs, row[4])
			}
		}
	}
	for _, c := range calls {
		if !found[c.name] {
			t.Errorf("%s is not in the document", c.name)
		}
	}
}
