package pcapfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// replayed is what came of a replay.
type replayed struct {
	out, drops, report bytes.Buffer
	sums               *Sums
	err                error
}

func replay(b []byte, instances ...ppf.InstanceSpec) *replayed {
	r := &replayed{}
	r.sums, r.err = Replay(context.Background(), Options{
		Spec: &ppf.Spec{Instances: instances}, In: bytes.NewReader(b), Out: &r.out, Drops: &r.drops, Report: &r.report, Seed: 7,
	})
	return r
}

// lines reads the report.
func (r *replayed) lines(t *testing.T) []Line {
	t.Helper()
	var report struct {
		Packets []Line
		Sums
	}
	if err := json.Unmarshal(r.report.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, r.report.String())
	}
	if report.In != r.sums.In || report.Out != r.sums.Out || report.Dropped != r.sums.Dropped {
		t.Errorf("the report's sums are %+v, want %+v", report.Sums, *r.sums)
	}
	return report.Packets
}

// decoders are gopacket's for the link types.
var decoders = map[LinkType]gopacket.Decoder{
	LinkNull: layers.LinkTypeNull, LinkEthernet: layers.LinkTypeEthernet, LinkRaw: layers.LinkTypeRaw, LinkLoop: layers.LinkTypeLoop,
	LinkCooked: layers.LinkTypeLinuxSLL, LinkCooked2: layers.LinkTypeLinuxSLL2, LinkIPv4: layers.LayerTypeIPv4,
}

// TestLinks sends a connection through the chain behind each kind of link header
// and wants another decoder to read all of it.
func TestLinks(t *testing.T) {
	for link, decoder := range decoders {
		for _, v6 := range []bool{false, true} {
			if v6 && link == LinkIPv4 {
				continue
			}
			for _, k := range kinds {
				packets := timed(conversation(t, v6)...)
				for i := range packets {
					packets[i].data = behind(link, k.order.(binary.ByteOrder), packets[i].data)
				}
				r := replay(k.file(link, packets...), ppftest.Instance("web", "tcp"))
				if r.err != nil {
					t.Fatalf("%v, %s: %v", link, k.name, r.err)
				}
				got, f, err := readAll(r.out.Bytes())
				if err != nil || len(got) != len(packets) || f.Interfaces()[0].Link != link {
					t.Errorf("%v, %s: %d of %d packets, %v; %s", link, k.name, len(got), len(packets), err, r.report.String())
					continue
				}
				sameAs(t, got, r.out.Bytes())
				for i, g := range got {
					p := gopacket.NewPacket(g.Data, decoder, gopacket.Default)
					if bad := p.ErrorLayer(); bad != nil {
						t.Errorf("%v, %s, packet %d: %v", link, k.name, i+1, bad.Error())
					}
					if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); !ok {
						t.Errorf("%v, %s, packet %d: no TCP in %x", link, k.name, i+1, g.Data)
					} else if want := packets[i].data; !bytes.HasSuffix(want, tcp.Payload) || g.Time != packets[i].time {
						t.Errorf("%v, %s, packet %d: %d, %q; want %d, %x", link, k.name, i+1, g.Time, tcp.Payload, packets[i].time, want)
					}
				}
			}
		}
	}
}

// TestReport wants the fate of every packet told.
func TestReport(t *testing.T) {
	syn := func(edit func(b []byte) []byte) []byte {
		return ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}, Edit: edit}.Bytes(t)
	}
	elsewhere := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.ACK}, EditIP: func(b []byte) []byte {
		b[15] = 9
		return b
	}}.Bytes(t)
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2}
	le := binary.LittleEndian
	packets := timed(
		behind(LinkEthernet, le, syn(nil)),
		behind(LinkEthernet, le, syn(func(b []byte) []byte { b[12] |= 0xe; return b })), // reserved bits
		behind(LinkEthernet, le, syn(func(b []byte) []byte { b[13] = 0; return b })),    // no flags
		behind(LinkEthernet, le, elsewhere),
		slices.Concat(ethernet([]byte{8, 6}), arp),
		slices.Concat(ethernet([]byte{0x81, 0, 0x20, 5, 8, 0}), syn(nil)),
		[]byte{1, 2, 3},
		behind(LinkEthernet, le, syn(nil)),
	)
	packets[7].data, packets[7].wireLen = packets[7].data[:30], 54
	in := kinds[5].file(LinkEthernet, packets...)
	r := replay(in, ppftest.Instance("web", "tcp"))
	if r.err != nil {
		t.Fatal(r.err)
	}
	want := []Line{
		{1, "2023-11-14T22:13:20.123456Z", "web", "cs", ActionSent, []string{}, 1},
		{2, "2023-11-14T22:13:20.124456Z", "web", "cs", ActionRepaired, []string{"tcp.reserved-cleared"}, 2},
		{3, "2023-11-14T22:13:20.125456Z", "web", "cs", ActionDropped, []string{"tcp.flags.null"}, 0},
		{4, "2023-11-14T22:13:20.126456Z", "", "", ActionUnmatched, []string{}, 3},
		{5, "2023-11-14T22:13:20.127456Z", "", "", ActionUnmatched, []string{}, 4},
		{6, "2023-11-14T22:13:20.128456Z", "web", "cs", ActionSent, []string{}, 5},
		{7, "2023-11-14T22:13:20.129456Z", "", "", ActionUnmatched, []string{}, 6},
		{8, "2023-11-14T22:13:20.130456Z", "", "", ActionDropped, []string{"source.cut"}, 0},
	}
	got := r.lines(t)
	if !slices.EqualFunc(got, want, func(a, b Line) bool {
		return slices.Equal(a.Reasons, b.Reasons) && a.N == b.N && a.Time == b.Time && a.Instance == b.Instance && a.Flow == b.Flow &&
			a.Action == b.Action && a.Out == b.Out
	}) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if s := r.sums; !s.Accounted() || s.In != 8 || s.Out != 6 || s.Dropped != 2 || s.Unmatched != 3 || s.Repaired != 1 {
		t.Errorf("%+v", *s)
	}
	out, _, err := readAll(r.out.Bytes())
	if err != nil || len(out) != 6 {
		t.Fatalf("%d packets, %v", len(out), err)
	}
	for i, n := range map[int]int{2: 3, 3: 4, 5: 6} { // copied as they are
		if !bytes.Equal(out[i].Data, packets[n].data) {
			t.Errorf("packet %d is %x, want %x", n+1, out[i].Data, packets[n].data)
		}
	}
	if tagged := out[4].Data; !bytes.Equal(tagged[12:18], []byte{0x81, 0, 0x20, 5, 8, 0}) {
		t.Errorf("the VLAN tag became %x", tagged[12:18])
	}
	drops, _, err := readAll(r.drops.Bytes())
	if err != nil || len(drops) != 2 || !bytes.Equal(drops[0].Data, packets[2].data) {
		t.Errorf("dropped: %+v, %v", drops, err)
	}
	if !bytes.Contains(r.drops.Bytes(), []byte("drop tcp.flags.null: tcp.flags 0")) {
		t.Error("the file of drops does not say why")
	}
}

// TestTwice wants the same input and seed to give the same bytes.
func TestTwice(t *testing.T) {
	for _, k := range kinds {
		in := k.file(LinkRaw, timed(append(conversation(t, false), conversation(t, true)...)...)...)
		a, b := replay(in, ppftest.Instance("web", "tcp")), replay(in, ppftest.Instance("web", "tcp"))
		if a.err != nil || !bytes.Equal(a.out.Bytes(), b.out.Bytes()) || !bytes.Equal(a.report.Bytes(), b.report.Bytes()) {
			t.Errorf("%s: two runs differ (%v)", k.name, a.err)
		}
		var other bytes.Buffer
		_, err := Replay(t.Context(), Options{Spec: &ppf.Spec{Instances: []ppf.InstanceSpec{ppftest.Instance("web", "tcp")}}, In: bytes.NewReader(in), Out: &other, Seed: 8})
		if err != nil || bytes.Equal(a.out.Bytes(), other.Bytes()) {
			t.Errorf("%s: another seed changes nothing (%v)", k.name, err)
		}
	}
}

// TestHooksIgnored: a capture knows neither hooks nor interfaces.
func TestHooksIgnored(t *testing.T) {
	in := ppftest.Instance("web", "tcp")
	in.Hook, in.Match.In, in.Match.Out = ppf.Postrouting, "eth7", "eth8"
	in.Match.Not = []ppf.Match{{In: "eth9"}}
	r := replay(kinds[0].file(LinkRaw, timed(conversation(t, false)...)...), in)
	if r.err != nil || r.sums.Unmatched != 0 || r.sums.Dropped != 0 {
		t.Errorf("%+v, %v", r.sums, r.err)
	}
}

// TestClock: connections expire by the capture's time, which never goes back.
func TestClock(t *testing.T) {
	packets := timed(conversation(t, false)[:4]...)
	packets[3].time += 121 * 3600 * nanosecond // the default for open connections is 120 h
	r := replay(kinds[1].file(LinkRaw, packets...), ppftest.Instance("web", "tcp"))
	if r.err != nil || r.sums.Out-r.sums.Emitted != 3 || r.sums.Reasons["tcp.midstream"] != 1 {
		t.Errorf("after 121 hours: %+v, %v", r.sums, r.err)
	}
	packets[3].time = start - nanosecond
	r = replay(kinds[1].file(LinkRaw, packets...), ppftest.Instance("web", "tcp"))
	if r.err != nil || r.sums.Out != 4 {
		t.Errorf("out of order: %+v, %v", r.sums, r.err)
	}
}

// streamy is a module with a function that works on streams.
type streamy struct{}

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{Name: "streamy", Functions: []string{"streamy"}, New: func() ppf.Module { return streamy{} }})
}

func (streamy) Start(_ context.Context, h *ppf.ModuleHost) error {
	return h.Register(ppf.UserFunction{Name: "streamy", Level: ppf.LevelStream, BindStream: func(ppf.Binding) (ppf.StreamFunction, error) {
		return streamy{}, nil
	}})
}

func (streamy) Stop(context.Context) error { return nil }

func (streamy) ServeStream(*ppf.Session, func(*ppf.Session)) {}

func TestRefusedByName(t *testing.T) {
	listen := ppftest.Instance("front", "tcp")
	listen.Source = ppf.SourceListen
	for _, tt := range []struct {
		in   ppf.InstanceSpec
		want string
	}{
		{ppftest.Instance("web", "tcp", "streamy"), "instance web: streamy works on a stream"},
		{ppftest.Instance("nat", "tcp2"), "instance nat: tcp2 takes addresses of the host"},
		{listen, "instance front: it listens"},
	} {
		r := replay(kinds[0].file(LinkRaw), tt.in)
		if r.err == nil || !strings.Contains(r.err.Error(), tt.want) {
			t.Errorf("%v, want %q", r.err, tt.want)
		}
	}
}

// TestBrokenReplay: what stands before the break is judged, and the error says
// where it is.
func TestBrokenReplay(t *testing.T) {
	b := kinds[0].file(LinkRaw, timed(conversation(t, false)...)...)
	r := replay(b[:len(b)-1], ppftest.Instance("web", "tcp"))
	var format *FormatError
	if !errors.As(r.err, &format) || format.Packet != 8 || r.sums.Out != 8 {
		t.Errorf("%v, %+v", r.err, r.sums)
	}
	if got, _, err := readAll(r.out.Bytes()); err != nil || len(got) != 8 {
		t.Errorf("%d packets were written, %v; want 8", len(got), err)
	}
	r.lines(t)
}

// TestEmitted: an answer of ours is written behind the packet that it answers, with
// the link header turned round.
func TestEmitted(t *testing.T) {
	in := ppftest.Instance("web", "tcp")
	in.Initiate = ppf.InitiateClient
	syn := ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	for link, decoder := range decoders {
		received := behind(link, binary.LittleEndian, syn)
		r := replay(kinds[5].file(link, timed(received)...), in)
		if r.err != nil {
			t.Fatal(r.err)
		}
		lines := r.lines(t)
		if len(lines) != 2 || lines[0].Action != ActionDropped || lines[1].Action != ActionEmitted || lines[1].N != 1 || lines[1].Out != 1 ||
			lines[1].Instance != "web" || lines[1].Flow != "sc" || r.sums.Emitted != 1 || !r.sums.Accounted() {
			t.Errorf("%v: %+v, %+v", link, lines, r.sums)
		}
		out, _, err := readAll(r.out.Bytes())
		if err != nil || len(out) != 1 {
			t.Fatalf("%v: %d packets, %v", link, len(out), err)
		}
		p := gopacket.NewPacket(out[0].Data, decoder, gopacket.Default)
		tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || !tcp.RST || tcp.DstPort != layers.TCPPort(ppftest.Server4.Port()) {
			t.Errorf("%v: the answer is %v", link, p)
		}
		if link == LinkEthernet && (!bytes.Equal(out[0].Data[:6], received[6:12]) || !bytes.Equal(out[0].Data[6:12], received[:6])) {
			t.Errorf("the answer's addresses are %x, those of what it answers %x", out[0].Data[:12], received[:12])
		}
		if sll, ok := p.Layer(layers.LayerTypeLinuxSLL).(*layers.LinuxSLL); link == LinkCooked && (!ok || sll.PacketType != layers.LinuxSLLPacketTypeOutgoing) {
			t.Errorf("the answer's cooked header is %+v", sll)
		}
	}
}
