package arch

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	root = "../.."
	us   = "github.com/promethos/promethos"
)

func TestTree(t *testing.T) {
	tree := os.DirFS(root)
	problems, err := check(tree, us)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// TestModulePath keeps the checker from passing because it looks for imports of
// a path that the module does not have any more.
func TestModulePath(t *testing.T) {
	b, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "module " + us + "\n"; !strings.HasPrefix(string(b), want) {
		t.Errorf("go.mod does not start with %q", want)
	}
}

// TestLibrariesAreRequired keeps the table of libraries from naming what the
// module does not use any more.
func TestLibrariesAreRequired(t *testing.T) {
	b, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range libraries {
		if !slices.ContainsFunc(strings.Fields(string(b)), func(w string) bool { return w == lib.path }) {
			t.Errorf("library %s: go.mod does not require it (take it out of rooms_test.go)", lib.path)
		}
	}
}

func TestTablesSayWhy(t *testing.T) {
	for _, r := range rooms {
		if r.why == "" {
			t.Errorf("room %s: no reason", r.path)
		}
	}
	for _, l := range libraries {
		if l.why == "" {
			t.Errorf("library %s: no reason", l.path)
		}
	}
}

func TestChecker(t *testing.T) {
	code := func(imports ...string) string {
		s := "package p\n"
		for _, i := range imports {
			s += "import _ \"" + i + "\"\n"
		}
		return s
	}
	for _, tc := range []struct {
		name string
		file string
		src  string
		want []string // a part of each problem, in order
	}{
		{"standard library", "packet/a.go", code("net/netip"), nil},
		{"packet imports ppf", "packet/a.go", code(us + "/ppf"), []string{"packet/a.go:2: packet imports ppf: formats know nothing"}},
		{"ppf imports packet", "ppf/a.go", code(us + "/packet"), nil},
		{"ppf imports a module", "ppf/a.go", code(us+"/packet", us+"/modules/tcp"), []string{"ppf/a.go:3: ppf imports modules/tcp"}},
		{"ppf imports a source", "ppf/a.go", code(us + "/source/nfqueue"), []string{"ppf imports source/nfqueue"}},
		{"a test may", "ppf/a_test.go", code(us + "/modules/tcp"), nil},
		{"module imports ip and tcp", "modules/udp/a.go", code(us+"/modules/ip", us+"/modules/tcp", us+"/ppf", us+"/packet"), nil},
		{"module imports another", "modules/udp/a.go", code(us + "/modules/pass"), []string{"modules/udp imports modules/pass"}},
		{"module imports its own", "modules/udp/a.go", code(us + "/modules/udp/table"), nil},
		{"module below imports its own", "modules/udp/table/a.go", code(us + "/modules/udp"), nil},
		{"module imports rules", "modules/udp/a.go", code(us + "/rules"), []string{"modules/udp imports rules"}},
		{"builtin imports modules", "modules/builtin/a.go", code(us+"/modules/pass", us+"/modules/tcp2"), nil},
		{"builtin imports ppf", "modules/builtin/a.go", code(us + "/ppf"), []string{"modules/builtin imports ppf"}},
		{"source imports another", "source/pcap/a.go", code(us + "/source/nfqueue"), []string{"source/pcap imports source/nfqueue"}},
		{"source imports config", "source/pcap/a.go", code(us + "/config"), []string{"source/pcap imports config"}},
		{"rules imports a source", "rules/a.go", code(us + "/source/nfqueue"), []string{"rules imports source/nfqueue"}},
		{"rules imports ppf and packet", "rules/a.go", code(us+"/ppf", us+"/packet"), nil},
		{"config imports rules", "config/a.go", code(us + "/rules"), []string{"config imports rules"}},
		{"control imports daemon", "control/a.go", code(us + "/daemon"), []string{"control imports daemon"}},
		{"daemon joins", "daemon/a.go", code(us+"/config", us+"/control", us+"/rules", us+"/source/host", us+"/ppf"), nil},
		{"daemon imports lab", "daemon/a.go", code(us + "/lab"), []string{"daemon imports lab"}},
		{"lab imports packet and daemon", "lab/a.go", code(us+"/packet", us+"/daemon"), nil},
		{"lab imports ppf", "lab/a.go", code(us + "/ppf"), []string{"lab imports ppf"}},
		{"demo asks a daemon", "lab/demo/a.go", code(us+"/lab", us+"/daemon", us+"/control", us+"/packet"), nil},
		{"demo takes packets itself", "lab/demo/a.go", code(us + "/source/nfqueue"), []string{"lab/demo imports source/nfqueue: demo and benchmarks"}},
		{"somebody imports cmd", "daemon/a.go", code(us + "/cmd/promethos"), []string{"daemon imports cmd/promethos"}},
		{"cmd imports all", "cmd/promethos/a.go", code(us+"/lab", us+"/daemon", us+"/ppf"), nil},
		{"a tool imports the product", "internal/x/a.go", code(us + "/packet"), []string{"internal/x imports packet"}},
		{"a prefix is not a folder", "packet/a.go", code(us + "/packets"), []string{"packet imports packets"}},
		{"no room", "extra/a.go", code(), []string{"folder extra: stands in no room"}},
		{"no room at the root", "a.go", code(), []string{"folder .: stands in no room"}},
		{"testdata is not looked at", "packet/testdata/a.go", code(us + "/ppf"), nil},

		{"packet asks the processor", "packet/a.go", code("golang.org/x/sys/cpu"), nil},
		{"packet asks the kernel", "packet/a.go", code("golang.org/x/sys/unix"), []string{"packet imports golang.org/x/sys/unix: system calls"}},
		{"gopacket in the lab", "lab/a.go", code("github.com/gopacket/gopacket/layers"), nil},
		{"gopacket in a test", "packet/a_test.go", code("github.com/gopacket/gopacket"), nil},
		{"gopacket in packet", "packet/a.go", code("github.com/gopacket/gopacket"), []string{"packet imports github.com/gopacket/gopacket: somebody else's decoder"}},
		{"nftables in rules", "rules/a.go", code("github.com/google/nftables/expr"), nil},
		{"nftables in the daemon", "daemon/a.go", code("github.com/google/nftables"), []string{"daemon imports github.com/google/nftables: one package"}},
		{"cobra in the daemon", "daemon/a.go", code("github.com/spf13/cobra"), []string{"daemon imports github.com/spf13/cobra"}},
		{"cobra in a test elsewhere", "daemon/a_test.go", code("github.com/spf13/cobra"), []string{"daemon imports github.com/spf13/cobra"}},
		{"go-cmp in product code", "ppf/a.go", code("github.com/google/go-cmp/cmp"), []string{"ppf imports github.com/google/go-cmp/cmp: it panics"}},
		{"an unknown library", "cmd/promethos/a.go", code("example.org/left-pad"), []string{"not a known dependency"}},

		{"clock called", "ppf/a.go", "package p\nimport \"time\"\nvar x = time.Now()\n", []string{"ppf/a.go:3: ppf uses time.Now"}},
		{"clock as a value", "control/a.go", "package p\nimport \"time\"\nvar f = time.Sleep\n", []string{"control uses time.Sleep"}},
		{"clock under another name", "rules/a.go", "package p\nimport t \"time\"\nfunc f() { <-t.After(1) }\n", []string{"rules uses time.After"}},
		{"clock with a dot", "rules/a.go", "package p\nimport . \"time\"\nvar x = Now()\n", []string{"imported with a dot"}},
		{"clock at home", "source/host/a.go", "package p\nimport \"time\"\nvar x = time.Now()\n", nil},
		{"clock in another source", "source/nfqueue/a.go", "package p\nimport \"time\"\nvar x = time.Now()\n", []string{"source/nfqueue uses time.Now"}},
		{"clock in a test", "ppf/a_test.go", "package p\nimport \"time\"\nvar x = time.Now()\n", nil},
		{"durations are free", "ppf/a.go", "package p\nimport \"time\"\nvar x = time.Unix(0, 1).Add(time.Second)\n", nil},
		{"another package's Now", "ppf/a.go", "package p\nimport _ \"time\"\nvar e struct{ Now func() int64 }\nvar x = e.Now()\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := check(fstest.MapFS{tc.file: {Data: []byte(tc.src)}}, us)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("check: got %q, want %q", got, tc.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tc.want[i]) {
					t.Errorf("check: got %q, want it to contain %q", got[i], tc.want[i])
				}
			}
		})
	}
}
