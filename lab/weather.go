package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Weather is what a bad cable does to the TCP segments that it carries, in each
// direction. Each number is for how many of 1,000 segments it happens. Which ones
// follows from the seed and their order.
type Weather struct {
	Seed   uint64
	Lose   int // not carried
	Repeat int // carried twice
	Swap   int // carried behind up to three later ones
}

// WeatherStats count what a cable did so far.
type WeatherStats struct{ Carried, Lost, Repeated, Swapped uint64 }

// cable carries frames between two interfaces of a namespace of its own: kernels
// without netem have no other bad link.
type cable struct {
	host    *Host
	weather Weather
	fds     [2]*os.File
	wg      sync.WaitGroup

	carried, lost, repeated, swapped atomic.Uint64

	mu     sync.Mutex
	err    error
	closed bool
}

// holdFrames and holdTime bound how long a segment is kept that others overtake.
const (
	holdFrames = 3
	holdTime   = 2 * time.Millisecond
)

// cableEnds are the cable's own interfaces.
var cableEnds = [2]string{"end0", "end1"}

// layCable joins two ports by a cable with weather. Both stay down.
func layCable(a, b port, w Weather) (*cable, error) {
	ns, err := newNamespace("")
	if err != nil {
		return nil, err
	}
	c := &cable{host: &Host{Name: "cable", ns: ns}, weather: w}
	for i, p := range []port{a, b} {
		end := port{host: c.host, name: cableEnds[i]}
		if err := connect(p, end); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
		if err := end.open(false); err != nil {
			return nil, errors.Join(err, ns.Close())
		}
	}
	err = c.host.Do(func() error {
		for i, name := range cableEnds {
			fd, err := packetSocket(name, unix.ETH_P_ALL, unix.SOCK_NONBLOCK)
			if err != nil {
				return err
			}
			c.fds[i] = os.NewFile(uintptr(fd), name)
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
				return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	for i := range c.fds {
		c.wg.Go(func() { c.note(c.carry(i)) })
	}
	return c, nil
}

// note keeps the first error; once the cable is being closed there is none.
func (c *cable) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil && !c.closed {
		c.err = fmt.Errorf("cable: %w", err)
	}
}

// held is a segment that others overtake.
type held struct {
	frame []byte
	left  int // frames that still may
}

// carry takes frames from one end to the other.
func (c *cable) carry(from int) error {
	r := rand.New(rand.NewPCG(c.weather.Seed, uint64(from)))
	happens := func(chance int) bool { return r.IntN(1000) < chance }
	in, out := c.fds[from], c.fds[1-from]
	buf := make([]byte, captureFrame)
	var waiting []held
	release := func(all bool) error {
		for len(waiting) > 0 && (all || waiting[0].left <= 0) {
			if err := c.write(out, waiting[0].frame); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
		return nil
	}
	for {
		var limit time.Time
		if len(waiting) > 0 {
			limit = time.Now().Add(holdTime)
		}
		if err := in.SetReadDeadline(limit); err != nil {
			return err
		}
		n, err := in.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := release(true); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, unix.ENETDOWN) {
			continue // said once while an interface is not up yet
		}
		if err != nil {
			return err
		}
		frame := buf[:n]
		if s, ok := dissect(frame); !ok || s.proto != protoTCP {
			if err := c.write(out, frame); err != nil {
				return err
			}
			continue
		}
		for i := range waiting {
			waiting[i].left--
		}
		lost, repeated, swapped := happens(c.weather.Lose), happens(c.weather.Repeat), happens(c.weather.Swap)
		switch {
		case lost:
			c.lost.Add(1)
		case swapped:
			c.swapped.Add(1)
			waiting = append(waiting, held{slices.Clone(frame), 1 + r.IntN(holdFrames)})
		case repeated:
			c.repeated.Add(1)
			err = errors.Join(c.write(out, frame), c.write(out, frame))
		default:
			err = c.write(out, frame)
		}
		if err := errors.Join(err, release(false)); err != nil {
			return err
		}
	}
}

// write lets a frame out. One that is longer than the other end's MTU is lost.
func (c *cable) write(out *os.File, frame []byte) error {
	_, err := out.Write(frame)
	if errors.Is(err, unix.ENOBUFS) {
		c.lost.Add(1)
		return nil
	}
	c.carried.Add(1)
	return err
}

// close ends the cable and gives what went wrong on it.
func (c *cable) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, f := range c.fds {
		if f != nil {
			f.Close()
		}
	}
	c.wg.Wait()
	return errors.Join(c.err, c.host.ns.Close())
}

// Weather tells what the cable between client and proxy did; nothing without
// Options.Weather.
func (l *Lab) Weather() WeatherStats {
	if l.cable == nil {
		return WeatherStats{}
	}
	return WeatherStats{l.cable.carried.Load(), l.cable.lost.Load(), l.cable.repeated.Load(), l.cable.swapped.Load()}
}
