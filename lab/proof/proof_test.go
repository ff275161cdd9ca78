package proof

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// frame puts an IP packet behind an Ethernet header.
func frame(ip []byte) lab.Frame {
	head := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	if ip[0]>>4 == 6 {
		head[12], head[13] = 0x86, 0xdd
	}
	return lab.Frame{Data: slices.Concat(head, ip)}
}

// segment is one from the client, as our encoder writes it.
func segment(t *testing.T, flags packet.TCPFlags, seq uint32, payload string) lab.Frame {
	return frame(ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4,
		TCP: packet.TCP{Flags: flags, Seq: packet.Seq(seq), Ack: 1, Window: 1000}, Payload: []byte(payload)}.Bytes(t))
}

func properties(list []Violation) (found []Property) {
	for _, v := range list {
		found = append(found, v.Property)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestPackets(t *testing.T) {
	ack := packet.ACK
	bad := segment(t, ack, 7, "x")
	bad.Data[len(bad.Data)-1] ^= 1 // its checksum is wrong, and so is not what gopacket writes
	from := func(f lab.Frame) lab.Frame { f.Outgoing = true; return f }
	for _, tt := range []struct {
		name   string
		frames []lab.Frame
		want   []Property
	}{
		{"nothing", nil, nil},
		{"a conversation", []lab.Frame{segment(t, packet.SYN, 9, ""), segment(t, ack, 10, "hello"), segment(t, ack, 10, "hello, world"), segment(t, ack|packet.FIN, 22, "")}, nil},
		{"a wrong checksum", []lab.Frame{bad}, []Property{WellFormed, Canonical}},
		{"the host's own", []lab.Frame{from(bad)}, nil},
		{"another value", []lab.Frame{segment(t, ack, 10, "hello"), segment(t, ack, 12, "LL")}, []Property{Unambiguous}},
		{"another value across the wrap", []lab.Frame{segment(t, ack, 0xfffffffe, "abcd"), segment(t, ack, 1, "x")}, []Property{Unambiguous}},
		{"the same number 4 GiB later", []lab.Frame{segment(t, ack, 0, "a"), segment(t, ack, 1<<30, "b"), segment(t, ack, 2<<30, "c"), segment(t, ack, 3<<30, "d"), segment(t, ack, 0, "e")}, nil},
		{"another connection", []lab.Frame{segment(t, packet.SYN, 9, ""), segment(t, ack, 10, "hello"), segment(t, packet.SYN, 5, ""), segment(t, ack, 6, "world.")}, nil},
		{"the same SYN again", []lab.Frame{segment(t, packet.SYN, 9, ""), segment(t, ack, 10, "hello"), segment(t, packet.SYN, 9, ""), segment(t, ack, 10, "world")}, []Property{Unambiguous}},
		{"two ends", []lab.Frame{segment(t, ack|packet.FIN, 10, "hello"), segment(t, ack|packet.FIN, 10, "hel")}, []Property{Unambiguous}},
		{"data behind the end", []lab.Frame{segment(t, ack|packet.FIN, 10, "hello"), segment(t, ack, 15, "x")}, []Property{Unambiguous}},
		{"the end before data", []lab.Frame{segment(t, ack, 10, "hello"), segment(t, ack|packet.FIN, 10, "hel")}, []Property{Unambiguous}},
	} {
		list, err := Packets(t.Context(), tt.frames)
		if err != nil || !slices.Equal(properties(list), tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, list, err, tt.want)
		}
	}
}

func TestTransfers(t *testing.T) {
	ack := packet.ACK
	sent := []lab.Frame{segment(t, packet.SYN, 9, ""), segment(t, ack, 15, "world"), segment(t, ack, 10, "hello"), segment(t, ack|packet.FIN, 20, "")}
	s := Streams(sent).All()
	if len(s) != 1 || !s[0].Whole() || !bytes.Equal(s[0].Data(), []byte("helloworld")) {
		t.Errorf("streams: %+v", s)
	}
	moved := []lab.Frame{segment(t, packet.SYN, 0xfffffffb, ""), segment(t, ack, 0xfffffffc, "helloworld"), segment(t, ack|packet.FIN, 6, "")}
	for _, tt := range []struct {
		name    string
		arrived []lab.Frame
		want    []Property
	}{
		{"the same", sent, nil},
		{"other sequence numbers", moved, nil},
		{"nothing", nil, []Property{Transparent}},
		{"no end", moved[:2], []Property{Transparent}},
		{"a gap", slices.Delete(slices.Clone(sent), 2, 3), []Property{Transparent}},
		{"another byte", []lab.Frame{sent[0], segment(t, ack, 10, "hellOworld"), sent[3]}, []Property{Transparent}},
	} {
		if list := Transfers(sent, tt.arrived, nil); !slices.Equal(properties(list), tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, list, tt.want)
		}
	}
	if list := Transfers(sent, nil, func(Flow) bool { return false }); list != nil {
		t.Errorf("of no legitimate flow: %v", list)
	}
}

func TestAccounts(t *testing.T) {
	good := func() (control.StatsReply, []ppf.ReasonCountInfo) {
		s := control.StatsReply{Sources: []ppf.SourceStats{{Name: "queue 1", Received: 10, Sent: 7}}}
		s.Packets = ppf.FlowCounters{In: 7, Sent: 3, Unchanged: 2, Dropped: 2}
		s.Unmatched = ppf.FlowCounters{In: 3, Unchanged: 2, Dropped: 1}
		return s, []ppf.ReasonCountInfo{{Reason: "a.b", Count: 3, Action: "drop"}, {Reason: "a.c", Count: 9, Action: "repair"}}
	}
	for _, tt := range []struct {
		name string
		edit func(s *control.StatsReply, r []ppf.ReasonCountInfo)
		want string
	}{
		{"good", func(*control.StatsReply, []ppf.ReasonCountInfo) {}, ""},
		{"lost", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Packets.In, s.Sources[0].Received = 8, 11 }, "instances: 8"},
		{"lost, of no instance", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Unmatched.In, s.Sources[0].Received = 4, 11 }, "no instance: 4"},
		{"held", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) {
			s.Packets.In, s.Packets.Held, s.Sources[0].Received = 8, 1, 11
		}, ""},
		{"cut, with an answer of ours", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) {
			s.Packets.Split, s.Packets.Emitted, s.Sources[0].Sent, s.Sources[0].Emitted = 2, 1, 6, 4
		}, ""},
		{"to another queue", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Packets.Queued, s.Packets.Sent = 1, 2 }, ""},
		{"fragments that go on", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) {
			s.Packets.In, s.Packets.Merged, s.Sources[0].Received, s.Sources[0].Sent = 9, 2, 12, 9
		}, ""},
		{"more fragments than were merged", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) {
			s.Packets.In, s.Packets.Merged, s.Sources[0].Received, s.Sources[0].Sent = 9, 2, 12, 10
		}, "7 packets go out, and 2 fragments; the sources sent 10"},
		{"not sent", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].Sent-- }, "the sources sent 6"},
		{"sent twice", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].Emitted++ }, "the sources sent 8"},
		{"refused by the kernel", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].VerdictErrors = 5 }, "did not take 5"},
		{"kernel", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].KernelDropped = 5 }, "the kernel dropped 5"},
		{"socket", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].SocketDropped = 5 }, "5 did not fit"},
		{"between", func(s *control.StatsReply, _ []ppf.ReasonCountInfo) { s.Sources[0].Received++ }, "received 11"},
		{"no reason", func(_ *control.StatsReply, r []ppf.ReasonCountInfo) { r[0].Count-- }, "2 with a reason"},
	} {
		s, r := good()
		tt.edit(&s, r)
		list := Accounts(s, r)
		if tt.want == "" && list != nil || tt.want != "" && (len(list) != 1 || list[0].Property != Accounted || !strings.Contains(list[0].Detail, tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, list, tt.want)
		}
	}
}

func TestSurvived(t *testing.T) {
	before := Vitals{PID: 7, Files: 30}
	for _, tt := range []struct {
		after Vitals
		want  int
	}{
		{before, 0},
		{Vitals{PID: 7, Files: 34}, 0},
		{Vitals{PID: 8, Files: 30}, 1},
		{Vitals{PID: 7, Files: 35}, 1},
		{Vitals{PID: 7, Files: 30, Waiting: 1}, 1},
		{Vitals{PID: 7, Files: 30, Panics: 1}, 1},
		{Vitals{PID: 7, Files: 90, Waiting: 3, Panics: 1}, 3},
	} {
		list := Survived(before, tt.after)
		if slices.ContainsFunc(list, func(v Violation) bool { return v.Property != Survives }) || len(list) != tt.want {
			t.Errorf("%+v: %v, want %d", tt.after, list, tt.want)
		}
	}
}
