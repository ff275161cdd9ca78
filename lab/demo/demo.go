// Package demo shows the proxy at work on real traffic: a download, one packet
// before and after, and malformed packets, requests and handshakes that arrive
// without the proxy and do not arrive with it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
	"github.com/promethos/promethos/ppf"
)

// downloadBytes is the size of the thesis' test transfer.
const downloadBytes = 20_000_000

// configuration protects the lab's server: all attacks go to this port. Nothing
// is adopted, because no connection is older than this proxy.
const configuration = `version: 1
instances:
  - name: web
    match: {protocol: tcp, server: [%s, "%s"], port: %d}
    chain: [tcp]
    modules: {tcp: {adopt: 0s}}
  - {name: front, source: listen, listen: '%s:%d', upstream: '%s', chain: [http]}
`

// ErrFailed reports that something did not hold; what, was printed.
var ErrFailed = errors.New("demo: not everything held; see above")

// Result is what the demo found.
type Result struct {
	Direct     lab.Transfer   `json:"direct"`
	Proxied    lab.Transfer   `json:"proxied"`
	Before     []Field        `json:"packet"`
	Attacks    []AttackRow    `json:"attacks"`
	Messages   []MessageRow   `json:"messages"`
	Handshakes []HandshakeRow `json:"handshakes"`
	Problems   []string       `json:"problems"`
}

// AttackRow is one attack's line of the result table.
type AttackRow struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Without string `json:"without"` // what a plain router let through: arrived
	With    string `json:"with"`    // stopped or rebuilt
	Reason  string `json:"reason"`
	Counted uint64 `json:"counted"`
	Held    bool   `json:"held"`
}

// patience bounds what is waited for: that attacks arrive which should, and that
// the proxy has judged the others.
const patience = 20 * time.Second

// Run builds a lab, runs the demo with the given program as the proxy and tells
// about it on w; w may be io.Discard. Everything is gone afterwards. The error
// is ErrFailed when something did not hold.
func Run(ctx context.Context, program string, w io.Writer) (r *Result, err error) {
	fmt.Fprintln(w, "A client, a proxy and a server, in network namespaces of their own:")
	fmt.Fprint(w, "\n  client ────────── proxy ────────── server\n\n")
	l, err := lab.Up(ctx, lab.Options{Anonymous: true, NoOffloads: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	server, err := l.Server.StartHTTP(ctx, "[::]:0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	_, portText, err := net.SplitHostPort(server.Addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	server.Addr = net.JoinHostPort(l.Server.IPv4.String(), portText)
	dir, err := os.MkdirTemp("", "promethos-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	old, err := oldServer(ctx, l, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	d := &show{ctx: ctx, w: w, lab: l, server: server, old: old, dir: dir, result: &Result{}}
	if d.env, err = l.AttackEnv(uint16(port)); err != nil {
		return nil, err
	}
	if err := d.without(); err != nil {
		return nil, err
	}
	proxy, err := l.Proxy.StartProxy(ctx, program, fmt.Sprintf(configuration, l.Server.IPv4, l.Server.IPv6, port,
		l.Proxy.IPv4, frontPort, server.Addr)+fmt.Sprintf(secureConfiguration, net.JoinHostPort(l.Proxy.IPv4.String(), strconv.Itoa(securePort)), old.Addr, dir))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.with(proxy), proxy.Stop()); err != nil {
		return nil, err
	}
	return d.finish()
}

// show is one run.
type show struct {
	ctx    context.Context
	w      io.Writer
	lab    *lab.Lab
	server *lab.HTTPServer
	old    *lab.HTTPServer // with TLS
	dir    string          // of its certificate and ours
	env    lab.AttackEnv
	result *Result
}

// attacks are those on what the demo's chain protects.
func attacks() []lab.Attack {
	return slices.DeleteFunc(lab.Attacks(), func(a lab.Attack) bool { return a.Protocol != "tcp" })
}

func (d *show) problem(format string, args ...any) {
	d.result.Problems = append(d.result.Problems, fmt.Sprintf(format, args...))
}

// without measures and attacks with nothing but a router in between.
func (d *show) without() (err error) {
	fmt.Fprintln(d.w, "1. Without the proxy: the machine in the middle only routes.")
	if d.result.Direct, err = d.lab.Client.Download(d.ctx, d.server.DataURL(downloadBytes, 1)); err != nil {
		return fmt.Errorf("demo: download without the proxy: %w", err)
	}
	fmt.Fprintf(d.w, "   download of %d bytes: %.0f Mbit/s\n", d.result.Direct.Bytes, d.result.Direct.BitsPerSecond()/1e6)
	arrives := func(lab.Attack) lab.Outcome { return lab.Arrived }
	outcomes, err := d.attack(arrives, func(context.Context) error { return nil })
	if err != nil {
		return err
	}
	for i, a := range attacks() {
		d.result.Attacks = append(d.result.Attacks, AttackRow{Name: a.Name, About: a.About, Reason: a.Reason, Without: outcomes[i].String()})
	}
	fmt.Fprintf(d.w, "   %d kinds of malformed packets sent: see the table below\n\n", len(outcomes))
	return nil
}

// with does the same through the proxy.
func (d *show) with(proxy *lab.Proxy) (err error) {
	client := control.NewClient(proxy.Control)
	vitals, err := proof.TakeVitals(d.ctx, proxy)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.w, "2. With the proxy: `promethos run`, one instance with the chain [tcp].")
	before, after, err := d.download()
	if err != nil {
		return err
	}
	if err := d.prove(before, after); err != nil {
		return err
	}
	fmt.Fprintf(d.w, "   download of %d bytes: %.0f Mbit/s, byte for byte the same\n\n", d.result.Proxied.Bytes, d.result.Proxied.BitsPerSecond()/1e6)
	if err := d.compare(before, after); err != nil {
		return err
	}
	d.env = d.env.Afresh()
	rebuilt := func(a lab.Attack) lab.Outcome {
		if a.Repairable {
			return lab.Rebuilt
		}
		return lab.Stopped
	}
	outcomes, err := d.attack(rebuilt, func(ctx context.Context) error { return judged(ctx, client) })
	if err != nil {
		return err
	}
	reasons, err := client.Reasons(d.ctx)
	if err != nil {
		return err
	}
	for i, a := range attacks() {
		row := &d.result.Attacks[i]
		row.With, row.Counted = outcomes[i].String(), counted(reasons, a.Reason)
		row.Held = row.Without == lab.Arrived.String() && row.Counted > 0 &&
			(outcomes[i] == lab.Stopped || outcomes[i] == lab.Rebuilt && a.Repairable)
		if !row.Held {
			d.problem("attack %s: %s without the proxy, %s with it, reason %s counted %d times", a.Name, row.Without, row.With, a.Reason, row.Counted)
		}
	}
	violations, err := proof.Daemon(d.ctx, proxy, vitals)
	if err != nil {
		return err
	}
	for _, v := range violations {
		d.problem("%v", v)
	}
	return errors.Join(d.askBoth(client), d.askSecurely(client))
}

// counted sums up how often a reason was met.
func counted(reasons []ppf.ReasonCountInfo, reason string) (n uint64) {
	for _, c := range reasons {
		if c.Reason == reason {
			n += c.Count
		}
	}
	return n
}

// judged waits until each reason was counted as often as attacks have it.
func judged(ctx context.Context, client *control.Client) error {
	want := map[string]uint64{}
	for _, a := range attacks() {
		want[a.Reason]++
	}
	return await(ctx, client, want)
}

// await waits until each reason was counted as often as it shall be, or more.
func await(ctx context.Context, client *control.Client, want map[string]uint64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		reasons, err := client.Reasons(ctx)
		if err != nil {
			return err
		}
		late := false
		for reason, n := range want {
			late = late || counted(reasons, reason) < n
		}
		if !late {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// prove judges what the download sent to either end by other decoders than ours,
// and compares it byte for byte. What belongs to attacks is no transfer: the server
// still answers those that arrived before the proxy was there.
func (d *show) prove(atClient, atServer []lab.Frame) error {
	honest := func(f proof.Flow) bool {
		ends := []netip.Addr{f.Src.Addr(), f.Dst.Addr()}
		return !slices.Contains(ends, d.env.Source4) && !slices.Contains(ends, d.env.Source6)
	}
	list := slices.Concat(
		proof.Transfers(proof.Sent(atClient), proof.Received(atServer), honest),
		proof.Transfers(proof.Sent(atServer), proof.Received(atClient), honest))
	for _, frames := range [][]lab.Frame{atServer, atClient} {
		judged, err := proof.Packets(d.ctx, frames, lab.KindDFIDCount)
		if err != nil {
			return err
		}
		list = append(list, judged...)
	}
	for _, v := range list {
		d.problem("download: %v", v)
	}
	return nil
}

// download fetches through the proxy and keeps what both its sides carried.
func (d *show) download() (before, after []lab.Frame, err error) {
	in, err := d.lab.Client.Capture(lab.CaptureOptions{})
	if err != nil {
		return nil, nil, err
	}
	out, err := d.lab.Server.Capture(lab.CaptureOptions{})
	if err != nil {
		return nil, nil, errors.Join(err, stop(in))
	}
	d.result.Proxied, err = d.lab.Client.Download(d.ctx, d.server.DataURL(downloadBytes, 1))
	for _, c := range []*lab.Capture{in, out} {
		if err == nil {
			_, err = c.Wait(d.ctx, proof.Ends)
		}
	}
	if err = errors.Join(err, stop(in), stop(out)); err != nil {
		return nil, nil, fmt.Errorf("demo: download through the proxy: %w", err)
	}
	return in.Frames(), out.Frames(), nil
}

func stop(c *lab.Capture) error {
	_, err := c.Stop()
	return err
}

// attack sends every attack from the client and says what the server saw, once
// what is expected to arrive did and the rest is judged; what does not come about
// in time is told by what was seen.
func (d *show) attack(expected func(lab.Attack) lab.Outcome, judged func(context.Context) error) ([]lab.Outcome, error) {
	capture, err := d.lab.Server.Capture(lab.CaptureOptions{})
	if err != nil {
		return nil, err
	}
	sender, err := d.lab.Client.RawSender(lab.EndInterface)
	if err != nil {
		return nil, errors.Join(err, stop(capture))
	}
	defer sender.Close()
	for _, a := range attacks() {
		if err := sender.SendAll(a.Frames(d.env)); err != nil {
			return nil, errors.Join(err, stop(capture))
		}
	}
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	err = judged(ctx)
	for _, a := range attacks() {
		if err == nil {
			err = a.Await(ctx, d.env, capture, expected(a))
		}
	}
	if ctx.Err() != nil && d.ctx.Err() == nil {
		err = nil
	}
	if err = errors.Join(err, stop(capture)); err != nil {
		return nil, err
	}
	var outcomes []lab.Outcome
	for _, a := range attacks() {
		outcomes = append(outcomes, a.Outcome(d.env, capture.Frames()))
	}
	return outcomes, nil
}

// finish prints the tables and gives the result.
func (d *show) finish() (*Result, error) {
	fmt.Fprintln(d.w, "4. The same malformed packets, without and with the proxy, as the server saw them:")
	fmt.Fprintln(d.w)
	t := tabwriter.NewWriter(d.w, 3, 0, 2, ' ', 0)
	fmt.Fprintln(t, "   ATTACK\tWITHOUT\tWITH\tREASON\tCOUNTED")
	for _, a := range d.result.Attacks {
		fmt.Fprintf(t, "   %s\t%s\t%s\t%s\t%d\n", a.Name, a.Without, a.With, a.Reason, a.Counted)
	}
	if err := t.Flush(); err != nil {
		return nil, err
	}
	fmt.Fprintln(d.w)
	if err := errors.Join(d.tellMessages(), d.tellHandshakes()); err != nil {
		return nil, err
	}
	if len(d.result.Problems) > 0 {
		for _, p := range d.result.Problems {
			fmt.Fprintln(d.w, "   FAILED:", p)
		}
		return d.result, ErrFailed
	}
	fmt.Fprintln(d.w, "Everything held: the download came through unchanged, and no malformed packet, request or handshake did.")
	return d.result, nil
}
