package wasm

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/wasm/testdata/ferry"
)

func ferryManifest(limits string) string {
	return fmt.Sprintf(`{"abi":1,"name":"ferry","version":"1","doc":"for tests",
"functions":[{"name":"ferry","doc":"for tests","level":"stream","layer":5}],"capabilities":["connection-storage","timers"],
"storage":{"schema":1,"connection":8,"instance":8},"limits":{"fuel":2000000,"faults":3,"window_kib":1%s}}`, limits)
}

// ferryForms loads ferry as a guest, or compiled in.
var ferryForms = []struct {
	name string
	load func(t testing.TB, dir string) func(*ppf.Engine) error
}{
	{"guest", func(t testing.TB, dir string) func(*ppf.Engine) error {
		install(t, dir, "ferry", buildGuest(t, "./testdata/ferry/guest"), ferryManifest(""))
		return nil
	}},
	{"built-in", func(t testing.TB, _ string) func(*ppf.Engine) error {
		return func(e *ppf.Engine) error {
			return e.LoadModuleInfo(t.Context(), Native([]byte(ferryManifest("")), ferry.Module))
		}
	}},
}

// peer is a server that keeps what it gets of each connection, and answers each
// line of it with another.
type peer struct {
	net.Listener
	got chan string // of connections that are over
	all sync.WaitGroup
}

func newPeer(t testing.TB) *peer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l, got: make(chan string, 100)}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.all.Wait()
	})
	return p
}

func (p *peer) serve(c net.Conn) {
	defer c.Close()
	var got strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		for range strings.Count(string(buf[:n]), "\n") {
			// The reset that it meets is not told again.
			if _, failed := io.WriteString(c, "yes\n"); failed != nil && err == nil {
				err = failed
			}
		}
		if err != nil {
			if err != io.EOF {
				got.WriteString("RESET")
			}
			break
		}
	}
	p.got <- got.String()
}

// TestStreams: a guest and the same source compiled in see whole lines however
// they are cut, and what they hand on is what arrives.
func TestStreams(t *testing.T) {
	for _, form := range ferryForms {
		for _, size := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", form.name, size), func(t *testing.T) {
				dir := t.TempDir()
				server := newPeer(t)
				f := newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, form.load(t, dir), nil)
				for _, tt := range []struct{ name, send, arrives, answers string }{
					{"passed", "pass a\npass b\n", "pass a\npass b\nended\n", "yes\nyes\nyes\n"},
					{"replaced", "pass a\nupper b\npass c\n", "pass a\nUPPER B\npass c\nended\n", "yes\nyes\nyes\nyes\n"},
					{"left out", "drop a\npass b\n", "pass b\nended\n", "yes\nyes\n"},
					{"kept with the connection", "count\ncount\n", "1 0 127.0.0.1 " + server.Addr().String() + " true\n2 6 127.0.0.1 " + server.Addr().String() + " true\nended\n", "yes\nyes\nyes\n"},
					{"mended", "mend\n", "mended\nended\n", "yes\nyes\n"},
					{"closed", "pass a\nclose\npass b\n", "pass a\nclosed\n", ""},
					{"ends in the middle", "pass a\npass", "pass a\nended\n", "yes\nyes\n"},
				} {
					c := f.dial()
					sent := make(chan bool)
					go func() {
						defer close(sent)
						for rest := tt.send; rest != ""; {
							n := min(size, len(rest))
							if _, err := io.WriteString(c, rest[:n]); err != nil {
								return // closed already
							}
							rest = rest[n:]
						}
						c.CloseWrite()
					}()
					answers := readAll(c)
					<-sent
					if tt.answers != "" && answers != tt.answers {
						t.Errorf("%s: the client got %q, want %q", tt.name, answers, tt.answers)
					}
					if got := <-server.got; got != tt.arrives && (tt.answers != "" || got != tt.arrives+"RESET") {
						t.Errorf("%s: the server got %q, want %q: %q", tt.name, got, tt.arrives, f.said("ferry"))
					}
				}
				if mended, rest := f.count("ferry.mended"), f.count("wasm.rest"); mended != 1 || rest != 1 {
					t.Errorf("%d mended, %d rests", mended, rest)
				}
			})
		}
	}
}

// TestStreamRefused: what the module refuses or does wrong resets both ends of that
// connection, with a reason, and no other; after some faults it is disabled, and a
// reload heals it, also for connections that are open.
func TestStreamRefused(t *testing.T) {
	dir := t.TempDir()
	ferryForms[0].load(t, dir)
	server := newPeer(t)
	f := newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, nil, nil)
	open := f.dial()
	ask := func(line, want string) {
		t.Helper()
		buf := make([]byte, 4)
		if _, err := io.WriteString(open, line); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(open, buf); err != nil || string(buf) != want {
			t.Errorf("%q: %q, %v", line, buf, err)
		}
	}
	ask("count\n", "yes\n")
	for _, tt := range []struct{ line, reason, event string }{
		{"refuse\n", "ferry.refused", ""},
		{strings.Repeat("x", 2000), "wasm.window", ""},
		{"loop\n", "wasm.fault", "endless loop"},
		{"much\n", "wasm.fault", "bytes of 5 that wait"},
		{"trap\n", "wasm.fault", "disabled after 3 faults"},
		{"pass\n", "wasm.disabled", ""},
	} {
		before := f.count(tt.reason)
		c := f.dial()
		if _, err := io.WriteString(c, "pass\n"+tt.line); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err == nil {
			t.Errorf("%.10q: the client saw an end in order", tt.line)
		}
		if got := <-server.got; !strings.HasSuffix(got, "RESET") || strings.TrimSuffix(got, "RESET") != "" && got != "pass\nRESET" {
			t.Errorf("%.10q: the server got %q", tt.line, got)
		}
		if f.count(tt.reason) != before+1 || tt.event != "" && len(f.said(tt.event)) == 0 {
			t.Errorf("%.10q: counted %+v, want %s; %q", tt.line, f.engine.ReasonCounts(), tt.reason, f.said("ferry"))
		}
	}
	if err := f.engine.ReloadModule(t.Context(), "ferry"); err != nil {
		t.Fatal(err)
	}
	ask("count\n", "yes\n")
	open.CloseWrite()
	if got := <-server.got; !strings.HasPrefix(got, "1 0 ") || !strings.Contains(got, "\n2 6 ") {
		t.Errorf("over a reload the server got %q", got)
	}
}

// TestCStream: a guest in C judges streams.
func TestCStream(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "ferry", buildC(t, "testdata/c/ferry.c"), ferryManifest(""))
	server := newPeer(t)
	f := newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, nil, nil)
	for send, want := range map[string]string{strings.Repeat("hello ", 100) + "\n": strings.Repeat("HELLO ", 100) + "\n", "what?": "RESET"} {
		c := f.dial()
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		readAll(c)
		if got := <-server.got; got != want {
			t.Errorf("the server got %q, want %q: %q", got, want, f.said("ferry"))
		}
	}
	if f.count("ferry.question") != 1 {
		t.Errorf("%+v", f.engine.ReasonCounts())
	}
}

// TestStreamModes: monitor counts and lets the bytes pass as they are, and so does
// a module that is out of order where the instance fails open; strict refuses what
// would be mended.
func TestStreamModes(t *testing.T) {
	for _, tt := range []struct {
		name         string
		change       func(*ppf.InstanceSpec)
		line, reason string
		arrives      string
	}{
		{"monitor", func(in *ppf.InstanceSpec) { in.Mode = ppf.Monitor }, "refuse\n", "ferry.refused", "refuse\nended\n"},
		{"fail open", func(in *ppf.InstanceSpec) { in.Fail = ppf.FailOpen }, "trap\n", "wasm.fault", "trap\nended\n"},
		{"strict", func(in *ppf.InstanceSpec) { in.Mode = ppf.Strict }, "mend\n", "ferry.mended", "RESET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ferryForms[0].load(t, dir)
			server := newPeer(t)
			f := newFront(t, server.Addr().String(), dir, []string{"ferry", "relay"}, nil, tt.change)
			c := f.dial()
			if _, err := io.WriteString(c, tt.line); err != nil {
				t.Fatal(err)
			}
			c.CloseWrite()
			readAll(c)
			if got := <-server.got; got != tt.arrives || f.count(tt.reason) != 1 {
				t.Errorf("the server got %q, want %q: %+v %q", got, tt.arrives, f.engine.ReasonCounts(), f.said("fault"))
			}
		})
	}
}

// TestStreamVolume: much passes unchanged in both directions at once, while the
// module is reloaded.
func TestStreamVolume(t *testing.T) {
	dir := t.TempDir()
	ferryForms[0].load(t, dir)
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		c, err := echo.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	f := newFront(t, echo.Addr().String(), dir, []string{"ferry", "relay"}, nil, nil)
	c := f.dial()
	line := "pass " + strings.Repeat("0123456789", 50) + "\n"
	want := strings.Repeat(line, 4000) + "ended\n"
	go func() {
		io.WriteString(c, strings.TrimSuffix(want, "ended\n"))
		for range 3 {
			if err := f.engine.ReloadModule(t.Context(), "ferry"); err != nil {
				t.Error(err)
			}
		}
		c.CloseWrite()
	}()
	if got := readAll(c); got != want {
		t.Errorf("%d bytes came back of %d: %q", len(got), len(want), f.said("fault"))
	}
}

// TestStreamEnd: a chain that nothing ends is refused.
func TestStreamEnd(t *testing.T) {
	dir := t.TempDir()
	ferryForms[0].load(t, dir)
	in := ppf.InstanceSpec{Name: "a", Source: ppf.SourceListen, Chain: [2][]string{{"ferry"}, {"ferry"}}}
	problems := ppf.CheckSpec(&ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{in}})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "ferry hands connections on (put relay or http behind it)") {
		t.Errorf("%v", problems)
	}
}

// BenchmarkStream is the cost of handing on 1,400 bytes at a time.
func BenchmarkStream(b *testing.B) {
	dir := b.TempDir()
	file := install(b, dir, "ferry", buildGuest(b, "./testdata/ferry/guest"), strings.Replace(ferryManifest(""), `"window_kib":1`, `"window_kib":64`, 1))
	c := newFilter(b, file)
	into := make([]byte, 1<<16)
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := c.Read(into); n != 1400 {
			b.Fatal(n, err)
		}
	}
}

// lines is a connection on which the same line comes again and again.
type lines struct {
	net.Conn
	line string
}

func (l lines) Read(b []byte) (int, error) { return copy(b, l.line), nil }

// newFilter is the server's end of a session, of which ferry hands on lines.
func newFilter(t testing.TB, file string) net.Conn {
	info, err := loader{}.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	m := info.New().(*module)
	info.New = func() ppf.Module { return m }
	newFront(t, "127.0.0.1:1", t.TempDir(), []string{"ferry", "relay"}, func(e *ppf.Engine) error { return e.LoadModuleInfo(t.Context(), info) }, nil)
	p := &streamPair{f: &streamFunction{&m.core, (*m.bindings.Load())[0]}, session: &ppf.Session{}}
	return p.filter(lines{line: strings.Repeat("x", 1399) + "\n"}, ppf.ServerToClient)
}

// TestStreamAllocations: handing on allocates nothing in the host.
func TestStreamAllocations(t *testing.T) {
	dir := t.TempDir()
	file := install(t, dir, "ferry", buildGuest(t, "./testdata/ferry/guest"), strings.Replace(ferryManifest(""), `"window_kib":1`, `"window_kib":64`, 1))
	c := newFilter(t, file)
	into := make([]byte, 1<<16)
	if n := testing.AllocsPerRun(100, func() { c.Read(into) }); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
}
