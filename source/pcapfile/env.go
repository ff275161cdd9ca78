package pcapfile

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// ErrNoHost reports that a function asked for something that only a host in the
// network has.
var ErrNoHost = errors.New("a capture file has no host with routes and ports")

// env is the world of a capture: its time, and numbers that follow from a seed.
type env struct {
	mu     sync.Mutex
	now    int64
	random *rand.Rand
}

var _ ppf.Env = (*env)(nil)

func newEnv(seed uint64) *env { return &env{random: rand.New(rand.NewPCG(seed, 0))} }

// advance moves the clock to a packet's time. It never goes back: packets of
// several interfaces may stand out of order.
func (e *env) advance(t int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = max(e.now, t)
	return e.now
}

// Now is the time of the latest packet.
func (e *env) Now() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// Uint32 gives the next number of the seed.
func (e *env) Uint32() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.random.Uint32()
}

// DeviceName knows no interface: criteria of interfaces are ignored.
func (*env) DeviceName(int32) string { return "" }

// Route knows none.
func (*env) Route(netip.Addr, int32) (ppf.Route, error) { return ppf.Route{}, ppf.ErrNoRoute }

// ReservePort has none.
func (*env) ReservePort(netip.Addr, packet.Protocol) (uint16, error) { return 0, ErrNoHost }

// ReleasePort does nothing.
func (*env) ReleasePort(netip.Addr, packet.Protocol, uint16) {}
