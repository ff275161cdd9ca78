package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/protect"
)

// selftestReport is `selftest --cve --json`.
type selftestReport struct {
	Time    time.Time `json:"time"` // of its end
	Version string    `json:"version"`
	Config  string    `json:"config,omitempty"` // the file whose instances were used

	Mode string            `json:"mode"`
	Rows []lab.SelftestRow `json:"rows"`
	// Violations are what broke of the six properties meanwhile.
	Violations []string `json:"violations"`
}

func newSelftest(g *global) *cobra.Command {
	var path, result string
	var cve bool
	c := &cobra.Command{
		Use:   "selftest --cve",
		Short: "send the triggers of published vulnerabilities through an instance, in a lab",
		Long: `Builds a lab of client, proxy and server for each of: plain forwarding,
forwarding with "ct state invalid drop", a TCP relay on TPROXY, and this program;
for what no router carries, of a bridge and this program on a wire; and for requests
to web servers. Sends the triggers of published vulnerabilities of TCP/IP stacks
through each and lets another decoder judge what the server's side saw. The running
daemon is not touched. With -c FILE its instances are used, with the lab's server in
place of theirs, no wire and no requests; without, everything this build has.

A trigger counts as evidence only if the same packet arrived under plain
forwarding, and its twin without the fault arrives through the proxy in the same
run. What is known from one published sentence only counts as excluded by
construction. The exit status is 1 if a trigger that is known well arrives, or if
meanwhile anything malformed or ambiguous arrived, a packet was lost without a
reason, or the program came to harm.

The result is kept in --result for the web page of the daemon; "" keeps none. Who
may not write there by default is told, and has it on standard output.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !cve {
				return usageError{errors.New("selftest: say what to test (usage: promethos selftest --cve)")}
			}
			return inLab(func() error { return selftest(g, path, keep{result, c.Flags().Changed("result")}) })
		},
	}
	c.Flags().BoolVar(&cve, "cve", false, "the triggers of published vulnerabilities")
	c.Flags().StringVarP(&path, "config", "c", "", "configuration `FILE` whose instances are used")
	c.Flags().StringVar(&result, "result", daemon.SelftestResult, "`FILE` that keeps the result")
	return c
}

// keep says where a result is kept, and whether it was asked for.
type keep struct {
	file  string
	asked bool
}

// write keeps a result, in place of the one before in one step. What was not asked
// for and is not permitted is told only: anybody may run the test.
func (k keep) write(r *selftestReport) error {
	if k.file == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = replaceFile(k.file, text)
	}
	if err != nil && !k.asked && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		fmt.Fprintf(os.Stderr, "promethos: the result is not kept for the web page: %v\n", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("selftest: keep the result: %w", err)
	}
	return nil
}

// replaceFile writes a file that all may read; who reads it meanwhile gets the old
// one.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func selftest(g *global, path string, k keep) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	configure, mode, err := selftestConfig(path)
	if err != nil {
		return err
	}
	wire, web := lab.Configure(wireConfig), lab.Configure(webConfig)
	switch {
	case path != "":
		wire, web = nil, nil // its instances are moved to a routed lab and one port
	case !slices.Contains(functions(), "http"):
		web = nil
	}
	ctx, stop := untilSignal()
	defer stop()
	report := selftestReport{Version: daemon.Version, Config: path, Mode: mode, Violations: []string{}}
	var before proof.Vitals
	report.Rows, err = lab.Selftest(ctx, lab.SelftestOptions{
		Program: program, Configure: configure, Wire: wire, Web: web,
		Progress: func(what, through string) {
			if !g.json {
				fmt.Fprintf(os.Stderr, "%s through %s\n", what, through)
			}
		},
		Ready: func(ctx context.Context, p *lab.Proxy) (err error) {
			before, err = proof.TakeVitals(ctx, p)
			return err
		},
		Prove: func(ctx context.Context, p *lab.Proxy, arrived []lab.Frame) error {
			wire, err1 := proof.Packets(ctx, arrived, lab.KindDFID, lab.KindDFIDCount)
			state, err2 := proof.Daemon(ctx, p, before)
			for _, v := range append(wire, state...) {
				report.Violations = append(report.Violations, v.String())
			}
			return errors.Join(err1, err2)
		},
	})
	if err != nil {
		return err
	}
	report.Time = time.Now()
	if err = k.write(&report); err != nil {
		return err
	}
	if g.json {
		err = printJSON(os.Stdout, report)
	} else {
		printSelftest(os.Stdout, report.Rows)
		for _, v := range report.Violations {
			fmt.Println("FAILED:", v)
		}
	}
	if err == nil && (len(report.Violations) > 0 || slices.ContainsFunc(report.Rows, lab.SelftestRow.Failed)) {
		return silentError{exitFailed}
	}
	return err
}

// printSelftest prints a table with a block and a sum for each family.
func printSelftest(w io.Writer, rows []lab.SelftestRow) {
	const columns = "%-17s %-16s %-12s %-13s %-8s %-11s %-10s %s\n"
	fmt.Fprintf(w, columns, "CVE", "CHECK", "VERDICT", "EVIDENCE", "TWIN", "FORWARDING", "CONNTRACK", "RELAY")
	family := ""
	for _, r := range rows {
		if r.Family != family {
			family = r.Family
			own := slices.DeleteFunc(slices.Clone(rows), func(o lab.SelftestRow) bool { return o.Family != family })
			fmt.Fprintf(w, "\n%s, %d: %s\n", family, len(own), sums(own))
		}
		if r.Trigger == "" {
			r.Evidence = "-"
		}
		fmt.Fprintf(w, columns, r.CVE, r.Check, r.Verdict, r.Evidence, r.Twin, r.Baselines.Forwarding, r.Baselines.Conntrack, r.Baselines.Relay)
	}
	fmt.Fprintf(w, "\nall, %d: %s\n", len(rows), sums(rows))
	for _, r := range rows {
		if r.Failed() {
			fmt.Fprintf(w, "FAILED: %s: its trigger (%s) arrived\n", r.CVE, r.Trigger)
		}
	}
}

// sums counts a block's rows: what was sent and held, what is excluded by
// construction, and what is not covered.
func sums(rows []lab.SelftestRow) string {
	var proven, construction, notCovered, unpublished, arrived int
	for _, r := range rows {
		switch {
		case r.Verdict == "arrived":
			arrived++
		case r.Verdict == "not-covered":
			notCovered++
		case r.Verdict == "unpublished":
			unpublished++
		case r.Evidence == "trigger":
			proven++
		default:
			construction++
		}
	}
	text := fmt.Sprintf("%d trigger sent and held, %d excluded by construction, %d not covered, %d unpublished", proven, construction, notCovered, unpublished)
	if arrived > 0 {
		text += fmt.Sprintf(", %d ARRIVED", arrived)
	}
	return text
}

// selftestConfig gives the configuration for the lab's server, and its mode.
func selftestConfig(path string) (configure lab.Configure, mode string, err error) {
	if path == "" {
		return builtinConfig, ppf.Repair.String(), nil
	}
	spec, problems := config.Load(path)
	if wrong := slices.DeleteFunc(problems, func(p ppf.Problem) bool { return p.Warning }); len(wrong) > 0 {
		return nil, "", refusedConfig(&daemon.ConfigError{Problems: wrong})
	}
	mode = ppf.Strict.String()
	for _, in := range spec.Instances {
		switch {
		case in.Mode == ppf.Monitor:
			mode = in.Mode.String()
		case in.Mode == ppf.Repair && mode == ppf.Strict.String():
			mode = in.Mode.String()
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	configure = func(server4, server6 netip.Addr) (string, error) { return movedConfig(text, server4, server6) }
	// What cannot be moved is told before a lab is built.
	if _, err := configure(netip.IPv4Unspecified(), netip.IPv6Unspecified()); err != nil {
		return nil, "", usageError{fmt.Errorf("selftest: %s: %w", path, err)}
	}
	return configure, mode, nil
}

// bestChain names the functions that protect a server, in their order.
var bestChain = []string{"ip", "icmp", "udp", "tcp"}

// functions are all that this build has.
func functions() (have []string) {
	for _, m := range ppf.BuiltinModules() {
		have = append(have, m.Functions...)
	}
	return have
}

// wireConfig is what protect writes for the server of an inline lab.
func wireConfig(server4, _ netip.Addr) (string, error) {
	p, err := protect.Compose(protect.Wish{Server: server4}, protect.Facts{
		Out: lab.ServerInterface, OnLink: true, Wire: &protect.Wire{Client: lab.ClientInterface, Server: lab.ServerInterface}, Functions: functions(),
	})
	if err != nil {
		return "", err
	}
	return p.YAML, nil
}

// builtinConfig protects a server with all that this build has.
func builtinConfig(server4, server6 netip.Addr) (string, error) {
	have := functions()
	chain := slices.DeleteFunc(slices.Clone(bestChain), func(name string) bool { return !slices.Contains(have, name) })
	return fmt.Sprintf("version: 1\ninstances:\n  - name: server\n    match: {server: [%s, %q]}\n    others: refuse\n    chain: [%s]\n",
		server4, server6, strings.Join(chain, ", ")), nil
}

// webConfig has what a server's web pages are asked for read and written anew.
func webConfig(server4, server6 netip.Addr) (string, error) {
	return fmt.Sprintf("version: 1\ninstances:\n  - name: web\n    match: {protocol: tcp, server: [%s, %q], port: %d}\n    chain: [tcp, http]\n",
		server4, server6, lab.WebPort), nil
}

// movedConfig puts the lab's server, and its open port, in place of those of a
// configuration's instances.
func movedConfig(text []byte, server4, server6 netip.Addr) (string, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", err
	}
	for _, key := range []string{"include", "control", "metrics"} {
		delete(doc, key)
	}
	instances, _ := doc["instances"].([]any)
	if len(instances) == 0 {
		return "", errors.New("it has no instances of its own (name the file that has them)")
	}
	for _, item := range instances {
		in, _ := item.(map[string]any)
		if source, ok := in["source"]; ok && source != "nfqueue" {
			return "", fmt.Errorf("instance %v: source %v has no place in a routed lab (leave the instance out)", in["name"], source)
		}
		match := map[string]any{"server": []any{server4.String(), server6.String()}}
		if old, ok := in["match"].(map[string]any); ok {
			if protocol, ok := old["protocol"]; ok {
				match["protocol"] = protocol
			}
			if _, ok := old["port"]; ok {
				match["port"] = lab.SelftestPort
			}
		}
		in["match"] = match
	}
	out, err := yaml.Marshal(doc)
	return string(out), err
}
