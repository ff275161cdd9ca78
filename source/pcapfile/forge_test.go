package pcapfile

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/pcapng"
	"github.com/promethos/promethos/ppf/ppftest"
)

// kind is a way to write a capture file.
type kind struct {
	name  string
	order binary.AppendByteOrder
	ng    bool
	nano  bool
}

var kinds = []kind{
	{"pcap", binary.LittleEndian, false, false},
	{"pcap, ns", binary.LittleEndian, false, true},
	{"pcap, big-endian", binary.BigEndian, false, false},
	{"pcap, big-endian, ns", binary.BigEndian, false, true},
	{"pcapng", binary.LittleEndian, true, false},
	{"pcapng, ns", binary.LittleEndian, true, true},
	{"pcapng, big-endian, ns", binary.BigEndian, true, true},
}

// captured is one packet of a forged file.
type captured struct {
	time    int64 // whole microseconds
	data    []byte
	wireLen int // 0: that of data
}

func (c captured) wire() uint32 { return uint32(max(c.wireLen, len(c.data))) }

// file writes a capture as other programs do, in any byte order; the Writer of
// this package is not used.
func (k kind) file(link LinkType, packets ...captured) []byte {
	if k.ng {
		return k.section(link, packets)
	}
	magic, unit := uint32(magicMicro), int64(1000)
	if k.nano {
		magic, unit = magicNano, 1
	}
	b := k.order.AppendUint32(nil, magic)
	b = k.order.AppendUint16(b, 2)
	b = k.order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = k.order.AppendUint32(b, 65535)
	b = k.order.AppendUint32(b, uint32(link))
	for _, p := range packets {
		b = k.order.AppendUint32(b, uint32(p.time/nanosecond))
		b = k.order.AppendUint32(b, uint32(p.time%nanosecond/unit))
		b = k.order.AppendUint32(b, uint32(len(p.data)))
		b = k.order.AppendUint32(b, p.wire())
		b = append(b, p.data...)
	}
	return b
}

func (k kind) block(number uint32, body ...[]byte) []byte {
	content := slices.Concat(body...)
	length := uint32(12 + len(content))
	b := k.order.AppendUint32(nil, number)
	b = append(k.order.AppendUint32(b, length), content...)
	return k.order.AppendUint32(b, length)
}

func (k kind) words(list ...uint32) (b []byte) {
	for _, w := range list {
		b = k.order.AppendUint32(b, w)
	}
	return b
}

func (k kind) option(code uint16, value []byte) []byte {
	b := k.order.AppendUint16(nil, code)
	b = k.order.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func (k kind) header() []byte {
	version := k.order.AppendUint16(k.order.AppendUint16(nil, 1), 0)
	return k.block(pcapng.BlockSection, k.words(pcapng.ByteOrderMagic), version, []byte{255, 255, 255, 255, 255, 255, 255, 255})
}

func (k kind) iface(link LinkType, options ...[]byte) []byte {
	return k.block(pcapng.BlockInterface, k.order.AppendUint16(nil, uint16(link)), []byte{0, 0}, k.words(65535), slices.Concat(options...))
}

func (k kind) enhanced(iface uint32, ticks int64, p captured, options ...[]byte) []byte {
	return k.block(pcapng.BlockPacket, k.words(iface, uint32(ticks>>32), uint32(ticks), uint32(len(p.data)), p.wire()),
		p.data, make([]byte, (4-len(p.data)%4)%4), slices.Concat(options...))
}

func (k kind) section(link LinkType, packets []captured) []byte {
	unit, power := int64(1000), byte(6)
	if k.nano {
		unit, power = 1, 9
	}
	b := slices.Concat(k.header(), k.iface(link, k.option(pcapng.OptionName, []byte("eth0")), k.option(pcapng.OptionTimeUnit, []byte{power}), k.option(pcapng.OptionEnd, nil)))
	for _, p := range packets {
		b = append(b, k.enhanced(0, p.time/unit, p)...)
	}
	return b
}

// start is the time of the first packet of forged files.
const start = int64(1_700_000_000_123_456_000)

// behind puts a link header before an IP packet.
func behind(link LinkType, order binary.ByteOrder, ip []byte) []byte {
	v6 := ip[0]>>4 == 6
	proto := []byte{8, 0}
	if v6 {
		proto = []byte{0x86, 0xdd}
	}
	var family [4]byte
	if v6 {
		order.PutUint32(family[:], 30)
	} else {
		order.PutUint32(family[:], 2)
	}
	switch link {
	case LinkEthernet:
		return slices.Concat(ethernet(proto), ip)
	case LinkNull:
		return slices.Concat(family[:], ip)
	case LinkLoop:
		slices.Sort(family[:]) // network order, whatever the file's is
		return slices.Concat(family[:], ip)
	case LinkCooked:
		return slices.Concat([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, proto, ip)
	case LinkCooked2:
		return slices.Concat(proto, []byte{0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, ip)
	}
	return ip
}

// ethernet is a header with the bytes behind the addresses.
func ethernet(rest []byte) []byte {
	return slices.Concat([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, rest)
}

// conversation is a legal TCP connection, from SYN to the last ACK.
func conversation(t testing.TB, v6 bool) (list [][]byte) {
	client, server := ppftest.Client4, ppftest.Server4
	if v6 {
		client, server = ppftest.Client6, ppftest.Server6
	}
	up := func(flags packet.TCPFlags, seq, ack packet.Seq, payload string, options ...func(*packet.TCP)) {
		h := packet.TCP{Flags: flags, Seq: seq, Ack: ack, Window: 65535}
		for _, o := range options {
			o(&h)
		}
		list = append(list, ppftest.Segment{Src: client, Dst: server, TCP: h, Payload: []byte(payload)}.Bytes(t))
	}
	down := func(flags packet.TCPFlags, seq, ack packet.Seq, payload string) {
		h := packet.TCP{Flags: flags, Seq: seq, Ack: ack, Window: 65535}
		list = append(list, ppftest.Segment{Src: server, Dst: client, TCP: h, Payload: []byte(payload)}.Bytes(t))
	}
	up(packet.SYN, 100, 0, "")
	down(packet.SYN|packet.ACK, 900, 101, "")
	up(packet.ACK, 101, 901, "")
	up(packet.PSH|packet.ACK, 101, 901, "GET / HTTP/1.0\r\n\r\n")
	down(packet.PSH|packet.ACK, 901, 119, "HTTP/1.0 204 No Content\r\n\r\n")
	up(packet.ACK, 119, 928, "")
	up(packet.FIN|packet.ACK, 119, 928, "")
	down(packet.FIN|packet.ACK, 928, 120, "")
	up(packet.ACK, 120, 929, "")
	return list
}

// timed gives packets times, a millisecond apart.
func timed(packets ...[]byte) (list []captured) {
	for i, p := range packets {
		list = append(list, captured{time: start + int64(i)*1_000_000, data: bytes.Clone(p)})
	}
	return list
}
