package inline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// port is one interface of a pair. Its workers open their own sockets on it.
type port struct {
	name string
	hook ppf.Hook
	c    *Config

	ctl   int          // a socket to ask about the interface
	index atomic.Int32 // 0 while the interface is gone
	mtu   atomic.Int32 // the longest IP packet that it sends

	mu     sync.Mutex // guards what follows
	state  linkState
	fanout int    // id of the group of receivers; 0: none yet
	ipv6   string // disable_ipv6 before; "" where it is not to be put back
}

// linkState says how far an interface can carry frames.
type linkState uint8

// The states. The zero value is "not looked at yet".
const (
	linkUnknown linkState = iota
	linkGone
	linkDown
	linkNoCarrier
	linkUp
)

var linkStates = [...]string{"unknown", "gone", "down", "without link", "up"}

// String names the state.
func (s linkState) String() string { return linkStates[s] }

func newPort(name string, hook ppf.Hook, c *Config) (*port, error) {
	ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("inline: port %s: %w", name, err)
	}
	return &port{name: name, hook: hook, c: c, ctl: ctl}, nil
}

// open makes the interface ready: silent first, then up.
func (p *port) open() error {
	index, flags, err := p.look()
	if err != nil {
		return fmt.Errorf("inline: port %s: %w (name an interface that is there)", p.name, err)
	}
	if flags&unix.IFF_LOOPBACK != 0 {
		return fmt.Errorf("inline: port %s: it is a loopback interface (name one with a cable)", p.name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready(index, flags)
}

// ready is open for an interface that was looked at; mu is held.
func (p *port) ready(index int32, flags uint16) error {
	if err := p.c.Prepare(p.name); err != nil {
		return fmt.Errorf("inline: port %s: silence the host: %w", p.name, err)
	}
	if err := p.disableIPv6(); err != nil {
		return fmt.Errorf("inline: port %s: disable IPv6: %w", p.name, err)
	}
	if err := p.refuseLRO(); err != nil {
		return err
	}
	if flags&unix.IFF_UP == 0 {
		if err := p.setFlags(flags | unix.IFF_UP); err != nil {
			return fmt.Errorf("inline: port %s: set up: %w", p.name, err)
		}
	}
	if index != p.index.Load() {
		p.fanout = 0
		p.index.Store(index)
	}
	return nil
}

// look asks for the interface's index, MTU and flags.
func (p *port) look() (index int32, flags uint16, err error) {
	req, err := unix.NewIfreq(p.name)
	if err == nil {
		err = unix.IoctlIfreq(p.ctl, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, 0, err
	}
	index = int32(req.Uint32())
	if err := unix.IoctlIfreq(p.ctl, unix.SIOCGIFMTU, req); err != nil {
		return 0, 0, err
	}
	p.mtu.Store(int32(req.Uint32()))
	if err := unix.IoctlIfreq(p.ctl, unix.SIOCGIFFLAGS, req); err != nil {
		return 0, 0, err
	}
	return index, req.Uint16(), nil
}

func (p *port) setFlags(flags uint16) error {
	req, err := unix.NewIfreq(p.name)
	if err != nil {
		return err
	}
	req.SetUint16(flags)
	return unix.IoctlIfreq(p.ctl, unix.SIOCSIFFLAGS, req)
}

// check looks whether the interface is as it was, tells what has changed, and
// makes one that came back ready again.
func (p *port) check() {
	if !p.mu.TryLock() {
		return // another worker looks
	}
	defer p.mu.Unlock()
	index, flags, err := p.look()
	state := linkUp
	switch {
	case err != nil:
		state = linkGone
		p.index.Store(0)
	case flags&unix.IFF_UP == 0:
		state = linkDown
	case flags&unix.IFF_RUNNING == 0:
		state = linkNoCarrier
	}
	if err == nil && index != p.index.Load() {
		if err := p.ready(index, flags); err != nil {
			state = linkGone // it is tried again
		}
	}
	if before := p.state; state != before {
		p.state = state
		if before != linkUnknown || state != linkUp {
			p.c.Say("inline: port %s is %v (it was %v)", p.name, state, before)
		}
	}
}

func (p *port) ipv6Setting() string { return "/proc/sys/net/ipv6/conf/" + p.name + "/disable_ipv6" }

// disableIPv6 keeps the interface from giving itself a link-local address, and
// from asking for routers, with what goes out for that.
func (p *port) disableIPv6() error {
	before, err := os.ReadFile(p.ipv6Setting())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return err
	}
	if s := strings.TrimSpace(string(before)); s != "1" {
		p.ipv6 = s
		return os.WriteFile(p.ipv6Setting(), []byte("1"), 0)
	}
	return nil
}

// restore puts back what open changed, but for the interface being up.
func (p *port) restore() error {
	if p.ipv6 == "" {
		return nil
	}
	err := os.WriteFile(p.ipv6Setting(), []byte(p.ipv6), 0)
	p.ipv6 = ""
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the interface is gone
	}
	return err
}

// ethtoolFlagLRO is ETH_FLAG_LRO (include/uapi/linux/ethtool.h).
const ethtoolFlagLRO = 1 << 15

// ethtoolValue is struct ethtool_value, ethtoolRequest the struct ifreq that
// points to one.
type (
	ethtoolValue   struct{ cmd, data uint32 }
	ethtoolRequest struct {
		name  [unix.IFNAMSIZ]byte
		value *ethtoolValue
		_     [16]byte
	}
)

func (p *port) ethtool(v *ethtoolValue) error {
	req := ethtoolRequest{value: v}
	copy(req.name[:unix.IFNAMSIZ-1], p.name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.ctl), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

// refuseLRO turns off large receive offload, as the kernel does where it
// forwards: what a card has merged so cannot be cut again as it was.
func (p *port) refuseLRO() error {
	v := ethtoolValue{cmd: unix.ETHTOOL_GFLAGS}
	if err := p.ethtool(&v); err != nil || v.data&ethtoolFlagLRO == 0 {
		return nil // an interface that knows no offloads has none
	}
	v.cmd, v.data = unix.ETHTOOL_SFLAGS, v.data&^ethtoolFlagLRO
	if err := p.ethtool(&v); err != nil {
		return fmt.Errorf("inline: port %s: turn large receive offload off: %w (ethtool -K %s lro off)", p.name, err, p.name)
	}
	return nil
}
