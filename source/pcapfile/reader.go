package pcapfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/promethos/promethos/pcapng"
)

// Reader reads the packets of a pcap or pcapng file. It is not safe for
// concurrent use.
type Reader struct {
	in     input
	order  binary.ByteOrder
	ng     bool
	nano   bool // pcap: the precision of times
	ifaces []Interface
	n      int // packets read
	start  int64
	buf    []byte

	section []ngInterface // pcapng: the interfaces of the section
}

// NewReader reads the beginning of a file. What is no capture is a FormatError.
func NewReader(r io.Reader) (*Reader, error) {
	f := &Reader{in: input{r: bufio.NewReaderSize(r, 1<<16)}}
	var first [4]byte
	if err := f.in.full(first[:]); err != nil {
		return nil, f.cut(err, "the file is empty or too short to be a capture")
	}
	if binary.BigEndian.Uint32(first[:]) == pcapng.BlockSection {
		f.ng = true
		return f, f.readSection()
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if magic := order.Uint32(first[:]); magic == magicMicro || magic == magicNano {
			f.order, f.nano = order, magic == magicNano
			return f, f.readHeader()
		}
	}
	return nil, f.wrong("it starts with %x, which is neither pcap nor pcapng", first)
}

// Interfaces lists what was met so far: with pcap always one.
func (f *Reader) Interfaces() []Interface { return slices.Clone(f.ifaces) }

// Next reads one packet; io.EOF at the end. A broken file is a FormatError, and
// nothing can be read after it.
func (f *Reader) Next() (Record, error) {
	if f.ng {
		return f.nextBlock()
	}
	f.start = f.in.offset
	var header [recordHeaderLen]byte
	if err := f.in.full(header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Record{}, io.EOF
		}
		return Record{}, f.cut(err, "the file ends inside a packet's header")
	}
	fraction, length := f.order.Uint32(header[4:]), f.order.Uint32(header[8:])
	r := Record{Time: int64(f.order.Uint32(header[:])) * nanosecond, Link: f.ifaces[0].Link}
	if f.nano {
		r.Time += int64(fraction)
	} else {
		r.Time += int64(fraction) * 1000
	}
	err := f.data(&r, length, f.order.Uint32(header[12:]))
	return r, err
}

// readHeader reads a pcap file's header behind the magic number.
func (f *Reader) readHeader() error {
	var h [fileHeaderLen - 4]byte
	if err := f.in.full(h[:]); err != nil {
		return f.cut(err, "the file ends inside its header")
	}
	if major := f.order.Uint16(h[:]); major != 2 {
		return f.wrong("version %d of the pcap format is not known (want 2)", major)
	}
	// The high bits tell of checksums behind the frames; they are no payload.
	const linkMask = 0xffff
	f.ifaces = []Interface{{Link: LinkType(f.order.Uint32(h[16:]) & linkMask)}}
	return f.known(f.ifaces[0].Link)
}

// data reads a packet's bytes.
func (f *Reader) data(r *Record, length, wire uint32) error {
	if length > maxPacket {
		return f.wrong("a packet of %d bytes is longer than any (at most %d)", length, maxPacket)
	}
	if wire > maxPacket {
		return f.wrong("a packet claims to have been %d bytes long (at most %d)", wire, maxPacket)
	}
	f.grow(int(length))
	if err := f.in.full(f.buf); err != nil {
		return f.cut(err, fmt.Sprintf("the file ends inside a packet of %d bytes", length))
	}
	f.n++
	r.Data, r.WireLen = f.buf, max(int(wire), len(f.buf))
	return nil
}

func (f *Reader) grow(n int) { f.buf = slices.Grow(f.buf[:0], n)[:n] }

// known refuses link types that cannot be taken apart.
func (f *Reader) known(l LinkType) error {
	if !l.known() {
		return f.wrong("link type %d is not known (Ethernet, raw IP, Linux cooked and loopback are)", uint16(l))
	}
	return nil
}

func (f *Reader) wrong(format string, args ...any) error {
	return &FormatError{f.start, f.n, fmt.Sprintf(format, args...)}
}

// cut tells of a file that ends too early; other errors of reading it stay what
// they are.
func (f *Reader) cut(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{f.start, f.n, what}
	}
	return fmt.Errorf("capture file: byte %d: %w", f.in.offset, err)
}
