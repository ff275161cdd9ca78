package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/lab"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/modules/ethernet"
	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/modules/https"
	"github.com/promethos/promethos/modules/icmp"
	"github.com/promethos/promethos/modules/ip"
	"github.com/promethos/promethos/modules/nd"
	"github.com/promethos/promethos/modules/relay"
	"github.com/promethos/promethos/modules/tcp"
	"github.com/promethos/promethos/modules/tcp2"
	"github.com/promethos/promethos/modules/udp"
	"github.com/promethos/promethos/modules/urlrewrite"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const root = "../.."

// readmes calls f for each built-in module's README.
func readmes(t *testing.T, f func(t *testing.T, info ppf.ModuleInfo, text string)) {
	t.Helper()
	list := ppf.BuiltinModules()
	if len(list) == 0 {
		t.Fatal("no module is built in")
	}
	for _, info := range list {
		t.Run(info.Name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(root, "modules", info.Name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			f(t, info, string(b))
		})
	}
}

// fences gives the code blocks of a language.
func fences(text, language string) []string {
	var list []string
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			list = append(list, m[2])
		}
	}
	return list
}

// section gives the text below a heading.
func section(text, heading string) string {
	_, rest, _ := strings.Cut(text, "\n## "+heading+"\n")
	own, _, _ := strings.Cut(rest, "\n## ")
	return own
}

// rows gives the cells of the tables in a text, without their headings.
func rows(text string) [][]string {
	var list [][]string
	heading := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			heading = true
			continue
		}
		if strings.HasPrefix(line, "| ---") {
			heading = false
			continue
		}
		if heading {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		list = append(list, cells)
	}
	return list
}

func TestModuleExamples(t *testing.T) {
	readmes(t, func(t *testing.T, info ppf.ModuleInfo, text string) {
		if info.Name == "https" { // its examples name a key, which is never in testdata
			dir := t.TempDir()
			if err := lab.WriteCertificate(dir, "web", "www.example.com"); err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
		} else {
			t.Chdir(filepath.Join(root, "modules", info.Name)) // examples name files of testdata
		}
		examples := fences(text, "yaml")
		if len(examples) == 0 {
			t.Error("no YAML example")
		}
		for _, e := range examples {
			_, problems := config.Parse("example.yaml", []byte(e))
			for _, p := range problems {
				if !p.Warning {
					t.Errorf("%v in\n%s", p, e)
				}
			}
			if !strings.Contains(e, info.Functions[0]) {
				t.Errorf("the example does not use %s:\n%s", info.Functions[0], e)
			}
		}
	})
}

// words splits a command line at blanks outside of single quotes.
func words(line string) []string {
	var list []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			list = append(list, part)
			continue
		}
		list = append(list, strings.Fields(part)...)
	}
	return list
}

func TestModuleCommands(t *testing.T) {
	readmes(t, func(t *testing.T, info ppf.ModuleInfo, text string) {
		appended := 0
		for _, block := range fences(text, "") {
			for line := range strings.Lines(block) {
				args := words(strings.ReplaceAll(line, "<instance-nr>", "7"))
				if len(args) < 2 || args[0] != "promethos" {
					continue
				}
				switch args[1] {
				case "iptables":
					cmd, problems := config.ParseIPTables(args[2:])
					if len(problems) > 0 {
						t.Errorf("%s%v", line, problems)
						continue
					}
					if cmd.Op != config.OpAppend {
						continue
					}
					appended++
					cs, err := ppf.ParseConfigString(cmd.Rule.Config)
					if err != nil || len(cs.Functions) != 1 || cs.Functions[0] != info.Functions[0] {
						t.Errorf("%sconfig string: got %v, %v, want one with function %s", line, cs, err, info.Functions[0])
					}
				case "module":
					if got, ok := ppf.BuiltinModule(args[len(args)-1]); !ok || got.Name != info.Name {
						t.Errorf("%snames module %q, want %s or an alias", line, args[len(args)-1], info.Name)
					}
				}
			}
		}
		if packets := strings.Contains(text, "| level, lowest layer | packet"); packets && appended == 0 {
			t.Error("no command that makes a rule")
		}
	})
}

var reasonWord = regexp.MustCompile("`([a-z0-9.*-]+)`")

func TestModuleReasons(t *testing.T) {
	readmes(t, func(t *testing.T, _ ppf.ModuleInfo, text string) {
		for _, row := range rows(section(text, "Reasons")) {
			prefix := ""
			for _, m := range reasonWord.FindAllStringSubmatch(row[0], -1) {
				name := m[1]
				switch {
				case strings.HasPrefix(name, "."): // ".xmas" after "tcp.flags.null"
					name = prefix + name
				case strings.Contains(name, "."):
					prefix = name[:strings.LastIndex(name, ".")]
				default:
					continue
				}
				var found []packet.Reason
				for _, r := range packet.Reasons() {
					if start, any := strings.CutSuffix(name, "*"); r.String() == name || any && strings.HasPrefix(r.String(), start) {
						found = append(found, r)
					}
				}
				if len(found) == 0 {
					t.Errorf("reason %s: there is none of that name", name)
				}
				if strings.HasSuffix(name, "*") {
					continue // of several classes
				}
				for _, r := range found {
					if got := r.Info().Class.String(); got != row[1] {
						t.Errorf("reason %s: the README says %s, it is %s", name, row[1], got)
					}
				}
			}
		}
	})
}

// TestModuleReasonsComplete wants every reason that a module registered in its
// README.
func TestModuleReasonsComplete(t *testing.T) {
	// One reason of each module that has some tells which are its own: the high
	// 16 bits are the module's.
	for name, one := range map[string]packet.Reason{
		"ethernet": ethernet.ReasonType, "http": http.ReasonLine, "https": https.ReasonName, "icmp": icmp.ReasonUnsolicited, "ip": ip.ReasonProtocol, "nd": nd.ReasonRouter, "relay": relay.ReasonIdle,
		"tcp": tcp.ReasonState, "tcp2": tcp2.ReasonServerOpens, "udp": udp.ReasonPort, "urlrewrite": urlrewrite.ReasonTarget,
	} {
		b, err := os.ReadFile(filepath.Join(root, "modules", name, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		own := section(string(b), "Reasons")
		for _, r := range packet.Reasons() {
			if r>>16 != one>>16 {
				continue
			}
			// The last word alone stands for a name that begins as the one before.
			text := r.String()
			last := text[strings.LastIndex(text, "."):]
			if !strings.Contains(own, "`"+text+"`") && !strings.Contains(own, "`"+last+"`") {
				t.Errorf("module %s: reason %v is not in the README", name, r)
			}
		}
	}
}

// TestModuleSettings compares the settings' keys and defaults.
func TestModuleSettings(t *testing.T) {
	engine, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close(t.Context())
	readmes(t, func(t *testing.T, info ppf.ModuleInfo, text string) {
		if err := engine.LoadModule(t.Context(), info.Name); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, name := range info.Functions {
			f, ok := engine.Functions().Lookup(name)
			if !ok {
				t.Fatalf("function %s: not registered", name)
			}
			if f.Settings == nil {
				continue
			}
			v := reflect.ValueOf(f.Settings()).Elem()
			for _, f := range reflect.VisibleFields(v.Type()) {
				if key := f.Tag.Get("conf"); key != "" {
					want[key] = fmt.Sprint(v.FieldByIndex(f.Index).Interface())
				}
			}
		}
		for _, row := range rows(section(text, "Settings")) {
			key, value := strings.Trim(row[0], "`"), strings.Trim(row[1], "`")
			have, ok := want[key]
			if !ok {
				t.Errorf("setting %s: there is none of that name", key)
				continue
			}
			delete(want, key)
			if d, err := time.ParseDuration(value); err == nil && strings.Trim(value, "0123456789") != "" {
				value = d.String()
			}
			if value != have {
				t.Errorf("setting %s: the README's default is %s, it is %s", key, value, have)
			}
		}
		for key := range want {
			t.Errorf("setting %s: not in the README", key)
		}
	})
}
