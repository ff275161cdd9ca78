package ppf

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/promethos/promethos/packet"
)

// TestOldest: of however many the earliest are kept, in whatever order they come.
func TestOldest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, gatherMost, 2 * gatherMost, 5*gatherMost + 7} {
		for name, order := range map[string]func([]int64){
			"rising": func([]int64) {}, "falling": slices.Reverse[[]int64],
			"mixed": func(s []int64) { rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) },
		} {
			var deadlines []int64
			for i := range n {
				deadlines = append(deadlines, int64(1+i))
			}
			order(deadlines)
			var o oldest
			for i, at := range deadlines {
				o.add(victim{at, uint32(i)})
			}
			got := o.sorted()
			if len(got) != min(n, gatherMost) {
				t.Fatalf("%d, %s: %d are kept", n, name, len(got))
			}
			for i, v := range got {
				if want := int64(len(got) - i); v.deadline != want || deadlines[v.cell] != want {
					t.Fatalf("%d, %s: place %d has deadline %d, want %d", n, name, i, v.deadline, want)
				}
			}
		}
	}
}

// TestEvict: of an instance's connections those that give way go, the earliest
// deadline first, and none that was used since, is locked, or is another's.
func TestEvict(t *testing.T) {
	const second = int64(time.Second)
	e := &Engine{table: NewTable(100)}
	e.proxy = newProxyPlugin(e)
	one, two := &ProxyInstance{id: 1}, &ProxyInstance{id: 2}
	e.proxy.byID.Store(&[]*ProxyInstance{nil, one, two})
	begin := func(p *ProxyInstance, n uint32, deadline, way int64) *Conn {
		c, r := e.table.create(p, 0, testKey(n, 1), ClientToServer, second)
		if r != packet.ReasonNone {
			t.Fatal(r)
		}
		c.Half[0].Timestamp = second
		e.table.SetDeadline(c, deadline)
		e.table.GiveWay(c, way)
		c.mu.Unlock()
		return c
	}
	a := begin(one, 1, 900*second, 5*second)
	b := begin(one, 2, 300*second, 5*second)
	begin(one, 3, 200*second, 99*second)
	begin(one, 4, 100*second, 0)
	locked := begin(one, 5, 400*second, 5*second)
	used := begin(one, 6, 500*second, 5*second)
	other := begin(two, 7, 10*second, 5*second)

	if _, ok := e.evict(1, 6*second); ok {
		t.Fatal("one went before anybody looked")
	}
	e.table.pressure.want(1, 4)
	e.table.gather(6 * second)
	e.table.SetDeadline(used, 901*second)
	locked.mu.Lock()
	for i, want := range []*Conn{b, a} {
		silent, ok := e.evict(1, 6*second)
		if !ok || silent != 5*time.Second || want.live {
			t.Fatalf("eviction %d: %v, silent for %v; the one wanted is there: %v", i, ok, silent, want.live)
		}
	}
	if _, ok := e.evict(1, 6*second); ok {
		t.Fatal("one went that may not")
	}
	locked.mu.Unlock()
	e.table.pressure.want(0, 5)
	e.table.gather(7 * second)
	if _, ok := e.evict(0, 7*second); !ok || other.live {
		t.Fatal("of all connections the one with the earliest deadline did not go")
	}
	for range 2 {
		if _, ok := e.evict(1, 8*second); !ok {
			t.Error("the ones that were locked and used did not go later")
		}
	}
	if n := e.table.Len(); n != 2 {
		t.Errorf("%d connections are left, want 2", n)
	}
	e.table.gather(9 * second)
	if e.table.pressure.some.Load() {
		t.Error("there is room, and they are still looked for")
	}
}

// BenchmarkGather looks through a table whose connections all give way.
func BenchmarkGather(b *testing.B) {
	const n = 1 << 18
	table := NewTable(n)
	p := &ProxyInstance{id: 1}
	for i := range n {
		c, _ := table.create(p, 0, testKey(uint32(i), 1), ClientToServer, 1)
		table.SetDeadline(c, int64(1+(i*7919)%n))
		table.GiveWay(c, 1)
		c.mu.Unlock()
	}
	now := int64(2)
	table.pressure.want(0, n)
	b.ReportAllocs()
	for b.Loop() {
		now += gatherStale + 1
		table.gather(now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/connection")
}
