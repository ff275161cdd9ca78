package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Interface names, the same in every lab.
const (
	EndInterface    = "eth0"    // of client and server
	ClientInterface = "client0" // of the proxy, towards the client
	ServerInterface = "server0" // of the proxy, towards the server
)

// Host is one machine of a lab: a network namespace with its interfaces. Its
// methods are safe for concurrent use until the lab is down; then they fail.
type Host struct {
	Name string     // "promethos-client"; in an anonymous lab nothing else knows it
	IPv4 netip.Addr // the address on EndInterface; on the proxy that towards the client, invalid inline
	IPv6 netip.Addr // likewise

	ns *os.File
}

// Addr gives the host's address of the family that network ends with: "tcp6",
// "udp6" and the like mean IPv6, all else IPv4.
func (h *Host) Addr(network string) netip.Addr {
	if strings.HasSuffix(network, "6") {
		return h.IPv6
	}
	return h.IPv4
}

// Do runs f in the host: on an OS thread of its own whose network namespace is
// the host's. Sockets that f makes stay in the host, wherever they are used later;
// goroutines that f starts run outside. f must not wait for another goroutine to
// lock f's thread. A panic or t.FailNow in f goes on in the caller. A thread whose
// namespace cannot be put back ends.
func (h *Host) Do(f func() error) error {
	if err := inNamespace(h.ns, f); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// Sysctl writes value to a network setting of the host, such as
// "net/ipv4/ip_forward".
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error { return writeSysctl(key, value) })
}

// writeSysctl writes for the calling thread's namespace: /proc/sys/net shows that
// of whoever opens it.
func writeSysctl(key, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
}

// Listen opens a stream listener in the host. addr is "ADDRESS:PORT", with an IP
// address or nothing before the colon; port 0 picks one. The listener speaks TCP
// only (Go's default adds Multipath TCP).
func (h *Host) Listen(ctx context.Context, network, addr string) (l net.Listener, err error) {
	if err := checkLiteral(addr); err != nil {
		return nil, fmt.Errorf("host %s: listen: %w", h.Name, err)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	err = h.Do(func() error {
		l, err = config.Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket opens a datagram socket in the host; addr as in Listen, without
// port where network is "ip4:1" and the like.
func (h *Host) ListenPacket(ctx context.Context, network, addr string) (c net.PacketConn, err error) {
	if !strings.HasPrefix(network, "ip") {
		if err := checkLiteral(addr); err != nil {
			return nil, fmt.Errorf("host %s: listen: %w", h.Name, err)
		}
	}
	var config net.ListenConfig
	err = h.Do(func() error {
		c, err = config.ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}

// Dial connects from the host. addr is "ADDRESS:PORT" with an IP address: the
// lab has no name service.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.dial(ctx, &net.Dialer{}, network, addr)
}

// DialFrom is Dial from a local "ADDRESS:PORT".
func (h *Host) DialFrom(ctx context.Context, network, local, addr string) (net.Conn, error) {
	from, err := netip.ParseAddrPort(local)
	if err != nil {
		return nil, fmt.Errorf("host %s: dial: %w", h.Name, err)
	}
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}
	if strings.HasPrefix(network, "udp") {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(from)
	}
	return h.dial(ctx, dialer, network, addr)
}

func (h *Host) dial(ctx context.Context, dialer *net.Dialer, network, addr string) (c net.Conn, err error) {
	if err := checkLiteral(addr); err != nil {
		return nil, fmt.Errorf("host %s: dial: %w", h.Name, err)
	}
	err = h.Do(func() error {
		c, err = dialer.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// checkLiteral refuses names: package net looks them up on goroutines that are
// not in the host.
func checkLiteral(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	return err
}

// Cmd is an exec.Cmd that starts in a host's network namespace. Its other
// namespaces are the caller's; so is /sys, which shows the caller's interfaces.
type Cmd struct {
	*exec.Cmd
	host *Host
}

// Command prepares a program to run in the host. It is killed when ctx ends.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{exec.CommandContext(ctx, name, args...), h}
}

// Start is exec.Cmd.Start in the host. A new process has the namespaces of the
// thread that makes it.
func (c *Cmd) Start() error { return c.host.Do(c.Cmd.Start) }

// Run is exec.Cmd.Run in the host.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// CombinedOutput is exec.Cmd.CombinedOutput in the host.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("lab: output of a command: Stdout or Stderr is set already")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Output is exec.Cmd.Output in the host; standard error goes to the error's text.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("lab: output of a command: Stdout is set already")
	}
	var out, complaint bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &complaint
	}
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = complaint.Bytes()
	}
	return out.Bytes(), err
}
