// Package pcapng writes packets with comments to capture files, as
// draft-ietf-opsawg-pcapng describes them: one section, little endian, one
// interface for each link type.
package pcapng

import (
	"errors"
	"fmt"
	"io"
)

// Link types of the interfaces that a Writer has.
const (
	linkEthernet = 1   // LINKTYPE_ETHERNET
	linkRawIP    = 101 // LINKTYPE_RAW
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
	w     io.Writer
	block Block
}

// NewWriter writes the head of a capture to w: the section, interface 0 for
// Ethernet and interface 1 for IP.
func NewWriter(w io.Writer, application string) (*Writer, error) {
	p := &Writer{w: w}
	p.block.BeginSection()
	p.block.Option(OptionApplication, []byte(application))
	if err := p.end(); err != nil {
		return nil, err
	}
	for _, i := range []struct {
		link uint16
		name string
	}{{linkEthernet, "ethernet"}, {linkRawIP, "ip"}} {
		p.block.BeginInterface(i.link, 0, i.name)
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
	iface := uint32(0)
	if !pkt.Ethernet {
		iface = 1
	}
	p.block.BeginPacket(iface, pkt.Time, pkt.Data, max(pkt.Length, len(pkt.Data)))
	if pkt.Comment != "" {
		p.block.Option(OptionComment, []byte(pkt.Comment))
	}
	p.block.Flags(uint32(pkt.Direction))
	return p.end()
}

// end writes the block.
func (p *Writer) end() error {
	if _, err := p.w.Write(p.block.End()); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}
