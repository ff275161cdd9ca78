package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promethos/promethos/config"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/stream"
)

// clock is an Env of a running machine as far as streams ask.
type clock struct{ ppf.Env }

func (clock) Now() int64     { return time.Now().UnixNano() }
func (clock) Uint32() uint32 { return 7 }

// front is an engine with listeners for a configuration.
type front struct {
	t         *testing.T
	engine    *ppf.Engine
	listeners *stream.Listeners
}

func newFront(t *testing.T, text string) *front {
	t.Helper()
	e, err := ppf.New(ppf.Options{Env: clock{ppf.DryEnv()}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t, e, stream.NewListeners(e)}
	t.Cleanup(func() {
		f.listeners.Close()
		e.Close(t.Context())
	})
	f.apply(text)
	return f
}

func (f *front) apply(text string) {
	f.t.Helper()
	spec, problems := config.Parse("test.yaml", []byte(text))
	for _, p := range problems {
		f.t.Fatal(p)
	}
	if _, err := f.engine.Apply(spec); err != nil {
		f.t.Fatal(err)
	}
	if err := f.listeners.Set(spec.Instances); err != nil {
		f.t.Fatal(err)
	}
}

func (f *front) addr() string {
	f.t.Helper()
	a, ok := f.listeners.Addr("front")
	if !ok {
		f.t.Fatal("instance front does not listen")
	}
	return a.String()
}

func instance(upstream, mode string) string {
	return fmt.Sprintf(`version: 1
instances:
  - name: front
    source: listen
    listen: 127.0.0.1:0
    upstream: %s
    chain: [http]
    mode: %s
`, upstream, mode)
}

func origin(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "for %s, unknown %q", r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Plant"))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func get(t *testing.T, c *http.Client, addr string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Plant", "7")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestListen serves a client of net/http, also over a reload: what is asked after
// it meets the new chain.
func TestListen(t *testing.T) {
	server := origin(t)
	f := newFront(t, instance(server, "repair"))
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	if got, want := get(t, c, f.addr()), `for 127.0.0.1, unknown "7"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	before := f.addr()
	f.apply(instance(server, "strict"))
	if f.addr() != before {
		t.Errorf("the reload moved the listener from %s to %s", before, f.addr())
	}
	other := &http.Client{Transport: &http.Transport{}}
	defer other.CloseIdleConnections()
	if got, want := get(t, other, f.addr()), `for 127.0.0.1, unknown ""`; got != want {
		t.Errorf("over a new connection: got %q, want %q", got, want)
	}
	f.apply("version: 1\ninstances: []\n")
	if _, ok := f.listeners.Addr("front"); ok {
		t.Error("the instance is gone, and it listens")
	}
	if conn, err := net.Dial("tcp", before); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after the end: got %v, %v", conn, err)
	}
}

// TestListenRefused: an address that is not to be had changes nothing; a client of
// an instance that was to go goes on over its connection.
func TestListenRefused(t *testing.T) {
	f := newFront(t, instance(origin(t), "repair"))
	connections := 0
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		connections++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}}
	defer c.CloseIdleConnections()
	get(t, c, f.addr())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := ppf.InstanceSpec{Name: "other", Source: ppf.SourceListen, Listen: netip.MustParseAddrPort(taken.Addr().String())}
	if err := f.listeners.Set([]ppf.InstanceSpec{other}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, syscall.EADDRINUSE)
	}
	get(t, c, f.addr())
	if connections != 1 {
		t.Errorf("%d connections, want the one that was there", connections)
	}
}

// TestListenServerDown: with the server away the client gets a 502, and a reason
// is counted.
func TestListenServerDown(t *testing.T) {
	// At an address of its own, or another test may take the port.
	l, err := net.Listen("tcp", "127.77.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	f := newFront(t, instance(l.Addr().String(), "repair"))
	res, err := http.Get("http://" + f.addr())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 502 {
		t.Errorf("got status %d, want 502", res.StatusCode)
	}
	n := uint64(0)
	for _, r := range f.engine.ReasonCounts() {
		if r.Reason == "http.server.unreachable" && r.Instance == "front" {
			n += r.Count
		}
	}
	if n != 1 {
		t.Errorf("http.server.unreachable is counted %d times, want 1", n)
	}
}

// TestLevels: a chain in which a function does not get what it works on is
// refused, and the message says what to do.
func TestLevels(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"message function without http", strings.Replace(instance("192.0.2.1:80", "repair"), "[http]", "[urlrewrite]", 1), "put http before it"},
		{"packets on a listener", strings.Replace(instance("192.0.2.1:80", "repair"), "[http]", "[tcp]", 1), "leave it out"},
		{"http without a port", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1}, chain: [http]}\n", "and a port"},
		{"http of UDP", "version: 1\ninstances:\n  - {name: a, match: {protocol: udp, server: 192.0.2.1, port: 80}, chain: [http]}\n", "protocol: tcp"},
		{"http of an interface", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80, not: {in: eth0}}, chain: [http]}\n", "in and out"},
		{"http at another hook", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [http], hook: input}\n", "prerouting and postrouting"},
		{"http in one flow", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, client_to_server: [tcp, http], server_to_client: [tcp]}\n", "both flows"},
		{"http that fails open", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [http], fail: open}\n", "fail: closed"},
		{"http opened by the server", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [http], initiate: both}\n", "initiate"},
		{"http with cookies", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [http], handshake: cookie}\n", "honest or first"},
		{"http with exchanged addresses", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [tcp2, http]}\n", "upstream_address: proxy"},
		{"clients behind the proxy's address", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80, client: 198.51.100.0/24}, chain: [http], upstream_address: proxy}\n", "does not show its client"},
		{"no stream to answer", "version: 1\ninstances:\n  - {name: a, match: {protocol: tcp, server: 192.0.2.1, port: 80}, chain: [tcp], handshake: first}\n", "stream function"},
		{"packets behind messages", strings.Replace(instance("192.0.2.1:80", "repair"), "[http]", "[http, tcp]", 1), "put it before http"},
		{"no upstream", "version: 1\ninstances:\n  - {name: a, source: listen, listen: '127.0.0.1:0', chain: [http]}\n", "upstream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := config.Parse("test.yaml", []byte(tt.text))
			if text := ppf.DecodeError(problems).Error(); !strings.Contains(text, tt.want) {
				t.Errorf("got %q, want something with %q", text, tt.want)
			}
		})
	}
}

// TestCounts: messages, octets and refusals stand in the instance's counters, and
// those of a connection with it.
func TestCounts(t *testing.T) {
	f := newFront(t, instance(origin(t), "repair"))
	c := f.dial()
	for range 3 {
		if res := ask(t, c); res.StatusCode != 200 {
			t.Fatalf("got %v", res)
		}
	}
	refused := f.dial()
	if _, err := io.WriteString(refused, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if res := readResponse(t, refused); res.StatusCode != 400 {
		t.Fatalf("got %v", res)
	}
	refused.Close()
	c.Close()
	f.listeners.Close() // what was counted stands
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for d, want := range [2]ppf.FlowCounters{{In: 4, InBytes: 3 * uint64(len(request)), Sent: 3, Dropped: 1}, {In: 3, Sent: 3}} {
		got := f.engine.Instances()[0].Flow[d]
		if d == 1 {
			if got.InBytes < 3*100 {
				t.Errorf("%d octets came from the server", got.InBytes)
			}
			got.InBytes = 0
		}
		if got != want {
			t.Errorf("flow %v: got %+v, want %+v", ppf.Dir(d), got, want)
		}
	}
	for d, want := range [2]ppf.MessageCounters{{In: 4, Sent: 3, Dropped: 1}, {In: 3, Sent: 3}} {
		if got := f.engine.Instances()[0].Messages[d]; got.In != want.In || got.Sent != want.Sent || got.Dropped != want.Dropped || got.InBytes == 0 {
			t.Errorf("messages of flow %v: got %+v, want %+v and octets", ppf.Dir(d), got, want)
		}
	}
	f.engine.ZeroCounters()
	if got := f.engine.Instances()[0].Messages; *got != [2]ppf.MessageCounters{} {
		t.Errorf("messages after ZeroCounters: got %+v", got)
	}
	if got := f.engine.Instances()[0].Flow; got != [2]ppf.FlowCounters{} {
		t.Errorf("after ZeroCounters: got %+v", got)
	}
}
