package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/promethos/promethos/examples/forms"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/wasm"
)

// moduleRequests are what forms judges: a query, and a form of 1,400 bytes.
var moduleRequests = []struct{ name, text string }{
	{"query", "GET /page?text=hello HTTP/1.1\r\nHost: device.example\r\n\r\n"},
	{"form of 1400 bytes", "POST /page HTTP/1.1\r\nHost: device.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1405\r\n\r\ntext=" + strings.Repeat("x", 1400)},
}

// moduleMessages measures what a request costs behind http in a guest in Go, against
// the same function compiled in. There is no kernel in it: a client in memory asks
// again and again, and a server in memory answers.
func moduleMessages(ctx context.Context, dir string, o Options) (rows []Row, err error) {
	file, err := goGuest(ctx, filepath.Join(dir, "forms"), "forms", forms.Sources, "forms.go", "reasons.go", "guest/main.go")
	if err != nil {
		return nil, fmt.Errorf("bench module: forms: %w", err)
	}
	manifest, err := forms.Sources.ReadFile("forms.json")
	if err != nil {
		return nil, err
	}
	var engines [2]*ppf.Engine
	for i, load := range []func(*ppf.Engine) error{
		func(e *ppf.Engine) error { return e.LoadModule(ctx, file) },
		func(e *ppf.Engine) error { return e.LoadModuleInfo(ctx, wasm.Native(manifest, forms.Module)) },
	} {
		e, err := newMessageBench(ctx, load)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, e.Close(ctx)) }()
		engines[i] = e
	}
	for _, r := range moduleRequests {
		row := Row{Name: "forms, Go guest, " + r.name, Against: "built in", Unit: "ns/request", less: true}
		row, err := measure(row, o.Runs,
			func() (float64, error) { return messageCost(engines[0], r.text, o.Duration) },
			func() (float64, error) { return messageCost(engines[1], r.text, o.Duration) })
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// newMessageBench makes an engine with an instance of http and forms.
func newMessageBench(ctx context.Context, load func(*ppf.Engine) error) (*ppf.Engine, error) {
	e, err := ppf.New(ppf.Options{Env: ppf.DryEnv(), Workers: 1})
	if err != nil {
		return nil, err
	}
	scalar := func(key, value string) ppf.KeyValue {
		return ppf.KeyValue{Key: key, Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: value}}
	}
	object := func(entries ...ppf.KeyValue) ppf.Value { return ppf.Value{Kind: ppf.ValueMap, Map: entries} }
	list := func(items ...ppf.Value) ppf.Value { return ppf.Value{Kind: ppf.ValueList, List: items} }
	page := object(scalar("path", "/page"),
		ppf.KeyValue{Key: "methods", Value: list(scalar("", "GET").Value, scalar("", "POST").Value)},
		ppf.KeyValue{Key: "fields", Value: list(object(scalar("name", "text"), scalar("kind", "text"), scalar("max", "1400")))})
	chain := []string{"http", "forms"}
	if err = load(e); err == nil {
		_, err = e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{{
			Name: "bench", Source: ppf.SourceListen, Chain: [2][]string{chain, chain},
			Modules: map[string]ppf.Value{"forms": object(ppf.KeyValue{Key: "pages", Value: list(page)})},
		}}})
	}
	if err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// messageCost is the time per request in ns.
func messageCost(e *ppf.Engine, request string, d time.Duration) (float64, error) {
	client, server := &asking{text: request}, &answering{}
	at := netip.MustParseAddrPort("192.0.2.1:40000")
	session, err := e.NewSession("bench", client, at, netip.MustParseAddrPort("203.0.113.1:80"), func(context.Context) (net.Conn, error) { return server, nil })
	if err != nil {
		return 0, err
	}
	start := time.Now()
	client.until = start.Add(d)
	session.Serve()
	took := time.Since(start)
	if server.asked == 0 || server.asked != client.asked {
		return 0, fmt.Errorf("%d requests of %d arrived: %v", server.asked, client.asked, e.ReasonCounts())
	}
	return float64(took.Nanoseconds()) / float64(server.asked), nil
}

// inMemory is what connections in memory have in common.
type inMemory struct{}

func (inMemory) Close() error                     { return nil }
func (inMemory) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (inMemory) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (inMemory) SetDeadline(time.Time) error      { return nil }
func (inMemory) SetReadDeadline(time.Time) error  { return nil }
func (inMemory) SetWriteDeadline(time.Time) error { return nil }

// asking is a client that sends the same request until a time is over, each when
// the one before has been read.
type asking struct {
	inMemory
	text  string
	at    int
	asked int
	until time.Time
}

func (c *asking) Read(b []byte) (int, error) {
	if c.at == 0 {
		if time.Now().After(c.until) {
			return 0, io.EOF
		}
		c.asked++
	}
	n := copy(b, c.text[c.at:])
	c.at = (c.at + n) % len(c.text)
	return n, nil
}

func (c *asking) Write(b []byte) (int, error) { return len(b), nil }

// answering is a server that answers each request, which comes with one write.
type answering struct {
	inMemory
	asked, answered int
}

const moduleAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nok"

func (s *answering) Write(b []byte) (int, error) {
	s.asked++
	return len(b), nil
}

func (s *answering) Read(b []byte) (int, error) {
	if s.answered == s.asked {
		return 0, io.ErrUnexpectedEOF
	}
	s.answered++
	return copy(b, moduleAnswer), nil
}
