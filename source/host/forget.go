package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// timeWait is TCP_TIME_WAIT (include/net/tcp_states.h).
const timeWait = 6

// destroyRequest is struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h).
type destroyRequest struct {
	family        uint8
	local, remote netip.AddrPort
	cookie        [2]uint32
}

const destroyLen = 56

// Len is the request's length in bytes.
func (*destroyRequest) Len() int { return destroyLen }

// Serialize writes the request: addresses and ports are in network order.
func (r *destroyRequest) Serialize() []byte {
	b := make([]byte, 0, destroyLen)
	b = append(b, r.family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<timeWait)
	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	for _, a := range []netip.Addr{r.local.Addr(), r.remote.Addr()} {
		var field [16]byte
		copy(field[:], a.AsSlice())
		b = append(b, field[:]...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0) // any interface
	for _, half := range r.cookie {
		b = binary.NativeEndian.AppendUint32(b, half)
	}
	return b
}

func (r *destroyRequest) execute() error {
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddData(r)
	_, err := request.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// CanForget says what keeps Forget from ending sockets: the kernel is asked to end one
// that cannot be there.
func CanForget() error {
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if err := (&destroyRequest{family: unix.AF_INET, local: nobody, remote: nobody}).execute(); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("host: end a socket: %w", err)
	}
	return nil
}

// Forget ends the sockets in TIME-WAIT that have an address of another host and
// that which says: the kernel does not forward packets of their four-tuple, since
// they are for a socket of its own (net/ipv4/ip_forward.c). Called in the network
// namespace of d. Without CONFIG_INET_DIAG_DESTROY nothing ends.
func (d *Diversion) Forget(which func(local, remote netip.AddrPort) bool) error {
	own := map[netip.Addr]bool{}
	addrs, err := d.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("host: list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			own[ip.Unmap()] = true
		}
	}
	for _, family := range families() {
		list, err := netlink.SocketDiagTCP(uint8(family))
		if err != nil {
			return fmt.Errorf("host: list sockets: %w", err)
		}
		for _, s := range list {
			local, remote := socketEnd(s.ID.Source, s.ID.SourcePort), socketEnd(s.ID.Destination, s.ID.DestinationPort)
			if s.State != timeWait || own[local.Addr()] || !which(local, remote) {
				continue
			}
			err := (&destroyRequest{uint8(family), local, remote, s.ID.Cookie}).execute()
			switch {
			case errors.Is(err, unix.EOPNOTSUPP):
				return nil
			case err != nil && !errors.Is(err, unix.ENOENT):
				return fmt.Errorf("host: end TIME-WAIT of %v with %v: %w", local, remote, err)
			}
		}
	}
	return nil
}

func socketEnd(ip []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}
