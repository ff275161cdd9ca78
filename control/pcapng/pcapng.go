// Package pcapng writes packets with comments to capture files, as
// draft-ietf-opsawg-pcapng describes them: one section, little endian, one
// interface for each link type.
package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Block types and option codes of the format.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6

	byteOrderMagic = 0x1a2b3c4d

	optionComment = 1
	optionName    = 2   // if_name
	optionUnit    = 9   // if_tsresol
	optionFlags   = 2   // epb_flags
	linkEthernet  = 1   // LINKTYPE_ETHERNET
	linkRawIP     = 101 // LINKTYPE_RAW

	nanoseconds = 9 // if_tsresol: 10^-9
)

// maxComment bounds a comment in bytes: its length field has 16 bits.
const maxComment = 60000

// Direction says which way a packet went, seen from the proxy.
type Direction uint8

// The directions; their numbers are those of epb_flags.
const (
	Received Direction = 1
	Sent     Direction = 2
)

// Packet is what is written.
type Packet struct {
	Time      int64 // nanoseconds since 1970
	Ethernet  bool  // Data starts with an Ethernet header, not with IP
	Data      []byte
	Length    int // on the wire; at least len(Data)
	Direction Direction
	Comment   string
}

// ErrComment reports a comment that is too long for the format.
var ErrComment = errors.New("comment is longer than 60000 bytes")

// Writer writes one capture. It is not safe for concurrent use.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter writes the head of a capture to w: the section, interface 0 for
// Ethernet and interface 1 for IP.
func NewWriter(w io.Writer, application string) (*Writer, error) {
	p := &Writer{w: w}
	p.begin(blockSection)
	p.u32(byteOrderMagic)
	p.u16(1) // major version
	p.u16(0)
	p.u64(^uint64(0))           // length of the section: not told
	const optionApplication = 4 // shb_userappl
	p.option(optionApplication, []byte(application))
	if err := p.end(); err != nil {
		return nil, err
	}
	for _, i := range []struct {
		link uint16
		name string
	}{{linkEthernet, "ethernet"}, {linkRawIP, "ip"}} {
		p.begin(blockInterface)
		p.u16(i.link)
		p.u16(0)
		p.u32(0) // no snap length
		p.option(optionName, []byte(i.name))
		p.option(optionUnit, []byte{nanoseconds})
		if err := p.end(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Write writes one packet with one call of the underlying writer.
func (p *Writer) Write(pkt Packet) error {
	if len(pkt.Comment) > maxComment {
		return ErrComment
	}
	p.begin(blockPacket)
	if pkt.Ethernet {
		p.u32(0)
	} else {
		p.u32(1)
	}
	p.u32(uint32(uint64(pkt.Time) >> 32))
	p.u32(uint32(pkt.Time))
	p.u32(uint32(len(pkt.Data)))
	p.u32(uint32(max(pkt.Length, len(pkt.Data))))
	p.bytes(pkt.Data)
	if pkt.Comment != "" {
		p.option(optionComment, []byte(pkt.Comment))
	}
	p.option(optionFlags, binary.LittleEndian.AppendUint32(nil, uint32(pkt.Direction)))
	return p.end()
}

func (p *Writer) begin(block uint32) {
	p.buf = p.buf[:0]
	p.u32(block)
	p.u32(0) // the length, filled in by end
}

func (p *Writer) u16(v uint16) { p.buf = binary.LittleEndian.AppendUint16(p.buf, v) }
func (p *Writer) u32(v uint32) { p.buf = binary.LittleEndian.AppendUint32(p.buf, v) }
func (p *Writer) u64(v uint64) { p.buf = binary.LittleEndian.AppendUint64(p.buf, v) }

// bytes appends b, padded to 32 bits.
func (p *Writer) bytes(b []byte) {
	p.buf = append(p.buf, b...)
	for len(p.buf)%4 != 0 {
		p.buf = append(p.buf, 0)
	}
}

func (p *Writer) option(code uint16, value []byte) {
	p.u16(code)
	p.u16(uint16(len(value)))
	p.bytes(value)
}

// end closes the list of options and the block, and writes it.
func (p *Writer) end() error {
	p.u32(0)
	length := uint32(len(p.buf) + 4)
	p.u32(length)
	binary.LittleEndian.PutUint32(p.buf[4:], length)
	if _, err := p.w.Write(p.buf); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}
