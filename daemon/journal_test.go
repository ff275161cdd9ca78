package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/promethos/promethos/ppf"
)

// recordEvent is a drop as the engine tells it.
func recordEvent(at time.Time) ppf.Event {
	return ppf.Event{Time: at, Kind: ppf.EventPacket, Instance: "plc", Text: "drop tcp.flags.null: cs: tcp.flags 0", Record: &ppf.Record{
		Flow: "cs", Reason: "tcp.flags.null", Action: "drop", Function: "tcp", Field: "tcp.flags", RFC: "9293 §3.1", CVE: []string{"CVE-2020-0001"},
		Client: "192.0.2.1", Packet: "192.0.2.1:1 > 203.0.113.1:80", Withheld: 3,
		Pair: ppf.Pair{Received: []byte{0x45, 0, 0, 1}, ReceivedLen: 40, Sent: []byte{0x45, 0, 0, 2}, SentLen: 44},
	}}
}

// written runs a journal over some events until it has written all of them.
func written(j *journal, list ...ppf.Event) *ppf.Events {
	events := ppf.NewEvents(func() int64 { return 7e9 })
	for _, e := range list {
		events.Add(e)
	}
	ctx, end := context.WithCancel(context.Background())
	end()
	j.run(ctx, events)
	return events
}

func TestJournalJSON(t *testing.T) {
	var out bytes.Buffer
	written(newJournal(&out, ppf.LogJSON, ""), ppf.Event{Kind: ppf.EventDaemon, Text: "ready"}, recordEvent(time.Time{}))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", out.String())
	}
	var got struct {
		Time                                                 time.Time
		Level, Msg, Kind, Instance, Flow, Reason, Field, RFC string
		Action, Function, Client, Packet                     string
		Value, Withheld                                      uint64
		CVE                                                  []string
	}
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Time.Equal(time.Unix(7, 0)) || got.Level != "WARN" || got.Msg != "drop tcp.flags.null" || got.Instance != "plc" || got.Flow != "cs" ||
		got.Reason != "tcp.flags.null" || got.Field != "tcp.flags" || got.RFC != "9293 §3.1" || got.Function != "tcp" || got.Withheld != 3 ||
		len(got.CVE) != 1 || got.Client != "192.0.2.1" || got.Packet == "" || got.Action != "drop" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(lines[0], `"msg":"ready"`) || !strings.Contains(lines[0], `"level":"INFO"`) {
		t.Error(lines[0])
	}
}

func TestJournalText(t *testing.T) {
	var out bytes.Buffer
	written(newJournal(&out, ppf.LogText, ""), recordEvent(time.Time{}))
	for _, want := range []string{"level=WARN", `msg="drop tcp.flags.null"`, "instance=plc", "withheld=3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
	out.Reset()
	written(newJournal(&out, ppf.LogOff, ""), recordEvent(time.Time{}))
	if out.Len() > 0 {
		t.Errorf("log: off wrote %q", out.String())
	}
}

// TestJournalLost: what came faster than it was written is told, with its number.
func TestJournalLost(t *testing.T) {
	var out bytes.Buffer
	const burst = 10_000
	list := make([]ppf.Event, burst)
	for i := range list {
		list[i] = ppf.Event{Kind: ppf.EventDaemon, Text: "x"}
	}
	written(newJournal(&out, ppf.LogText, ""), list...)
	if n := strings.Count(out.String(), "msg=x"); n == 0 || n >= burst || !strings.Contains(out.String(), "5904 events are lost to the log") {
		t.Errorf("%d of %d written; the beginning is %q", n, burst, out.String()[:120])
	}
}

// captured reads the comments of a capture file.
func captured(t *testing.T, path string) (comments []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, _, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			return comments
		}
		comments = append(comments, strings.Join(options.Comments, "|"))
	}
}

func TestCapture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drops.pcapng")
	written(newJournal(nil, ppf.LogText, path), ppf.Event{Kind: ppf.EventDaemon, Text: "no packet"}, recordEvent(time.Time{}))
	const why = "drop tcp.flags.null: instance plc, flow cs: tcp.flags = 0, RFC 9293 §3.1, CVE-2020-0001"
	if got := captured(t, path); len(got) != 2 || got[0] != why || got[1] != "sent in its place" {
		t.Errorf("comments %q", got)
	}
	// The next run keeps what this one wrote, and a full file makes room.
	c := captureFile{path: path, max: 2000}
	now := time.Unix(9, 0)
	total := 0
	for range 50 {
		if said := c.add(recordEvent(now)); said != "" {
			t.Error(said)
		}
	}
	c.close()
	for _, p := range []string{path, path + ".1"} {
		n := len(captured(t, p))
		if info, err := os.Stat(p); err != nil || info.Size() > 2500 || n == 0 {
			t.Errorf("%s: %d packets, %v, %v", p, n, info.Size(), err)
		}
		total += n
	}
	if total == 0 || total >= 100 {
		t.Errorf("%d packets are kept", total)
	}
}

// TestCaptureOnFullDisk: a capture that cannot be written is told once, costs
// nothing but itself, and is tried again later, also when the clock was set back.
func TestCaptureOnFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("no disk that is always full: %v", err)
	}
	c := captureFile{path: "/dev/full", max: captureMax}
	now := time.Unix(1000, 0)
	if said := c.add(recordEvent(now)); !strings.Contains(said, "no space left on device") || !strings.Contains(said, "free some space") {
		t.Errorf("full: %q", said)
	}
	for range 10 {
		if said := c.add(recordEvent(now)); said != "" {
			t.Errorf("told again: %q", said)
		}
	}
	c.path = filepath.Join(t.TempDir(), "drops.pcapng")
	if said := c.add(recordEvent(now.Add(-time.Hour))); !strings.Contains(said, "written again; 11 records are not in it") {
		t.Errorf("after the clock was set back: %q", said)
	}
	if got := captured(t, c.path); len(got) != 2 {
		t.Errorf("packets %q", got)
	}
	c.close()
}
