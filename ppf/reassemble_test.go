package ppf_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

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

// TestFragmentedExtensions: extension headers in front of the fragment header are
// those of the first fragment, whatever the others have; all that is sent repeats
// them, and destination options are cut with the packet (RFC 8200 §4.5). The instance
// is for UDP, which later fragments do not name.
func TestFragmentedExtensions(t *testing.T) {
	alert := []byte{byte(packet.ProtoFragment), 0, 5, 2, 0, 0, 1, 0}
	options := []byte{byte(packet.ProtoUDP), 0, 4, 1, 7, 1, 1, 0}
	f := fragmentFamilies[1]
	plain := f.datagram(t, 4000)
	whole := slices.Concat(plain[:packet.IPv6Len], options, plain[packet.IPv6Len:])
	whole[6] = byte(packet.ProtoDstOpts)
	list := cut(whole, 1432, 7)
	first := slices.Concat(list[0][:packet.IPv6Len], alert, list[0][packet.IPv6Len:])
	first[6] = byte(packet.ProtoHopByHop)
	binary.BigEndian.PutUint16(first[4:], uint16(len(first)-packet.IPv6Len))
	list[0] = first
	in := fragmented(ppf.Repair)
	in.Match.Protocol = packet.ProtoUDP
	in.Modules = map[string]ppf.Value{"ip": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "extensions", Value: ppf.Value{
		Kind: ppf.ValueList, List: []ppf.Value{{Kind: ppf.ValueScalar, Scalar: "hop-by-hop"}, {Kind: ppf.ValueScalar, Scalar: "destination"}},
	}}}}}
	slices.Reverse(list)
	c := newCutter(t, 1500, nil, in)
	sent := c.in(list...)
	if len(sent) != 3 || len(c.Engine.ReasonCounts()) != 0 {
		t.Fatalf("%d packets were sent; %+v", len(sent), c.Engine.ReasonCounts())
	}
	var joined []byte
	for i, b := range sent {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
		hop, ok := p.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop)
		part, isPart := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
		if !ok || !isPart || !bytes.Equal(hop.Contents, alert) || part.NextHeader != layers.IPProtocolIPv6Destination || int(part.FragmentOffset)*8 != len(joined) || len(b) > 1500 {
			t.Fatalf("fragment %d: %x", i, b[:min(len(b), 80)])
		}
		joined = append(joined, part.LayerPayload()...)
	}
	if !bytes.Equal(joined, whole[packet.IPv6Len:]) {
		t.Errorf("got %d bytes, %x, want %d, %x", len(joined), joined[:16], len(whole)-packet.IPv6Len, whole[packet.IPv6Len:][:16])
	}
	c.Accounted()
}
