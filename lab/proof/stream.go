package proof

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// Flow is one direction of TCP connections between two ends.
type Flow struct{ Src, Dst netip.AddrPort }

// String gives "10.77.1.2:40000 > 10.77.2.2:80".
func (f Flow) String() string { return fmt.Sprintf("%v > %v", f.Src, f.Dst) }

// Stream is what one direction of one TCP connection carried. Sequence numbers
// are unwrapped to 64 bits, so that a long transfer does not meet itself.
type Stream struct {
	Flow
	SYN, FIN bool // it was seen to begin, to end
	over     bool // a RST went one way or the other, or the other way begins anew

	first, last uint64 // sequence numbers of the first byte of data and behind the highest
	top         uint64 // behind the highest byte, 0: none came
	fin         uint64
	blocks      map[uint64]*block
	ambiguous   []string
}

// block holds blockLen bytes of a stream, and which of them were seen.
type block struct {
	data [blockLen]byte
	seen [blockLen / 8]byte
}

const blockLen = 1 << 12

// maxAmbiguous is how many contradictions of one stream are told.
const maxAmbiguous = 4

// Set holds the streams of a capture, in the order in which they begin.
type Set struct {
	list []*Stream
	now  map[Flow]*Stream
}

// Streams reads the TCP segments of Ethernet frames, in both directions, by
// gopacket's decoders. Fragments and what these cannot read is left to P1.
func Streams(frames []lab.Frame) *Set {
	s := &Set{now: map[Flow]*Stream{}}
	for _, f := range frames {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
		tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || p.NetworkLayer() == nil {
			continue
		}
		src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
		a, ok1 := netip.AddrFromSlice(src.Raw())
		b, ok2 := netip.AddrFromSlice(dst.Raw())
		if ok1 && ok2 {
			s.add(Flow{netip.AddrPortFrom(a, uint16(tcp.SrcPort)), netip.AddrPortFrom(b, uint16(tcp.DstPort))}, tcp)
		}
	}
	return s
}

// All lists the streams.
func (s *Set) All() []*Stream { return s.list }

// add takes one segment. A SYN that does not repeat the one before, or comes after
// a RST, begins another connection between the same ends.
func (s *Set) add(f Flow, t *layers.TCP) {
	at := s.now[f]
	const start = uint64(1) << 32 // room below for segments out of order
	seq := uint64(0)
	if at != nil {
		seq = at.unwrap(t.Seq)
	}
	begins := t.SYN && (at == nil || !at.SYN || at.over || seq+1 != at.first)
	if at == nil || begins {
		seq = start + uint64(t.Seq)
		at = &Stream{Flow: f, first: seq, last: seq, blocks: map[uint64]*block{}}
		s.now[f] = at
		s.list = append(s.list, at)
	}
	if t.SYN {
		seq++
		if begins {
			at.SYN, at.first, at.last, at.top = true, seq, seq, seq
		}
	}
	if back := s.now[Flow{f.Dst, f.Src}]; back != nil && (t.RST || begins && !t.ACK) {
		back.over = true
	}
	if t.RST {
		at.over = true
		return // its payload is text about an error (RFC 9293 §3.5.3), no data
	}
	at.data(seq, t.Payload)
	if t.FIN {
		at.end(seq + uint64(len(t.Payload)))
	}
}

// unwrap finds the 64-bit number nearest to the stream's end.
func (s *Stream) unwrap(seq uint32) uint64 { return s.last + uint64(int64(int32(seq-uint32(s.last)))) }

func (s *Stream) data(seq uint64, payload []byte) {
	if len(payload) == 0 {
		return // its number may be behind a FIN that was lost
	}
	at := seq
	for len(payload) > 0 {
		bl := s.blocks[at/blockLen]
		if bl == nil {
			bl = &block{}
			s.blocks[at/blockLen] = bl
		}
		n := min(len(payload), int(blockLen-at%blockLen))
		for i, b := range payload[:n] {
			s.value(bl, at+uint64(i), b)
		}
		at, payload = at+uint64(n), payload[n:]
	}
	s.last, s.top = max(s.last, at), max(s.top, at)
	if !s.SYN {
		s.first = min(s.first, seq)
	}
}

// value notes the byte at a sequence number.
func (s *Stream) value(bl *block, n uint64, b byte) {
	at := n % blockLen
	switch {
	case !bl.has(at):
		bl.seen[at/8] |= 1 << (at % 8)
		bl.data[at] = b
		if s.FIN && n >= s.fin {
			s.contradiction("byte %d stands behind the FIN", n-s.first)
		}
	case bl.data[at] != b:
		s.contradiction("byte %d is 0x%02x, and was 0x%02x", int64(n-s.first), b, bl.data[at])
	}
}

func (b *block) has(at uint64) bool { return b.seen[at/8]&(1<<(at%8)) != 0 }

func (s *Stream) end(at uint64) {
	switch {
	case s.FIN && s.fin != at:
		s.contradiction("the FIN stands at byte %d, and stood at %d", at-s.first, s.fin-s.first)
	case !s.FIN && s.top > at:
		s.contradiction("the FIN stands at byte %d, before byte %d", at-s.first, s.top-s.first)
	}
	s.FIN, s.fin = true, at
}

func (s *Stream) contradiction(format string, args ...any) {
	if len(s.ambiguous) < maxAmbiguous {
		s.ambiguous = append(s.ambiguous, fmt.Sprintf(format, args...))
	}
}

// Ambiguous checks P3.
func (s *Set) Ambiguous() (list []Violation) {
	for _, at := range s.list {
		for _, text := range at.ambiguous {
			list = append(list, Violation{Unambiguous, at.String() + ": " + text})
		}
	}
	return list
}

// Data gives the stream from its first byte up to the first gap.
func (s *Stream) Data() (list []byte) {
	for n := s.first; n < s.last; {
		bl := s.blocks[n/blockLen]
		if bl == nil {
			break
		}
		at := n % blockLen
		end := at
		for end < min(blockLen, at+s.last-n) && bl.has(end) {
			end++
		}
		list = append(list, bl.data[at:end]...)
		if n += end - at; end < blockLen {
			break
		}
	}
	return list
}

// Whole says whether the stream was seen from its SYN to its FIN without a gap.
func (s *Stream) Whole() bool { return s.SYN && s.FIN && uint64(len(s.Data())) == s.fin-s.first }

// Ends tells a received frame that ends a direction of a TCP connection: what to
// wait for before a capture of one connection is stopped.
func Ends(f lab.Frame) bool {
	tcp, ok := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true}).Layer(layers.LayerTypeTCP).(*layers.TCP)
	return ok && !f.Outgoing && tcp.FIN
}

// Transfers checks P4: each stream of sent that legitimate wants (nil: all) is in
// arrived, as the n-th between its ends, byte for byte and to its end. Both are
// captures on either side of a proxy that keeps addresses.
func Transfers(sent, arrived []lab.Frame, legitimate func(Flow) bool) (list []Violation) {
	after := Streams(arrived).byFlow()
	for flow, before := range Streams(sent).byFlow() {
		if legitimate != nil && !legitimate(flow) {
			continue
		}
		if len(after[flow]) != len(before) {
			list = append(list, Violation{Transparent, fmt.Sprintf("%v: %d connections, %d arrived", flow, len(before), len(after[flow]))})
			continue
		}
		for i, b := range before {
			a := after[flow][i]
			was, is := b.Data(), a.Data()
			if !bytes.Equal(was, is) || b.FIN != a.FIN || b.Whole() != a.Whole() {
				list = append(list, Violation{Transparent, fmt.Sprintf("%v: %d bytes sent (whole: %v), %d arrived (whole: %v), the same up to byte %d",
					flow, len(was), b.Whole(), len(is), a.Whole(), common(was, is))})
			}
		}
	}
	slices.SortFunc(list, func(a, b Violation) int { return bytes.Compare([]byte(a.Detail), []byte(b.Detail)) })
	return list
}

func (s *Set) byFlow() map[Flow][]*Stream {
	m := map[Flow][]*Stream{}
	for _, at := range s.list {
		m[at.Flow] = append(m[at.Flow], at)
	}
	return m
}

// common is how many bytes two slices begin with alike.
func common(a, b []byte) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
