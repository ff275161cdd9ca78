package signatures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/ppf"
)

// clock is an Env whose time a test sets.
type clock struct {
	ppf.Env
	now int64
}

func (c *clock) Now() int64 { return c.now }

func newTest(t *testing.T, c Config) (*function, *clock) {
	t.Helper()
	env := &clock{ppf.DryEnv(), 1}
	f, err := newFunction(&c, env)
	if err != nil {
		t.Fatal(err)
	}
	return f, env
}

// explain gives what became of a request, and the reasons.
func explain(t *testing.T, f *function, raw string) (verdict string, reasons []string) {
	t.Helper()
	x, err := http.NewExplainer(f).Request([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range x.Findings {
		reasons = append(reasons, found.Reason+" "+found.Action)
	}
	if (x.Verdict == "refused") != (len(x.Sent) == 0) {
		t.Errorf("%s, and %q was sent", x.Verdict, x.Sent)
	}
	return x.Verdict, reasons
}

func TestExampleFile(t *testing.T) {
	f, _ := newTest(t, Config{File: "testdata/example.sig"})
	for _, tt := range []struct{ name, target, field, verdict, want string }{
		{"nothing", "/", "User-Agent: curl/8", "sent", ""},
		{"any field", "/", "Accept: () { :; }; x", "refused", "signatures.match.shellshock refused"},
		{"path", "/static/etc/passwd", "Accept: x", "refused", "signatures.match.passwd refused"},
		{"path, encoded", "/static/%65tc/p%61sswd", "Accept: x", "refused", "signatures.match.passwd refused"},
		{"counted only", "/", "User-Agent: 123456789012345678901", "repaired", "signatures.match.long-agent would-refuse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			verdict, reasons := explain(t, f, "GET "+tt.target+" HTTP/1.1\r\nHost: a.example\r\n"+tt.field+"\r\n\r\n")
			if verdict != tt.verdict || strings.Join(reasons, ",") != tt.want {
				t.Errorf("got %s %v, want %s %q", verdict, reasons, tt.verdict, tt.want)
			}
		})
	}
}

func TestShadow(t *testing.T) {
	f, _ := newTest(t, Config{File: "testdata/example.sig", Shadow: true})
	if verdict, reasons := explain(t, f, "GET /etc/passwd HTTP/1.1\r\nHost: a.example\r\n\r\n"); verdict == "refused" || len(reasons) != 1 {
		t.Errorf("in shadow: got %s %v, want it counted and sent", verdict, reasons)
	}
}

const one = "signature: %\nin: query\ncontains: evil\nmust-match: evil=1\nmust-not-match: good=1\n"

func sig(name string) string { return strings.Replace(one, "%", name, 1) }

// TestReload: a changed file is taken with a request half a second later; one
// that is wrong is not, and the old signatures stay.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sig")
	stamp := time.Unix(1_000_000, 0)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Second)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	write(sig("one"))
	f, env := newTest(t, Config{File: path})
	const evil, bad = "GET /?evil=1 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?bad=1 HTTP/1.1\r\nHost: a\r\n\r\n"
	verdicts := func() string {
		a, _ := explain(t, f, evil)
		b, _ := explain(t, f, bad)
		return a + " " + b
	}
	if got := verdicts(); got != "refused sent" {
		t.Errorf("at the start: got %s", got)
	}
	write(strings.ReplaceAll(sig("two"), "evil", "bad"))
	if got := verdicts(); got != "refused sent" {
		t.Errorf("within the interval: got %s", got)
	}
	env.now += checkEvery
	if got := verdicts(); got != "sent refused" {
		t.Errorf("after it: got %s", got)
	}
	write(sig("three") + sig("three"))
	env.now += checkEvery
	if got := verdicts(); got != "sent refused" {
		t.Errorf("with a wrong file: got %s, want what was before", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	env.now += checkEvery
	if got := verdicts(); got != "sent refused" {
		t.Errorf("without the file: got %s, want what was before", got)
	}
}

// TestFileProblems: one wrong line or example refuses the whole file.
func TestFileProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"example does not match", strings.Replace(sig("a"), "must-match: evil", "must-match: good", 1), "must-match: \"good=1\" does not match"},
		{"counter-example matches", strings.Replace(sig("a"), "must-not-match: good", "must-not-match: evil", 1), "must-not-match: \"evil=1\" matches"},
		{"no example", "signature: a\nin: path\ncontains: x\n", "needs an example"},
		{"no condition", "signature: a\nin: path\nmust-match: x\nmust-not-match: y\n", "no condition"},
		{"no subject", "signature: a\ncontains: x\nmust-match: x\nmust-not-match: y\n", "in what"},
		{"unknown key", sig("a") + "colour: red\n", "f:6: \"colour\" is unknown"},
		{"regular expression", sig("a") + "matches: (\n", "f:6: matches:"},
		{"unknown subject", strings.Replace(sig("a"), "query", "body", 1), "in: \"body\""},
		{"unknown action", sig("a") + "action: pray\n", "action:"},
		{"twice", sig("a") + sig("a"), "there already"},
		{"name", sig("A b"), "is no name"},
		{"before the first", "in: path\n", "before the first"},
		{"the second is wrong", sig("a") + "signature: b\n", "signature b:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := parseFile("f", tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) || list != nil {
				t.Errorf("got %v, %v, want an error with %q and nothing else", list, err, tt.want)
			}
		})
	}
}
