// Command testlog reads the events of `go test -json` and prints what go test
// would print without -v: a line per package, and the output of each test that
// failed. In addition it prints each skipped test with its reason, and fails
// when a reason names something that this machine has: a program in PATH, a
// capability of this process, or root. Tests skip where something is missing;
// such a skip would hide a test that can run.
//
// It exits with status 1 when a test failed, the build did, or such a skip was
// found; go test's own status tells the first two as well.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	ok, err := run(os.Stdin, os.Stdout, host{})
	if err != nil {
		fmt.Fprintf(os.Stderr, "testlog: %v\n", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc test2json); build output has
// ImportPath instead of Package (go help buildjson).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// machine tells what a skip cannot truthfully miss.
type machine interface {
	hasProgram(name string) bool
	hasCapability(name string) bool
	isRoot() bool
}

// run prints the log of r to w and reports whether all is well.
func run(r io.Reader, w io.Writer, m machine) (ok bool, err error) {
	ok = true
	type testKey struct{ pkg, test string }
	output := map[testKey]*bytes.Buffer{}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// Something wrote past go test; it is shown as it is.
				w.Write(line)
				e = event{}
			}
			key := testKey{e.Package, e.Test}
			switch e.Action {
			case "output":
				if e.Test == "" {
					if e.Output != "PASS\n" {
						io.WriteString(w, e.Output)
					}
					break
				}
				if output[key] == nil {
					output[key] = &bytes.Buffer{}
				}
				output[key].WriteString(e.Output)
			case "build-output":
				io.WriteString(w, e.Output)
			case "build-fail":
				ok = false
			case "pass":
				delete(output, key)
			case "fail":
				ok = false
				if b := output[key]; b != nil {
					w.Write(b.Bytes())
				}
				delete(output, key)
			case "skip":
				// A package without test files "skips" as a whole.
				if e.Test == "" {
					break
				}
				reason := reasonOf(output[key])
				delete(output, key)
				fmt.Fprintf(w, "skip\t%s\t%s: %s\n", e.Package, e.Test, reason)
				if present := contradiction(reason, m); present != "" {
					ok = false
					fmt.Fprintf(w, "FAIL\t%s\t%s: it skips for want of %s, which is here\n", e.Package, e.Test, present)
				}
			}
		}
		if err == io.EOF {
			return ok, nil
		}
		if err != nil {
			return false, fmt.Errorf("read events: %w", err)
		}
	}
}

// reasonOf takes the reason out of a skipped test's output: what is left
// without the lines that go test itself writes.
func reasonOf(b *bytes.Buffer) string {
	if b == nil {
		return "no reason given"
	}
	var parts []string
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			parts = append(parts, line)
		}
	}
	if len(parts) == 0 {
		return "no reason given"
	}
	return strings.Join(parts, "; ")
}

// programs are what tests of this module run besides go.
var programs = []string{"tshark", "hping3", "nmap", "iperf3", "nft", "curl", "ping"}

var (
	capabilityWord = regexp.MustCompile(`\bCAP_[A-Z_]+\b`)
	programWord    = regexp.MustCompile(`\b(` + strings.Join(programs, "|") + `)\b`)
	rootWord       = regexp.MustCompile(`\b[Nn]eeds (root|a lab)\b`)
)

// contradiction names something that a skip misses although the machine has it.
func contradiction(reason string, m machine) string {
	for _, p := range programWord.FindAllString(reason, -1) {
		if m.hasProgram(p) {
			return p
		}
	}
	// One of several capabilities may be the one that is missing.
	names := capabilityWord.FindAllString(reason, -1)
	if len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !m.hasCapability(n) }) {
		return names[0]
	}
	if w := rootWord.FindString(reason); w != "" && m.isRoot() {
		return w[len("needs "):]
	}
	return ""
}

// host is the machine that this runs on.
type host struct{}

func (host) hasProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func (host) isRoot() bool { return os.Geteuid() == 0 }

// capabilities are those that tests of this module ask for.
var capabilities = map[string]int{
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW,
	"CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN,
}

func (host) hasCapability(name string) bool {
	bit, known := capabilities[name]
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if !known || unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[bit/32].Effective&(1<<(bit%32)) != 0
}
