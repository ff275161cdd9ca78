package inline

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer is how many bytes may wait in the kernel per sender.
	sendBuffer = 8 << 20
	// sendPatience is how long a sender waits for room; then the frame is lost as
	// it would be on a full wire.
	sendPatience = 100 * time.Millisecond

	packetFanoutUniqueID = 0x2000 // PACKET_FANOUT_FLAG_UNIQUEID
)

// htons gives a number as it stands in network order.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

// packetSocket makes a socket that carries virtio-net headers and receives
// nothing before it is bound.
func packetSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("packet socket: %w (run as root or with CAP_NET_RAW)", err)
	}
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket: PACKET_VNET_HDR: %w", err)
	}
	return fd, nil
}

// receiver opens a socket that gets what comes in at the port, or with several
// per port its share.
func (p *port) receiver() (fd int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	index := int(p.index.Load())
	if fd, err = packetSocket(); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			err = fmt.Errorf("inline: port %s: receive: %w", p.name, err)
		}
	}()
	for _, o := range []int{unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
		if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, o, 1); err != nil {
			return -1, fmt.Errorf("packet option %d: %w", o, err)
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, p.c.BufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, p.c.BufferBytes) // best effort: the limit of rmem_max
	}
	if p.c.PerPort > 1 {
		// Before it is in the group a socket would get what others get too.
		if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, dropAll); err != nil {
			return -1, fmt.Errorf("filter: %w", err)
		}
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	mreq := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
		return -1, fmt.Errorf("promiscuous mode: %w", err)
	}
	if p.c.PerPort > 1 {
		if err = p.join(fd); err != nil {
			return -1, err
		}
	}
	return fd, nil
}

// dropAll is a filter that lets nothing in.
var dropAll = &unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}

// join puts a receiver into the port's group, which shares frames out by the hash
// of their addresses; the hash is the same for both directions.
func (p *port) join(fd int) error {
	arg := p.fanout | unix.PACKET_FANOUT_HASH<<16
	if p.fanout == 0 {
		arg |= packetFanoutUniqueID << 16
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return fmt.Errorf("share out: %w", err)
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return fmt.Errorf("share out: %w", err)
	}
	p.fanout = got & 0xffff
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return nil
}

// sender opens a socket that sends out of the port and receives nothing. What it
// sends bears the mark, which the rules that silence the host let pass.
func (p *port) sender() (fd int, err error) {
	if fd, err = packetSocket(); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			err = fmt.Errorf("inline: port %s: send: %w", p.name, err)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.c.Mark)); err != nil {
		return -1, fmt.Errorf("mark: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	wait := unix.NsecToTimeval(int64(sendPatience))
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return -1, fmt.Errorf("time limit: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(p.index.Load())}); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}
