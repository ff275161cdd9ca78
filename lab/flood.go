package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	_   uint32
	_   [4]byte
}

// floodBatch is how many frames one system call sends.
const floodBatch = 64

// Flood sends frames over and over, as fast as it can, for d or until ctx ends,
// and gives how many were sent.
func (s *RawSender) Flood(ctx context.Context, frames [][]byte, d time.Duration) (sent uint64, err error) {
	iov := make([]unix.Iovec, len(frames))
	msgs := make([]mmsghdr, len(frames))
	for i, f := range frames {
		iov[i].Base = &f[0]
		iov[i].SetLen(len(f))
		msgs[i].hdr.Iov = &iov[i]
		msgs[i].hdr.SetIovlen(1)
	}
	end := time.Now().Add(d)
	for at := 0; ctx.Err() == nil && time.Now().Before(end); {
		batch := min(floodBatch, len(msgs)-at)
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msgs[at])), uintptr(batch), 0, 0, 0)
		switch errno {
		case 0:
			sent += uint64(n)
			at = (at + int(n)) % len(msgs)
		case unix.EINTR, unix.ENOBUFS, unix.EAGAIN: // what comes after us is full
		default:
			return sent, fmt.Errorf("flood on %s: %w", s.name, errno)
		}
	}
	return sent, nil
}

// Datagrams gives n frames with UDP datagrams of size bytes from the client to a
// port of the server, from as many source ports.
func (l *Lab) Datagrams(port uint16, n, size int) ([][]byte, error) {
	return l.frames(n, func(out *packet.Out, i int) {
		out.SetIPv4(packet.IPv4{TTL: initialTL, DF: true, Src: l.Client.IPv4, Dst: l.Server.IPv4})
		out.SetUDP(packet.UDP{SrcPort: uint16(attackMark + i), DstPort: port})
		out.SetPayload(make([]byte, size))
	})
}

// SYNs gives n frames with the first segments of connections to a port of the
// server that nobody means to open, from addresses all over 198.18.0.0/15 (RFC
// 2544).
func (l *Lab) SYNs(port uint16, n int) ([][]byte, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	return l.frames(n, func(out *packet.Out, _ int) {
		source := netip.AddrFrom4([4]byte{198, 18 + byte(rng.IntN(2)), byte(rng.Uint32()), byte(rng.Uint32())})
		out.SetIPv4(packet.IPv4{TTL: initialTL, DF: true, Src: source, Dst: l.Server.IPv4})
		h := packet.TCP{SrcPort: uint16(1024 + rng.IntN(60000)), DstPort: port, Seq: packet.Seq(rng.Uint32()), Flags: packet.SYN, Window: 65535}
		h.Options.MSS, h.Options.Has = 1460, packet.OptMSS
		out.SetTCP(h)
	})
}

// frames builds n frames from the client.
func (l *Lab) frames(n int, set func(*packet.Out, int)) ([][]byte, error) {
	src, err := l.Client.MAC(EndInterface)
	if err != nil {
		return nil, err
	}
	dst, err := l.NextHopMAC(l.Client)
	if err != nil {
		return nil, err
	}
	list := make([][]byte, n)
	for i := range list {
		var out packet.Out
		out.SetEthernet(packet.Ethernet{Src: packet.MAC(src), Dst: packet.MAC(dst)})
		set(&out, i)
		head, err := out.Encode(make([]byte, packet.MaxHeaders))
		if err != nil {
			return nil, fmt.Errorf("lab: frame %d: %w", i, err)
		}
		list[i] = append(head, out.Payload()...)
	}
	return list, nil
}

// Received is how many packets an interface of the host has received ("" means
// EndInterface).
func (h *Host) Received(iface string) (n uint64, err error) {
	if iface == "" {
		iface = EndInterface
	}
	err = h.withNetlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("interface %s: %w", iface, err)
		}
		n = link.Attrs().Statistics.RxPackets
		return nil
	})
	return n, err
}
