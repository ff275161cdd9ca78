package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/protect"
	"github.com/promethos/promethos/source/inline"
)

// findFacts looks at this machine as the way to a server. ports are those of a wire
// that the operator has named, the client's and the server's; none: the machine
// routes, or it is a bridge whose ports are asked.
func findFacts(server netip.Addr, ports []string) (f protect.Facts, err error) {
	for _, m := range ppf.BuiltinModules() {
		f.Functions = append(f.Functions, m.Functions...)
	}
	if f.Interfaces, err = interfacesUp(); err != nil {
		return f, err
	}
	f.Sessions = ownSessions()
	if len(ports) > 0 {
		if f.Wire, err = namedWire(ports); err != nil {
			return f, err
		}
		f.Bridge, f.Out, f.Cut, err = wireFacts(f.Wire, f.Sessions)
		return f, err
	}
	routes, err := netlink.RouteGet(server.AsSlice())
	if err != nil || len(routes) == 0 {
		return f, fmt.Errorf("protect %v: no way there: %w (add a route to the server; or where this machine joins two cables, name them: --inline CLIENT,SERVER)", server, err)
	}
	r := routes[0]
	f.Local = r.Type == unix.RTN_LOCAL
	f.OnLink = r.Gw == nil
	if f.Out, err = linkName(r.LinkIndex); err != nil {
		return f, err
	}
	if f.Ports, err = bridgePorts(r.LinkIndex); err != nil {
		return f, err
	}
	if f.Bridge = len(f.Ports) > 0; f.Bridge && !f.Local {
		if f.Wire, err = askedWire(f.Ports, server); err != nil || f.Wire == nil {
			return f, err
		}
		_, _, f.Cut, err = wireFacts(f.Wire, f.Sessions)
		return f, err
	}
	if f.Default, f.Multipath, err = tableFacts(server); err != nil {
		return f, err
	}
	key := "net/ipv4/ip_forward"
	if server.Is6() {
		key = "net/ipv6/conf/all/forwarding"
	}
	value := sysctl(key)
	f.Forwards = value != "" && value != "0"
	if !f.Local {
		f.Ways, err = askWays(server)
	}
	return f, err
}

// namedWire looks whether two ports are there.
func namedWire(ports []string) (*protect.Wire, error) {
	if len(ports) != 2 || ports[0] == ports[1] {
		return nil, usageError{fmt.Errorf("protect: --inline names two interfaces, the one towards the clients first (--inline eth1,eth2)")}
	}
	for _, p := range ports {
		if _, err := net.InterfaceByName(p); err != nil {
			return nil, fmt.Errorf("protect: port %s: %w (name an interface that is there)", p, err)
		}
	}
	return &protect.Wire{Client: ports[0], Server: ports[1]}, nil
}

// askedWire finds behind which of a bridge's two ports a server is; nil where that
// cannot be told.
func askedWire(ports []string, server netip.Addr) (*protect.Wire, error) {
	if len(ports) != 2 {
		return nil, nil
	}
	port, err := inline.Ask(ports, server, func() int64 { return time.Now().UnixNano() })
	switch {
	case errors.Is(err, inline.ErrNoAnswer):
		return nil, nil
	case err != nil:
		return nil, err
	case port == ports[0]:
		return &protect.Wire{Client: ports[1], Server: ports[0]}, nil
	}
	return &protect.Wire{Client: ports[0], Server: ports[1]}, nil
}

// wireFacts tells whether the ports of a wire are those of a bridge, and which
// sessions come in at them.
func wireFacts(w *protect.Wire, sessions []protect.Session) (bridged bool, bridge string, cut []protect.Session, err error) {
	mute := map[int]bool{} // interfaces at which this machine is not heard
	for _, name := range []string{w.Client, w.Server} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return false, "", nil, fmt.Errorf("protect: port %s: %w", name, err)
		}
		mute[l.Attrs().Index] = true
		if master := l.Attrs().MasterIndex; master != 0 {
			bridged, mute[master] = true, true
			if bridge, err = linkName(master); err != nil {
				return false, "", nil, err
			}
		}
	}
	for _, s := range sessions {
		routes, err := netlink.RouteGet(s.Client.Addr().Unmap().AsSlice())
		if err == nil && len(routes) > 0 && mute[routes[0].LinkIndex] {
			cut = append(cut, s)
		}
	}
	return bridged, bridge, cut, nil
}

func interfacesUp() (names []string, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	for _, l := range links {
		if l.Flags&net.FlagUp != 0 && l.Flags&net.FlagLoopback == 0 {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

func linkName(index int) (string, error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return "", fmt.Errorf("interface %d: %w", index, err)
	}
	return l.Attrs().Name, nil
}

// bridgePorts lists what a bridge joins; none for any other interface.
func bridgePorts(index int) (names []string, err error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil || l.Type() != "bridge" {
		return nil, err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == index {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

// tableFacts finds the interface of the default route, and whether the best
// route to the server has several next hops.
func tableFacts(server netip.Addr) (out string, multipath bool, err error) {
	family := netlink.FAMILY_V4
	if server.Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := netlink.RouteList(nil, family)
	if err != nil {
		return "", false, fmt.Errorf("routes: %w", err)
	}
	longest := -1
	for _, r := range routes {
		bits := 0
		if r.Dst != nil {
			if !r.Dst.Contains(server.AsSlice()) {
				continue
			}
			bits, _ = r.Dst.Mask.Size()
		}
		if bits > longest {
			longest, multipath = bits, len(r.MultiPath) > 1
		}
		if bits == 0 && r.LinkIndex != 0 && out == "" {
			if out, err = linkName(r.LinkIndex); err != nil {
				return "", false, err
			}
		}
	}
	return out, multipath, nil
}

// ownSessions are the SSH connections under which this process or one of its
// ancestors was started: sudo takes the variable away, and a shell inside a shell
// hides it.
func ownSessions() (list []protect.Session) {
	for pid := os.Getpid(); pid > 1; pid = parent(pid) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			break
		}
		for _, v := range strings.Split(string(environ), "\x00") {
			value, found := strings.CutPrefix(v, "SSH_CONNECTION=")
			if s, ok := protect.SSHSession(value); found && ok && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// parent is the process that started another, 0 where it cannot be told.
func parent(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
