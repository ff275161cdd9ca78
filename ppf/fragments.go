package ppf

import (
	"bytes"
	"time"

	"github.com/promethos/promethos/packet"
)

// What is found in fragments that are put together again. A packet in which one
// of these is found is lost as a whole (RFC 5722 §4), except for a duplicate.
var (
	ReasonFragmentOverlap = newReason(ReasonInfo{Name: "ip.fragment.overlap", Field: "ip.fragment-offset", RFC: "5722 §4",
		Doc:   "a fragment covers bytes that another one of its packet has brought already: receivers differ in which of the two counts",
		CVE:   []string{"CVE-1999-0015", "CVE-2018-5391"},
		Trips: "packets of one sender whose identifications repeat within half a minute", Relax: "reasons: {ip.fragment: monitor}"})
	ReasonFragmentDuplicate = newReason(ReasonInfo{Name: "ip.fragment.duplicate", Field: "ip.fragment-offset", RFC: "8200 §4.5",
		Doc:   "the same fragment came before, byte for byte; the packet is put together without this one",
		Trips: "networks that duplicate packets, without harm", Relax: "reasons: {ip.fragment: monitor}"})
	ReasonFragmentEnds = newReason(ReasonInfo{Name: "ip.fragment.ends", Field: "ip.fragment-offset", RFC: "791 §3.2",
		Doc:   "two fragments both say that they are the last, of packets of different lengths, or one lies behind the last",
		Trips: "none known"})
	ReasonFragmentTiny = newReason(ReasonInfo{Name: "ip.fragment.tiny", Field: "ip.fragment-length", RFC: "1858 §3",
		Doc:   "a fragment that others follow has less than 48 bytes, the least that any network carries at once",
		Trips: "none known", Relax: "reasons: {ip.fragment: monitor}"})
	ReasonFragmentMany = newReason(ReasonInfo{Name: "ip.fragment.too-many", Field: "ip.fragment-count", RFC: "8900 §3.7",
		Doc: "the packet comes in more than 128 fragments", CVE: []string{"CVE-2018-5391"},
		Trips: "packets of 64 KiB over networks with an MTU below 576 bytes", Relax: "reasons: {ip.fragment: monitor}"})
	ReasonFragmentECN = newReason(ReasonInfo{Name: "ip.fragment.ecn", Field: "ip.ecn", RFC: "3168 §5.3",
		Doc:   "of one packet's fragments some are marked as of an ECN-capable transport, and others are not",
		Trips: "none known"})
	ReasonFragmentMissing = newReason(ReasonInfo{Name: "ip.fragment.incomplete", Field: "ip.fragment-count", RFC: "8200 §4.5",
		Doc:   "the other fragments of the packet did not come within 30 s, or before the instance ended",
		Trips: "loss on the way: what is missing of such a packet is as good as the whole", Relax: "reasons: {ip.fragment: monitor}"})
	ReasonFragmentLimit = newReason(ReasonInfo{Name: "ip.fragment.limit", Field: "ip.fragment-count", RFC: "8900 §3.7",
		Doc: "more incomplete packets of this source, or of all, wait for fragments than there is room for: the oldest is given up", CVE: []string{"CVE-2018-5391"},
		Trips: "very many fragmented packets of one source at a time", Relax: "plugins: {PROXY: fragments N}"})
	ReasonTooBig = newReason(ReasonInfo{Name: "ip.too-big", Field: "ip.total-length", RFC: "8200 §5",
		Doc:   "the packet is longer than the way out takes, and must not be cut: its sender is told",
		Trips: "networks of different MTU at the two interfaces; path MTU discovery does the rest", Relax: "the same MTU at both interfaces"})
)

const (
	// maxParts is how many fragments a packet may have, minPart how many bytes
	// each of them has at least that is not the last (RFC 791 §3.2: 68 bytes go
	// over any network in one piece).
	maxParts = 128
	minPart  = 48
	// fragmentTime is how long the first fragment waits for the others (RFC 8200
	// §4.5 allows 60 s; less room is taken in half of it).
	fragmentTime = int64(30 * time.Second)
	// defaultFragments is how many packets a worker puts together at a time;
	// maxFragments bounds the setting. Each takes 64 KiB and a half where it has
	// ever been used.
	defaultFragments = 256
	maxFragments     = 4096
	// sourceShare is the part of them that one source may take.
	sourceShare = 4
	// linkRoom is the longest link header in front of an IP header.
	linkRoom = packet.EthernetLen + packet.MaxVLANs*packet.VLANLen
	headRoom = linkRoom + packet.MaxUnfragmentable
)

// fragmentKey tells of which packet a fragment is a part (RFC 791 §3.2, RFC 8200
// §4.5).
type fragmentKey struct {
	src, dst [16]byte
	id, vlan uint32
	proto    packet.Protocol // of IPv4
	v6       bool
	wire     uint8
	hook     Hook
}

// extent is what one fragment has brought.
type extent struct {
	begin, end int
	last       bool
	frame      uint32 // the source's handle
}

// datagram is a packet of which fragments are there.
type datagram struct {
	expires int64
	// spoiled is what was found wrong with it: all further fragments are dropped
	// for that.
	spoiled Reason
	passed  bool // on to the kernel, part by part
	parts   [maxParts]extent
	n       int
	have    int // bytes
	end     int // of the payload, -1 while the last fragment is missing
	longest int // packet that held one of the fragments
	ecn     [4]bool
	first   packet.Part // without Data; its slices lie in head
	head    [headRoom]byte
	buf     []byte // headRoom, then the payload

	// To whom the fragments that are held are counted.
	all    *counters
	dir    Dir
	name   string
	number InstanceNumber
}

// fragments are the packets that a worker is putting together. It belongs to the
// worker and is made when the first fragment comes.
type fragments struct {
	keys []fragmentKey // zero: free. Apart from the rest, for one look at all
	list []datagram
	used int
	// lost is told of a datagram whose fragments will never be sent.
	lost func(d *datagram, r Reason)
}

func newFragments(n int, lost func(*datagram, Reason)) *fragments {
	return &fragments{keys: make([]fragmentKey, n), list: make([]datagram, n), lost: lost}
}

// find gives the fragment's datagram, or makes one; where there is no room, the
// oldest one is given up: of the same source where that has its share, else of all.
func (t *fragments) find(now int64, key *fragmentKey) *datagram {
	free, oldest, oldestOwn, own := -1, -1, -1, 0
	for i := range t.keys {
		k := &t.keys[i]
		switch {
		case *k == *key:
			return &t.list[i]
		case *k == fragmentKey{}:
			free = i
			continue
		}
		if oldest < 0 || t.list[i].expires < t.list[oldest].expires {
			oldest = i
		}
		if k.src == key.src && k.v6 == key.v6 {
			own++
			if oldestOwn < 0 || t.list[i].expires < t.list[oldestOwn].expires {
				oldestOwn = i
			}
		}
	}
	at := free
	switch {
	case own >= max(len(t.list)/sourceShare, 1):
		at = oldestOwn
	case free < 0:
		at = oldest
	}
	if t.keys[at] != (fragmentKey{}) {
		t.giveUp(at, ReasonFragmentLimit)
	}
	t.keys[at] = *key
	t.used++
	d := &t.list[at]
	d.expires, d.spoiled, d.passed, d.n, d.have, d.end, d.longest, d.ecn = now+fragmentTime, packet.ReasonNone, false, 0, 0, -1, 0, [4]bool{}
	d.first.Head = nil
	if d.buf == nil {
		d.buf = make([]byte, headRoom+packet.IPv4MaxPacket)
	}
	return d
}

// giveUp frees a place; what is held there is lost.
func (t *fragments) giveUp(i int, r Reason) {
	if d := &t.list[i]; d.n > 0 {
		t.lost(d, r)
		d.n = 0
	}
	t.keys[i] = fragmentKey{}
	t.used--
}

// expire gives up what has waited for too long, with all that belong to the given
// counters, if any.
func (t *fragments) expire(now int64, of *counters) {
	if t.used == 0 {
		return
	}
	for i := range t.keys {
		if t.keys[i] != (fragmentKey{}) && (now >= t.list[i].expires || of != nil && t.list[i].all == of) {
			t.giveUp(i, ReasonFragmentMissing)
		}
	}
}

// free forgets a datagram that is complete.
func (t *fragments) free(d *datagram) {
	for i := range t.list {
		if &t.list[i] == d {
			t.keys[i] = fragmentKey{}
			t.used--
			return
		}
	}
}

// add takes a fragment of length bytes on layer 3. It answers with a reason why
// the fragment is to be dropped; what was held before it is lost already then.
func (d *datagram) add(t *fragments, p *packet.Part, length int, frame uint32) Reason {
	if d.spoiled != packet.ReasonNone {
		return d.spoiled
	}
	r := d.judge(p)
	switch r {
	case packet.ReasonNone:
	case ReasonFragmentDuplicate:
		return r
	default:
		d.spoiled = r
		if d.n > 0 {
			t.lost(d, r)
			d.n = 0
		}
		return r
	}
	end := p.Offset + len(p.Data)
	copy(d.buf[headRoom+p.Offset:], p.Data)
	d.parts[d.n] = extent{p.Offset, end, !p.More, frame}
	d.n++
	d.have += len(p.Data)
	d.longest = max(d.longest, length)
	d.ecn[p.ECN] = true
	if !p.More {
		d.end = end
	}
	if p.Offset == 0 {
		n := copy(d.head[:], p.Link)
		n += copy(d.head[n:], p.Head)
		d.first = *p
		d.first.Data, d.first.Link, d.first.Head = nil, d.head[:len(p.Link)], d.head[len(p.Link):n]
	}
	return packet.ReasonNone
}

// judge compares a fragment with those that are there.
func (d *datagram) judge(p *packet.Part) Reason {
	begin, end := p.Offset, p.Offset+len(p.Data)
	for i := range d.parts[:d.n] {
		e := &d.parts[i]
		switch {
		case e.begin == begin && e.end == end && e.last == !p.More && bytes.Equal(d.buf[headRoom+begin:headRoom+end], p.Data):
			return ReasonFragmentDuplicate
		case begin < e.end && e.begin < end:
			return ReasonFragmentOverlap
		case !p.More && e.end > end:
			return ReasonFragmentEnds
		}
	}
	switch {
	case d.end >= 0 && (!p.More || end > d.end):
		return ReasonFragmentEnds
	case p.More && len(p.Data) < minPart:
		return ReasonFragmentTiny
	case d.n == maxParts:
		return ReasonFragmentMany
	case begin == 0 && len(p.Link) > linkRoom:
		return packet.ReasonVLANDepth
	}
	// RFC 3168 §5.3: not capable, and anything else, cannot be one packet.
	ecn := d.ecn
	ecn[p.ECN] = true
	if ecn[0] && (ecn[1] || ecn[2] || ecn[3]) {
		return ReasonFragmentECN
	}
	return packet.ReasonNone
}

// complete reports whether nothing is missing.
func (d *datagram) complete() bool { return d.have == d.end && d.first.Head != nil }

// whole puts the headers in front and gives the packet. It reports a reason for one
// that is too long with the first fragment's headers.
func (d *datagram) whole() ([]byte, Reason) {
	limit := packet.IPv4MaxPacket - len(d.first.Head)
	if d.first.Head[0]>>4 == 6 {
		limit = packet.IPv6MaxPayload + packet.IPv6Len - len(d.first.Head)
	}
	if d.end > limit {
		return nil, packet.ReasonIPFragmentEnd
	}
	ecn := d.first.ECN
	if d.ecn[3] {
		ecn = 3 // congestion experienced
	}
	n := len(d.first.Link) + len(d.first.Head)
	b := d.buf[headRoom-n : headRoom+d.end : headRoom+d.end]
	d.first.PutWhole(b[:n], d.end, ecn)
	return b, packet.ReasonNone
}
