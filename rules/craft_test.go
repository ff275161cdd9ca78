package rules

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ip4 makes an IPv4 packet; fragment is the flags and fragment offset field.
func ip4(src, dst netip.Addr, proto byte, fragment uint16, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ip6 makes an IPv6 packet.
func ip6(src, dst netip.Addr, next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, payload...)
}

// setMark writes a number that finds a packet again: the IPv4 ID, or the lower
// half of the IPv6 flow label.
func setMark(b []byte, n uint16) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[2:], n)
		return
	}
	binary.BigEndian.PutUint16(b[4:], n)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
}

func markOf(b []byte) uint16 {
	if b[0]>>4 == 6 {
		return binary.BigEndian.Uint16(b[2:])
	}
	return binary.BigEndian.Uint16(b[4:])
}

// udp and tcp make transport headers; their checksums do not matter here.
func udp(src, dst uint16) []byte {
	b := make([]byte, 12)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], 12)
	return b
}

func tcp(src, dst uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 5<<4, 2 // SYN
	return b
}

// icmp makes an ICMP or ICMPv6 message.
func icmp(kind byte, quoted []byte) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, quoted...)
}

// extension puts an 8-byte extension header before a payload.
func extension(next byte, payload []byte) []byte {
	return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, payload...)
}

// wire sends frames out of an interface of a namespace.
type wire struct {
	fd       int
	to       unix.SockaddrLinklayer
	src, dst net.HardwareAddr
}

func openWire(t *testing.T, ns netns.NsHandle, name string, src, dst net.HardwareAddr) *wire {
	t.Helper()
	w := &wire{src: src, dst: dst}
	inNS(t, ns, func() {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Error(err)
			return
		}
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Error(err)
			return
		}
		w.to.Ifindex, w.to.Halen = i.Index, 6
		copy(w.to.Addr[:], dst)
	})
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) send(t *testing.T, b []byte) {
	t.Helper()
	kind := []byte{0x08, 0x00}
	if b[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	frame := append(append(append(append([]byte{}, w.dst...), w.src...), kind...), b...)
	if err := unix.Sendto(w.fd, frame, 0, &w.to); err != nil {
		t.Fatalf("send %x: %v", frame, err)
	}
}

// host sends packets of a namespace itself.
type host struct{ v4, v6 int }

func openHost(t *testing.T, ns netns.NsHandle) *host {
	t.Helper()
	h := &host{-1, -1}
	inNS(t, ns, func() {
		var err error
		if h.v4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			t.Error(err)
		}
		if h.v6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { unix.Close(h.v4); unix.Close(h.v6) })
	return h
}

func (h *host) send(t *testing.T, b []byte) {
	t.Helper()
	var err error
	if b[0]>>4 == 6 {
		err = unix.Sendto(h.v6, b, 0, &unix.SockaddrInet6{Addr: [16]byte(b[24:40])})
	} else {
		err = unix.Sendto(h.v4, b, 0, &unix.SockaddrInet4{Addr: [4]byte(b[16:20])})
	}
	if err != nil {
		t.Fatalf("send %x: %v", b, err)
	}
}
