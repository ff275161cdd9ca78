package ppf

import (
	"errors"
	"net/netip"
	"time"

	"github.com/promethos/promethos/packet"
)

// ErrNoRoute reports that no route leads to a destination.
var ErrNoRoute = errors.New("no route to destination")

// Route tells how this host would send a packet.
type Route struct {
	Out     int32      // interface index
	Src     netip.Addr // preferred source address, that of the outgoing interface
	Gateway netip.Addr // zero where the destination is on the link
	Local   bool       // the destination is this host
	MTU     int        // of the path, in bytes; 0: not known
}

// WallClock is an Env whose Now is not what clocks on the wall show: it goes on
// evenly where they are set. Events bear the wall's time.
type WallClock interface {
	// Wall gives the time in nanoseconds since 1970.
	Wall() int64
	// Moment gives the time at which Now will be now, or was, for who has the
	// program's timers measure it.
	Moment(now int64) time.Time
}

// Wall gives the time that clocks on the wall show, in nanoseconds since 1970.
func Wall(env Env) int64 {
	if w, ok := env.(WallClock); ok {
		return w.Wall()
	}
	return env.Now()
}

// Moment gives a time of env.Now as package time's timers measure it.
func Moment(env Env, now int64) time.Time {
	if w, ok := env.(WallClock); ok {
		return w.Moment(now)
	}
	return time.Unix(0, now)
}

// Env is the world around the engine: time, randomness and what the host
// knows. All methods are safe for concurrent use and do not block for longer
// than one netlink request. Tests and replay bring their own.
type Env interface {
	// Now gives the time in nanoseconds since 1970.
	Now() int64
	// Uint32 gives a random number; it is the engine's only randomness.
	Uint32() uint32
	// DeviceName names an interface, "" where the index is unknown.
	DeviceName(index int32) string
	// Route looks up the way to dst for a packet that came in at interface in
	// (0: made by this host).
	Route(dst netip.Addr, in int32) (Route, error)
	// ReservePort takes a port of local address a so that no socket of this
	// host can use it, until ReleasePort. The error says what is exhausted.
	ReservePort(a netip.Addr, proto packet.Protocol) (uint16, error)
	ReleasePort(a netip.Addr, proto packet.Protocol, port uint16)
}
