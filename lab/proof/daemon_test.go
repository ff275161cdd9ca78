package proof

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// told is what a daemon says at one look.
type told struct {
	status  control.Status
	stats   control.StatsReply
	reasons []ppf.ReasonCountInfo
}

// daemonThatTells answers looks at it one after the other. To who looks once more it
// gives the last one's answers, and calls enough.
func daemonThatTells(t *testing.T, enough func(), looks ...*told) *lab.Proxy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	last := false
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, looks[0].status)
		if last {
			enough()
		}
	})
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, looks[0].stats) })
	mux.HandleFunc("GET /v1/reasons", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, looks[0].reasons)
		if last = len(looks) == 1; !last {
			looks = looks[1:]
		}
	})
	s := &http.Server{Handler: mux}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return &lab.Proxy{Control: path}
}

// tells is a daemon of this process, in which 3 packets came and went, 1 of them
// dropped.
func tells(edit func(*told)) *told {
	at := &told{status: control.Status{PID: os.Getpid()}, reasons: []ppf.ReasonCountInfo{{Reason: "a.b", Count: 1, Action: ppf.OutcomeDrop.String()}}}
	at.stats.Packets = ppf.FlowCounters{In: 3, Sent: 2, Dropped: 1}
	at.stats.Sources = []ppf.SourceStats{{Name: "queue 1", Received: 3, Sent: 2}, {Name: "queue 2"}}
	if edit != nil {
		edit(at)
	}
	return at
}

func TestTakeVitals(t *testing.T) {
	p := daemonThatTells(t, func() {}, tells(func(at *told) {
		at.stats.Sources[0].Depth, at.stats.Sources[1].Depth = 2, 3
		at.reasons = append(at.reasons, ppf.ReasonCountInfo{Reason: ppf.ReasonPanic.String(), Count: 4, Action: ppf.OutcomeDrop.String()})
	}))
	v, err := TakeVitals(t.Context(), p)
	if err != nil || v.PID != os.Getpid() || v.Files == 0 || v.Waiting != 5 || v.Panics != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := TakeVitals(t.Context(), &lab.Proxy{Control: filepath.Join(t.TempDir(), "nobody.sock")}); err == nil {
		t.Error("of no daemon: no error")
	}
	gone := daemonThatTells(t, func() {}, tells(func(at *told) { at.status.PID = 0 }))
	if v, err := TakeVitals(t.Context(), gone); err == nil {
		t.Errorf("of a process that is not there: %+v", v)
	}
}

// TestDaemon: what adds up at a later look is well, however many looks that takes;
// what never does is not.
func TestDaemon(t *testing.T) {
	waiting := tells(func(at *told) { at.stats.Sources[0].Depth = 1 })
	lost := tells(func(at *told) { at.stats.Packets.In++ })
	for _, tt := range []struct {
		name  string
		looks []*told
		want  []Property
	}{
		{"well", []*told{tells(nil)}, nil},
		{"well at last", append(slices.Repeat([]*told{waiting, lost}, 8), tells(nil)), nil},
		{"waiting", []*told{lost, waiting}, []Property{Survives}},
		{"lost", []*told{waiting, lost}, []Property{Accounted}},
		{"both", []*told{tells(func(at *told) { at.stats.Sources[0].Depth, at.stats.Packets.In = 1, 4 })}, []Property{Accounted, Survives}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			before, err := TakeVitals(ctx, daemonThatTells(t, func() {}, tells(nil)))
			if err != nil {
				t.Fatal(err)
			}
			enough := func() {}
			if tt.want != nil {
				enough = cancel
			}
			list, err := Daemon(ctx, daemonThatTells(t, enough, tt.looks...), before)
			if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if got := properties(list); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", list, tt.want)
			}
		})
	}
}
