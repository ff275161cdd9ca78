package ppf

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/promethos/promethos/packet"
)

func testKey(n uint32, port uint16) Key {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return MakeKey(Forward, packet.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4(a), port), netip.MustParseAddrPort("203.0.113.1:80"))
}

// TestTableAgainstMap compares the table with a map over random operations.
func TestTableAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := NewTable(4000)
	p := &ProxyInstance{id: 1}
	cells := map[Key]uint32{} // by client-to-server key
	back := map[Key]Key{}     // by client-to-server key: the other one
	for step := range 100_000 {
		k := testKey(uint32(rng.IntN(300)), uint16(rng.IntN(20)))
		_, have := cells[k]
		switch op := rng.IntN(10); {
		case op < 5:
			c, r := table.create(p, 0, k, ClientToServer, int64(step))
			switch {
			case len(cells) >= 4000 && r != ReasonTableFull:
				t.Fatalf("step %d: created in a full table: %v", step, r)
			case len(cells) < 4000 && have != (r == ReasonKeyTaken):
				t.Fatalf("step %d: create %v: %v, had it %v", step, k, r, have)
			}
			if c != nil {
				cells[k], back[k] = c.index, k.Reverse()
				c.mu.Unlock()
			}
		case op < 7:
			c, d := table.find(&k)
			if have != (c != nil) {
				t.Fatalf("step %d: find: %v, want %v", step, c != nil, have)
			}
			if c != nil {
				if d != ClientToServer || c.index != cells[k] {
					t.Fatalf("step %d: cell %d, flow %v; want %d, cs", step, c.index, d, cells[k])
				}
				table.remove(c)
				delete(cells, k)
				delete(back, k)
			}
		case op < 8 && have:
			b := back[k]
			c, d := table.find(&b)
			if c == nil || d != ServerToClient || c.index != cells[k] {
				t.Fatalf("step %d: the other flow was not found", step)
			}
			next := b
			next.DstPort = uint16(30000 + rng.IntN(1000))
			taken := next != b && func() bool {
				for _, o := range back {
					if o == next {
						return true
					}
				}
				return false
			}()
			if ok := table.Rekey(c, ServerToClient, next); ok == taken {
				t.Fatalf("step %d: rekey %v, taken %v", step, ok, taken)
			} else if ok {
				back[k] = next
			}
			c.mu.Unlock()
		}
		if table.Len() != len(cells) || table.Count(p) != len(cells) {
			t.Fatalf("step %d: %d connections, %d of the instance; want %d", step, table.Len(), table.Count(p), len(cells))
		}
	}
	seen := 0
	table.each(func(c *Conn) bool {
		seen++
		return false
	})
	if seen == 0 || table.Len() != 0 {
		t.Errorf("each saw %d, %d are left", seen, table.Len())
	}
	for i := range table.index.shards {
		if n := table.index.shards[i].used; n != 0 {
			t.Fatalf("shard %d still has %d entries", i, n)
		}
	}
}

func TestTableLimits(t *testing.T) {
	table := NewTable(2)
	p, q := &ProxyInstance{id: 1}, &ProxyInstance{id: 2}
	create := func(p *ProxyInstance, limit int, n uint32) Reason {
		c, r := table.create(p, limit, testKey(n, 1), ClientToServer, 0)
		if c != nil {
			c.mu.Unlock()
		}
		return r
	}
	for i, want := range []Reason{packet.ReasonNone, ReasonInstanceFull} {
		if got := create(p, 1, uint32(i)); got != want {
			t.Errorf("connection %d of an instance with room for one: %v, want %v", i+1, got, want)
		}
	}
	if got := create(q, 0, 10); got != packet.ReasonNone {
		t.Errorf("another instance: %v", got)
	}
	if got := create(q, 0, 11); got != ReasonTableFull {
		t.Errorf("beyond the table: %v, want %v", got, ReasonTableFull)
	}
}

func TestExtraKeys(t *testing.T) {
	table := NewTable(10)
	p := &ProxyInstance{id: 1}
	a, _ := table.create(p, 0, testKey(1, 1), ClientToServer, 0)
	for _, key := range []string{"id 7", "id 7", "id 8"} { // its own key again is no problem
		if !table.BindKey(a, []byte(key)) {
			t.Errorf("key %q was refused", key)
		}
	}
	a.mu.Unlock()
	b, _ := table.create(p, 0, testKey(2, 1), ClientToServer, 0)
	if table.BindKey(b, []byte("id 7")) {
		t.Error("a taken key was given twice")
	}
	b.mu.Unlock()
	if c := table.FindKey([]byte("id 8")); c != a {
		t.Error("id 8 does not lead to its connection")
	} else {
		table.remove(c)
	}
	if table.FindKey([]byte("id 7")) != nil || len(table.extra)+len(table.extraOf) != 0 {
		t.Error("keys outlive their connection")
	}
}

func TestStateFreedWithConnection(t *testing.T) {
	e := &Engine{table: NewTable(10)}
	s := NewState[[3]int](&ModuleHost{engine: e})
	p := &ProxyInstance{id: 1}
	for i := range 3 {
		c, _ := e.table.create(p, 0, testKey(uint32(i), 1), ClientToServer, 0)
		if got := *s.Of(c); got != [3]int{} {
			t.Fatalf("connection %d starts with state %v", i, got)
		}
		s.Of(c)[1] = 42
		e.table.remove(c) // the next one gets the same cell
	}
}

func TestExpire(t *testing.T) {
	table := NewTable(10)
	p := &ProxyInstance{id: 1}
	for i := range 5 {
		c, _ := table.create(p, 0, testKey(uint32(i), 1), ClientToServer, 0)
		table.SetDeadline(c, int64(10*(i+1)))
		c.mu.Unlock()
	}
	freed := 0
	if n := table.expire(30, func(*Conn) { freed++ }); n != 3 || freed != 3 || table.Len() != 2 {
		t.Errorf("%d expired, %d told, %d left; want 3, 3, 2", n, freed, table.Len())
	}
	if n := table.expire(30, func(*Conn) {}); n != 0 {
		t.Errorf("%d expired again", n)
	}
}

// BenchmarkLookup looks one connection up among many.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(formatCount(n), func(b *testing.B) {
			table := NewTable(n)
			p := &ProxyInstance{id: 1}
			for i := range n {
				c, r := table.create(p, 0, testKey(uint32(i), 1), ClientToServer, 0)
				if r != packet.ReasonNone {
					b.Fatal(r)
				}
				c.mu.Unlock()
			}
			i := uint32(0)
			b.ReportAllocs()
			for b.Loop() {
				i = i*1664525 + 1013904223
				k := testKey(i%uint32(n), 1)
				c, _ := table.find(&k)
				c.mu.Unlock()
			}
		})
	}
}

func formatCount(n int) string {
	if n >= 1_000_000 {
		return "1M"
	}
	return map[int]string{1_000: "1k", 100_000: "100k"}[n]
}
