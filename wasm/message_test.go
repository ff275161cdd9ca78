package wasm

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	strict "github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/wasm/testdata/talker"
)

func talkerManifest(schema int, limits string) string {
	return fmt.Sprintf(`{"abi":1,"name":"talker","version":"%d","doc":"for tests",
"functions":[{"name":"talker","doc":"for tests","level":"message","layer":7,"settings":{"type":"object","properties":{"greeting":{"type":"string","default":"hello"}}}}],
"capabilities":["connection-storage","timers","log"],
"storage":{"schema":%d,"connection":%d,"instance":8},"limits":{"fuel":2000000,"faults":4%s}}`, schema, schema, 8*schema, limits)
}

// newTalkerFront puts talker behind http, which lets its fields through.
func newTalkerFront(t testing.TB, dir string, load func(*ppf.Engine) error, change func(*ppf.InstanceSpec)) *front {
	return newFront(t, origin(t), dir, []string{"http", "talker"}, load, func(in *ppf.InstanceSpec) {
		fields := ppf.Value{Kind: ppf.ValueList}
		for _, name := range []string{"Do", "Saw", "Answer", "X-Many", "X-More", "X-Gone", "Length"} {
			fields.List = append(fields.List, ppf.Value{Kind: ppf.ValueScalar, Scalar: name})
		}
		in.Modules["http"] = ppf.Value{Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "fields", Value: fields}}}
		if change != nil {
			change(in)
		}
	})
}

// origin is somebody else's server: it tells in the body what it got, and in its
// fields what it is asked for by Answer.
func origin(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if do := r.Header.Get("Answer"); do != "" {
			w.Header().Set("Do", do)
		}
		fmt.Fprintf(w, "%s %s %s many=%v more=%v gone=%v length=%q saw=%q body=%q one",
			r.Method, r.RequestURI, r.Host, r.Header["X-Many"], r.Header["X-More"], r.Header["X-Gone"], r.Header.Get("Length"), r.Header.Get("Saw"), body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// talk is a client's connection.
type talk struct {
	*testing.T
	c io.ReadWriteCloser
	r *bufio.Reader
}

func newTalk(t *testing.T, f *front) *talk {
	c := f.dial()
	return &talk{t, c, bufio.NewReader(c)}
}

// ask sends a request with fields and a body, and gives the answer and its body.
func (k *talk) ask(line, fields, body string) (*http.Response, string) {
	k.Helper()
	if _, err := fmt.Fprintf(k.c, "%s HTTP/1.1\r\nHost: device.example\r\nContent-Length: %d\r\n%s\r\n%s", line, len(body), fields, body); err != nil {
		k.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	res, err := http.ReadResponse(k.r, &http.Request{Method: method})
	if err != nil {
		k.Fatalf("%s %q: %v", line, fields, err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		k.Errorf("%s %q: %v", line, fields, err)
	}
	return res, string(b)
}

// forms loads talker as a guest, or compiled in.
var forms = []struct {
	name string
	load func(t *testing.T, dir string) func(*ppf.Engine) error
}{
	{"guest", func(t *testing.T, dir string) func(*ppf.Engine) error {
		install(t, dir, "talker", buildGuest(t, "./testdata/talker/guest"), talkerManifest(1, ""))
		return nil
	}},
	{"built-in", func(t *testing.T, _ string) func(*ppf.Engine) error {
		return func(e *ppf.Engine) error {
			return e.LoadModuleInfo(t.Context(), Native([]byte(talkerManifest(1, "")), talker.Module))
		}
	}},
}

// TestMessages: a guest and the same source compiled in see and change requests
// and responses alike.
func TestMessages(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			dir := t.TempDir()
			f := newTalkerFront(t, dir, form.load(t, dir), nil)
			for _, tt := range []struct {
				name, line, fields, body string
				status                   int
				want                     string // of the server's answer, which tells what it got
				saw                      string // of the response
			}{
				{"what there is", "GET /a%7eb?c=d", "", "", 200, `GET /a~b?c=d device.example many=[] more=[] gone=[] length="" saw="GET /a~b c=d device.example 0 1 false 127.0.0.1 `, "GET /a~b c=d device.example 200 1 false"},
				{"method", "GET /", "Do: method DELETE\r\n", "", 200, `DELETE / device`, ""},
				{"method that is none", "GET /", "Do: method CONNECT\r\n", "", 200, `saw="false"`, ""},
				{"target", "GET /", "Do: target /x?y=z\r\n", "", 200, `GET /x?y=z device`, ""},
				{"target that is none", "GET /", "Do: target /../x\r\n", "", 200, `GET / device.example many=[] more=[] gone=[] length="" saw="false"`, ""},
				{"host", "GET /", "Do: host other.example\r\n", "", 200, `GET / other.example:8080 many=[] more=[] gone=[] length="" saw="true other.example device.example"`, ""},
				{"fields", "GET /", "Do: fields\r\nX-Many: 1\r\nX-Many: " + strings.Repeat("2", 2000) + "\r\n", "", 200, `saw="3 Do=6 X-Many=1 X-Many=2000 1 22`, ""},
				{"edit", "GET /", "Do: edit\r\nX-Many: 1\r\nX-Many: 2\r\nX-Gone: 3\r\n", "", 200, `many=[one] more=[two] gone=[] length="" saw="truetruefalsefalse"`, ""},
				{"body", "POST /", "Do: body\r\n", "one two", 200, `length="7"`, ""},
				{"body, changed", "POST /", "Do: body\r\n", "one two", 200, `body="three two"`, ""},
				{"body that nobody asked for", "POST /", "", "one bad", 200, `body="one bad"`, ""},
				{"status", "GET /", "Answer: status 418\r\n", "", 418, "GET /", "true 200"},
				{"status that is none", "GET /", "Answer: status 204\r\n", "", 200, "GET /", "false 200"},
				{"request's parts are fixed in the response", "GET /", "Answer: method PUT\r\n", "", 200, "GET /", "false"},
				{"body of the response", "GET /", "Answer: body\r\n", "", 200, `body="" three`, ""},
				{"mend", "GET /", "Do: mend\r\n", "", 200, "GET /", ""},
			} {
				t.Run(tt.name, func(t *testing.T) {
					res, got := newTalk(t, f).ask(tt.line, tt.fields, tt.body)
					if res.StatusCode != tt.status || !strings.Contains(got, tt.want) || !strings.Contains(res.Header.Get("Saw"), tt.saw) {
						t.Errorf("%d, saw %q, the server got %q; want %d, %q, %q: %q", res.StatusCode, res.Header.Get("Saw"), got, tt.status, tt.saw, tt.want, f.said("fault"))
					}
				})
			}
			for _, tt := range []struct {
				line, fields, body string
				status             int
			}{
				{"GET /", "Do: refuse 451\r\n", "", 451}, {"GET /", "Do: refuse\r\n", "", 403}, {"POST /", "Do: body\r\n", "bad", 422},
				{"GET /", "Answer: refuse 503\r\n", "", 503},
			} {
				if res, _ := newTalk(t, f).ask(tt.line, tt.fields, tt.body); res.StatusCode != tt.status {
					t.Errorf("%s %q: %d, want %d", tt.line, tt.fields, res.StatusCode, tt.status)
				}
			}
			if refused, mended := f.count("talker.refused"), f.count("talker.mended"); refused != 4 || mended != 1 {
				t.Errorf("%d refused, %d mended", refused, mended)
			}
			// A timer is called by a unit that no worker waits for.
			newTalk(t, f).ask("GET /", "Do: timer\r\n", "")
			f.engine.Handlers()[0].Tick(running{}.Now() + int64(time.Minute))
			for len(f.said("timer hello")) == 0 {
				all, more := f.engine.Events().Since(0)
				if !slices.ContainsFunc(all, func(e ppf.Event) bool { return strings.Contains(e.Text, "timer hello") }) {
					<-more
				}
			}
			// What is kept belongs to the client's connection, or to the instance.
			n := 0
			for range 2 {
				k := newTalk(t, f)
				for i := range 3 {
					n++
					if _, got := k.ask("GET /", "Do: count\r\n", ""); !strings.Contains(got, fmt.Sprintf(`saw="%d %d"`, i+1, n)) {
						t.Errorf("request %d: %q", n, got)
					}
				}
			}
		})
	}
}

// TestCMessages: a guest in C judges messages, and has no function for packets.
func TestCMessages(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "talker", buildC(t, "testdata/c/methods.c"), strings.ReplaceAll(talkerManifest(1, ""), `"name":"talker","v`, `"name":"methods","v`))
	f := newTalkerFront(t, dir, nil, nil)
	k := newTalk(t, f)
	for i, want := range []string{"short", "GET / device.example", "short"} {
		if res, got := k.ask("GET /", "Do: count\r\n", ""); res.StatusCode != 200 || !strings.HasPrefix(got, want) {
			t.Errorf("request %d: %d %q, want %q: %q", i, res.StatusCode, got, want, f.said("fault"))
		}
	}
	if res, _ := k.ask("POST /", "", ""); res.StatusCode != 405 || f.count("methods.refused") != 1 {
		t.Errorf("%d, %+v", res.StatusCode, f.engine.ReasonCounts())
	}
}

// measured counts the allocations of what another function does with a request.
type measured struct {
	*messageFunction
	allocations *float64
}

func (m measured) Request(x *strict.Exchange) {
	*m.allocations = testing.AllocsPerRun(100, func() { m.messageFunction.Request(x) })
}

// TestMessageAllocations: judging a request allocates nothing in the host.
func TestMessageAllocations(t *testing.T) {
	dir := t.TempDir()
	file := install(t, dir, "talker", buildC(t, "testdata/c/methods.c"), strings.ReplaceAll(talkerManifest(1, ""), `"name":"talker","v`, `"name":"methods","v`))
	info, err := loader{}.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	m := info.New().(*module)
	info.New = func() ppf.Module { return m }
	newTalkerFront(t, dir, func(e *ppf.Engine) error { return e.LoadModuleInfo(t.Context(), info) }, nil)
	f := measured{&messageFunction{&m.core, (*m.bindings.Load())[0]}, new(float64)}
	x, err := strict.NewExplainer(f).Request([]byte("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"))
	if err != nil || len(x.Sent) == 0 {
		t.Fatalf("%+v, %v", x, err)
	}
	if *f.allocations != 0 {
		t.Errorf("%v allocations per request", *f.allocations)
	}
}

// TestMessageContainment: what a guest does wrong with a message costs that
// exchange; after some faults the module is disabled, and a reload heals it, also
// for connections that are open.
func TestMessageContainment(t *testing.T) {
	dir := t.TempDir()
	forms[0].load(t, dir)
	f := newTalkerFront(t, dir, nil, nil)
	open := newTalk(t, f)
	open.ask("GET /", "Do: count\r\n", "")
	for i, tt := range []struct{ do, want string }{
		{"loop", "endless loop: it used up its fuel"}, {"trap", "panic: asked to"}, {"loop", "endless loop"}, {"trap", "disabled after 4 faults in 10 s"},
	} {
		if res, _ := newTalk(t, f).ask("GET /", "Do: "+tt.do+"\r\n", ""); res.StatusCode != 502 {
			t.Errorf("%s: %d", tt.do, res.StatusCode)
		}
		if list := f.said(tt.want); len(list) == 0 || f.count("wasm.fault") != uint64(i+1) {
			t.Errorf("%s: %d faults, %q", tt.do, f.count("wasm.fault"), f.said("talker"))
		}
		if i < 3 {
			if res, _ := newTalk(t, f).ask("GET /", "", ""); res.StatusCode != 200 {
				t.Errorf("after %s: %d", tt.do, res.StatusCode)
			}
		}
	}
	if res, _ := newTalk(t, f).ask("GET /", "", ""); res.StatusCode != 502 || f.count("wasm.disabled") != 1 {
		t.Errorf("disabled: %d, %+v", res.StatusCode, f.engine.ReasonCounts())
	}
	if err := f.engine.ReloadModule(t.Context(), "talker"); err != nil {
		t.Fatal(err)
	}
	if res, got := open.ask("GET /", "Do: count\r\n", ""); res.StatusCode != 200 || !strings.Contains(got, `saw="2 2"`) {
		t.Errorf("after a reload: %d %q", res.StatusCode, got)
	}
}

// TestMessageFailOpen: with fail: open an exchange passes the module that is out
// of order.
func TestMessageFailOpen(t *testing.T) {
	dir := t.TempDir()
	forms[0].load(t, dir)
	f := newTalkerFront(t, dir, nil, func(in *ppf.InstanceSpec) { in.Fail = ppf.FailOpen })
	for range 6 {
		if res, got := newTalk(t, f).ask("GET /", "Do: trap\r\n", ""); res.StatusCode != 200 || !strings.HasPrefix(got, "GET / ") {
			t.Errorf("%d %q", res.StatusCode, got)
		}
	}
}

// TestMessageReload: between two messages of a connection another version takes
// over, with what is kept: as it is, migrated, or dropped.
func TestMessageReload(t *testing.T) {
	for _, tt := range []struct {
		name     string
		manifest string
		want     string
	}{
		{"same schema", talkerManifest(1, ""), `saw="2 2"`},
		{"migrated", talkerManifest(2, ""), `saw="102 102"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			forms[0].load(t, dir)
			f := newTalkerFront(t, dir, nil, nil)
			k := newTalk(t, f)
			k.ask("GET /", "Do: count\r\n", "")
			install(t, dir, "talker", buildGuest(t, "./testdata/talker/guest"), strings.Replace(tt.manifest, `"version":"`, `"version":"new`, 1))
			if err := f.engine.ReloadModule(t.Context(), "talker"); err != nil {
				t.Fatal(err)
			}
			if _, got := k.ask("GET /", "Do: count\r\n", ""); !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %s", got, tt.want)
			}
			install(t, dir, "talker", []byte("no module"), tt.manifest)
			if err := f.engine.ReloadModule(t.Context(), "talker"); err == nil {
				t.Error("a malformed file was loaded")
			}
			if res, _ := k.ask("GET /", "Do: greeting\r\n", ""); res.StatusCode != 200 {
				t.Errorf("after a reload that failed: %d", res.StatusCode)
			}
			if err := f.engine.UnloadModule(t.Context(), "talker", false); err == nil {
				t.Error("unloaded while an instance uses it")
			}
			if err := f.engine.UnloadModule(t.Context(), "talker", true); err != nil {
				t.Fatal(err)
			}
			if left, err := io.ReadAll(k.c); err != nil || len(left) > 0 {
				t.Errorf("unloaded by force: %q, %v, want an end in order", left, err)
			}
			if got := readAll(f.dial()); got != "" || f.count("chain.function-missing") != 1 {
				t.Errorf("a connection behind it: %q, %+v", got, f.engine.ReasonCounts())
			}
		})
	}
}

// TestMessageReloads: clients that ask at full speed while the module is reloaded
// again and again get every answer.
func TestMessageReloads(t *testing.T) {
	dir := t.TempDir()
	forms[0].load(t, dir)
	f := newTalkerFront(t, dir, nil, nil)
	done, ended := make(chan bool), make(chan int)
	for range 4 {
		k := newTalk(t, f)
		go func() {
			n := 0
			defer func() { ended <- n }()
			for {
				select {
				case <-done:
					return
				default:
				}
				n++
				if res, got := k.ask("POST /", "Do: count\r\n", "one"); res.StatusCode != 200 || !strings.Contains(got, `saw="`+strconv.Itoa(n%256)+" ") {
					k.Errorf("request %d: %d %q", n, res.StatusCode, got)
					return
				}
			}
		}()
	}
	for range 10 {
		if err := f.engine.ReloadModule(t.Context(), "talker"); err != nil {
			t.Error(err)
		}
	}
	close(done)
	all := 0
	for range 4 {
		all += <-ended
	}
	if len(f.said("fault")) > 0 || all < 10 {
		t.Errorf("%d requests, %q", all, f.said("fault"))
	}
}
