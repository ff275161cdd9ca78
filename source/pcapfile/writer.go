package pcapfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/promethos/promethos/pcapng"
)

// Writer writes a capture file of the kind of the one that is read: the same
// format and precision, the same interfaces and link types, little-endian. It is
// not safe for concurrent use.
type Writer struct {
	w      *bufio.Writer
	like   *Reader
	ifaces []int  // pcapng: by interface of the reader, the one written, from 1
	count  int    // interfaces written
	n      int    // packets written
	buf    []byte // pcap: the last record
	block  pcapng.Block
}

// NewWriter starts a file on w, which is not closed.
func NewWriter(w io.Writer, like *Reader) (*Writer, error) {
	f := &Writer{w: bufio.NewWriterSize(w, 1<<16), like: like}
	le := binary.LittleEndian
	if like.ng {
		f.block.BeginSection()
		return f, f.write(f.block.End())
	}
	magic := uint32(magicMicro)
	if like.nano {
		magic = magicNano
	}
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone, accuracy
	b = le.AppendUint32(b, maxPacket)
	b = le.AppendUint32(b, uint32(like.ifaces[0].Link))
	return f, f.write(b)
}

// Count is how many packets were written.
func (f *Writer) Count() int { return f.n }

// Write writes one packet. A comment is kept by pcapng only.
func (f *Writer) Write(r Record, comment string) error {
	if len(r.Data) > maxPacket {
		return fmt.Errorf("write capture file: a packet of %d bytes (at most %d)", len(r.Data), maxPacket)
	}
	f.n++
	le := binary.LittleEndian
	if !f.like.ng {
		fraction := r.Time % nanosecond
		if !f.like.nano {
			fraction /= 1000
		}
		b := le.AppendUint32(f.buf[:0], uint32(r.Time/nanosecond))
		b = le.AppendUint32(b, uint32(fraction))
		b = le.AppendUint32(b, uint32(len(r.Data)))
		b = le.AppendUint32(b, uint32(r.WireLen))
		f.buf = append(b, r.Data...)
		return f.write(f.buf)
	}
	iface, err := f.ifaceOf(r.Interface)
	if err != nil {
		return err
	}
	f.block.BeginPacket(uint32(iface), r.Time, r.Data, r.WireLen)
	if r.Flags != 0 {
		f.block.Flags(r.Flags)
	}
	if comment != "" {
		f.block.Option(pcapng.OptionComment, []byte(comment))
	}
	return f.write(f.block.End())
}

// Flush writes out what is buffered.
func (f *Writer) Flush() error {
	if err := f.w.Flush(); err != nil {
		return fmt.Errorf("write capture file: %w", err)
	}
	return nil
}

// ifaceOf gives the number of an interface, and tells the file of it first.
func (f *Writer) ifaceOf(i int) (int, error) {
	for len(f.ifaces) <= i {
		f.ifaces = append(f.ifaces, 0)
	}
	if f.ifaces[i] > 0 {
		return f.ifaces[i] - 1, nil
	}
	in := f.like.ifaces[i]
	f.block.BeginInterface(uint16(in.Link), maxPacket, in.Name)
	f.count++
	f.ifaces[i] = f.count
	return f.count - 1, f.write(f.block.End())
}

func (f *Writer) write(b []byte) error {
	if _, err := f.w.Write(b); err != nil {
		return fmt.Errorf("write capture file: %w", err)
	}
	return nil
}
