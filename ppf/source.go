package ppf

import (
	"context"

	"github.com/promethos/promethos/packet"
)

// Frame is one packet on its way through a worker: what the source received,
// and below it what the handler decided. Sources keep frames in fixed batches;
// a handler never keeps a Frame or a slice of it after Handle returned.
type Frame struct {
	// Data holds the received bytes, from the IP header on (LinkRawIP) or from
	// the Ethernet header on (LinkEthernet). It is lent and read-only.
	Data []byte
	// WireLen is the packet's length in bytes before the source's copy range
	// cut it; the packet is whole when WireLen == len(Data).
	WireLen int
	Link    packet.LinkType
	Hook    Hook
	// In and Out are interface indices, 0 where the hook does not know them.
	In, Out int32
	Mark    uint32
	// SrcMAC is the link-layer source address where HasMAC is set.
	SrcMAC packet.MAC
	HasMAC bool
	// Wire is the inline pair that the frame came from; nil elsewhere.
	Wire Wire
	// CsumNotReady says that layer 4 checksums are not filled in yet
	// (NFQA_SKB_CSUMNOTREADY): they must not be verified.
	CsumNotReady bool
	// PartialCsum says that the source can have a TCP or UDP checksum completed
	// behind it: it is written as the sum of the pseudo header only.
	PartialCsum bool
	// GSO says that this is a super-packet that the kernel or the card will cut
	// into segments (NFQA_SKB_GSO).
	GSO bool
	// MTU is the longest IP packet that the way out takes, where the engine is to
	// put fragments together and to cut what is longer; 0 where the kernel does
	// both, or nobody.
	MTU int
	// Time is when the source took the packet, in nanoseconds since 1970.
	Time int64
	// ID is the source's own handle of the packet.
	ID uint32

	// Action, set by the handler, is one of Drop, Accept, Queue, Repeat.
	Action Action
	// Judged says of an accepted packet that the instance's own hook, which it has
	// still to pass, has nothing to judge any more.
	Judged bool
	// Queue is the queue number for Action Queue.
	Queue uint16
	// Head holds the headers our encoder wrote (in Buf); nil means that the
	// received bytes go on unchanged. Body follows Head on the wire; it is a
	// reference, usually into Data.
	Head, Body []byte
	// CsumStart is where in Head the header begins whose checksum is partial, and
	// CsumField where in that header it stands; both are 0 where it is complete.
	CsumStart, CsumField uint16
	// Done says that what is sent for an accepted frame has been sent in pieces, and
	// the source has only to forget it; Head and Body are the packet before it was
	// cut.
	Done bool
	// Buf is room for Head.
	Buf [packet.MaxHeaders]byte
}

// Handler decides the frames of one worker. Handle sets Action, and where a
// new packet is sent Head and Body, of every frame in the batch; it is called
// from one goroutine only and must not block.
type Handler interface {
	Handle(batch []Frame)
	// Tick is called between batches, at least every 100 ms, also without
	// traffic; now is in nanoseconds since 1970.
	Tick(now int64)
}

// SourceStats counts what a source saw, per queue or port.
type SourceStats struct {
	Name string `json:"name"` // "queue 20560", "inline eth1"
	// Received, Sent and Emitted count packets that came in, verdicts that let
	// a packet go on, and extra packets.
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
	Emitted  uint64 `json:"emitted"`
	// KernelDropped counts packets the kernel dropped because the queue was full,
	// or that it could not hand over, SocketDropped those that did not fit into our
	// socket buffer, and VerdictErrors verdicts or frames that the kernel refused.
	KernelDropped uint64 `json:"kernel_dropped"`
	SocketDropped uint64 `json:"socket_dropped"`
	VerdictErrors uint64 `json:"verdict_errors"`
	// Depth is the number of packets waiting for a verdict now.
	Depth uint64 `json:"depth"`
}

// KernelLoss is one counter of packets that the kernel itself dropped before any
// hook of ours saw them.
type KernelLoss struct {
	Family  string `json:"family"`  // ipv4, ipv6
	Counter string `json:"counter"` // as the kernel names it: InHdrErrors, ReasmFails
	Count   uint64 `json:"count"`   // since the machine started
}

// Source delivers frames in batches and carries verdicts out. It knows nothing
// of protocols. One goroutine per worker runs inside Run.
type Source interface {
	// Workers is how many handlers Run needs; it does not change.
	Workers() int
	// Run delivers frames until ctx is done, then answers what is still queued
	// under a deadline, and returns. len(handlers) must be Workers().
	Run(ctx context.Context, handlers []Handler) error
	// Emit sends an extra packet, an IP packet from its header on, which is lent
	// for the call. It is safe for concurrent use and the packet never comes back to a hook of ours.
	Emit(pkt []byte) error
	// Stats reads the counters; it is safe for concurrent use.
	Stats() ([]SourceStats, error)
	// Close gives the kernel's resources back; after it the kernel drops what
	// our rules still select.
	Close() error
}
