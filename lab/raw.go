package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RawSender puts frames on an interface of a host as they are. It is safe for
// concurrent use; Close must come last.
type RawSender struct {
	fd   int
	name string
}

// RawSender opens a sender on an interface of the host ("" means EndInterface).
// The caller closes it.
func (h *Host) RawSender(iface string) (*RawSender, error) {
	if iface == "" {
		iface = EndInterface
	}
	s := &RawSender{name: h.Name + " " + iface}
	err := h.Do(func() (err error) {
		// Protocol 0: it receives nothing. It blocks where its buffer is full.
		s.fd, err = packetSocket(iface, 0, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends one Ethernet frame without checksum. A frame above the interface's
// MTU is an error.
func (s *RawSender) Send(frame []byte) error {
	if _, err := unix.Write(s.fd, frame); err != nil {
		return fmt.Errorf("send frame on %s: %w", s.name, err)
	}
	return nil
}

// SendAll sends frames in order.
func (s *RawSender) SendAll(frames [][]byte) error {
	for _, f := range frames {
		if err := s.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the socket.
func (s *RawSender) Close() error { return unix.Close(s.fd) }

// packetSocket makes an AF_PACKET socket of the calling thread's namespace, bound
// to an interface and an ethertype (host order); flags as for socket(2).
func packetSocket(iface string, ethertype uint16, flags int) (int, error) {
	// The protocol comes with bind, or frames of all interfaces arrive before it.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, os.NewSyscallError("packet socket", err)
	}
	link, err := net.InterfaceByName(iface)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("interface %s: %w", iface, err)
	}
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, ethertype))
	addr := &unix.SockaddrLinklayer{Protocol: network, Ifindex: link.Index}
	if err := unix.Bind(fd, addr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket to %s: %w", iface, err)
	}
	return fd, nil
}

// MAC gives the hardware address of an interface of the host ("" means
// EndInterface).
func (h *Host) MAC(iface string) (mac net.HardwareAddr, err error) {
	if iface == "" {
		iface = EndInterface
	}
	err = h.withNetlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("interface %s: %w", iface, err)
		}
		mac = link.Attrs().HardwareAddr
		return nil
	})
	return mac, err
}

// NextHopMAC gives the hardware address that a frame from end (Client or Server)
// to the other end carries: the proxy's in the routed layout, the other end's own
// inline.
func (l *Lab) NextHopMAC(end *Host) (net.HardwareAddr, error) {
	switch {
	case end == l.Client && l.options.Inline:
		return l.Server.MAC(EndInterface)
	case end == l.Server && l.options.Inline:
		return l.Client.MAC(EndInterface)
	case end == l.Client:
		return l.Proxy.MAC(ClientInterface)
	case end == l.Server:
		return l.Proxy.MAC(ServerInterface)
	}
	return nil, fmt.Errorf("lab: next hop of %s: want client or server", end.Name)
}
