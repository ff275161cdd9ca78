package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/lab"
)

// replayConfig protects the server of capture.
const replayConfig = `version: 1
instances:
  - name: plc
    hook: postrouting
    match: {protocol: tcp, server: 10.77.2.2, port: 502}
    chain: [tcp]
    modules: {tcp: {adopt: 0s}}
`

// attackCapture writes every attack of the lab to a capture file and gives the
// frames.
func attackCapture(t *testing.T, path string) []lab.Frame {
	t.Helper()
	env := lab.OfflineAttackEnv(502)
	at := time.Unix(1_700_000_000, 0)
	var frames []lab.Frame
	for _, a := range lab.Attacks() {
		for _, f := range a.Frames(env) {
			at = at.Add(time.Millisecond)
			frames = append(frames, lab.Frame{Time: at, Data: f})
		}
	}
	file := must(os.Create(path))(t)
	check(t, lab.WriteCapture(file, frames))
	check(t, file.Close())
	return frames
}

// TestReplay sends a capture of attacks through a chain without any privilege,
// and another decoder judges what comes out.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("c.yaml"), replayConfig)
	frames := attackCapture(t, path("in.pcapng"))
	run := func(n string, args ...string) result {
		return here(t, append([]string{"replay", "-c", path("c.yaml"), "-r", path("in.pcapng"), "-w", path("out" + n),
			"--drops", path("drops" + n), "--report", path("report" + n), "--seed", "5"}, args...)...)
	}
	if r := run("1"); r.status != 0 || !strings.Contains(r.out, "tcp.flags.xmas") {
		t.Fatalf("%v\nwant status 0 and the reasons", r)
	}
	var report struct {
		Packets []struct {
			N                int
			Instance, Action string
			Reasons          []string
		}
		In, Out, Dropped int
		Reasons          map[string]int
	}
	check(t, json.Unmarshal(must(os.ReadFile(path("report1")))(t), &report))
	// The one segment of a connection that nobody opened is answered with a RST.
	const emitted = 1
	if report.In != len(frames) || len(report.Packets) != len(frames)+emitted || report.Out+report.Dropped != report.In+emitted || report.Reasons["tcp.option.length-zero"] != 1 {
		t.Errorf("report: %d in, %d out, %d dropped, %v", report.In, report.Out, report.Dropped, report.Reasons)
	}
	// Nothing of the attacks on the instance comes out.
	env := lab.OfflineAttackEnv(502)
	out := must(lab.ReadCapture(path("out1")))(t)
	for _, a := range lab.Attacks() {
		if o := a.Outcome(env, out); a.Protocol == "tcp" && !a.IPv6 && (o == lab.Arrived || o == lab.Rebuilt && !a.Repairable) {
			t.Errorf("%s: %v", a.Name, o)
		}
	}
	received, answers := 0, 0
	for n, p := range report.Packets {
		if p.Action == "emitted" {
			answers++
		} else {
			received++
		}
		// What is emitted bears the number of the packet that it answers.
		if p.N != received || p.Action == "dropped" && len(p.Reasons) == 0 {
			t.Errorf("line %d: %+v", n+1, p)
		}
	}
	if answers != emitted {
		t.Errorf("%d packets are emitted, want %d", answers, emitted)
	}
	// The same again, and through pipes, gives the same bytes.
	if r := run("2"); r.status != 0 {
		t.Fatal(r)
	}
	for _, name := range []string{"out", "drops", "report"} {
		a, b := must(os.ReadFile(path(name+"1")))(t), must(os.ReadFile(path(name+"2")))(t)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two runs differ", name)
		}
	}
	in := must(os.Open(path("in.pcapng")))(t)
	defer in.Close()
	args := []string{"replay", "-c", path("c.yaml"), "-r", "-", "-w", "-", "--seed", "5"}
	c := exec.CommandContext(within(t, patience), program, args...)
	c.Stdin = in
	piped := finish(t, c, c.Run, args)
	if want := must(os.ReadFile(path("out1")))(t); piped.status != 0 || piped.out != string(want) {
		t.Errorf("through pipes: status %d, %d bytes, want %d: %s", piped.status, len(piped.out), len(want), piped.errors)
	}
}

func TestReplayWrong(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("c.yaml"), replayConfig)
	write(t, path("nat.yaml"), strings.ReplaceAll(replayConfig, "tcp]", "tcp2]")[:strings.Index(replayConfig, "    modules")+1])
	attackCapture(t, path("in"))
	whole := must(os.ReadFile(path("in")))(t)
	check(t, os.WriteFile(path("cut"), whole[:len(whole)-9], 0o600))
	for _, tt := range []struct {
		status int
		want   string
		args   []string
	}{
		{2, "-r and -w are needed", []string{"-c", path("c.yaml")}},
		{2, "no configuration", []string{"-r", path("in"), "-w", path("out")}},
		{2, "named twice", []string{"-c", path("c.yaml"), "-r", path("in"), "-w", path("in")}},
		{2, "named twice", []string{"-c", path("c.yaml"), "-r", path("in"), "-w", "-", "--report", "-"}},
		{1, "no such file", []string{"-c", path("c.yaml"), "-r", path("missing"), "-w", path("out")}},
		{1, "neither pcap nor pcapng", []string{"-c", path("c.yaml"), "-r", path("c.yaml"), "-w", path("out")}},
		{1, "the file ends inside a block", []string{"-c", path("c.yaml"), "-r", path("cut"), "-w", path("out")}},
		{1, "tcp2 takes addresses", []string{"-c", path("nat.yaml"), "-r", path("in"), "-w", path("out")}},
	} {
		r := here(t, append([]string{"replay"}, tt.args...)...)
		if r.status != tt.status || !strings.Contains(r.errors, tt.want) {
			t.Errorf("replay %v: %v\nwant status %d and %q", tt.args, r, tt.status, tt.want)
		}
	}
	if got := must(os.ReadFile(path("in")))(t); !bytes.Equal(got, whole) {
		t.Error("the file to read was overwritten")
	}
}
