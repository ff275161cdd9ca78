package main

import (
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

// TestPrintTable: numbers stand to the right, the last column has no padding,
// and what is not a terminal gets no colour.
func TestPrintTable(t *testing.T) {
	var out strings.Builder
	if err := printTable(&out, []string{"NAME", "COUNT", "ACTION"}, [][]string{{"ä", "7", "drop"}, {"long name", "1234", ""}}); err != nil {
		t.Fatal(err)
	}
	const want = "" +
		"NAME       COUNT  ACTION\n" +
		"ä              7  drop\n" +
		"long name   1234  -\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := printTable(&out, []string{"CVE", "LONG"}, [][]string{{"", "-"}}); err != nil || out.String() != "CVE  LONG\n-    -\n" {
		t.Errorf("a column without anything: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := printTable(&out, []string{"NAME", "COUNT"}, nil); err != nil || out.String() != "NAME  COUNT\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestPainter(t *testing.T) {
	on, off := painter{true}, painter{}
	for cell, want := range map[string]string{"drop": "\x1b[31mdrop\x1b[0m", "would-drop": "\x1b[33mwould-drop\x1b[0m", "repair": "\x1b[32mrepair\x1b[0m", "tcp": "tcp"} {
		if got := on.word(cell); got != want {
			t.Errorf("word(%q) = %q, want %q", cell, got, want)
		}
		if got := off.word(cell); got != cell {
			t.Errorf("without colour word(%q) = %q", cell, got)
		}
	}
}

// TestCompare: rates are growth over time; what was set to zero starts anew, and
// what is new counts from zero.
func TestCompare(t *testing.T) {
	at := time.Unix(100, 0)
	before := look{at: at, instances: []ppf.InstanceInfo{{Name: "a", Flow: [2]ppf.FlowCounters{{In: 10, InBytes: 1000}, {In: 90}}}},
		reasons: []ppf.ReasonCountInfo{{Reason: "r", Instance: "a", Action: "drop", Count: 4}}}
	now := look{at: at.Add(2 * time.Second),
		instances: []ppf.InstanceInfo{
			{Name: "a", Mode: "monitor", Connections: 3, Flow: [2]ppf.FlowCounters{{In: 30, InBytes: 3000, Dropped: 8}, {In: 40, Repaired: 2}}},
			{Name: "b", Mode: "repair", Protecting: true, Flow: [2]ppf.FlowCounters{{In: 400}}},
		},
		reasons: []ppf.ReasonCountInfo{{Reason: "q", Instance: "b", Action: "drop", Count: 2}, {Reason: "r", Instance: "a", Action: "drop", Count: 10}},
		stats:   control.StatsReply{Sources: []ppf.SourceStats{{Depth: 2, KernelDropped: 5}, {Depth: 1, SocketDropped: 1}}},
	}
	v := compare(before, now)
	if len(v.Instances) != 2 || v.Instances[0] != (instanceRate{Instance: "b", Protecting: true, Mode: "repair", Packets: 200}) ||
		v.Instances[1] != (instanceRate{Instance: "a", Mode: "monitor (NOT PROTECTING)", Connections: 3, Packets: 30, Bits: 8000, Dropped: 4, Repaired: 1}) {
		t.Errorf("instances %+v", v.Instances)
	}
	if len(v.Reasons) != 2 || v.Reasons[0] != (reasonRate{"r", "a", "drop", 3, 10}) || v.Reasons[1] != (reasonRate{"q", "b", "drop", 1, 2}) {
		t.Errorf("reasons %+v", v.Reasons)
	}
	if v.Waiting != 3 || v.Lost != 6 {
		t.Errorf("waiting %d, lost %d", v.Waiting, v.Lost)
	}
	if same := compare(now, now); same.Instances[0].Packets != 0 {
		t.Errorf("no time at all: %+v", same)
	}
}
