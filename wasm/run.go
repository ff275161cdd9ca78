package wasm

import (
	"errors"
	"fmt"

	"github.com/promethos/promethos/ppf"
)

// run is what a guest judges in one call: packets of one flow, one behind the other.
type run struct {
	packets []*ppf.Exchange // nil: no packet is judged
	at      int             // the one that the guest has called about last
	forced  [ppf.MaxRun]ppf.Verdict
	stopped [ppf.MaxRun]bool // forced counts
}

// judge lets the guest decide packets, and tells how many it has. An error is a
// fault with the one behind those: the guest must not be used again.
func (g *guest) judge(b *binding, packets []*ppf.Exchange, verdicts []ppf.Verdict) (judged int, err error) {
	if err := g.bind(b); err != nil {
		return 0, err
	}
	r := &g.run
	g.now, g.batch = packets[0].Now, packets[0].Batch()
	if err := g.findColumn(packets[0]); err != nil {
		return 0, err
	}
	area, err := g.writeArea(len(packets))
	if err != nil {
		return 0, err
	}
	for i, x := range packets {
		putDescriptor(area.descriptor(i), b.handle, x, &g.options)
	}
	g.putColumn(area, 0, len(packets))
	g.logs, g.trap, g.printed = 0, "", g.printed[:0]
	g.fuel.Set(uint64(g.m.manifest.Limits.Fuel) * uint64(len(packets)))
	g.stack[0] = uint64(len(packets))
	r.packets, r.at, r.stopped = packets, 0, [ppf.MaxRun]bool{}
	trap := g.process.CallWithStack(g.ctx, g.stack[:])
	r.packets = nil
	// Memory may have grown and moved.
	if area, err = g.readArea(len(packets)); err != nil {
		return 0, err
	}
	judged = len(packets)
	if trap != nil {
		err = g.explain(trap)
		// Who has answered for all of them has done wrong behind the last.
		judged = min(r.answered(area, judged), judged-1)
	}
	for i, x := range packets[:judged] {
		if r.stopped[i] {
			verdicts[i] = r.forced[i]
			continue
		}
		v, wrong := g.verdict(area.descriptor(i), x)
		if wrong != nil {
			judged, err = i, wrong
			break
		}
		verdicts[i] = v
	}
	if judged > 0 && g.column != nil && packets[judged-1].Conn != nil {
		copy(g.column, area.descriptor(judged - 1)[dStorage:])
	}
	return judged, err
}

// answered is how many of the first n packets have an answer.
func (r *run) answered(area area, n int) int {
	for i := range n {
		if !r.stopped[i] && area.descriptor(i)[dVerdict] == verdictUnset {
			return i
		}
	}
	return n
}

// packet is the packet that a call is about: each has been answered before there are
// calls about the next one.
func (g *guest) packet(n uint32) *ppf.Exchange {
	r := &g.run
	if uint64(n) >= uint64(len(r.packets)) || int(n) < r.at {
		g.fail("a call about packet %d, which is not there", n)
	}
	if i := int(n); i > r.at {
		area, err := g.readArea(len(r.packets))
		if err != nil {
			g.fail("%v", err)
		}
		if done := r.answered(area, i); done < i {
			g.fail("a call about packet %d, and packet %d has no answer", n, done)
		}
		r.at = i
	}
	return r.packets[r.at]
}

// connected gives the connection that was made for a packet to those behind it.
func (r *run) connected() {
	for _, x := range r.packets[r.at+1:] {
		x.Conn = r.packets[r.at].Conn
	}
}

// area is the exchange area in a guest's memory, lent until that grows.
type area []byte

func (a area) descriptor(i int) []byte {
	at := areaDescriptor + i*descriptorSize
	return a[at : at+descriptorSize]
}

// errArea reports a guest whose memory has lost the exchange area.
var errArea = errors.New("its exchange area is gone")

// readArea gives the exchange area with n descriptors.
func (g *guest) readArea(n int) (area, error) {
	b, ok := g.mod.Memory().Read(g.area, uint32(areaDescriptor+n*descriptorSize))
	if !ok {
		return nil, errArea
	}
	return b, nil
}

// writeArea is readArea before n descriptors are written.
func (g *guest) writeArea(n int) (area, error) {
	a, err := g.readArea(n)
	if err == nil {
		le.PutUint32(a[areaCount:], uint32(n))
		le.PutUint32(a[areaStride:], descriptorSize)
	}
	return a, err
}

// findRoom asks the guest for how many descriptors its exchange area has room.
func (g *guest) findRoom() error {
	g.room = 1
	if g.mod.ExportedFunction(exportBatch) != nil {
		n, err := g.number(exportBatch)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s gives no room for a packet", exportBatch)
		}
		g.room = int(min(n, ppf.MaxRun))
	}
	if _, err := g.readArea(g.room); err != nil {
		return fmt.Errorf("its exchange area %#x is not inside its memory", g.area)
	}
	return nil
}
