package kit

import (
	"bytes"
	_ "embed" // the kit's own capture
	"net/netip"
	"slices"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// ownCapture was recorded between two kernels: HTTP over IPv4 and IPv6, a port that
// refuses, DNS and other datagrams, echoes, fragments.
//
//go:embed recorded.pcap
var ownCapture []byte

// ownFrames are the frames of the kit's own capture.
func ownFrames() ([]lab.Frame, error) {
	return lab.ParseCapture("of the kit", bytes.NewReader(ownCapture))
}

// replayed sends the bytes of captured TCP connections: those of each client, to a
// server that answers with what the captured one sent.
func (b *bench) replayed(s *Scenario, frames []lab.Frame) (c Check) {
	for _, conversation := range conversations(frames) {
		c.Packets++
		if s.Kind == KindHTTP {
			if err := b.once(s, conversation.all(ppf.ClientToServer), conversation.all(ppf.ServerToClient)); err != nil {
				c.problem("%v", err)
			}
			continue
		}
		at, err := b.connect(s)
		if err != nil {
			c.problem("%v", err)
			return c
		}
		for i := range conversation {
			if ok, _, _ := at.send(&conversation[i]); !ok {
				break
			}
		}
		at.end()
	}
	return c
}

// conversation is what two ends said, in order.
type conversation []Step

// all puts together what one end said.
func (c conversation) all(d ppf.Dir) (b []byte) {
	for i := range c {
		if c[i].Dir == d {
			b = append(b, c[i].Data...)
		}
	}
	return b
}

// conversations finds the TCP connections of a capture, each from its first
// packet's sender, the client, on. What is sent again is left out.
func conversations(frames []lab.Frame) (list []conversation) {
	type half struct {
		place int // in list
		dir   ppf.Dir
		next  packet.Seq
	}
	halves := map[[2]netip.AddrPort]*half{}
	for _, f := range frames {
		var p packet.Packet
		if p.Parse(packet.LinkEthernet, f.Data) != packet.ReasonNone || !p.Has(packet.HasTCP) {
			continue
		}
		ends := [2]netip.AddrPort{netip.AddrPortFrom(p.Src(), p.SrcPort()), netip.AddrPortFrom(p.Dst(), p.DstPort())}
		h := halves[ends]
		if h == nil || p.TCP().Flags()&packet.SYN != 0 && h.dir == ppf.ClientToServer {
			h = &half{place: len(list)}
			list = append(list, nil)
			halves[ends], halves[[2]netip.AddrPort{ends[1], ends[0]}] = h, &half{place: h.place, dir: ppf.ServerToClient}
		}
		seq, data := p.TCP().Seq(), p.Payload()
		if p.TCP().Flags()&packet.SYN != 0 {
			h.next = seq + 1
			continue
		}
		if h.next == 0 {
			h.next = seq
		}
		if len(data) == 0 || seq.Before(h.next) {
			continue
		}
		h.next = seq + packet.Seq(len(data))
		list[h.place] = append(list[h.place], Step{Dir: h.dir, Data: data})
	}
	return slices.DeleteFunc(list, func(c conversation) bool { return len(c) == 0 })
}
