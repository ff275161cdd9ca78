package tcp_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

const (
	syn, ack, fin, rst, psh, urg = packet.SYN, packet.ACK, packet.FIN, packet.RST, packet.PSH, packet.URG
)

// cs and sc build segments of the two flows, with the numbers of ends that have
// sent nothing but their SYNs.
func cs(f packet.TCPFlags) ppftest.Segment {
	return ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: ppftest.Header(f, 1000, 5000), IP: packet.IPv4{DF: true, ID: 77}}
}

func sc(f packet.TCPFlags) ppftest.Segment {
	return ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: ppftest.Header(f, 5000, 1000), IP: packet.IPv4{DF: true, ID: 77}}
}

// strict is an instance that adopts nothing.
func instance(settings ...string) ppf.InstanceSpec {
	in := ppftest.Instance("a", "tcp")
	v := ppf.Value{Kind: ppf.ValueMap}
	for _, s := range append([]string{"adopt", "0s"}, settings...) {
		if len(v.Map) > 0 && v.Map[len(v.Map)-1].Value.Kind == ppf.ValueNull {
			v.Map[len(v.Map)-1].Value = ppf.Value{Kind: ppf.ValueScalar, Scalar: s}
			continue
		}
		v.Map = append(v.Map, ppf.KeyValue{Key: s})
	}
	in.Modules = map[string]ppf.Value{"tcp": v}
	return in
}

// step sends a segment and wants it sent on, or dropped for a reason.
func step(t *testing.T, b *ppftest.Bench, s ppftest.Segment, reason string) []byte {
	t.Helper()
	before := b.Count(reason, ppf.OutcomeDrop)
	data := s.Bytes(t)
	action, out := b.Send(ppf.Forward, data)
	switch {
	case reason == "" && action != ppf.Accept:
		t.Fatalf("%v %v: %v; %+v", s.Src, s.Flags, action, b.Engine.ReasonCounts())
	case reason == "" && s.IP.ID != 0 && bytes.Equal(out, data):
		t.Fatalf("%v %v: went on as it was received", s.Src, s.Flags)
	case reason != "" && (action != ppf.Drop || b.Count(reason, ppf.OutcomeDrop) != before+1):
		t.Fatalf("%v %v: %v, want a drop for %s; %+v", s.Src, s.Flags, action, reason, b.Engine.ReasonCounts())
	}
	return out
}

func state(t *testing.T, b *ppftest.Bench) string {
	t.Helper()
	list := b.Engine.Connections("", 0)
	if len(list) == 0 {
		return ""
	}
	return list[0].State
}

func wantState(t *testing.T, b *ppftest.Bench, want string) {
	t.Helper()
	if got := state(t, b); got != want {
		t.Fatalf("state %q, want %q", got, want)
	}
}

// open completes a handshake.
func open(t *testing.T, b *ppftest.Bench) {
	t.Helper()
	step(t, b, cs(syn), "")
	wantState(t, b, "SYN-SENT")
	step(t, b, sc(syn|ack), "")
	wantState(t, b, "SYN-RECEIVED")
	step(t, b, cs(ack), "")
	wantState(t, b, "ESTABLISHED")
}

func TestLife(t *testing.T) {
	b := ppftest.New(t, instance())
	open(t, b)
	c := b.Engine.Connections("", 0)[0]
	if c.CS.Received != "ESTABLISHED" || c.SC.Sent != "ESTABLISHED" || c.SC.Received != "SYN-RECEIVED" || c.CS.Sent != "SYN-RECEIVED" || c.CS.Packets != 2 || c.SC.Packets != 1 {
		t.Errorf("halves %+v %+v", c.CS, c.SC)
	}
	step(t, b, sc(ack|psh), "")
	step(t, b, cs(fin|ack), "")
	wantState(t, b, "FIN-WAIT")
	step(t, b, sc(ack), "") // half-close: the server goes on sending
	step(t, b, sc(ack|psh), "")
	step(t, b, cs(ack), "")
	step(t, b, sc(fin|ack), "")
	wantState(t, b, "TIME-WAIT")
	step(t, b, cs(ack), "")
	step(t, b, sc(fin|ack), "") // retransmitted
	// The client reuses its port at once.
	step(t, b, cs(syn), "")
	wantState(t, b, "SYN-SENT")
	if n := b.Engine.Stats().Connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	b.Accounted()
}

func TestOtherLives(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		b := ppftest.New(t, instance())
		step(t, b, cs(syn), "")
		step(t, b, sc(rst|ack), "")
		wantState(t, b, "CLOSED")
		step(t, b, cs(syn), "")
		wantState(t, b, "SYN-SENT")
	})
	t.Run("simultaneous open", func(t *testing.T) {
		b := ppftest.New(t, instance())
		step(t, b, cs(syn), "")
		step(t, b, sc(syn), "")
		step(t, b, cs(syn|ack), "")
		step(t, b, sc(syn|ack), "")
		step(t, b, cs(ack), "")
		step(t, b, sc(ack), "")
		wantState(t, b, "ESTABLISHED")
	})
	t.Run("reset", func(t *testing.T) {
		b := ppftest.New(t, instance())
		open(t, b)
		step(t, b, sc(rst), "")
		wantState(t, b, "CLOSED")
	})
	t.Run("server closes first", func(t *testing.T) {
		b := ppftest.New(t, instance())
		open(t, b)
		step(t, b, sc(fin|ack), "")
		wantState(t, b, "CLOSE-WAIT")
	})
	t.Run("out of turn", func(t *testing.T) {
		b := ppftest.New(t, instance())
		for _, s := range []ppftest.Segment{cs(ack), cs(fin | ack), cs(rst), cs(syn | ack), sc(syn | ack), sc(ack), sc(rst | ack)} {
			step(t, b, s, "tcp.midstream")
		}
		step(t, b, cs(syn), "")
		step(t, b, cs(ack), "tcp.state")
		step(t, b, at(sc(ack), 0, 1), "tcp.state")
		step(t, b, sc(fin|ack), "tcp.state")
	})
	t.Run("IPv6", func(t *testing.T) {
		b := ppftest.New(t, instance())
		for _, f := range []packet.TCPFlags{syn, syn | ack, ack} {
			s := ppftest.Segment{Src: ppftest.Client6, Dst: ppftest.Server6, TCP: ppftest.Header(f, 1, 1), IP: packet.IPv4{TTL: 9, TOS: 4}}
			if f == syn|ack {
				s.Src, s.Dst = s.Dst, s.Src
			}
			step(t, b, s, "")
		}
		wantState(t, b, "ESTABLISHED")
	})
}

// TestSynInConnection: the sender gets a challenge ACK with the peer's numbers,
// and its RST then ends the connection (RFC 5961 §4.2).
func TestSynInConnection(t *testing.T) {
	b := ppftest.New(t, instance())
	open(t, b)
	data, reply := cs(ack), sc(ack)
	data.Seq, data.Ack = 1001, 5001
	reply.Seq, reply.Ack = 5001, 1001
	step(t, b, data, "")
	step(t, b, reply, "")
	lost := cs(syn)
	lost.Seq = 999_999
	step(t, b, lost, "tcp.state")
	if len(b.Emitted) != 1 {
		t.Fatalf("%d packets were emitted, want a challenge ACK", len(b.Emitted))
	}
	ip, seg := decode(t, b.Emitted[0])
	if !ip.SrcIP.Equal(ppftest.Server4.Addr().AsSlice()) || !seg.ACK || seg.SYN || seg.RST || seg.Seq != 5001 || seg.Ack != 1001 || seg.DstPort != 40000 {
		t.Errorf("challenge %v %v", ip, seg)
	}
	answer := cs(rst)
	answer.Seq = 1001
	step(t, b, answer, "")
	step(t, b, lost, "")
	wantState(t, b, "SYN-SENT")
}

// TestEarlierConnection: a server that still has an earlier connection of the
// client's port says so, and the client resets that one (RFC 9293 §3.5.1).
func TestEarlierConnection(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    ppf.InstanceSpec
		hooks [2]ppf.Hook // of the client's and of the server's packets
	}{
		{"numbers kept", instance("sequence", "keep"), [2]ppf.Hook{ppf.Forward, ppf.Forward}},
		{"numbers translated", translating(ppf.Forward), flowHooks[ppf.Forward]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const old = 7_000_000 // what the server waits for, as the client would say it
			b := translated(t, tt.in)
			shift := pass(t, b, tt.hooks[0], cs(syn)).Seq() - cs(syn).Seq
			if moved := shift != 0; moved != (tt.hooks[0] == ppf.Prerouting) {
				t.Fatalf("the client's numbers are moved by %d", shift)
			}
			answer := sc(ack)
			answer.Ack = old + shift
			answer.Options = packet.TCPOptions{Has: packet.OptSACK, NumSACK: 1, SACK: [4]packet.SACKBlock{{Left: 1, Right: 2}}}
			told := pass(t, b, tt.hooks[1], answer)
			if told.Ack() != old || told.Flags() != ack || told.HeaderLen() != packet.TCPMinLen {
				t.Fatalf("the client is told: flags %v, ack %d, header of %d bytes", told.Flags(), told.Ack(), told.HeaderLen())
			}
			if moved := told.Seq() != answer.Seq; moved != (shift != 0) {
				t.Errorf("the client is told number %d, the server's is %d", told.Seq(), answer.Seq)
			}
			wantState(t, b, "SYN-SENT")
			wrong, right := cs(rst), cs(rst)
			wrong.Seq, right.Seq = old+1, old
			if action, _ := b.Send(tt.hooks[0], wrong.Bytes(t)); action != ppf.Drop || b.Count("tcp.reset", ppf.OutcomeDrop) != 1 {
				t.Errorf("a RST with another number: %v; %+v", action, b.Engine.ReasonCounts())
			}
			if told := pass(t, b, tt.hooks[0], right); told.Seq() != answer.Ack || told.Flags() != rst {
				t.Errorf("the server is told: flags %v, seq %d", told.Flags(), told.Seq())
			}
			pass(t, b, tt.hooks[0], cs(syn))
			wantState(t, b, "SYN-SENT")
			b.Accounted()
		})
	}
}

func TestWhoOpens(t *testing.T) {
	in := instance()
	in.Initiate = ppf.InitiateClient
	b := ppftest.New(t, in)
	step(t, b, sc(syn), "tcp.initiate")
	if len(b.Emitted) != 1 {
		t.Fatalf("%d packets were emitted, want a RST", len(b.Emitted))
	}
	if ip, seg := decode(t, b.Emitted[0]); !seg.RST || !seg.ACK || seg.Ack != 5001 || !ip.DstIP.Equal(ppftest.Server4.Addr().AsSlice()) {
		t.Errorf("refusal %v %v", ip, seg)
	}
	in.Initiate = ppf.InitiateBoth
	b.Apply(in)
	step(t, b, sc(syn), "")
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		name  string
		steps []ppftest.Segment
		after time.Duration
	}{
		{"half-open", []ppftest.Segment{cs(syn)}, 60 * time.Second},
		{"half-open, answered", []ppftest.Segment{cs(syn), sc(syn | ack)}, 60 * time.Second},
		{"established", []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack)}, 120 * time.Hour},
		{"closing", []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack), cs(fin | ack)}, 10 * time.Minute},
		{"closing, the server first", []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack), sc(fin | ack)}, 10 * time.Minute},
		{"closed", []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack), cs(fin | ack), sc(fin | ack)}, time.Minute},
		{"reset", []ppftest.Segment{cs(syn), sc(syn | ack), cs(ack), cs(rst)}, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			for _, s := range tt.steps {
				step(t, b, s, "")
			}
			h := b.Engine.Handlers()[0]
			b.Env.Advance(int64(tt.after - 2*time.Second))
			h.Tick(b.Env.Now())
			if n := b.Engine.Stats().Connections; n != 1 {
				t.Fatalf("gone 2 s before its time")
			}
			b.Env.Advance(int64(4 * time.Second))
			h.Tick(b.Env.Now())
			if n := b.Engine.Stats().Connections; n != 0 {
				t.Errorf("still there 2 s after its time")
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	b := ppftest.New(t, ppftest.Instance("a", "tcp"))
	step(t, b, sc(ack|psh), "")
	wantState(t, b, "ESTABLISHED")
	other := cs(fin | ack)
	other.Src = netip.AddrPortFrom(other.Src.Addr(), 1)
	step(t, b, other, "")
	for i, f := range []packet.TCPFlags{rst, syn | ack} {
		s := cs(f)
		s.Src = netip.AddrPortFrom(s.Src.Addr(), uint16(10+i))
		step(t, b, s, "tcp.midstream")
	}
	b.Env.Advance(int64(121 * time.Second))
	late := cs(ack)
	late.Src = netip.AddrPortFrom(late.Src.Addr(), 99)
	step(t, b, late, "tcp.midstream")
	step(t, b, cs(ack), "")
}

// TestAdoptReload: settings that change do not begin the time anew; where an instance
// takes other packets, they may belong to connections that began before.
func TestAdoptReload(t *testing.T) {
	in := ppftest.Instance("a", "tcp")
	b := ppftest.New(t, in)
	b.Env.Advance(int64(121 * time.Second))
	in.Mode = ppf.Strict
	b.Apply(in)
	step(t, b, cs(ack), "tcp.midstream")
	in.Match.Port = []ppf.PortRange{{Lo: 1, Hi: 65535}}
	b.Apply(in)
	step(t, b, cs(ack), "")
}

func TestLimit(t *testing.T) {
	b := ppftest.New(t, instance("connections", "1"))
	step(t, b, cs(syn), "")
	second := cs(syn)
	second.Src = netip.AddrPortFrom(second.Src.Addr(), 2)
	step(t, b, second, "conn.limit-instance")
}

// decode reads a packet with somebody else's decoder.
func decode(t *testing.T, data []byte) (*layers.IPv4, *layers.TCP) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	seg, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip == nil || seg == nil || p.ErrorLayer() != nil {
		t.Fatalf("gopacket cannot read %x: %v", data, p.ErrorLayer())
	}
	// Checksums: what gopacket computes must stand there.
	if err := seg.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, ip, seg, gopacket.Payload(seg.Payload)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), data) {
		t.Errorf("gopacket writes\n%x, we wrote\n%x", buf.Bytes(), data)
	}
	return ip, seg
}

// kinds lists the options of a decoded segment without padding.
func kinds(seg *layers.TCP) (list []layers.TCPOptionKind) {
	for _, o := range seg.Options {
		if o.OptionType != layers.TCPOptionKindNop && o.OptionType != layers.TCPOptionKindEndList {
			list = append(list, o.OptionType)
		}
	}
	return list
}

// withOptions appends raw options to a segment.
func withOptions(s ppftest.Segment, raw ...byte) ppftest.Segment {
	edit := s.Edit
	s.Edit = func(b []byte) []byte {
		if edit != nil {
			b = edit(b)
		}
		padded := append(slices.Clone(raw), make([]byte, -len(raw)&3)...)
		b = slices.Concat(b[:20], padded, b[20:])
		b[12] = byte(5+len(padded)/4) << 4
		return b
	}
	return s
}

func TestHeader(t *testing.T) {
	b := ppftest.New(t, instance())
	s := cs(syn)
	s.IP.TOS, s.IP.TTL = 0x2e, 33
	ip, seg := decode(t, step(t, b, withOptions(s, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 9), ""))
	if ip.Id != 0 || ip.Flags != layers.IPv4DontFragment || ip.TTL != 33 || ip.TOS != 0x2e || ip.IHL != 5 {
		t.Errorf("IP header %+v", ip)
	}
	if seg.Seq != 1000 || seg.Ack != 0 || seg.Window != 32768 || !seg.SYN || seg.ACK {
		t.Errorf("TCP header %+v", seg)
	}
	want := []layers.TCPOptionKind{layers.TCPOptionKindMSS, layers.TCPOptionKindSACKPermitted, layers.TCPOptionKindTimestamps, layers.TCPOptionKindWindowScale}
	if got := kinds(seg); !slices.Equal(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	for _, o := range seg.Options {
		if o.OptionType == layers.TCPOptionKindMSS && !bytes.Equal(o.OptionData, []byte{5, 0xb4}) ||
			o.OptionType == layers.TCPOptionKindWindowScale && o.OptionData[0] != 9 ||
			o.OptionType == layers.TCPOptionKindTimestamps && o.OptionData[3] != 7 {
			t.Errorf("option %v has another value", o)
		}
	}
	noDF := withOptions(sc(syn|ack), 4, 2, 1, 1)
	noDF.IP.DF = false
	if ip, _ := decode(t, step(t, b, noDF, "")); ip.Flags != 0 || ip.Id == 77 {
		t.Errorf("without DF: %+v; want an identification of our own", ip)
	}
	sack := withOptions(cs(ack|psh), 1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 12)
	sack.Payload = []byte("payload")
	_, seg = decode(t, step(t, b, sack, ""))
	if string(seg.Payload) != "payload" || len(kinds(seg)) != 1 || !bytes.Equal(seg.Options[2].OptionData, []byte{0, 0, 0, 9, 0, 0, 0, 12}) {
		t.Errorf("data %q, options %v", seg.Payload, seg.Options)
	}
}

// TestRefused sends one wrong SYN after the other.
func TestRefused(t *testing.T) {
	edit := func(f func([]byte)) ppftest.Segment {
		s := cs(syn)
		s.Edit = func(b []byte) []byte { f(b); return b }
		return s
	}
	tests := []struct {
		name   string
		seg    ppftest.Segment
		reason string
	}{
		{"option length 0", withOptions(cs(syn), 255, 0), "tcp.option.length-zero"},
		{"option length 1", withOptions(cs(syn), 29, 1), "tcp.option.length-short"},
		{"option beyond the end", withOptions(cs(syn), 2, 40), "tcp.option.beyond-end"},
		{"option without length", withOptions(cs(syn), 1, 1, 1, 8), "tcp.option.beyond-end"},
		{"window scale of length 2", withOptions(cs(syn), 3, 2), "tcp.option.length-wrong"},
		{"MSS of length 3", withOptions(cs(syn), 2, 3, 5), "tcp.option.length-wrong"},
		{"SACK of length 9", withOptions(cs(syn), 5, 9, 0, 0, 0, 0, 0, 0, 0), "tcp.option.length-wrong"},
		{"MSS twice", withOptions(cs(syn), 2, 4, 5, 5, 2, 4, 5, 6), "tcp.option.duplicate"},
		{"MD5", withOptions(cs(syn), append([]byte{19, 18}, make([]byte, 16)...)...), "tcp.option.authentication"},
		{"TCP-AO", withOptions(cs(syn), 29, 4, 1, 1), "tcp.option.authentication"},
		{"data offset 15", edit(func(b []byte) { b[12] = 15 << 4 }), "tcp.data-offset"},
		{"data offset 4", edit(func(b []byte) { b[12] = 4 << 4 }), "tcp.data-offset"},
		{"NULL", cs(0), "tcp.flags.null"},
		{"XMAS", cs(fin | psh | urg), "tcp.flags.xmas"},
		{"SYN and FIN", cs(syn | fin), "tcp.flags.syn-fin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			step(t, b, tt.seg, tt.reason)
			if n := b.Engine.Stats().Connections; n != 0 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
	t.Run("checksum", func(t *testing.T) {
		b := ppftest.New(t, instance())
		data := cs(syn).Bytes(t)
		data[20+16] ^= 1
		if action, _ := b.Send(ppf.Forward, data); action != ppf.Drop || b.Count("tcp.checksum", ppf.OutcomeDrop) != 1 {
			t.Errorf("a wrong checksum: %v", action)
		}
		f := b.Frame(ppf.Forward, data)
		f.CsumNotReady = true
		frames := []ppf.Frame{f}
		b.Engine.Handlers()[0].Handle(frames)
		if frames[0].Action != ppf.Accept {
			t.Error("a checksum that is not filled in yet was verified")
		}
		decode(t, slices.Concat(frames[0].Head, frames[0].Body))
	})
	t.Run("fragment", func(t *testing.T) {
		b := ppftest.New(t, instance())
		s := cs(syn)
		s.EditIP = func(ip []byte) []byte { ip[6], ip[7] = 0, 8; return ip }
		step(t, b, s, "ip.fragment")
	})
}

// TestMended sends what has one safe meaning, and wants it mended and counted.
func TestMended(t *testing.T) {
	tests := []struct {
		name   string
		seg    ppftest.Segment
		reason string // "": not worth counting
		check  func(*layers.IPv4, *layers.TCP) bool
	}{
		{"urgent pointer", func() ppftest.Segment {
			s := cs(ack | urg | psh)
			s.Payload = []byte("abc")
			s.Edit = func(b []byte) []byte { b[19] = 2; return b }
			return s
		}(), "tcp.urgent-removed", func(_ *layers.IPv4, s *layers.TCP) bool {
			return !s.URG && s.Urgent == 0 && s.PSH && string(s.Payload) == "abc"
		}},
		{"reserved bits", func() ppftest.Segment {
			s := cs(ack)
			s.Edit = func(b []byte) []byte { b[12] |= 0x0e; return b }
			return s
		}(), "tcp.reserved-cleared", func(_ *layers.IPv4, s *layers.TCP) bool { return !s.NS }},
		{"option of a SYN elsewhere", withOptions(cs(ack), 2, 4, 1, 1), "tcp.option.syn-only-removed", func(_ *layers.IPv4, s *layers.TCP) bool { return len(kinds(s)) == 0 }},
		{"unknown option", withOptions(cs(ack), 253, 4, 1, 1), "tcp.option.unknown-removed", func(_ *layers.IPv4, s *layers.TCP) bool { return len(kinds(s)) == 0 }},
		{"data on a RST", func() ppftest.Segment { s := cs(rst); s.Payload = []byte("why"); return s }(), "tcp.rst-data-removed",
			func(_ *layers.IPv4, s *layers.TCP) bool { return len(s.Payload) == 0 }},
		{"IP options", func() ppftest.Segment {
			s := cs(ack)
			s.EditIP = func(ip []byte) []byte { return append(ip, 7, 3, 4, 0) }
			return s
		}(), "ip.options-removed", func(ip *layers.IPv4, _ *layers.TCP) bool { return ip.IHL == 5 }},
		{"IP reserved flag", func() ppftest.Segment {
			s := cs(ack)
			s.EditIP = func(ip []byte) []byte { ip[6] |= 0x80; return ip }
			return s
		}(), "ip.reserved-cleared", func(ip *layers.IPv4, _ *layers.TCP) bool { return ip.Flags&layers.IPv4EvilBit == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ppftest.New(t, instance())
			open(t, b)
			if ip, seg := decode(t, step(t, b, tt.seg, "")); !tt.check(ip, seg) {
				t.Errorf("sent: %+v %+v", ip, seg)
			}
			if n := b.Count(tt.reason, ppf.OutcomeRepair); n != 1 {
				t.Errorf("%s counted %d times: %+v", tt.reason, n, b.Engine.ReasonCounts())
			}
			strictly := instance()
			strictly.Mode = ppf.Strict
			s := ppftest.New(t, strictly)
			open(t, s)
			step(t, s, tt.seg, tt.reason)
		})
	}
	t.Run("SYN", func(t *testing.T) {
		b := ppftest.New(t, instance())
		s := withOptions(cs(syn), 2, 4, 1, 1, 34, 2, 30, 4, 0, 0)
		s.Payload = []byte("early")
		if _, seg := decode(t, step(t, b, s, "")); len(kinds(seg)) != 1 || len(seg.Payload) != 0 {
			t.Errorf("options %v, data %q", kinds(seg), seg.Payload)
		}
		if got := b.Engine.ReasonCounts(); len(got) != 1 || got[0].Reason != "tcp.syn-data-removed" {
			t.Errorf("offers in a SYN were counted: %+v", got)
		}
		accurate := cs(syn | packet.ECE | packet.CWR) // with the AE bit an offer of RFC 9768
		accurate.Edit = func(b []byte) []byte { b[12] |= 1; return b }
		b = ppftest.New(t, instance())
		if _, seg := decode(t, step(t, b, accurate, "")); seg.NS || !seg.ECE || !seg.CWR || len(b.Engine.ReasonCounts()) != 0 {
			t.Errorf("accurate ECN is offered: %+v; %+v", seg, b.Engine.ReasonCounts())
		}
	})
}

// TestHalf: an instance that sees only what the client sends.
func TestHalf(t *testing.T) {
	in := instance()
	in.Chain[1] = nil
	b := ppftest.New(t, in)
	for _, f := range []packet.TCPFlags{syn, ack, ack | psh, fin | ack} {
		step(t, b, cs(f), "")
	}
	if got := b.Engine.Connections("", 0)[0].CS.Received; got != "FIN-SENT" {
		t.Errorf("client side %s, want FIN-SENT", got)
	}
}

// icmp4 builds an ICMP error that quotes a segment.
func icmp4(t *testing.T, typ, code uint8, mtu uint16, from netip.Addr, quoted []byte) []byte {
	t.Helper()
	q, r := packet.ParseQuote4(quoted)
	if r != packet.ReasonNone {
		t.Fatal(r)
	}
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 60, Src: from, Dst: q.Src(), ID: 5})
	out.SetICMPv4(packet.ICMPv4{Type: typ, Code: code, MTU: mtu, Quote: q, HasQuote: true})
	b, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestICMPErrors(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.9")
	b := ppftest.New(t, instance())
	open(t, b)
	sent := step(t, b, cs(ack|psh), "")
	for _, tt := range []struct {
		name      string
		typ, code uint8
		mtu       uint16
		reason    string
	}{
		{"fragmentation needed", 3, 4, 1400, ""},
		{"time exceeded", 11, 0, 0, ""},
		{"port unreachable", 3, 3, 0, ""},
		{"MTU below what IP guarantees", 3, 4, 60, "icmp.mtu"},
		{"redirect", 5, 0, 0, "icmp.type"},
		{"source quench", 4, 0, 0, "icmp.type"},
	} {
		action, out := b.Send(ppf.Forward, icmp4(t, tt.typ, tt.code, tt.mtu, router, sent))
		if tt.reason != "" {
			if action != ppf.Drop || b.Count(tt.reason, ppf.OutcomeDrop) == 0 {
				t.Errorf("%s: %v, %+v", tt.name, action, b.Engine.ReasonCounts())
			}
			continue
		}
		if action != ppf.Accept {
			t.Errorf("%s: %v, %+v", tt.name, action, b.Engine.ReasonCounts())
			continue
		}
		p := gopacket.NewPacket(out, layers.LayerTypeIPv4, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ip == nil || icmp == nil || !ip.DstIP.Equal(ppftest.Client4.Addr().AsSlice()) || !ip.SrcIP.Equal(router.AsSlice()) ||
			icmp.TypeCode != layers.CreateICMPv4TypeCode(tt.typ, tt.code) || icmp.Seq != tt.mtu {
			t.Fatalf("%s: %v", tt.name, p)
		}
		q, r := packet.ParseQuote4(icmp.Payload)
		if r != packet.ReasonNone || q.SrcPort != 40000 || q.DstPort != 80 || q.Seq != 1001 || q.Src() != ppftest.Client4.Addr() {
			t.Errorf("%s: quotes %+v, %v", tt.name, q, r)
		}
	}
	stranger := cs(syn)
	stranger.Src = netip.AddrPortFrom(stranger.Src.Addr(), 7)
	if action, _ := b.Send(ppf.Forward, icmp4(t, 3, 3, 0, router, stranger.Bytes(t))); action != ppf.Drop || b.Count("icmp.unrelated", ppf.OutcomeDrop) != 1 {
		t.Errorf("unrelated: %v, %+v", action, b.Engine.ReasonCounts())
	}
	b.Accounted()
}
