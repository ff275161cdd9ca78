package ppf

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/promethos/promethos/packet"
)

// TestClosingGaps fills one shard to the point of growing, so that its runs are
// long and wrap around, and takes entries out in random order: after each, all
// others must still be found.
func TestClosingGaps(t *testing.T) {
	table := NewTable(1 << 16)
	p := &ProxyInstance{id: 1}
	var conns []*Conn
	for n := uint32(0); len(conns) < 40; n++ {
		k := testKey(n, 9)
		if shard, _ := split(table.hash(&k)); shard != 3 {
			continue
		}
		c, r := table.create(p, 0, k, ClientToServer, 0)
		if r != packet.ReasonNone {
			t.Fatal(r)
		}
		conns = append(conns, c)
		c.mu.Unlock()
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for len(conns) > 0 {
		i := rng.IntN(len(conns))
		conns[i].mu.Lock()
		table.remove(conns[i])
		conns = append(conns[:i], conns[i+1:]...)
		for _, want := range conns {
			k := want.key[ClientToServer]
			c, d := table.find(&k)
			if c != want || d != ClientToServer {
				t.Fatalf("%d are left, one of them is not found", len(conns))
			}
			c.mu.Unlock()
		}
	}
}

// TestTableConcurrently creates, finds, moves and frees the same few
// connections from several sides; the race detector judges too.
func TestTableConcurrently(t *testing.T) {
	table := NewTable(64)
	p := &ProxyInstance{id: 1}
	var created, freed atomic.Int64
	var all sync.WaitGroup
	for side := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(side), 1))
			for range 20_000 {
				k := testKey(uint32(rng.IntN(20)), 1)
				c, _ := table.find(&k)
				switch {
				case c == nil:
					if c, _ = table.create(p, 0, k, ClientToServer, 0); c != nil {
						created.Add(1)
						table.BindKey(c, []byte{byte(k.Src[15])})
						c.mu.Unlock()
					}
				case c.key[ClientToServer] != k:
					t.Errorf("found %v for another key", c)
					c.mu.Unlock()
				case rng.IntN(3) == 0:
					table.remove(c)
					freed.Add(1)
				case rng.IntN(3) == 0:
					back := c.key[ServerToClient]
					back.DstPort = uint16(rng.IntN(9))
					table.Rekey(c, ServerToClient, back)
					c.mu.Unlock()
				default:
					c.mu.Unlock()
					if c := table.FindKey([]byte{byte(k.Src[15])}); c != nil {
						table.Unlock(c)
					}
				}
				if rng.IntN(500) == 0 {
					table.each(func(*Conn) bool {
						if rng.IntN(2) == 0 {
							return true
						}
						freed.Add(1)
						return false
					})
				}
			}
		})
	}
	all.Wait()
	if got, want := int64(table.Len()), created.Load()-freed.Load(); got != want || int64(table.Count(p)) != want {
		t.Errorf("%d connections, %d of the instance; %d were made and not freed", got, table.Count(p), want)
	}
	table.each(func(*Conn) bool { return false })
	if len(table.extra)+len(table.extraOf)+len(table.lists) != 0 {
		t.Errorf("%d keys, %d lists are left", len(table.extra), len(table.lists))
	}
}

// TestOneKey: a segment whose both ends are the same (CVE-1999-0016, LAND) makes
// a connection with one key for both flows.
func TestOneKey(t *testing.T) {
	table := NewTable(10)
	p := &ProxyInstance{id: 1}
	end := netip.MustParseAddrPort("203.0.113.1:80")
	k := MakeKey(Forward, packet.ProtoTCP, end, end)
	c, r := table.create(p, 0, k, ClientToServer, 0)
	if r != packet.ReasonNone {
		t.Fatal(r)
	}
	c.mu.Unlock()
	if c, _ := table.find(&k); c == nil {
		t.Error("it is not found")
	} else {
		table.regroup(c, Input)
		table.remove(c)
	}
	for i := range table.index.shards {
		if n := table.index.shards[i].used; n != 0 {
			t.Errorf("shard %d has %d entries left", i, n)
		}
	}
}

func TestRegroup(t *testing.T) {
	table := NewTable(10)
	p := &ProxyInstance{id: 1}
	k := testKey(1, 1)
	c, _ := table.create(p, 0, k, ClientToServer, 0)
	if !table.regroup(c, Input) {
		t.Error("a free group was refused")
	}
	c.mu.Unlock()
	if c, _ := table.find(&k); c != nil {
		t.Error("it is found in its old group")
	}
	for d, k := range []Key{k, k.Reverse()} {
		k.Group = Input
		got, flow := table.find(&k)
		if got != c || flow != Dir(d) {
			t.Errorf("flow %v is not found in its new group", Dir(d))
			continue
		}
		got.mu.Unlock()
	}
	second, r := table.create(p, 0, k, ClientToServer, 0)
	if r != packet.ReasonNone {
		t.Fatal(r)
	}
	if table.regroup(second, Input) {
		t.Error("it moved onto another connection")
	}
	table.remove(second)
	if table.Len() != 1 {
		t.Errorf("%d connections, want 1", table.Len())
	}
}

func TestKey(t *testing.T) {
	for _, tt := range [][2]string{{"192.0.2.1:40000", "203.0.113.1:80"}, {"[2001:db8::1]:40000", "[2001:db8::2]:80"}} {
		src, dst := netip.MustParseAddrPort(tt[0]), netip.MustParseAddrPort(tt[1])
		k := MakeKey(Forward, packet.ProtoTCP, src, dst)
		r := k.Reverse()
		if k.SrcAddr() != src.Addr() || k.DstAddr() != dst.Addr() || r.SrcAddr() != dst.Addr() || r.DstPort != 40000 || r.Reverse() != k {
			t.Errorf("%v > %v: %+v, reversed %+v", src, dst, k, r)
		}
		k.SetSrc(dst.Addr(), dst.Port())
		k.SetDst(src.Addr(), src.Port())
		if k != r {
			t.Errorf("ends exchanged: %+v, reversed %+v", k, r)
		}
		other := r
		other.Group = Input
		if other.bytes() == r.bytes() {
			t.Error("the group is no part of the key")
		}
		c := Conn{key: [2]Key{r.Reverse(), r}}
		if want := tt[0] + " > " + tt[1] + " TCP"; c.String() != want {
			t.Errorf("%q, want %q", c.String(), want)
		}
	}
	v4, v6 := testKey(1, 1), testKey(1, 1)
	v6.V6 = true
	if v4.bytes() == v6.bytes() {
		t.Error("an IPv6 key looks like an IPv4 key")
	}
}

func TestHalfCopy(t *testing.T) {
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Src: packet.MAC{2, 1}, Dst: packet.MAC{2, 2}})
	out.SetIPv4(packet.IPv4{TTL: 9, TOS: 4, ID: 7, Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("203.0.113.1")})
	out.SetTCP(packet.TCP{Seq: 5, Ack: 6, Window: 8, Flags: packet.ACK})
	data, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	var in packet.Packet
	if r := in.Parse(packet.LinkEthernet, data); r != packet.ReasonNone {
		t.Fatal(r)
	}
	l2 := Layer2{Src: packet.MAC{2, 1}, Dst: packet.MAC{2, 2}}
	l3 := Layer3{TTL: 9, TOS: 4, ID: 7, Length: 20}
	l4 := Layer4{Seq: 5, Ack: 6, Window: 8, Flags: packet.ACK}
	for mode := range CopyAll + 1 {
		h := Half{Received: 3, Packets: 4}
		h.Copy(&in, mode)
		want := Half{Received: 3, Packets: 4}
		if mode&CopyLayer2 != 0 {
			want.L2 = l2
		}
		if mode&CopyLayer3 != 0 {
			want.L3 = l3
		}
		if mode&CopyLayer4 != 0 {
			want.L4 = l4
		}
		if h != want {
			t.Errorf("mode %b: %+v, want %+v", mode, h, want)
		}
	}
}

// BenchmarkIdleConnections reports what a connection costs that nothing passes.
func BenchmarkIdleConnections(b *testing.B) {
	const n = 1 << 18
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	p := &ProxyInstance{id: 1}
	var bytes uint64
	for b.Loop() {
		before := heap()
		table := NewTable(n)
		for i := range n {
			c, r := table.create(p, 0, testKey(uint32(i), 1), ClientToServer, 0)
			if r != packet.ReasonNone {
				b.Fatal(r)
			}
			c.mu.Unlock()
		}
		bytes += heap() - before
		runtime.KeepAlive(table)
	}
	b.ReportMetric(float64(bytes)/float64(b.N)/n, "B/connection")
}
