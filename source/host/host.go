package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Host is the ppf.Env of a live machine, in the network namespace of the thread
// that opened it.
type Host struct {
	nl     *netlink.Handle
	ports  ports
	opened time.Time

	rngMu sync.Mutex
	rng   *mathrand.ChaCha8

	devMu   sync.Mutex // serialises refreshing
	devices atomic.Pointer[map[int32]string]
	devAge  atomic.Int64 // when devices was read, in nanoseconds since 1970

	routeMu sync.Mutex
	routes  map[routeKey]cachedRoute
}

var _ ppf.Env = (*Host)(nil)

type routeKey struct {
	dst netip.Addr
	in  int32
}

type cachedRoute struct {
	route ppf.Route
	err   error
	until int64
}

const (
	// routeLife is how long a route is believed; maxRoutes bounds the cache.
	routeLife = int64(time.Second)
	maxRoutes = 4096
	// deviceLife is how long an unknown interface index stays unknown.
	deviceLife = int64(time.Second)
)

// Open opens the host. The random numbers come from a generator seeded by the
// kernel.
func Open() (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("host: open rtnetlink: %w", err)
	}
	var seed [32]byte
	rand.Read(seed[:])
	h := &Host{nl: nl, opened: time.Now(), rng: mathrand.NewChaCha8(seed), routes: map[routeKey]cachedRoute{}}
	if err := h.ports.open(); err != nil {
		nl.Close()
		return nil, err
	}
	h.devices.Store(&map[int32]string{})
	return h, nil
}

// Close gives sockets back.
func (h *Host) Close() {
	h.nl.Close()
	h.ports.close()
}

// Now is the time at Open and what has passed since then (CLOCK_MONOTONIC): a
// clock that is set, as at boot before there is a network, makes no connection
// older or younger.
func (h *Host) Now() int64 { return h.opened.UnixNano() + int64(time.Since(h.opened)) }

// Wall reads the clock, for what people read.
func (h *Host) Wall() int64 { return time.Now().UnixNano() }

// Moment is Now's time with the reading of that clock, by which timers go.
func (h *Host) Moment(now int64) time.Time {
	return h.opened.Add(time.Duration(now - h.opened.UnixNano()))
}

// Uint32 gives a random number.
func (h *Host) Uint32() uint32 {
	h.rngMu.Lock()
	defer h.rngMu.Unlock()
	return uint32(h.rng.Uint64())
}

// DeviceName names an interface. Names are read again when an index is unknown,
// at most once a second; an interface that is renamed while it is up keeps its
// old name here until another appears.
func (h *Host) DeviceName(index int32) string {
	if index == 0 {
		return ""
	}
	if name, ok := (*h.devices.Load())[index]; ok {
		return name
	}
	h.devMu.Lock()
	defer h.devMu.Unlock()
	now := h.Now()
	if now-h.devAge.Load() < deviceLife {
		return (*h.devices.Load())[index]
	}
	h.devAge.Store(now)
	links, err := h.nl.LinkList()
	if err != nil {
		return ""
	}
	names := make(map[int32]string, len(links))
	for _, l := range links {
		names[int32(l.Attrs().Index)] = l.Attrs().Name
	}
	h.devices.Store(&names)
	return names[index]
}

// Route asks the kernel for the way to dst, and believes the answer for a
// second. The input interface only tells cache entries apart: a lookup with it
// would need a source address, and tables that differ by it are rare.
func (h *Host) Route(dst netip.Addr, in int32) (ppf.Route, error) {
	key := routeKey{dst, in}
	now := h.Now()
	h.routeMu.Lock()
	defer h.routeMu.Unlock()
	if c, ok := h.routes[key]; ok && now < c.until {
		return c.route, c.err
	}
	if len(h.routes) >= maxRoutes {
		clear(h.routes)
	}
	r, err := h.lookup(dst)
	h.routes[key] = cachedRoute{r, err, now + routeLife}
	return r, err
}

func (h *Host) lookup(dst netip.Addr) (ppf.Route, error) {
	list, err := h.nl.RouteGet(dst.AsSlice())
	if err != nil || len(list) == 0 {
		return ppf.Route{}, fmt.Errorf("route to %v: %w", dst, errors.Join(ppf.ErrNoRoute, err))
	}
	r := ppf.Route{Out: int32(list[0].LinkIndex), Local: list[0].Type == unix.RTN_LOCAL}
	if a, ok := netip.AddrFromSlice(list[0].Src); ok {
		r.Src = a.Unmap()
	}
	if a, ok := netip.AddrFromSlice(list[0].Gw); ok {
		r.Gateway = a.Unmap()
	}
	// A route has an MTU of its own where it was set, or where a router said so.
	if r.MTU = list[0].MTU; r.MTU == 0 {
		if link, err := h.nl.LinkByIndex(list[0].LinkIndex); err == nil {
			r.MTU = link.Attrs().MTU
		}
	}
	return r, nil
}

// ReservePort takes a port; see ppf.Env.
func (h *Host) ReservePort(a netip.Addr, p packet.Protocol) (uint16, error) {
	return h.ports.reserve(a, p)
}

// ReleasePort gives a port back; see ppf.Env.
func (h *Host) ReleasePort(a netip.Addr, p packet.Protocol, port uint16) {
	h.ports.release(portKey{netip.AddrPortFrom(a, port), p})
}
