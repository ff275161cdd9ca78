package main

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// network tells what of interfaces and routes matters to a proxy.
func network() []finding {
	return append([]finding{reversePath(), validMark(), largeReceive(), bridges()}, defaultRoutes()...)
}

// reversePath tells about the kernel's own check of source addresses
// (RFC 3704 §2.2): what it drops is not seen here.
func reversePath() finding {
	f := finding{Name: "reverse path filter", OK: true, Detail: "off"}
	names, err := interfacesUp()
	if err != nil {
		f.Detail = "unknown: " + err.Error()
		return f
	}
	var strict, loose []string
	for _, name := range append(names, "all") {
		switch sysctl("net/ipv4/conf/" + name + "/rp_filter") {
		case "1":
			strict = append(strict, name)
		case "2":
			loose = append(loose, name)
		}
	}
	switch {
	case len(strict) > 0:
		f.Detail = "strict on " + strings.Join(strict, ", ") + ": packets that come by another way than answers leave are dropped before us"
		f.Fix = "sysctl -w net.ipv4.conf.all.rp_filter=2, where routes are asymmetric"
	case len(loose) > 0:
		f.Detail = "loose on " + strings.Join(loose, ", ")
	}
	return f
}

// validMark tells whether the kernel looks sources up with a packet's mark, which
// makes martians of those that a chain with a stream function diverts.
func validMark() finding {
	f := finding{Name: "sources by mark", OK: true, Detail: "off"}
	names, err := interfacesUp()
	if err != nil {
		f.Detail = "unknown: " + err.Error()
		return f
	}
	for _, name := range append(names, "all") {
		if sysctl("net/ipv4/conf/"+name+"/src_valid_mark") == "1" {
			f.Detail = "src_valid_mark on " + name + ": chains with a stream function get no packets"
			f.Fix = "sysctl -w net.ipv4.conf." + name + ".src_valid_mark=0, where such a chain is wanted"
			return f
		}
	}
	return f
}

// sysctl reads a kernel setting, "" where it cannot be read.
func sysctl(path string) string {
	value, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// Requests of ethtool(8) (linux/ethtool.h): the flags of an interface.
const (
	ethtoolGetFlags = 0x25
	ethtoolLRO      = 1 << 15
)

// largeReceive tells whether a card merges packets for good before we see them
// (LRO). The kernel's own merging (GRO) keeps every length and is welcome.
func largeReceive() finding {
	f := finding{Name: "offloads", OK: true, Detail: "no interface merges packets for good; GRO, GSO and TSO are welcome"}
	names, err := interfacesUp()
	if err != nil {
		f.Detail = "unknown: " + err.Error()
		return f
	}
	var on []string
	for _, name := range names {
		if flags, err := ethtoolFlags(name); err == nil && flags&ethtoolLRO != 0 {
			on = append(on, name)
		}
	}
	if len(on) > 0 {
		f.OK, f.Detail = false, "large receive offload on "+strings.Join(on, ", ")+": what arrives is not what was sent"
		f.Fix = "ethtool -K " + on[0] + " lro off"
	}
	return f
}

func ethtoolFlags(name string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := struct{ command, value uint32 }{command: ethtoolGetFlags}
	// struct ifreq with a pointer (linux/if.h).
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return 0, os.NewSyscallError("ethtool", errno)
	}
	return value.value, nil
}

// bridges tells of interfaces that are joined without routing.
func bridges() finding {
	f := finding{Name: "bridges", OK: true, Detail: "none"}
	links, err := netlink.LinkList()
	if err != nil {
		f.Detail = "unknown: " + err.Error()
		return f
	}
	var list []string
	for _, l := range links {
		if l.Type() != "bridge" {
			continue
		}
		ports, err := bridgePorts(l.Attrs().Index)
		if err != nil {
			f.Detail = "unknown: " + err.Error()
			return f
		}
		list = append(list, l.Attrs().Name+" joins "+fmt.Sprint(ports))
	}
	if len(list) > 0 {
		f.Detail = strings.Join(list, "; ") + ": what a bridge carries is not seen by instances at hooks"
		f.Fix = "`source: inline` with two interfaces that are in no bridge, if client and server are joined by one"
	}
	return f
}

// defaultRoutes tells where packets to elsewhere leave, by IP version.
func defaultRoutes() (list []finding) {
	for _, family := range []struct {
		name   string
		number int
	}{{"IPv4", netlink.FAMILY_V4}, {"IPv6", netlink.FAMILY_V6}} {
		f := finding{Name: "routes " + family.name, OK: true}
		routes, err := netlink.RouteList(nil, family.number)
		if err != nil {
			f.Detail = "unknown: " + err.Error()
			list = append(list, f)
			continue
		}
		f.Detail = fmt.Sprintf("%d, no default route", len(routes))
		for _, r := range routes {
			if r.Dst != nil && r.Dst.String() != "0.0.0.0/0" && r.Dst.String() != "::/0" {
				continue
			}
			f.Detail = fmt.Sprintf("%d, default by %v", len(routes), r.Gw)
			if len(r.MultiPath) > 1 {
				f.Detail = fmt.Sprintf("%d, default by %d ways at once: answers may come back another way", len(routes), len(r.MultiPath))
				f.Fix = "one way for each protected server, or the proxy nearer to it"
			}
		}
		list = append(list, f)
	}
	return list
}
