package host

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
)

// ErrNoPort reports that no port of an address is free, or no file descriptor
// to reserve it with.
var ErrNoPort = errors.New("no port can be reserved")

// ports reserves source ports by really binding a socket to each: the kernel
// then gives the port to nobody else, and we get none that is in use.
type ports struct {
	ns   netns.NsHandle
	mu   sync.Mutex
	held map[portKey]int // file descriptor
}

type portKey struct {
	at    netip.AddrPort
	proto packet.Protocol
}

// open remembers the calling thread's network namespace and raises the limit of
// open files as far as it goes, since each port holds one.
func (p *ports) open() (err error) {
	if p.ns, err = netns.Get(); err != nil {
		return fmt.Errorf("host: network namespace: %w", err)
	}
	p.held = map[portKey]int{}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // best effort: fewer ports then
	}
	return nil
}

func (p *ports) reserve(a netip.Addr, proto packet.Protocol) (uint16, error) {
	kind := unix.SOCK_STREAM
	if proto == packet.ProtoUDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := p.socket(a, kind)
	if err != nil {
		return 0, fmt.Errorf("port of %v: %w: %w", a, ErrNoPort, err)
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{}
	if a.Is4() {
		sa.(*unix.SockaddrInet4).Addr = a.As4()
	} else {
		sa = &unix.SockaddrInet6{Addr: a.As16()}
	}
	if err = unix.Bind(fd, sa); err == nil {
		sa, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("port of %v: %w: %w", a, ErrNoPort, err)
	}
	var port uint16
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		port = uint16(sa.Port)
	}
	p.mu.Lock()
	p.held[portKey{netip.AddrPortFrom(a, port), proto}] = fd
	p.mu.Unlock()
	return port, nil
}

// socket makes a socket in our namespace, whichever the thread is in.
func (p *ports) socket(a netip.Addr, kind int) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	here, err := netns.Get()
	if err != nil {
		return -1, err
	}
	defer here.Close()
	if here.Equal(p.ns) {
		return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its changed namespace
		if err := netns.Set(p.ns); err != nil {
			done <- result{-1, err}
			return
		}
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

func (p *ports) release(k portKey) {
	p.mu.Lock()
	fd, ok := p.held[k]
	delete(p.held, k)
	p.mu.Unlock()
	if ok {
		unix.Close(fd)
	}
}

func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, fd := range p.held {
		unix.Close(fd)
		delete(p.held, k)
	}
	p.ns.Close()
}
