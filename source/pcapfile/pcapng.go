package pcapfile

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/promethos/promethos/pcapng"
)

// ngInterface is an interface of the section being read.
type ngInterface struct {
	index int // in Reader.ifaces
	unit  timeUnit
	snap  uint32
}

// readSection reads a section header behind its type: it tells the byte order,
// and the interfaces of the section before are gone.
func (f *Reader) readSection() error {
	var h [8]byte // length, magic
	if err := f.in.full(h[:]); err != nil {
		return f.cut(err, "the file ends inside a section header")
	}
	switch {
	case binary.LittleEndian.Uint32(h[4:]) == pcapng.ByteOrderMagic:
		f.order = binary.LittleEndian
	case binary.BigEndian.Uint32(h[4:]) == pcapng.ByteOrderMagic:
		f.order = binary.BigEndian
	default:
		return f.wrong("a section header with the byte-order magic %x", h[4:])
	}
	const fixed = 28 // type, length, magic, version, section length, length
	b, err := f.body(f.order.Uint32(h[:]), fixed, 12)
	if err != nil {
		return err
	}
	if major := f.order.Uint16(b); major != 1 {
		return f.wrong("version %d of the pcapng format is not known (want 1)", major)
	}
	f.section = f.section[:0]
	return nil
}

// body reads the rest of a block of which the first read bytes are known, and
// gives it without the length that ends it; fixed is the least length.
func (f *Reader) body(length uint32, fixed, read int) ([]byte, error) {
	if length < uint32(fixed) || length%4 != 0 || length > maxBlock {
		return nil, f.wrong("a block of %d bytes (want %d to %d, in steps of 4)", length, fixed, maxBlock)
	}
	f.grow(int(length) - read)
	if err := f.in.full(f.buf); err != nil {
		return nil, f.cut(err, "the file ends inside a block")
	}
	end := len(f.buf) - 4
	if again := f.order.Uint32(f.buf[end:]); again != length {
		return nil, f.wrong("a block whose lengths differ: %d and %d", length, again)
	}
	return f.buf[:end], nil
}

// nextBlock reads blocks up to the next packet.
func (f *Reader) nextBlock() (Record, error) {
	for {
		f.start = f.in.offset
		var kind, length [4]byte
		if err := f.in.full(kind[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return Record{}, io.EOF
			}
			return Record{}, f.cut(err, "the file ends inside a block's header")
		}
		if f.order.Uint32(kind[:]) == pcapng.BlockSection {
			if err := f.readSection(); err != nil {
				return Record{}, err
			}
			continue
		}
		if err := f.in.full(length[:]); err != nil {
			return Record{}, f.cut(err, "the file ends inside a block's header")
		}
		b, err := f.body(f.order.Uint32(length[:]), 12, 8)
		if err != nil {
			return Record{}, err
		}
		var r Record
		switch f.order.Uint32(kind[:]) {
		case pcapng.BlockInterface:
			err = f.readInterface(b)
		case pcapng.BlockPacket:
			r, err = f.enhanced(b)
		case blockObsolete:
			r, err = f.obsolete(b)
		case blockSimple:
			r, err = f.simple(b)
		}
		if err != nil || r.Data != nil {
			return r, err
		}
	}
}

func (f *Reader) readInterface(b []byte) error {
	const fixed = 8
	if len(b) < fixed {
		return f.wrong("an interface block of %d bytes", len(b))
	}
	if len(f.ifaces) == maxInterfaces {
		return f.wrong("more than %d interfaces", maxInterfaces)
	}
	in := Interface{Link: LinkType(f.order.Uint16(b))}
	ng := ngInterface{index: len(f.ifaces), unit: microseconds, snap: f.order.Uint32(b[4:])}
	var base int64
	bad := f.options(b[fixed:], func(code uint16, value []byte) bool {
		ok := true
		switch code {
		case pcapng.OptionName:
			in.Name = string(value)
		case pcapng.OptionTimeUnit:
			if ok = len(value) == 1; ok {
				ng.unit, ok = parseTimeUnit(value[0])
			}
		case pcapng.OptionTimeBase:
			if ok = len(value) == 8; ok {
				base = int64(f.order.Uint64(value))
			}
		}
		return ok
	})
	if bad != nil {
		return bad
	}
	ng.unit.base = base
	f.ifaces, f.section = append(f.ifaces, in), append(f.section, ng)
	return f.known(in.Link)
}

// options calls each for the options of a block.
func (f *Reader) options(b []byte, each func(code uint16, value []byte) bool) error {
	for len(b) >= 4 {
		code, length := f.order.Uint16(b), int(f.order.Uint16(b[2:]))
		if code == pcapng.OptionEnd {
			return nil
		}
		padded := (length + 3) &^ 3
		if padded > len(b)-4 {
			return f.wrong("option %d of %d bytes goes beyond its block", code, length)
		}
		if !each(code, b[4:4+length]) {
			return f.wrong("option %d has a value that cannot be: %x", code, b[4:4+length])
		}
		b = b[4+padded:]
	}
	return nil
}

// enhanced reads an enhanced packet block: interface, time, lengths, data.
func (f *Reader) enhanced(b []byte) (Record, error) {
	const fixed = 20
	if len(b) < fixed {
		return Record{}, f.wrong("a packet block of %d bytes", len(b))
	}
	r, rest, err := f.packet(f.order.Uint32(b), b[4:])
	if err != nil {
		return r, err
	}
	return r, f.options(rest, func(code uint16, value []byte) bool {
		if code == pcapng.OptionFlags && len(value) == 4 {
			r.Flags = f.order.Uint32(value)
		}
		return true
	})
}

// obsolete reads a packet block of the first draft: its interface has 16 bits,
// and a count of drops follows.
func (f *Reader) obsolete(b []byte) (Record, error) {
	const fixed = 20
	if len(b) < fixed {
		return Record{}, f.wrong("a packet block of %d bytes", len(b))
	}
	r, _, err := f.packet(uint32(f.order.Uint16(b)), b[4:])
	return r, err
}

// packet reads time, lengths and data of a packet block, and gives what follows.
func (f *Reader) packet(iface uint32, b []byte) (r Record, rest []byte, err error) {
	if int64(iface) >= int64(len(f.section)) {
		return r, nil, f.wrong("a packet of interface %d, of which nothing was said", iface)
	}
	in := f.section[iface]
	ticks := uint64(f.order.Uint32(b))<<32 | uint64(f.order.Uint32(b[4:]))
	length, wire := f.order.Uint32(b[8:]), f.order.Uint32(b[12:])
	padded := (int64(length) + 3) &^ 3
	if b = b[16:]; length > maxPacket || wire > maxPacket || padded > int64(len(b)) {
		return r, nil, f.wrong("a packet of %d bytes, once %d, in a block with room for %d (at most %d)", length, wire, len(b), maxPacket)
	}
	f.n++
	return Record{
		Time: in.unit.nanoseconds(ticks), Link: f.ifaces[in.index].Link, Interface: in.index,
		Data: b[:length:length], WireLen: int(max(wire, length)),
	}, b[padded:], nil
}

// simple reads a simple packet block: of the first interface, without time.
func (f *Reader) simple(b []byte) (Record, error) {
	if len(b) < 4 || len(f.section) == 0 {
		return Record{}, f.wrong("a simple packet block of %d bytes, after %d interfaces", len(b), len(f.section))
	}
	in := f.section[0]
	wire := f.order.Uint32(b)
	length := wire
	if in.snap > 0 {
		length = min(length, in.snap)
	}
	if b = b[4:]; wire > maxPacket || int64(length) > int64(len(b)) {
		return Record{}, f.wrong("a packet of %d bytes in a block with room for %d (at most %d)", wire, len(b), maxPacket)
	}
	f.n++
	return Record{Link: f.ifaces[in.index].Link, Interface: in.index, Data: b[:length:length], WireLen: int(wire)}, nil
}
