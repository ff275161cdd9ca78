package ppf_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// cutter sends fragments through an engine and collects what is sent on.
type cutter struct {
	*ppftest.Bench
	sent [][]byte
	mtu  int
	n    uint32
}

func newCutter(t testing.TB, mtu int, plugins map[string]string, instances ...ppf.InstanceSpec) *cutter {
	t.Helper()
	if len(instances) == 0 {
		instances = []ppf.InstanceSpec{fragmented(ppf.Repair)}
	}
	c := &cutter{Bench: ppftest.NewConfigured(t, plugins, instances...), mtu: mtu}
	c.Engine.Follow(func(f *ppf.Fate) {
		switch {
		case f.Again || f.Frame.Action == ppf.Drop:
		case f.Frame.Done:
			for _, p := range f.Pieces {
				c.sent = append(c.sent, slices.Clone(p))
			}
		case f.Frame.Head == nil:
			c.sent = append(c.sent, slices.Clone(f.Frame.Data))
		default:
			c.sent = append(c.sent, slices.Concat(f.Frame.Head, f.Frame.Body))
		}
	})
	return c
}

// fragmented is an instance for all that comes for the test's ends.
func fragmented(m ppf.Mode) ppf.InstanceSpec {
	in := ppftest.Instance("a", "ip", "icmp", "udp", "tcp")
	in.Match.Protocol, in.Mode = 0, m
	return in
}

// in gives packets to the engine, one batch each, and what is sent on for them.
func (c *cutter) in(list ...[]byte) [][]byte {
	c.sent = nil
	for _, data := range list {
		c.n++
		f := c.Frame(ppf.Forward, data)
		f.MTU, f.ID = c.mtu, c.n
		c.Engine.Handlers()[0].Handle([]ppf.Frame{f})
	}
	return c.sent
}

// family is what differs between the two.
type fragmentFamily struct {
	name           string
	client, server netip.AddrPort
}

var fragmentFamilies = []fragmentFamily{{"IPv4", ppftest.Client4, ppftest.Server4}, {"IPv6", ppftest.Client6, ppftest.Server6}}

// payload is n bytes that tell where they belong.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}

// datagram is a whole datagram of somebody else's encoder, as if it had not been
// too long.
func (f fragmentFamily) datagram(t testing.TB, n int) []byte {
	t.Helper()
	src, dst := f.client.Addr(), f.server.Addr()
	var ip gopacket.SerializableLayer = &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 9, Id: 77, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(f.client.Port()), DstPort: layers.UDPPort(f.server.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload(n))); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// fragment is one of a packet's fragments as a test writes it.
type fragment struct {
	begin, end int
	last       bool
	edit       func(ip []byte) // of the header, before its checksum
	change     byte            // of every byte of the data
}

// of makes the fragment of a whole packet without options and extension headers.
func (f fragment) of(whole []byte, id uint32) []byte {
	v6 := whole[0]>>4 == 6
	n := packet.IPv4MinLen
	if v6 {
		n = packet.IPv6Len
	}
	b := slices.Clone(whole[:n])
	flags := uint16(f.begin)
	if v6 {
		if !f.last {
			flags |= 1
		}
		b = append(b, b[6], 0, byte(flags>>8), byte(flags))
		b = binary.BigEndian.AppendUint32(b, id)
		b[6] = byte(packet.ProtoFragment)
		binary.BigEndian.PutUint16(b[4:], uint16(8+f.end-f.begin))
	} else {
		flags /= 8
		if !f.last {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(b[2:], uint16(n+f.end-f.begin))
		binary.BigEndian.PutUint16(b[4:], uint16(id))
		binary.BigEndian.PutUint16(b[6:], flags)
	}
	if f.edit != nil {
		f.edit(b)
	}
	if !v6 {
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], packet.SumBytes(b).Checksum())
	}
	data := make([]byte, f.end-f.begin)
	copy(data, whole[min(n+f.begin, len(whole)):])
	for i := range data {
		data[i] ^= f.change
	}
	return append(b, data...)
}

// cut makes fragments with size bytes each.
func cut(whole []byte, size int, id uint32) (list [][]byte) {
	n := packet.IPv4MinLen
	if whole[0]>>4 == 6 {
		n = packet.IPv6Len
	}
	for at := 0; at < len(whole)-n; at += size {
		end := min(at+size, len(whole)-n)
		list = append(list, fragment{begin: at, end: end, last: end == len(whole)-n}.of(whole, id))
	}
	return list
}

// join puts fragments together as somebody else understands them, and gives the
// datagram's payload.
func join(t *testing.T, list [][]byte, mtu int) []byte {
	t.Helper()
	defrag := ip4defrag.NewIPv4Defragmenter()
	var whole6 []byte
	for i, b := range list {
		if len(b) > mtu {
			t.Errorf("fragment %d has %d bytes, the way out takes %d", i, len(b), mtu)
		}
		if b[0]>>4 == 4 {
			ip := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			whole, err := defrag.DefragIPv4(ip)
			if err != nil {
				t.Fatalf("fragment %d: %v: %x", i, err, b)
			}
			if whole != nil {
				return whole.Payload[packet.UDPLen:]
			}
			continue
		}
		p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
		f, ok := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
		if !ok {
			return p.NetworkLayer().LayerPayload()[packet.UDPLen:]
		}
		if int(f.FragmentOffset)*8 != len(whole6) || f.NextHeader != layers.IPProtocolUDP {
			t.Fatalf("fragment %d: %+v, want offset %d", i, f, len(whole6))
		}
		whole6 = append(whole6, f.LayerPayload()...)
		if !f.MoreFragments {
			return whole6[packet.UDPLen:]
		}
	}
	t.Fatalf("of %d fragments nobody makes a packet", len(list))
	return nil
}

// TestReassembly: in whichever order fragments come, the datagram goes on, in
// fragments only where it must.
func TestReassembly(t *testing.T) {
	for _, f := range fragmentFamilies {
		t.Run(f.name, func(t *testing.T) {
			for _, tt := range []struct{ length, size, mtu, pieces int }{
				{8000, 1480, 1500, 6}, {8000, 1448, 1500, 6}, {8000, 1448, 9000, 1}, {1300, 696, 1500, 1}, {65000, 1448, 1500, 45}, {8000, 3992, 1500, 6}, {8000, 96, 1500, 15},
			} {
				for seed := range uint64(5) {
					c := newCutter(t, tt.mtu, nil)
					list := cut(f.datagram(t, tt.length), tt.size, 7)
					rand.New(rand.NewPCG(seed, 1)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
					sent := c.in(list...)
					if f.name == "IPv6" && packet.IPv6Len+packet.IPv6FragmentLen+tt.size > tt.mtu {
						if len(sent) != 0 || c.Count("ip.too-big", ppf.OutcomeDrop) != 1 || len(c.Emitted) != 1 {
							t.Errorf("%+v: %d packets were sent, %d answers; %+v", tt, len(sent), len(c.Emitted), c.Engine.ReasonCounts())
						}
						continue
					}
					if tt.length == 8000 && tt.size == 96 { // as long as every host takes them
						if len(sent) < 7 || len(sent) > 15 {
							t.Errorf("%+v: %d packets were sent", tt, len(sent))
						}
					} else if len(sent) != tt.pieces {
						t.Fatalf("%+v: %d packets were sent, want %d; %+v", tt, len(sent), tt.pieces, c.Engine.ReasonCounts())
					}
					if got := join(t, sent, tt.mtu); !bytes.Equal(got, payload(tt.length)) {
						t.Errorf("%+v: the payload is another one", tt)
					}
					p := c.Engine.Stats().Packets
					if n := uint64(len(list)); p.In != n || p.Merged != n-1 || p.Sent != 1 || p.Held != 0 || p.Split != uint64(len(sent)-1) || p.InBytes < uint64(tt.length) {
						t.Errorf("%+v: %+v", tt, p)
					}
					c.Accounted()
				}
			}
		})
	}
}

// TestFragmentsRefused lists what is wrong with fragments; nothing of such a packet
// arrives, however it goes on.
func TestFragmentsRefused(t *testing.T) {
	whole := func(begin, end int) fragment { return fragment{begin: begin, end: end} }
	last := func(begin, end int) fragment { return fragment{begin: begin, end: end, last: true} }
	ecn := func(v byte) func([]byte) {
		return func(ip []byte) {
			if ip[0]>>4 == 4 {
				ip[1] |= v
			} else {
				ip[1] |= v << 4
			}
		}
	}
	other := whole(800, 1600)
	other.change = 1
	marked := last(1600, 2008)
	marked.edit = ecn(2)
	var many []fragment
	for i := range 129 {
		many = append(many, whole(8008+i*48, 8008+i*48+48))
	}
	for _, tt := range []struct {
		name   string
		list   []fragment
		reason string
		drops  uint64 // with the reason
	}{
		{"overlap", []fragment{whole(0, 800), whole(800, 1600), whole(792, 1600), last(1600, 2008)}, "ip.fragment.overlap", 4},
		{"overlap of other bytes", []fragment{whole(0, 800), whole(800, 1600), other, last(1600, 2008)}, "ip.fragment.overlap", 4},
		{"inside", []fragment{whole(0, 1600), whole(800, 1000), last(1600, 2008)}, "ip.fragment.overlap", 3},
		{"around", []fragment{whole(800, 1000), whole(0, 1600), last(1600, 2008)}, "ip.fragment.overlap", 3},
		{"first again, longer", []fragment{whole(0, 800), whole(0, 1600), last(1600, 2008)}, "ip.fragment.overlap", 3},
		{"two ends", []fragment{last(1600, 2008), last(2400, 2500), whole(0, 1600)}, "ip.fragment.ends", 3},
		{"behind the end", []fragment{last(1600, 2008), whole(2400, 3200), whole(0, 1600)}, "ip.fragment.ends", 3},
		{"an end too early", []fragment{whole(1600, 2008), last(800, 1600), whole(0, 800)}, "ip.fragment.ends", 3},
		{"tiny", []fragment{whole(0, 40), last(40, 2008)}, "ip.fragment.tiny", 2},
		{"too many", many, "ip.fragment.too-many", 129},
		{"ECN", []fragment{whole(0, 1600), marked}, "ip.fragment.ecn", 2},
		{"beyond the greatest length", []fragment{whole(0, 800), last(65528, 65600)}, "ip.fragment.beyond-end", 1},
		{"not of eight bytes", []fragment{whole(0, 804), last(804, 2008)}, "ip.fragment.length", 1},
	} {
		for _, f := range fragmentFamilies {
			t.Run(tt.name+"/"+f.name, func(t *testing.T) {
				c := newCutter(t, 1500, nil)
				datagram := f.datagram(t, 2000)
				for i, part := range tt.list {
					if part.begin%8 != 0 {
						part.begin &^= 7
					}
					if sent := c.in(part.of(datagram, 7)); len(sent) != 0 {
						t.Errorf("fragment %d: sent %x", i, sent)
					}
				}
				if n := c.Count(tt.reason, ppf.OutcomeDrop); n != tt.drops {
					t.Errorf("%d drops for %s, want %d; %+v", n, tt.reason, tt.drops, c.Engine.ReasonCounts())
				}
				c.Accounted()
			})
		}
	}
}

// TestFragmentsDuplicate: a network may duplicate, and what is late does no harm.
func TestFragmentsDuplicate(t *testing.T) {
	for _, f := range fragmentFamilies {
		c := newCutter(t, 1500, nil)
		list := cut(f.datagram(t, 2000), 800, 7)
		if got := join(t, c.in(list[0], list[0], list[1], list[1], list[0], list[2]), 1500); !bytes.Equal(got, payload(2000)) {
			t.Errorf("%s: got %x", f.name, got)
		}
		if n := c.Count("ip.fragment.duplicate", ppf.OutcomeDrop); n != 3 {
			t.Errorf("%s: %d duplicates, want 3", f.name, n)
		}
		c.Accounted()
	}
}

// TestFragmentsMissing: what is never complete is given up, by time, by room, and
// with its instance.
func TestFragmentsMissing(t *testing.T) {
	const seconds = int64(time.Second)
	for _, f := range fragmentFamilies {
		c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 8"})
		datagram := f.datagram(t, 2000)
		held := func() uint64 { return c.Engine.Stats().Packets.Held }
		first := fragment{begin: 0, end: 800}
		c.in(first.of(datagram, 1), fragment{begin: 800, end: 1600}.of(datagram, 1))
		if held() != 2 {
			t.Errorf("%s: %d are held, want 2", f.name, held())
		}
		c.Env.Advance(29 * seconds)
		c.Engine.Handlers()[0].Tick(c.Env.Now())
		if held() != 2 {
			t.Errorf("%s: %d are held after 29 s, want 2", f.name, held())
		}
		c.Env.Advance(2 * seconds)
		c.Engine.Handlers()[0].Tick(c.Env.Now())
		if n := c.Count("ip.fragment.incomplete", ppf.OutcomeDrop); held() != 0 || n != 2 {
			t.Errorf("%s: %d are held after 31 s, %d dropped", f.name, held(), n)
		}
		// One source has a quarter of the room: two.
		for id := range uint32(5) {
			c.in(first.of(datagram, 10+id))
		}
		if n := c.Count("ip.fragment.limit", ppf.OutcomeDrop); held() != 2 || n != 3 {
			t.Errorf("%s: %d are held of one source, %d dropped", f.name, held(), n)
		}
		c.Apply()
		if n := c.Engine.Stats().Packets.Dropped; held() != 0 || n != 7 {
			t.Errorf("%s: %d are held without the instance, %d dropped", f.name, held(), n)
		}
		c.Accounted()
	}
}

// TestFragmentRoom: over all sources the oldest goes first.
func TestFragmentRoom(t *testing.T) {
	in := fragmented(ppf.Repair)
	in.Match.Server = nil
	c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 8"}, in)
	datagram := fragmentFamilies[0].datagram(t, 2000)
	for i := range 20 {
		f := fragment{begin: 0, end: 800, edit: func(ip []byte) { ip[15] = byte(i) }}
		c.in(f.of(datagram, 1))
		c.Env.Advance(1)
	}
	if s := c.Engine.Stats().Packets; s.Held != 8 || c.Count("ip.fragment.limit", ppf.OutcomeDrop) != 12 {
		t.Errorf("%+v; %+v", s, c.Engine.ReasonCounts())
	}
	// The youngest is still there.
	rest := fragment{begin: 800, end: 2008, last: true, edit: func(ip []byte) { ip[15] = 19 }}
	c.in(rest.of(datagram, 1))
	if s := c.Engine.Stats().Packets; s.Merged != 1 {
		t.Errorf("%+v; %+v", s, c.Engine.ReasonCounts())
	}
	c.Accounted()
}

// TestFragmentsElsewhere: in monitor, by an override, and without room fragments
// are not put together; nor where the source does not ask for it.
func TestFragmentsElsewhere(t *testing.T) {
	override := fragmented(ppf.Repair)
	override.Reasons = []ppf.Override{{Reason: "ip.fragment", Do: ppf.DoMonitor}}
	for _, tt := range []struct {
		name string
		in   ppf.InstanceSpec
		mtu  int
		conf map[string]string
		sent int
	}{
		{"monitor", fragmented(ppf.Monitor), 1500, nil, 3},
		{"override", override, 1500, nil, 3},
		{"no room", fragmented(ppf.Repair), 1500, map[string]string{"PROXY": "fragments 0"}, 0},
		{"a kernel does it", fragmented(ppf.Repair), 0, nil, 0},
	} {
		for _, f := range fragmentFamilies {
			c := newCutter(t, tt.mtu, tt.conf, tt.in)
			list := cut(f.datagram(t, 2000), 800, 7)
			sent := c.in(list...)
			if len(sent) != tt.sent || tt.sent > 0 && !slices.EqualFunc(sent, list, bytes.Equal) {
				t.Errorf("%s, %s: %d sent, want %d; %+v", tt.name, f.name, len(sent), tt.sent, c.Engine.ReasonCounts())
			}
			if tt.sent == 0 && c.Count("ip.fragment", ppf.OutcomeDrop) != 3 {
				t.Errorf("%s, %s: %+v", tt.name, f.name, c.Engine.ReasonCounts())
			}
			c.Accounted()
		}
	}
}

// TestFragmentsForKernel: where the kernel makes the packet, what is good goes on as
// it came and counts as merged, and nothing behind what is wrong with one.
func TestFragmentsForKernel(t *testing.T) {
	v6 := fragmentFamilies[1].datagram(t, 2000)
	atomic := fragment{begin: 0, end: 2008, last: true}.of(v6, 3)
	for _, tt := range []struct {
		name   string
		mode   ppf.Mode
		conf   map[string]string
		list   func(whole []byte) [][]byte
		passed int
		reason string
		drops  uint64
	}{
		{"good", ppf.Repair, nil, func(w []byte) [][]byte { return cut(w, 800, 7) }, 3, "", 0},
		{"overlap", ppf.Repair, nil, func(w []byte) [][]byte {
			return [][]byte{fragment{begin: 0, end: 800}.of(w, 7), fragment{begin: 792, end: 1600}.of(w, 7), fragment{begin: 1600, end: 2008, last: true}.of(w, 7)}
		}, 1, "ip.fragment.overlap", 2},
		{"monitor", ppf.Monitor, nil, func(w []byte) [][]byte {
			return [][]byte{fragment{begin: 0, end: 800}.of(w, 7), fragment{begin: 792, end: 1600}.of(w, 7)}
		}, 2, "", 0},
		{"no room", ppf.Repair, map[string]string{"PROXY": "fragments 0"}, func(w []byte) [][]byte { return cut(w, 800, 7) }, 0, "ip.fragment", 3},
		{"atomic", ppf.Repair, nil, func([]byte) [][]byte { return [][]byte{atomic} }, 1, "", 0},
		{"atomic, no room", ppf.Repair, map[string]string{"PROXY": "fragments 0"}, func([]byte) [][]byte { return [][]byte{atomic} }, 1, "", 0},
		{"atomic, strict", ppf.Strict, nil, func([]byte) [][]byte { return [][]byte{atomic} }, 0, "ip6.extension-removed", 1},
		{"atomic, monitor", ppf.Monitor, nil, func([]byte) [][]byte { return [][]byte{atomic} }, 1, "", 0},
	} {
		for _, f := range fragmentFamilies {
			t.Run(tt.name+"/"+f.name, func(t *testing.T) {
				b := ppftest.NewConfigured(t, tt.conf, fragmented(tt.mode))
				b.Engine.SetDefragmented(true)
				passed := 0
				for _, data := range tt.list(f.datagram(t, 2000)) {
					action, out := b.Send(ppf.Prerouting, data)
					if action == ppf.Accept && !bytes.Equal(out, data) {
						t.Errorf("%x became %x", data, out)
					}
					if action == ppf.Accept {
						passed++
					}
				}
				if passed != tt.passed || tt.reason != "" && b.Count(tt.reason, ppf.OutcomeDrop) != tt.drops {
					t.Errorf("%d passed, want %d; %+v", passed, tt.passed, b.Engine.ReasonCounts())
				}
				if s := b.Engine.Stats().Packets; s.Merged != uint64(tt.passed) || s.Held != 0 || s.Dropped != tt.drops {
					t.Errorf("%+v", s)
				}
				b.Env.Advance(int64(time.Minute))
				b.Engine.Handlers()[0].Tick(b.Env.Now())
				b.Accounted()
				// Elsewhere nothing is left to a kernel.
				if action, _ := b.Send(ppf.Forward, cut(f.datagram(t, 2000), 800, 9)[0]); (action == ppf.Accept) != (tt.mode == ppf.Monitor) {
					t.Errorf("at another hook: %v", action)
				}
			})
		}
	}
}

// TestWholeInMonitor: what was put together for one instance, and is another's that
// changes nothing, goes on as it is, in fragments again.
func TestWholeInMonitor(t *testing.T) {
	first, second := fragmented(ppf.Repair), fragmented(ppf.Monitor)
	first.Match.Protocol, first.Match.Port = packet.ProtoUDP, []ppf.PortRange{{Lo: 9, Hi: 9}}
	second.Name, second.Match.Port = "b", nil
	second.Chain = [2][]string{{"tcp"}, {"tcp"}}
	for _, f := range fragmentFamilies {
		c := newCutter(t, 1500, nil, first, second)
		if got := join(t, c.in(cut(f.datagram(t, 8000), 1448, 7)...), 1500); !bytes.Equal(got, payload(8000)) {
			t.Errorf("%s: the payload is another one", f.name)
		}
		if n := c.Count("chain.unhandled", ppf.OutcomeWouldDrop); n != 1 {
			t.Errorf("%s: %+v", f.name, c.Engine.ReasonCounts())
		}
		c.Accounted()
	}
}

// TestTooBig: what came whole and must not be cut is dropped, and its sender told
// how long it may be; what may be cut is.
func TestTooBig(t *testing.T) {
	for _, f := range fragmentFamilies {
		for _, df := range []bool{false, true} {
			c := newCutter(t, 1400, nil)
			b := f.datagram(t, 1450)
			if f.name == "IPv4" {
				b = fragment{begin: 0, end: 1458, last: true, edit: func(ip []byte) {
					if df {
						ip[6] |= 0x40
					}
				}}.of(b, 7)
			}
			sent := c.in(b)
			if f.name == "IPv4" && !df {
				if got := join(t, sent, 1400); len(sent) != 2 || !bytes.Equal(got, payload(1450)) {
					t.Errorf("%d packets were sent; %+v", len(sent), c.Engine.ReasonCounts())
				}
				continue
			}
			if len(sent) != 0 || c.Count("ip.too-big", ppf.OutcomeDrop) != 1 || len(c.Emitted) != 1 {
				t.Fatalf("%s: %d packets were sent, %d answers; %+v", f.name, len(sent), len(c.Emitted), c.Engine.ReasonCounts())
			}
			var told uint32
			if p := gopacket.NewPacket(c.Emitted[0], layers.LayerTypeIPv4, gopacket.Default); f.name == "IPv4" {
				icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
				if icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) {
					t.Errorf("answer %v", icmp.TypeCode)
				}
				told = uint32(icmp.Seq)
			} else {
				icmp := gopacket.NewPacket(c.Emitted[0], layers.LayerTypeIPv6, gopacket.Default).Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				if icmp.TypeCode.Type() != layers.ICMPv6TypePacketTooBig {
					t.Errorf("answer %v", icmp.TypeCode)
				}
				told = binary.BigEndian.Uint32(icmp.Payload)
			}
			if told != 1400 {
				t.Errorf("%s: the answer says %d, want 1400", f.name, told)
			}
			c.Accounted()
		}
	}
}

// TestNestedFragments: a packet that is a fragment again when it is whole has never
// been one that anybody cut.
func TestNestedFragments(t *testing.T) {
	f := fragmentFamilies[1]
	inner := fragment{begin: 0, end: 1600}.of(f.datagram(t, 2000), 9)
	c := newCutter(t, 1500, nil)
	var sent [][]byte
	for _, part := range []fragment{{begin: 800, end: 1608, last: true}, {begin: 0, end: 800}} {
		b := part.of(inner, 7)
		b[40] = byte(packet.ProtoFragment)
		sent = append(sent, c.in(b)...)
	}
	if len(sent) != 0 || c.Count("ip6.extension.order", ppf.OutcomeDrop) == 0 {
		t.Errorf("sent %x; %+v", sent, c.Engine.ReasonCounts())
	}
	c.Accounted()
}

// TestRandomFragments: of any fragments whatever comes out is whole packets or good
// fragments, all is accounted for, and no more memory is taken than at the start.
func TestRandomFragments(t *testing.T) {
	c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 64"})
	r := rand.New(rand.NewPCG(1, 2))
	datagrams := [][]byte{fragmentFamilies[0].datagram(t, 4000), fragmentFamilies[1].datagram(t, 4000)}
	var good [][][]byte
	for i, d := range datagrams {
		for id := range uint32(4) {
			good = append(good, cut(d, 800, 10*uint32(i)+id))
		}
	}
	const rounds = 10
	batch := 4000
	if os.Getenv("PROMETHOS_SOAK") != "" {
		batch = 100000
	}
	var before, after runtime.MemStats
	var p packet.Packet
	for round := range rounds {
		for range batch {
			begin := r.IntN(1<<13) * 8 >> r.IntN(10) &^ 7
			var b []byte
			if r.IntN(4) > 0 { // a good one, of a few packets
				list := good[r.IntN(len(good))]
				b = list[r.IntN(len(list))]
			}
			part := fragment{begin: begin, end: begin + r.IntN(1480), last: r.IntN(4) == 0, change: byte(r.IntN(2))}
			if !part.last {
				part.end = begin + (part.end-begin)&^7
			}
			c.Env.Advance(r.Int64N(int64(20 * time.Millisecond)))
			if b == nil {
				b = part.of(datagrams[r.IntN(2)], uint32(100+r.IntN(300)))
			}
			for _, b := range c.in(b) {
				if reason := p.Parse(packet.LinkRawIP, b); reason != packet.ReasonNone || len(b) > 1500 || p.VerifyChecksums(true) != packet.ReasonNone {
					t.Fatalf("sent %x: %v", b, reason)
				}
			}
		}
		c.Engine.Handlers()[0].Tick(c.Env.Now())
		switch round {
		case rounds / 2:
			runtime.GC()
			runtime.ReadMemStats(&before)
		case rounds - 1:
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
	}
	// The ring of events fills up meanwhile; fragments alone would take 14 MB.
	if after.HeapAlloc > before.HeapAlloc+4<<20 {
		t.Errorf("%d bytes are in use after all fragments, %d after half of them", after.HeapAlloc, before.HeapAlloc)
	}
	c.Accounted()
	s := c.Engine.Stats().Packets
	if s.Dropped == 0 || s.Sent == 0 || s.Split == 0 || s.In != uint64(rounds*batch) {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
}

// FuzzFragments: a conversation of fragments that the fuzzer writes.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 100, 0, 100, 100, 1})
	f.Add([]byte{0, 100, 0, 100, 100, 0, 200, 51, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		c := newCutter(t, 1500, map[string]string{"PROXY": "fragments 4"})
		datagrams := [][]byte{fragmentFamilies[0].datagram(t, 2000), fragmentFamilies[1].datagram(t, 2000)}
		var p packet.Packet
		for ; len(script) >= 3; script = script[3:] {
			begin := int(script[0]) * 8
			part := fragment{begin: begin, end: begin + int(script[1])*8, last: script[2]&1 != 0, change: script[2] >> 1 & 1}
			for _, b := range c.in(part.of(datagrams[script[2]>>2&1], uint32(script[2]>>3))) {
				if reason := p.Parse(packet.LinkRawIP, b); reason != packet.ReasonNone || p.VerifyChecksums(true) != packet.ReasonNone {
					t.Fatalf("sent %x: %v", b, reason)
				}
			}
			c.Accounted()
		}
	})
}

// heldFragments are a worker with one fragment held, and a duplicate of it.
func heldFragments(t testing.TB) (ppf.Handler, []ppf.Frame) {
	b := ppftest.New(t, fragmented(ppf.Repair))
	f := b.Frame(ppf.Forward, fragment{begin: 0, end: 800}.of(fragmentFamilies[0].datagram(t, 2000), 7))
	f.MTU = 1500
	list := []ppf.Frame{f}
	h := b.Engine.Handlers()[0]
	for range 10 { // records of this second
		h.Handle(list)
	}
	return h, list
}

func TestNoAllocationsFragments(t *testing.T) {
	h, list := heldFragments(t)
	if n := testing.AllocsPerRun(50, func() { h.Handle(list) }); n != 0 {
		t.Errorf("%v allocations for a fragment, want 0", n)
	}
}

func BenchmarkFragment(b *testing.B) {
	h, list := heldFragments(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}
