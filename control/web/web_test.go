package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/promethos/promethos/control"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// backend is a daemon without a kernel.
type backend struct {
	control.Backend
	engine *ppf.Engine
}

func (b backend) Engine() *ppf.Engine { return b.engine }

func (b backend) SourceStats() ([]ppf.SourceStats, error) {
	return []ppf.SourceStats{{Name: "queue 7", Received: 3}}, nil
}

func (b backend) KernelLosses() ([]ppf.KernelLoss, error) {
	return []ppf.KernelLoss{{Family: "ipv4", Counter: "InHdrErrors", Count: 5}}, nil
}

func (b backend) Status() control.Status { return control.Status{Version: "v", PID: 7} }

// engine has an instance with a connection, a drop and a repair.
func engine(t *testing.T) *ppf.Engine {
	t.Helper()
	b := ppftest.New(t, ppftest.Instance("plc", "tcp"))
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}
	b.Send(ppf.Forward, syn.Bytes(t))
	b.Send(ppf.Forward, ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(t))
	syn.EditIP = func(ip []byte) []byte { return append(ip, 7, 3, 4, 0) }
	syn.Src = ppftest.Client4
	b.Send(ppf.Forward, syn.Bytes(t))
	return b.Engine
}

func get(t *testing.T, h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const selftest = `{"time":"2026-03-04T12:00:00Z","version":"0.9.9","mode":"repair","violations":["P1: a frame is malformed"],"rows":[{"cve":"CVE-2020-11896","family":"Ripple20","check":"ip.protocol","verdict":"stopped","evidence":"trigger","twin":"arrived","baselines":{"forwarding":"arrived"}}]}`

func TestOverview(t *testing.T) {
	file := filepath.Join(t.TempDir(), "selftest.json")
	s := NewServer(backend{engine: engine(t)}, Options{Selftest: file})
	look := func() (o Overview) {
		t.Helper()
		w := get(t, s.http.Handler, "GET", "127.0.0.1:9477", "/v1/overview")
		if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
		}
		return o
	}
	o := look()
	if o.Status.PID != 7 || len(o.Instances) != 1 || len(o.Reasons) < 2 || len(o.Modules) == 0 || o.Stats.Sources[0].Received != 3 || o.Stats.Kernel[0].Count != 5 || string(o.Selftest) != "null" {
		t.Errorf("%+v", o)
	}
	if len(o.Drops) != 2 || o.Drops[0].Record.Action != "repair" || o.Drops[1].Record.Reason != "tcp.flags.null" || len(o.Drops[0].Lines) == 0 {
		t.Errorf("drops %+v", o.Drops)
	}
	changed := false
	for _, l := range o.Drops[0].Lines {
		changed = changed || l.Field == "ip.options" && l.Changed
	}
	if !changed {
		t.Errorf("the repair shows no change: %+v", o.Drops[0].Lines)
	}
	for text, want := range map[string]string{selftest: selftest, "{": "null", "": "null"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := string(look().Selftest); got != want {
			t.Errorf("self-test %q gives %q, want %q", text, got, want)
		}
	}
	w := get(t, s.http.Handler, "GET", "[::1]:9477", "/v1/connections")
	var list []ppf.ConnectionInfo
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Instance != "plc" {
		t.Errorf("connections %s", w.Body)
	}
}

// TestReadOnly: nothing can be changed, asked from another name, or loaded from
// elsewhere.
func TestReadOnly(t *testing.T) {
	h := NewServer(backend{engine: engine(t)}, Options{}).http.Handler
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg", "/v1/overview", "/metrics"} {
		w := get(t, h, "GET", "localhost:9477", path)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
		if got := w.Header().Get("Content-Security-Policy"); got != policy || strings.Contains(got, "unsafe") {
			t.Errorf("GET %s: policy %q", path, got)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			if w := get(t, h, method, "localhost:9477", path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d, want 405", method, path, w.Code)
			}
		}
	}
	for host, want := range map[string]int{"localhost": 200, "127.0.0.1": 200, "[::1]:9477": 200, "192.0.2.1:9477": 200, "evil.example:9477": 403, "": 403} {
		if w := get(t, h, "GET", host, "/v1/overview"); w.Code != want {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
	if w := get(t, h, "GET", "prometheus.example:9477", "/metrics"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `promethos_packets_received_total{instance="plc",flow="cs"}`) {
		t.Errorf("metrics: %d %s", w.Code, w.Body)
	}
	for _, name := range []string{"index.html", "app.js", "style.css"} {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"http://", "https://", "innerHTML", "eval(", "<script>", "style=", "onclick"} {
			if strings.Contains(strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", ""), bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
}

func TestShutdown(t *testing.T) {
	s := NewServer(backend{engine: engine(t)}, Options{})
	server := httptest.NewServer(nil)
	defer server.Close()
	l := server.Listener
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
