package pcapfile

import (
	"fmt"
	"io"
	"math/bits"
)

// Magic numbers of a pcap file's first word, by the precision of its times.
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
)

// Types of pcapng blocks that are read and never written.
const (
	blockObsolete = 2 // packet block, before there were enhanced ones
	blockSimple   = 3
)

const (
	fileHeaderLen   = 24 // pcap
	recordHeaderLen = 16 // pcap
	// maxPacket is the longest packet that a file may hold, as in other
	// programs that read captures.
	maxPacket = 256 << 10
	// maxBlock bounds a pcapng block, its options included.
	maxBlock = 16 << 20
	// maxInterfaces bounds what a pcapng file makes us remember.
	maxInterfaces = 1 << 16
)

const nanosecond = 1_000_000_000 // per second

// FormatError is a file that is no capture or is broken.
type FormatError struct {
	Offset int64  // of the record or block, in bytes from the start of the file
	Packet int    // that was read last, from 1; 0: none yet
	What   string // what is wrong
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("capture file: byte %d, after packet %d: %s", e.Offset, e.Packet, e.What)
}

// Record is one packet of a file.
type Record struct {
	// Time is in nanoseconds since 1970.
	Time int64
	Link LinkType
	// Data is lent until the next call of Next.
	Data []byte
	// WireLen is how long the packet was before the capture cut it.
	WireLen int
	// Interface counts the interfaces of the file, from 0.
	Interface int
	// Flags is the word of a pcapng file that tells the packet's direction, 0
	// where there is none.
	Flags uint32
}

// Interface is where packets of a file were captured.
type Interface struct {
	Name string // "" where the file does not say
	Link LinkType
}

// timeUnit is the unit of an interface's times, as pcapng encodes it: a power of
// ten below a second, or with the highest bit a power of two.
type timeUnit struct {
	perSecond uint64
	base      int64 // seconds
}

var microseconds = timeUnit{perSecond: 1_000_000}

func parseTimeUnit(b byte) (u timeUnit, ok bool) {
	n := uint(b & 0x7f)
	if b&0x80 != 0 {
		return timeUnit{perSecond: 1 << n}, n < 64
	}
	if n > 19 {
		return u, false
	}
	u.perSecond = 1
	for range n {
		u.perSecond *= 10
	}
	return u, true
}

// nanoseconds converts a number of units since 1970; what does not fit wraps.
func (u timeUnit) nanoseconds(ticks uint64) int64 {
	seconds, rest := ticks/u.perSecond, ticks%u.perSecond
	hi, lo := bits.Mul64(rest, nanosecond)
	fraction, _ := bits.Div64(hi, lo, u.perSecond)
	return (int64(seconds)+u.base)*nanosecond + int64(fraction)
}

// input reads a file and knows where it is.
type input struct {
	r      io.Reader
	offset int64
}

// full fills b. The error is io.EOF only where nothing is left.
func (in *input) full(b []byte) error {
	n, err := io.ReadFull(in.r, b)
	in.offset += int64(n)
	return err
}
