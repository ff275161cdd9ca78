package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/protect"
)

const (
	echoAgain = 200 * time.Millisecond // between two rounds of echo requests
	echoTimes = 5
)

// askWays sends echo requests to a server from each of this machine's addresses, and
// tells where the replies come in: what is sent from an address on the clients' side
// takes the way back that an answer to a client there does. A server that does not
// answer tells nothing.
func askWays(server netip.Addr) ([]protect.Way, error) {
	ways, index, err := ownAddresses(server)
	if err != nil || len(ways) == 0 {
		return nil, err
	}
	heard, err := listener(server)
	if err != nil {
		return nil, err
	}
	defer unix.Close(heard)
	said, err := speaker(server)
	if err != nil {
		return nil, err
	}
	defer unix.Close(said)
	id := uint16(rand.Uint32())
	for range echoTimes {
		waiting := 0
		for _, w := range ways {
			if w.In != "" {
				continue
			}
			waiting++
			if err := echo(said, w.From, server, id); err != nil {
				return nil, err
			}
		}
		if waiting == 0 {
			break
		}
		polled := []unix.PollFd{{Fd: int32(heard), Events: unix.POLLIN}}
		for until := time.Now().Add(echoAgain); ; {
			left := time.Until(until)
			if left <= 0 || !waits(ways) {
				break
			}
			if _, err := unix.Poll(polled, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
				return nil, fmt.Errorf("protect %v: wait for an echo: %w", server, err)
			}
			hear(heard, server, id, ways, index)
		}
	}
	return ways, nil
}

func waits(ways []protect.Way) bool {
	for _, w := range ways {
		if w.In == "" {
			return true
		}
	}
	return false
}

// ownAddresses are those of a server's family, one for each interface that is up, and
// the interfaces' names by number.
func ownAddresses(server netip.Addr) (ways []protect.Way, index map[int]string, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("interfaces: %w", err)
	}
	index = map[int]string{}
	for _, l := range links {
		index[l.Index] = l.Name
		if l.Flags&net.FlagUp == 0 || l.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			return nil, nil, fmt.Errorf("interface %s: %w", l.Name, err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() == server.Is4() && p.Addr().IsGlobalUnicast() {
				ways = append(ways, protect.Way{From: p.Addr(), Of: l.Name})
				break
			}
		}
	}
	return ways, index, nil
}

// listener gets the IP packets of a server's family that come in, also those that the
// kernel's check of source addresses drops.
func listener(server netip.Addr) (int, error) {
	protocol := uint16(unix.ETH_P_IP)
	if server.Is6() {
		protocol = unix.ETH_P_IPV6
	}
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(network))
	if err != nil {
		return -1, fmt.Errorf("protect %v: packet socket: %w (run as root or with CAP_NET_RAW)", server, err)
	}
	return fd, nil
}

// speaker sends packets with their IP header.
func speaker(server netip.Addr) (int, error) {
	family := unix.AF_INET
	if server.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err == nil && server.Is6() {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("protect %v: raw socket: %w (run as root or with CAP_NET_RAW)", server, err)
	}
	return fd, nil
}

// echo sends a request. Where it cannot leave, nothing comes back.
func echo(fd int, from, server netip.Addr, id uint16) error {
	var out packet.Out
	var to unix.Sockaddr
	if server.Is4() {
		out.SetIPv4(packet.IPv4{Src: from, Dst: server, TTL: 64, DF: true})
		out.SetICMPv4(packet.ICMPv4{Type: packet.ICMPv4Echo, ID: id})
		to = &unix.SockaddrInet4{Addr: server.As4()}
	} else {
		out.SetIPv6(packet.IPv6{Src: from, Dst: server, HopLimit: 64})
		out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6Echo, ID: id})
		to = &unix.SockaddrInet6{Addr: server.As16()}
	}
	b, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		return fmt.Errorf("protect %v: echo: %w", server, err)
	}
	_ = unix.Sendto(fd, b, 0, to) // as above
	return nil
}

// hear reads what is there, and notes by which interface the replies came.
func hear(fd int, server netip.Addr, id uint16, ways []protect.Way, index map[int]string) {
	var b [2048]byte
	var p packet.Packet
	for {
		n, from, err := unix.Recvfrom(fd, b[:], 0)
		if err != nil {
			return // nothing more is there
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype != unix.PACKET_HOST || p.Parse(packet.LinkRawIP, b[:n]) != packet.ReasonNone || p.Src() != server || !isReply(&p, id) {
			continue
		}
		for i := range ways {
			if ways[i].From == p.Dst() && ways[i].In == "" {
				ways[i].In = index[link.Ifindex]
			}
		}
	}
}

func isReply(p *packet.Packet, id uint16) bool {
	switch {
	case p.Has(packet.HasICMPv4):
		v := p.ICMPv4()
		return v.Type() == packet.ICMPv4EchoReply && v.EchoID() == id
	case p.Has(packet.HasICMPv6):
		v := p.ICMPv6()
		return v.Type() == packet.ICMPv6EchoReply && v.EchoID() == id
	}
	return false
}
