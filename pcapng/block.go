package pcapng

import "encoding/binary"

// Types of blocks (draft-ietf-opsawg-pcapng §4), and what tells a section's byte
// order.
const (
	BlockSection   = 0x0a0d0d0a // the same in both byte orders
	BlockInterface = 1
	BlockPacket    = 6 // the enhanced packet block

	ByteOrderMagic = 0x1a2b3c4d
)

// Codes of options.
const (
	OptionEnd         = 0
	OptionComment     = 1
	OptionApplication = 4  // of a section
	OptionName        = 2  // of an interface
	OptionTimeUnit    = 9  // of an interface
	OptionTimeBase    = 14 // of an interface, in seconds
	OptionFlags       = 2  // of a packet
)

// Nanoseconds is the value of OptionTimeUnit for times in nanoseconds.
const Nanoseconds = 9

// Block builds one block, little-endian. It is meant to be reused; the zero value
// waits for Begin.
type Block struct {
	b       []byte
	options bool
}

// Begin starts a block of a type; what was built before is gone.
func (k *Block) Begin(kind uint32) {
	k.b, k.options = k.b[:0], false
	k.U32(kind)
	k.U32(0) // the length, filled in by End
}

// BeginSection starts a section of a length that is not told.
func (k *Block) BeginSection() {
	k.Begin(BlockSection)
	k.U32(ByteOrderMagic)
	k.U16(1) // major version
	k.U16(0)
	k.U64(^uint64(0))
}

// BeginInterface starts an interface with times in nanoseconds; a snap length of 0
// is none, a name of "" too.
func (k *Block) BeginInterface(link uint16, snap uint32, name string) {
	k.Begin(BlockInterface)
	k.U16(link)
	k.U16(0)
	k.U32(snap)
	if name != "" {
		k.Option(OptionName, []byte(name))
	}
	k.Option(OptionTimeUnit, []byte{Nanoseconds})
}

// BeginPacket starts a packet of an interface that came at a time in nanoseconds
// since 1970 and was wire bytes long.
func (k *Block) BeginPacket(iface uint32, time int64, data []byte, wire int) {
	k.Begin(BlockPacket)
	k.U32(iface)
	k.U32(uint32(uint64(time) >> 32))
	k.U32(uint32(time))
	k.U32(uint32(len(data)))
	k.U32(uint32(wire))
	k.Bytes(data)
}

// U16 adds a number.
func (k *Block) U16(v uint16) { k.b = binary.LittleEndian.AppendUint16(k.b, v) }

// U32 adds a number.
func (k *Block) U32(v uint32) { k.b = binary.LittleEndian.AppendUint32(k.b, v) }

// U64 adds a number.
func (k *Block) U64(v uint64) { k.b = binary.LittleEndian.AppendUint64(k.b, v) }

// Bytes adds b, padded to 32 bits.
func (k *Block) Bytes(b []byte) {
	k.b = append(k.b, b...)
	for len(k.b)%4 != 0 {
		k.b = append(k.b, 0)
	}
}

// Option adds an option; options come last. A value has at most 65,535 bytes.
func (k *Block) Option(code uint16, value []byte) {
	k.options = true
	k.U16(code)
	k.U16(uint16(len(value)))
	k.Bytes(value)
}

// Flags adds the option that tells a packet's direction.
func (k *Block) Flags(v uint32) {
	k.Option(OptionFlags, binary.LittleEndian.AppendUint32(nil, v))
}

// End closes the block and returns it, good until the next Begin.
func (k *Block) End() []byte {
	if k.options {
		k.U32(OptionEnd)
	}
	length := uint32(len(k.b) + 4)
	k.U32(length)
	binary.LittleEndian.PutUint32(k.b[4:], length)
	return k.b
}
