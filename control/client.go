package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"github.com/promethos/promethos/ppf"
)

// Client talks to a daemon.
type Client struct {
	http http.Client
	path string
}

// NewClient makes a client for the socket at path.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	return c
}

// Close gives back connections that wait for another question.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	r, err := c.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		return fmt.Errorf("control socket %s: reply: %w", c.path, err)
	}
	return nil
}

// open sends a request and returns the body of a good reply.
func (c *Client) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("control request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://promethos/v1/"+path, send)
	if err != nil {
		return nil, fmt.Errorf("control request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var failed errorReply
	if json.NewDecoder(resp.Body).Decode(&failed) != nil || failed.Error == "" {
		return nil, fmt.Errorf("control socket %s: %s", c.path, resp.Status)
	}
	return nil, errors.New(failed.Error)
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("control socket %s: no daemon answers (start one with `promethos run -c FILE`, or name its socket with --control)", c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("control socket %s: not permitted (run as the user that started the daemon, usually root)", c.path)
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}

// Status describes the daemon.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, "GET", "status", nil, &s)
}

// Instances lists the proxy instances.
func (c *Client) Instances(ctx context.Context) (list []ppf.InstanceInfo, err error) {
	return list, c.do(ctx, "GET", "instances", nil, &list)
}

// Functions lists the registered user functions.
func (c *Client) Functions(ctx context.Context) (list []FunctionInfo, err error) {
	return list, c.do(ctx, "GET", "functions", nil, &list)
}

// Modules lists the PFMs.
func (c *Client) Modules(ctx context.Context) (list []ModuleInfo, err error) {
	return list, c.do(ctx, "GET", "modules", nil, &list)
}

// Reasons lists how often each reason led to what.
func (c *Client) Reasons(ctx context.Context) (list []ppf.ReasonCountInfo, err error) {
	return list, c.do(ctx, "GET", "reasons", nil, &list)
}

// Ledger lists what was mended or would have been refused, by host and client.
func (c *Client) Ledger(ctx context.Context) (list []ppf.LedgerLine, err error) {
	return list, c.do(ctx, "GET", "ledger", nil, &list)
}

// Stats gives the accounting.
func (c *Client) Stats(ctx context.Context) (s StatsReply, err error) {
	return s, c.do(ctx, "GET", "stats", nil, &s)
}

// ConnectionQuery says which connections to list; what is empty lets all pass.
type ConnectionQuery struct {
	Instance, Protocol, State string
	Client, Server            string // an address or a network
	Port                      uint16 // the server's
	Limit                     int    // at most so many
}

// Connections lists connections.
func (c *Client) Connections(ctx context.Context, f ConnectionQuery) (list []ppf.ConnectionInfo, err error) {
	q := url.Values{
		"instance": {f.Instance}, "protocol": {f.Protocol}, "state": {f.State}, "client": {f.Client}, "server": {f.Server},
		"port": {strconv.Itoa(int(f.Port))}, "limit": {strconv.Itoa(f.Limit)},
	}
	return list, c.do(ctx, "GET", "connections?"+q.Encode(), nil, &list)
}

// Events calls f for each kept event and, with follow, for each that comes,
// until f returns an error or ctx is done.
func (c *Client) Events(ctx context.Context, follow bool, f func(ppf.Event) error) error {
	path := "events"
	if follow {
		path += "?follow=1"
	}
	return c.events(ctx, path, f)
}

// EventsSince calls f for each kept event behind the one of that number.
func (c *Client) EventsSince(ctx context.Context, after uint64, f func(ppf.Event) error) error {
	return c.events(ctx, fmt.Sprintf("events?since=%d", after), f)
}

func (c *Client) events(ctx context.Context, path string, f func(ppf.Event) error) error {
	r, err := c.open(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	return lines(ctx, c, r, f)
}

// Trace calls f for each packet of an instance, with at most bytes of each, until
// there were count (0: no end), f returns an error or ctx is done. started is
// called once, when every packet from then on will be told.
func (c *Client) Trace(ctx context.Context, instance string, count, bytes int, started func(), f func(Traced) error) error {
	q := url.Values{"instance": {instance}, "count": {strconv.Itoa(count)}, "bytes": {strconv.Itoa(bytes)}}
	r, err := c.open(ctx, "GET", "trace?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	started()
	return lines(ctx, c, r, f)
}

// lines calls f for each JSON value of a stream, and closes it.
func lines[T any](ctx context.Context, c *Client, r io.ReadCloser, f func(T) error) error {
	defer r.Close()
	for in := json.NewDecoder(r); ; {
		var v T
		switch err := in.Decode(&v); {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("control socket %s: stream: %w", c.path, err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
}

// IPTables executes the thesis' command.
func (c *Client) IPTables(ctx context.Context, args []string) (r CommandResult, err error) {
	return r, c.do(ctx, "POST", "iptables", args, &r)
}

// Reload makes the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) (r ReloadResult, err error) {
	return r, c.do(ctx, "POST", "reload", struct{}{}, &r)
}

// PlanReload tells what Reload would do.
func (c *Client) PlanReload(ctx context.Context) (r ReloadResult, err error) {
	return r, c.do(ctx, "GET", "reload", nil, &r)
}

// Overrides lists what reasons do beside what the mode says.
func (c *Client) Overrides(ctx context.Context) (list []ppf.OverrideInfo, err error) {
	return list, c.do(ctx, "GET", "overrides", nil, &list)
}

// Override makes an override, or with OverrideDefault takes one back.
func (c *Client) Override(ctx context.Context, o ppf.OverrideInfo) error {
	return c.do(ctx, "POST", "overrides", o, &struct{}{})
}

// Reconfig changes the plugin instance of a number.
func (c *Client) Reconfig(ctx context.Context, n ppf.InstanceNumber, config string) error {
	return c.do(ctx, "POST", "reconfig", reconfigRequest{n, config}, &struct{}{})
}

// Module loads, unloads or reloads a PFM; force unloads one that is in use.
func (c *Client) Module(ctx context.Context, do, name string, force bool) error {
	return c.do(ctx, "POST", "module", moduleRequest{do, name, force}, &struct{}{})
}

// StartTiming makes the daemon measure its processing time per packet.
func (c *Client) StartTiming(ctx context.Context) error {
	return c.do(ctx, "POST", "timing/start", struct{}{}, &struct{}{})
}

// StopTiming ends measuring and gives the result.
func (c *Client) StopTiming(ctx context.Context) (s ppf.TimingSummary, err error) {
	return s, c.do(ctx, "POST", "timing/stop", struct{}{}, &s)
}
