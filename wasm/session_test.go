package wasm

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/stream"
)

// running is an Env of a running machine as far as streams ask.
type running struct{ ppf.Env }

func (running) Now() int64 { return time.Now().UnixNano() }

// front is an engine with an instance that listens in front of a server.
type front struct {
	t      testing.TB
	engine *ppf.Engine
	addr   string
}

// newFront starts one, with a chain of functions. load puts the module there,
// where it does not stand in dir; change is made to the instance.
func newFront(t testing.TB, server, dir string, chain []string, load func(*ppf.Engine) error, change func(*ppf.InstanceSpec)) *front {
	t.Helper()
	e, err := ppf.New(ppf.Options{Env: running{ppf.DryEnv()}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	listeners := stream.NewListeners(e)
	t.Cleanup(func() {
		listeners.Close()
		e.Close(t.Context())
	})
	if load != nil {
		if err := load(e); err != nil {
			t.Fatal(err)
		}
	}
	in := ppf.InstanceSpec{
		Name: "front", Source: ppf.SourceListen, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Upstream: netip.MustParseAddrPort(server),
		Chain: [2][]string{chain, chain}, Modules: map[string]ppf.Value{}, Drain: time.Minute,
	}
	if change != nil {
		change(&in)
	}
	spec := &ppf.Spec{ModuleDirs: []string{dir}, Instances: []ppf.InstanceSpec{in}}
	if _, err := e.Apply(spec); err != nil {
		t.Fatal(err)
	}
	if err := listeners.Set(spec.Instances); err != nil {
		t.Fatal(err)
	}
	a, _ := listeners.Addr("front")
	return &front{t, e, a.String()}
}

func (f *front) dial() *net.TCPConn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// count tells how often a reason was counted.
func (f *front) count(reason string) (n uint64) {
	for _, c := range f.engine.ReasonCounts() {
		if c.Reason == reason {
			n += c.Count
		}
	}
	return n
}

// said lists the events that contain a word.
func (f *front) said(word string) (list []string) {
	all, _ := f.engine.Events().Since(0)
	for _, e := range all {
		if strings.Contains(e.Text, word) {
			list = append(list, e.Text)
		}
	}
	return list
}

// readAll reads up to the end, a reset too.
func readAll(c net.Conn) string {
	b, _ := io.ReadAll(c)
	return string(b)
}
