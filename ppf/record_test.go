package ppf_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// records are the events that tell of a drop or a repair.
func records(b *ppftest.Bench) (list []ppf.Event) {
	for seq := uint64(0); ; {
		events, _ := b.Engine.Events().Since(seq)
		if len(events) == 0 {
			return list
		}
		for _, e := range events {
			if e.Record != nil {
				list = append(list, e)
			}
			seq = e.Seq
		}
	}
}

// TestRecord: a drop and a repair are told in full, with both packets.
func TestRecord(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	refused, mended := to(t, portRefuse), to(t, portRepair)
	b.Send(ppf.Forward, refused)
	_, sent := b.Send(ppf.Forward, mended)
	b.Send(ppf.Forward, refused[:30])
	list := records(b)
	if len(list) != 3 {
		t.Fatalf("records %+v", list)
	}
	drop, repair, early := list[0].Record, list[1].Record, list[2].Record
	if list[0].Instance != "a" || list[0].Kind != ppf.EventPacket || drop.Flow != "cs" || drop.Reason != "odd.refused" || drop.Action != "drop" ||
		drop.Function != "odd" || drop.Value != 5 || drop.Client != ppftest.Client4.Addr().String() || !strings.Contains(drop.Packet, ppftest.Server4.Addr().String()) {
		t.Errorf("drop %+v", list[0])
	}
	if !slices.Equal(drop.Pair.Received, refused) || drop.Pair.ReceivedLen != len(refused) || drop.Pair.Sent != nil || drop.Pair.SentLen != 0 {
		t.Errorf("pair of the drop %+v", drop.Pair)
	}
	if repair.Reason != "odd.mended" || repair.Action != "repair" || repair.Value != 9 {
		t.Errorf("repair %+v", repair)
	}
	if !slices.Equal(repair.Pair.Received, mended) || !slices.Equal(repair.Pair.Sent, sent) || repair.Pair.SentLen != len(sent) || len(sent) == 0 {
		t.Errorf("pair of the repair %+v", repair.Pair)
	}
	if early.Function != "" || early.Reason != "ip.total-length" || early.Value != 30 || early.RFC == "" {
		t.Errorf("refused at the gates %+v", early)
	}
	comment := early.Comment("a")
	for _, want := range []string{"drop ip.total-length: instance a, flow cs: ", "= 30", "RFC " + early.RFC} {
		if !strings.Contains(comment, want) {
			t.Errorf("comment %q lacks %q", comment, want)
		}
	}
}

// TestRecordCut: of a long packet only the beginning is kept.
func TestRecordCut(t *testing.T) {
	in := ppftest.Instance("a", "odd")
	in.Mode = ppf.Monitor
	b := ppftest.New(t, in)
	dst := netip.AddrPortFrom(ppftest.Server4.Addr(), portRefuse)
	long := ppftest.Segment{Src: ppftest.Client4, Dst: dst, TCP: packet.TCP{Flags: packet.ACK}, Payload: make([]byte, 9000)}.Bytes(t)
	_, sent := b.Send(ppf.Forward, long)
	list := records(b)
	if len(list) != 1 {
		t.Fatalf("records %+v", list)
	}
	p := list[0].Record.Pair
	if len(p.Received) != 1024 || len(p.Sent) != 1024 || p.ReceivedLen != len(long) || p.SentLen != len(sent) ||
		!slices.Equal(p.Sent, sent[:1024]) || !slices.Equal(p.Received, long[:1024]) {
		t.Errorf("%d of %d bytes received, %d of %d sent", len(p.Received), p.ReceivedLen, len(p.Sent), p.SentLen)
	}
}

// TestRecordsLimited: each reason has its own rate; what is not told is counted,
// and the next record says how much it was.
func TestRecordsLimited(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "odd"))
	for range 100 {
		b.Send(ppf.Forward, to(t, portRefuse))
	}
	b.Send(ppf.Forward, to(t, portRepair))
	count := func() map[string]int {
		n := map[string]int{}
		for _, e := range records(b) {
			n[e.Record.Reason]++
		}
		return n
	}
	if n := count(); n["odd.refused"] != 5 || n["odd.mended"] != 1 {
		t.Errorf("records %v, want 5 and 1", n)
	}
	b.Env.Advance(1e9)
	b.Send(ppf.Forward, to(t, portRefuse))
	list := records(b)
	last := list[len(list)-1].Record
	if last.Withheld != 95 || b.Count("odd.refused", ppf.OutcomeDrop) != 101 {
		t.Errorf("withheld %d, want 95; counted %d, want 101", last.Withheld, b.Count("odd.refused", ppf.OutcomeDrop))
	}
	told := uint64(len(list) - 1) // one is the repair
	if told+last.Withheld != b.Count("odd.refused", ppf.OutcomeDrop) {
		t.Errorf("%d told and %d withheld are not all", told, last.Withheld)
	}
}

// TestRecordsOfNoInstance: what no instance matches is dropped with a record too.
func TestRecordsOfNoInstance(t *testing.T) {
	in := ppftest.Instance("a", "odd")
	in.Match.Port = []ppf.PortRange{{Lo: 1, Hi: 1}}
	in.Others = ppf.OthersRefuse
	b := ppftest.New(t, in)
	b.Send(ppf.Forward, to(t, 99))
	b.Send(ppf.Forward, []byte{0x45})
	var got []string
	for _, e := range records(b) {
		got = append(got, e.Instance+" "+e.Record.Reason)
	}
	if want := []string{"- others.refused", "- ip.truncated"}; !slices.Equal(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
}

// TestLedger: repairs and what monitor would have refused are counted by client,
// in a bounded number of lines; drops are not in it.
func TestLedger(t *testing.T) {
	in := ppftest.Instance("a", "odd")
	b := ppftest.New(t, in)
	b.Send(ppf.Forward, to(t, portRepair))
	b.Send(ppf.Forward, to(t, portRepair))
	b.Send(ppf.Forward, to(t, portRefuse))
	in.Mode = ppf.Monitor
	b.Apply(in)
	b.Send(ppf.Forward, to(t, portRefuse))
	var got []string
	for _, l := range b.Engine.Ledger() {
		if l.Server != ppftest.Server4.Addr().String() || l.Client != ppftest.Client4.Addr().String() || l.Instance != "a" {
			t.Errorf("line %+v", l)
		}
		got = append(got, l.Reason+" "+l.Action+" "+string('0'+rune(l.Count)))
	}
	if want := []string{"odd.mended repair 2", "odd.refused would-drop 1"}; !slices.Equal(got, want) {
		t.Errorf("ledger %q, want %q", got, want)
	}
	const many = 5000
	dst := netip.AddrPortFrom(ppftest.Server4.Addr(), portRepair)
	for i := range many {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 7)
		b.Send(ppf.Forward, ppftest.Segment{Src: src, Dst: dst, TCP: packet.TCP{Flags: packet.ACK}}.Bytes(t))
	}
	sum, others := uint64(0), uint64(0)
	list := b.Engine.Ledger()
	for _, l := range list {
		sum += l.Count
		if l.Client == "others" {
			others += l.Count
		}
	}
	if len(list) > 4100 || sum != many+3 || others == 0 {
		t.Errorf("%d lines, %d counted, %d of others; want at most 4100, %d, and some", len(list), sum, others, many+3)
	}
}

// walled is a world whose clocks on the wall show something else.
type walled struct {
	*ppftest.Env
	wall int64
}

func (w *walled) Wall() int64              { return w.wall }
func (*walled) Moment(now int64) time.Time { return time.Unix(0, now) }

// TestClockJump: a clock that is set changes the time of events, and neither
// connections nor the rate of records.
func TestClockJump(t *testing.T) {
	env := &walled{ppftest.NewEnv(), 77e9}
	e, err := ppf.New(ppf.Options{Env: env, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{ppftest.Instance("a", "tcp")}}); err != nil {
		t.Fatal(err)
	}
	send := func(data []byte) {
		e.Handlers()[0].Handle([]ppf.Frame{{Hook: ppf.Forward, Data: data, WireLen: len(data), Time: env.Now()}})
		e.Handlers()[0].Tick(env.Now())
	}
	send(from(t, 1))
	null := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4}.Bytes(t)
	for _, wall := range []int64{77e9, 1e18, 0} {
		env.wall = wall
		for range 20 {
			send(null)
		}
		if n := e.Stats().Connections; n != 1 {
			t.Fatalf("%d connections when the wall shows %d, want 1", n, wall)
		}
	}
	list := e.Events().LastRecords(100)
	if len(list) != 5 || list[0].Time.UnixNano() != 77e9 {
		t.Errorf("%d records, the first at %v; want 5 and 77 s", len(list), list[0].Time)
	}
	env.Advance(2e9)
	send(null)
	if list := e.Events().LastRecords(1); list[0].Time.UnixNano() != 0 {
		t.Errorf("the record after the jump is of %v", list[0].Time)
	}
}

// talker is a stream function that finds something in every session.
type talker struct{}

func (talker) ServeStream(s *ppf.Session, _ func(*ppf.Session)) {
	for range 7 {
		s.Count(reasonRefuse, ppf.DoRefuse)
	}
	s.Count(reasonRefuse, ppf.DoMonitor)
}

type talkModule struct{}

func (talkModule) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{Name: "talk", Layer: 7, Level: ppf.LevelStream,
		BindStream: func(ppf.Binding) (ppf.StreamFunction, error) { return talker{}, nil }})
}

func (talkModule) Stop(context.Context) error { return nil }

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "talk", Functions: []string{"talk"}, New: func() ppf.Module { return talkModule{} }})
}

// TestRecordsOfSessions: what is found in a stream is told, limited and kept in the
// ledger like what is found in a packet.
func TestRecordsOfSessions(t *testing.T) {
	in := ppftest.Instance("s", "talk")
	in.Source = ppf.SourceListen
	b := ppftest.New(t, in)
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	session, err := b.Engine.NewSession("s", server, ppftest.Client4, ppftest.Server4, nil)
	if err != nil {
		t.Fatal(err)
	}
	session.Serve()
	list := records(b)
	if len(list) != 5 {
		t.Fatalf("%d records, want 5", len(list))
	}
	r := list[0].Record
	if list[0].Instance != "s" || r.Action != "drop" || r.Reason != "odd.refused" || r.Client != ppftest.Client4.Addr().String() ||
		!strings.Contains(r.Packet, ppftest.Server4.String()) || r.Pair.ReceivedLen != 0 {
		t.Errorf("%+v", list[0])
	}
	if l := b.Engine.Ledger(); len(l) != 1 || l[0].Action != "would-drop" || l[0].Server != ppftest.Server4.Addr().String() {
		t.Errorf("ledger %+v", l)
	}
}
