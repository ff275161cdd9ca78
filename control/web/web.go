// Package web serves what can be seen of the daemon to a browser and to
// Prometheus. Nothing can be changed through it, and the page asks nobody else for
// anything.
package web

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/control/metrics"
	"github.com/promethos/promethos/control/sidebyside"
	"github.com/promethos/promethos/ppf"
)

//go:embed page
var page embed.FS

// policy lets the page use its own files and nothing else (Content Security
// Policy Level 3).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	// connectionsShown and dropsShown bound what one look costs.
	connectionsShown = 100
	dropsShown       = 20
	// maxSelftest is the size in bytes of a result that is read.
	maxSelftest = 4 << 20
)

// Options configure a Server.
type Options struct {
	// Selftest is where `promethos selftest` keeps its result.
	Selftest string
}

// Server serves the page and the metrics.
type Server struct {
	backend control.Backend
	options Options
	http    http.Server
}

// NewServer makes a server for a backend.
func NewServer(b control.Backend, o Options) *Server {
	s := &Server{backend: b, options: o}
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic("web: the embedded page is missing: " + err.Error())
	}
	own := http.NewServeMux()
	own.Handle("GET /", http.FileServerFS(files))
	own.HandleFunc("GET /v1/overview", answer(s.overview))
	own.HandleFunc("GET /v1/connections", answer(s.connections))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.Handle("/", onlyByAddress(own))
	s.http.Handler = secured(mux)
	s.http.ReadHeaderTimeout = 5 * time.Second
	s.http.WriteTimeout = 30 * time.Second
	s.http.IdleTimeout = time.Minute
	return s
}

// Serve answers until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics %v: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown ends the server.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// onlyByAddress refuses requests for a host name: a page of somebody else whose
// name was made to lead here (DNS rebinding) must not read ours.
func onlyByAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
			http.Error(w, "the page is served by address only: http://ADDRESS:PORT/", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			v = struct {
				Error string `json:"error"`
			}{err.Error()}
		}
		// The browser is gone when this fails; there is nobody to tell.
		_ = json.NewEncoder(w).Encode(v)
	}
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	in := metrics.Input{Engine: s.backend.Engine().Measure(), Version: s.backend.Status().Version}
	var err error
	if in.Sources, err = s.backend.SourceStats(); err == nil {
		in.Kernel, err = s.backend.KernelLosses()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", metrics.ContentType)
	_ = metrics.Write(w, &in) // as above
}

// Drop is a drop or repair with its packets side by side.
type Drop struct {
	ppf.Event
	Lines []sidebyside.Line `json:"lines"`
}

// Module is a module as the page shows it.
type Module struct {
	Name      string   `json:"name"`
	Loaded    bool     `json:"loaded"`
	Functions []string `json:"functions"`
	Doc       string   `json:"doc"`
}

// Overview is what the page shows at one moment.
type Overview struct {
	Status    control.Status        `json:"status"`
	Instances []ppf.InstanceInfo    `json:"instances"`
	Reasons   []ppf.ReasonCountInfo `json:"reasons"`
	Stats     control.StatsReply    `json:"stats"`
	Modules   []Module              `json:"modules"`
	Drops     []Drop                `json:"drops"` // the last ones, newest first
	// Selftest is the result of the last one, null where there is none.
	Selftest json.RawMessage `json:"selftest"`
}

func (s *Server) overview(*http.Request) (any, error) {
	e := s.backend.Engine()
	o := Overview{
		Status: s.backend.Status(), Instances: e.Instances(), Reasons: e.ReasonCounts(),
		Modules: []Module{}, Drops: lastDrops(e.Events()), Selftest: s.selftest(),
	}
	if o.Instances == nil {
		o.Instances = []ppf.InstanceInfo{}
	}
	if o.Reasons == nil {
		o.Reasons = []ppf.ReasonCountInfo{}
	}
	o.Stats.Stats = e.Stats()
	var err error
	if o.Stats.Sources, err = s.backend.SourceStats(); err != nil {
		return nil, err
	}
	if o.Stats.Kernel, err = s.backend.KernelLosses(); err != nil {
		return nil, err
	}
	for _, m := range e.Modules() {
		o.Modules = append(o.Modules, Module{m.Name, m.Loaded, m.Functions, m.Doc})
	}
	return o, nil
}

// lastDrops are the newest records, newest first.
func lastDrops(events *ppf.Events) []Drop {
	list := []Drop{}
	for _, e := range events.LastRecords(dropsShown) {
		d := Drop{Event: e, Lines: []sidebyside.Line{}}
		if e.Record.Pair.ReceivedLen > 0 {
			d.Lines = sidebyside.Compare(e.Record.Pair)
		}
		list = append(list, d)
	}
	slices.Reverse(list)
	return list
}

// selftest reads the result of the last one; what is no JSON is as good as none.
func (s *Server) selftest() json.RawMessage {
	none := json.RawMessage("null")
	info, err := os.Stat(s.options.Selftest)
	if err != nil || info.Size() > maxSelftest {
		return none
	}
	text, err := os.ReadFile(s.options.Selftest)
	if err != nil || !json.Valid(text) {
		return none
	}
	return text
}

func (s *Server) connections(r *http.Request) (any, error) {
	return s.backend.Engine().Connections(r.FormValue("instance"), connectionsShown), nil
}
