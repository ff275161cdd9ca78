package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// rawSockets send packets with their own IP header. For IPv4 the kernel fills in
// the header checksum and total length, and the identification where it is 0
// unless DF is set (net/ipv4/raw.c, raw_send_hdrinc; ip_select_ident); IPv6 goes
// out as it is.
type rawSockets struct{ v4, v6 int }

func (r *rawSockets) open(mark uint32) (err error) {
	if r.v4, err = rawSocket(unix.AF_INET, mark); err != nil {
		return err
	}
	r.v6, err = rawSocket(unix.AF_INET6, mark)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		r.v6 = -1 // a host without IPv6 has no IPv6 packets to answer
		return nil
	}
	return err
}

func rawSocket(family int, mark uint32) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, fmt.Errorf("nfqueue: raw socket: %w (run as root or with CAP_NET_RAW)", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("nfqueue: raw socket: mark: %w", err)
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("nfqueue: raw socket: IPV6_HDRINCL: %w", err)
		}
	}
	return fd, nil
}

// Emit sends an IP packet past our own rules, which skip its mark.
func (s *Source) Emit(pkt []byte) error {
	if len(pkt) < 20 {
		return fmt.Errorf("nfqueue: emit: %d bytes are no packet", len(pkt))
	}
	var err error
	if pkt[0]>>4 == 4 {
		err = unix.Sendto(s.raw.v4, pkt, 0, &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])})
	} else if len(pkt) >= 40 && s.raw.v6 >= 0 {
		err = unix.Sendto(s.raw.v6, pkt, 0, &unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])})
	} else {
		err = unix.EAFNOSUPPORT
	}
	if err != nil {
		return fmt.Errorf("nfqueue: emit packet of %d bytes: %w", binary.BigEndian.Uint16(pkt[2:]), err)
	}
	s.emitted.Add(1)
	return nil
}

func (r *rawSockets) close() {
	for _, fd := range []int{r.v4, r.v6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	r.v4, r.v6 = -1, -1
}
