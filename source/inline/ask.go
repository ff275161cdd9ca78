package inline

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
)

// ErrNoAnswer reports a host that no port leads to, as far as can be told.
var ErrNoAnswer = errors.New("no port has an answer from there")

const (
	askAgain = 200 * time.Millisecond // between two questions
	askTimes = 10
)

// Ask tells behind which of some ports a host is, by asking for its link-layer
// address out of each, as a host does that looks whether an address is free (RFC
// 5227 §2.1.1, RFC 4862 §5.4.2): nobody learns anything from the question. The
// ports may be those of a bridge. The error wraps ErrNoAnswer where none of them
// leads to the host, or it is not there; now is the clock in nanoseconds.
func Ask(ports []string, host netip.Addr, now func() int64) (port string, err error) {
	var polled []unix.PollFd
	defer func() {
		for _, p := range polled {
			unix.Close(int(p.Fd))
		}
	}()
	questions := make([][]byte, len(ports))
	for i, name := range ports {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return "", fmt.Errorf("inline: port %s: %w (name an interface that is there)", name, err)
		}
		if len(link.HardwareAddr) != len(packet.MAC{}) {
			return "", fmt.Errorf("inline: port %s: it is no Ethernet interface (name one with a cable)", name)
		}
		if questions[i], err = question(packet.MAC(link.HardwareAddr), host); err != nil {
			return "", fmt.Errorf("inline: ask for %v: %w", host, err)
		}
		fd, err := asker(link.Index)
		if err != nil {
			return "", fmt.Errorf("inline: port %s: %w", name, err)
		}
		polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for range askTimes {
		for i := range polled {
			if _, err := unix.Write(int(polled[i].Fd), questions[i]); err != nil && !errors.Is(err, unix.ENETDOWN) {
				return "", fmt.Errorf("inline: port %s: ask for %v: %w", ports[i], host, err)
			}
		}
		until := now() + int64(askAgain)
		for left := int64(askAgain); left > 0; left = until - now() {
			if _, err := unix.Poll(polled, int(left/int64(time.Millisecond))+1); err != nil && !errors.Is(err, unix.EINTR) {
				return "", fmt.Errorf("inline: wait for %v: %w", host, err)
			}
			for i := range polled {
				if answered(int(polled[i].Fd), host) {
					return ports[i], nil
				}
			}
		}
	}
	return "", fmt.Errorf("inline: %v: %w", host, ErrNoAnswer)
}

// asker opens a socket that sends out of an interface and gets all that comes in
// there, before a bridge takes it.
func asker(index int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w (run as root or with CAP_NET_RAW)", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
	}
	if err == nil {
		err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	return fd, nil
}

// question asks everybody on a segment who has an address.
func question(from packet.MAC, host netip.Addr) ([]byte, error) {
	var out packet.Out
	if host.Is4() {
		out.SetEthernet(packet.Ethernet{Src: from, Dst: packet.BroadcastMAC})
		out.SetARP(packet.ARP{Op: packet.ARPRequest, SenderMAC: from, SenderIP: netip.IPv4Unspecified(), TargetIP: host})
	} else {
		a := host.As16()
		group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]} // RFC 4291 §2.7.1
		out.SetEthernet(packet.Ethernet{Src: from, Dst: packet.MAC{0x33, 0x33, group[12], group[13], group[14], group[15]}})
		out.SetIPv6(packet.IPv6{HopLimit: 255, Src: netip.IPv6Unspecified(), Dst: netip.AddrFrom16(group)})
		out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6NeighborSolicitation, HasND: true, ND: packet.ND{Target: host}})
	}
	return out.Encode(make([]byte, packet.MaxHeaders))
}

// answered looks whether one of the frames that are there is from the host.
func answered(fd int, host netip.Addr) bool {
	var b [2048]byte
	var p packet.Packet
	for {
		n, err := unix.Read(fd, b[:])
		if err != nil {
			return false // nothing more is there
		}
		switch p.Parse(packet.LinkEthernet, b[:n]); {
		case p.Has(packet.HasARP):
			if p.ARP().SenderIP() == host {
				return true
			}
		case p.Src() == host:
			return true
		}
	}
}
