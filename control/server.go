package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// Server serves the API.
type Server struct {
	backend Backend
	http    http.Server
	tracers tracers
}

// ErrSocketInUse reports that a daemon already listens on the socket.
var ErrSocketInUse = errors.New("another daemon listens there")

// Listen opens the socket at path, mode 0600, replacing one that a crashed
// daemon left. The error wraps ErrSocketInUse where one answers.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w (set `control:` to a path that can be written)", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: %w (stop it, or set `control:` to another path)", path, ErrSocketInUse)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: remove leftover: %w", err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w (set `control:` to a path that can be written)", err)
	}
	return l, nil
}

// NewServer makes a server for a backend.
func NewServer(b Backend) *Server {
	s := &Server{backend: b, tracers: tracers{engine: b.Engine()}}
	mux := http.NewServeMux()
	get := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /v1/"+path, reply(f))
	}
	post := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("POST /v1/"+path, reply(f))
	}
	get("status", func(*http.Request) (any, error) { return b.Status(), nil })
	get("instances", func(*http.Request) (any, error) { return b.Engine().Instances(), nil })
	get("functions", func(*http.Request) (any, error) { return s.functions(), nil })
	get("modules", func(*http.Request) (any, error) { return s.modules(), nil })
	get("reasons", func(*http.Request) (any, error) { return b.Engine().ReasonCounts(), nil })
	get("ledger", func(*http.Request) (any, error) { return b.Engine().Ledger(), nil })
	get("stats", s.stats)
	get("connections", s.connections)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/trace", s.trace)
	mux.HandleFunc("POST /v1/additions", s.add)
	mux.HandleFunc("PUT /v1/additions/{id}", reply(s.changeAdded))
	mux.HandleFunc("DELETE /v1/additions/{id}", reply(s.removeAdded))
	post("iptables", s.iptables)
	post("reload", func(r *http.Request) (any, error) { return b.Reload(r.Context()) })
	get("reload", func(r *http.Request) (any, error) { return b.PlanReload(r.Context()) })
	get("overrides", func(*http.Request) (any, error) { return b.Engine().Overrides(), nil })
	post("overrides", s.override)
	post("reconfig", s.reconfig)
	post("module", s.module)
	post("timing/start", func(*http.Request) (any, error) {
		b.Engine().MeasureTiming()
		return struct{}{}, nil
	})
	post("timing/stop", func(*http.Request) (any, error) { return b.Engine().StopTiming(), nil })
	s.http.Handler = onlyPeers(mux)
	s.http.ReadHeaderTimeout = 5 * time.Second
	s.http.ConnContext = withPeer
	return s
}

// Serve answers until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown ends the server; followers of events are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}

func reply(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// The client is gone when this fails; there is nobody to tell.
		_ = json.NewEncoder(w).Encode(v)
	}
}

// refuse tells why a request failed.
func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errorReply{err.Error()}) // as above
}

func (s *Server) functions() []FunctionInfo {
	instances := s.backend.Engine().Instances()
	list := []FunctionInfo{}
	for _, f := range s.backend.Engine().Functions().List() {
		info := FunctionInfo{Name: f.Name, Module: f.Module, Level: f.Level.String(), Layer: f.Layer, Doc: f.Doc, UsedBy: []string{}}
		for _, in := range instances {
			if slices.Contains(in.Chain[0], f.Name) || slices.Contains(in.Chain[1], f.Name) {
				info.UsedBy = append(info.UsedBy, in.Name)
			}
		}
		list = append(list, info)
	}
	return list
}

func (s *Server) modules() []ModuleInfo {
	list := []ModuleInfo{}
	for _, m := range s.backend.Engine().Modules() {
		list = append(list, ModuleInfo{m.Name, m.Kind, m.File, m.Aliases, m.Version, m.Loaded, m.State, m.Faults, m.Functions, m.Doc})
	}
	return list
}

func (s *Server) stats(*http.Request) (any, error) {
	sources, err := s.backend.SourceStats()
	if err != nil {
		return nil, err
	}
	losses, err := s.backend.KernelLosses()
	return StatsReply{s.backend.Engine().Stats(), sources, losses}, err
}

func (s *Server) connections(r *http.Request) (any, error) {
	limit, err := number(r, "limit", 0)
	if err != nil {
		return nil, err
	}
	port, err := number(r, "port", 0)
	if err != nil {
		return nil, err
	}
	f := ppf.ConnectionFilter{
		Instance: r.FormValue("instance"), Protocol: r.FormValue("protocol"), State: r.FormValue("state"), ServerPort: uint16(port), Limit: limit,
	}
	if f.Client, err = network(r, "client"); err != nil {
		return nil, err
	}
	if f.Server, err = network(r, "server"); err != nil {
		return nil, err
	}
	return s.backend.Engine().FindConnections(f), nil
}

// network reads a parameter that is an address or a network.
func network(r *http.Request, name string) (netip.Prefix, error) {
	text := r.FormValue(name)
	if text == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("parameter %s: %q is no address and no network (write 192.0.2.1 or 192.0.2.0/24)", name, text)
	}
	return p.Masked(), nil
}

func number(r *http.Request, name string, missing int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("parameter %s: %q is not a number", name, text)
	}
	return n, nil
}

// events writes events as JSON lines; with follow=1 it goes on until the client
// leaves.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	since, err := number(r, "since", 0)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	seq := uint64(since)
	for {
		list, more := s.backend.Engine().Events().Since(seq)
		if len(list) > 0 && seq > uint64(since) && list[0].Seq > seq+1 {
			list = slices.Insert(list, 0, lost(list[0], list[0].Seq-1-seq))
		}
		for _, e := range list {
			if out.Encode(e) != nil {
				return
			}
			seq = e.Seq
		}
		if r.FormValue("follow") != "1" {
			if len(list) == 0 {
				return
			}
			continue
		}
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// lost tells a follower what it was too slow to get: nobody waits for it.
func lost(next ppf.Event, n uint64) ppf.Event {
	return ppf.Event{Seq: next.Seq - 1, Time: next.Time, Kind: ppf.EventLost, Text: fmt.Sprintf("%d events are lost to this reader: they came faster than it read", n)}
}

func decode[T any](r *http.Request) (v T, err error) {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&v); err != nil {
		return v, fmt.Errorf("request body: %w", err)
	}
	return v, nil
}

func (s *Server) iptables(r *http.Request) (any, error) {
	args, err := decode[[]string](r)
	if err != nil {
		return nil, err
	}
	return s.backend.IPTables(r.Context(), args), nil
}

// reconfigRequest is the body of POST /v1/reconfig.
type reconfigRequest struct {
	Instance ppf.InstanceNumber `json:"instance"`
	Config   string             `json:"config"`
}

func (s *Server) reconfig(r *http.Request) (any, error) {
	q, err := decode[reconfigRequest](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.backend.Reconfig(q.Instance, q.Config)
}

// override makes or takes back an override. Its body is ppf.OverrideInfo without
// an origin.
func (s *Server) override(r *http.Request) (any, error) {
	q, err := decode[ppf.OverrideInfo](r)
	if err != nil {
		return nil, err
	}
	o := ppf.Override{Reason: q.Reason}
	if q.Client != "" {
		if o.Client, err = netip.ParsePrefix(q.Client); err != nil {
			return nil, fmt.Errorf("override: client: %w", err)
		}
	}
	e := s.backend.Engine()
	if q.Do == OverrideDefault {
		err = e.Restore(q.Instance, o.Reason, o.Client)
	} else {
		var known bool
		if o.Do, known = ppf.ParseDo(q.Do); !known {
			return nil, fmt.Errorf("override: %q: unknown (write monitor, repair, refuse or default)", q.Do)
		}
		err = e.Override(q.Instance, o)
	}
	if err == nil {
		e.Events().Add(ppf.Event{Kind: ppf.EventInstance, Instance: q.Instance, Text: strings.Join(strings.Fields("override: "+q.Reason+" "+q.Client+" "+q.Do), " ")})
	}
	return struct{}{}, err
}

// moduleRequest is the body of POST /v1/module.
type moduleRequest struct {
	Do    string `json:"do"`    // load, unload or reload
	Name  string `json:"name"`  // a name, an alias or an absolute path
	Force bool   `json:"force"` // unload what is in use
}

func (s *Server) module(r *http.Request) (any, error) {
	q, err := decode[moduleRequest](r)
	if err != nil {
		return nil, err
	}
	switch q.Do {
	case "load":
		err = s.backend.Engine().LoadModule(r.Context(), q.Name)
	case "unload":
		err = s.backend.Engine().UnloadModule(r.Context(), q.Name, q.Force)
	case "reload":
		err = s.backend.Engine().ReloadModule(r.Context(), q.Name)
	default:
		err = fmt.Errorf("module: unknown request %q", q.Do)
	}
	return struct{}{}, err
}
