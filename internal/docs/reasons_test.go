package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	_ "github.com/promethos/promethos/wasm" // its reasons
)

var update = flag.Bool("update", false, "rewrite generated documents")

// withoutRFC names reasons, or with a star at their end groups of them, that
// stand on no RFC, and says on what instead.
var withoutRFC = map[string]string{
	"chain.*":           "rules of this program",
	"conn.*":            "limits of this program",
	"tcp.limit.*":       "limits of this program",
	"source.*":          "limits of this program",
	"wasm.*":            "limits of this program",
	"others.refused":    "the operator's policy",
	"inline.unmatched":  "the operator's policy",
	"tcp.initiate":      "the operator's policy",
	"tcp2.no-address":   "what the host has",
	"tcp2.no-port":      "what the host has",
	"tcp2.server-opens": "a limit of address exchange",
	"frame.*":           "IEEE 802.3",
	"vlan.*":            "IEEE 802.1Q",
	"ethernet.*":        "IEEE 802.1D, 802.1Q and 802.3",
	"stream.*":          "limits of this program",
	"relay.lifetime":    "the operator's policy",
}

func mayLackRFC(name string) bool {
	for pattern := range withoutRFC {
		if start, group := strings.CutSuffix(pattern, "*"); pattern == name || group && strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

// TestReasonsComplete wants everything said that an operator needs who finds a
// drop.
func TestReasonsComplete(t *testing.T) {
	for _, r := range packet.Reasons() {
		i := r.Info()
		for _, f := range []struct{ what, value string }{{"Field", i.Field}, {"Doc", i.Doc}, {"Trips (\"none known\" is an answer)", i.Trips}} {
			if f.value == "" {
				t.Errorf("%s: %s is missing", i.Name, f.what)
			}
		}
		if i.RFC == "" && !mayLackRFC(i.Name) {
			t.Errorf("%s: RFC is missing (or say in withoutRFC on what it stands)", i.Name)
		}
		if i.Trips != "none known" && i.Relax == "" {
			t.Errorf("%s: legitimate traffic trips it (%s), and Relax does not say which setting helps", i.Name, i.Trips)
		}
		for _, cve := range i.CVE {
			if !strings.HasPrefix(cve, "CVE-") {
				t.Errorf("%s: %q is no CVE number", i.Name, cve)
			}
		}
	}
}

// TestReasonsDocument compares docs/reasons.md with the code.
func TestReasonsDocument(t *testing.T) {
	path := filepath.Join(root, "docs", "reasons.md")
	want := reasonsDocument()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/reasons.md is not what the code says (go test ./internal/docs -update): %v", err)
	}
}

const reasonsPreface = `# Reasons

Why a packet, stream or message was dropped or mended. Generated from the code: ` + "`go test ./internal/docs -update`" + `.

- *refused*: a contradiction; it is dropped. *repaired*: it has one safe meaning and is mended, and dropped in mode ` + "`strict`" + `.
- Whatever the class, one reason can be changed for an instance, and for some of its clients:
  ` + "`reasons: {NAME: monitor}`" + `, ` + "`repair` or `refuse`, or `reasons: {NAME: [{client: CIDR, do: monitor}]}`" + `.
- *CVE* names published vulnerabilities whose trigger ends here. ` + "`promethos selftest --cve`" + ` sends most of the triggers.
- The last column says which legitimate traffic can trip the reason, and behind the arrow what relaxes it.

`

// reasonsDocument writes a table for each group of reasons.
func reasonsDocument() string {
	var b strings.Builder
	b.WriteString(reasonsPreface)
	group := ""
	for _, r := range packet.Reasons() {
		i := r.Info()
		if strings.HasPrefix(i.Name, "signatures.match.") {
			continue // made when a signature file is read, which another test does
		}
		if first, _, _ := strings.Cut(i.Name, "."); first != group {
			group = first
			fmt.Fprintf(&b, "\n## %s\n\n| reason | class | field | RFC | CVE | what it is | legitimate traffic that trips it → what relaxes it |\n", group)
			b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
		}
		trips := i.Trips
		if i.Relax != "" {
			trips += " → " + i.Relax
		}
		cells := []string{"`" + i.Name + "`", i.Class.String(), "`" + i.Field + "`", i.RFC, strings.Join(i.CVE, " "), i.Doc, trips}
		for n, c := range cells {
			if cells[n] = strings.ReplaceAll(c, "|", "\\|"); c == "" {
				cells[n] = "–"
			}
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}
