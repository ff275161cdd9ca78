package rules

import (
	"testing"
	"time"

	"github.com/promethos/promethos/ppf"
)

// TestFlood: SYNs stay with the packets of connections until more of them come than
// a flood begins with; then they have a queue of their own, until it is forgotten.
// Other packets have theirs all the time.
func TestFlood(t *testing.T) {
	const many = 100
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	if !f.Flood {
		t.Skip("the kernel has no limits (CONFIG_NFT_LIMIT)")
	}
	apply(t, k, Plan{Closed: Queues{closedQueue, 1}, Opening: Queues{openingQueue, 1}, Flood: many, Selectors: []Selector{{Hook: ppf.Forward}}}, f)
	got := make(chan taken, 1<<12)
	consume(t, n.router, func(p taken) verdict {
		got <- p
		return verdict{}
	}, closedQueue, openingQueue)
	w := openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"])
	send := func(flags byte, mark uint16) []byte {
		b := tcp(1, 80)
		b[13] = flags
		b = ip4(clientAddr, serverAddr, 6, 0, b)
		setMark(b, mark)
		w.send(t, b)
		return b
	}
	// remembered says whether the kernel remembers a flood.
	remembered := func() bool {
		list, err := k.standing()
		if err != nil || len(list.sets) != 1 {
			t.Fatalf("sets %v, %v", list, err)
		}
		elements, err := k.conn.GetSetElements(list.sets[0])
		if err != nil {
			t.Fatal(err)
		}
		return len(elements) > 0
	}
	mark := uint16(1)
	if p := await(t, got, send(0x02, mark), "the first SYN"); p.queue != closedQueue {
		t.Errorf("the first SYN: queue %d, want %d", p.queue, closedQueue)
	}
	deadline := time.Now().Add(patience)
	for flooded := false; !flooded; {
		if time.Now().After(deadline) {
			t.Fatalf("no SYN came to queue %d", openingQueue)
		}
		sent := map[uint16]bool{}
		for range 4 * many {
			mark++
			send(0x02, mark)
			sent[mark] = true
		}
		flooded = remembered()
		parted := 0
		for range sent {
			select {
			case p := <-got:
				if sent[markOf(p.data)] && p.queue == openingQueue {
					parted++
				}
			case <-time.After(patience):
				t.Fatal("SYNs were lost")
			}
		}
		flooded = flooded && parted > 0
		mark++
		if p := await(t, got, send(0x10, mark), "an ACK"); p.queue != closedQueue {
			t.Errorf("an ACK in the flood: queue %d, want %d", p.queue, closedQueue)
		}
	}
	for remembered() {
		if time.Now().After(deadline) {
			t.Fatal("the flood is not forgotten")
		}
		time.Sleep(time.Millisecond)
	}
	mark++
	if p := await(t, got, send(0x02, mark), "a SYN behind the flood"); p.queue != closedQueue {
		t.Errorf("a SYN behind the flood: queue %d, want %d", p.queue, closedQueue)
	}
}
