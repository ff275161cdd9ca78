package main

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/source/host"
)

// kernel tells what sources and streams need of the kernel besides its rules.
func kernel() []finding { return []finding{packetSockets(), policyRouting(), endingSockets()} }

// need is a finding about something that not everybody needs: err says that it is
// missing.
func need(name string, err error, without, fix string) finding {
	if err == nil {
		return finding{Name: name, OK: true, Detail: "present"}
	}
	return finding{Name: name, OK: true, Detail: "not there: " + err.Error() + "; " + without, Fix: fix}
}

// packetSockets tells whether frames can be taken from an interface.
func packetSockets() finding {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1))
		}
		unix.Close(fd)
	}
	return need("packet sockets", err, "only inline pairs need them", "modprobe af_packet, or Linux 4.20 or newer with CONFIG_PACKET")
}

// policyRouting tells whether packets for others can be led to sockets of this
// machine.
func policyRouting() finding {
	_, err := netlink.RuleList(netlink.FAMILY_V4)
	return need("policy routing", err, "only chains with a stream level need it", "a kernel with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES")
}

// endingSockets tells whether a connection's socket that waits after its end can be
// ended, so that its client may come by its four-tuple to a chain of packets.
func endingSockets() finding {
	return need("ending sockets", host.CanForget(), "a client that reuses a port within a minute after its chain lost a stream function finds nobody", "a kernel with CONFIG_INET_DIAG_DESTROY")
}
