package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// The hosts of a lab share a clock: what one of them writes into a message the other
// can compare. clockBase is where it begins.
var clockBase = time.Now()

// A message of OneWays has a number, and in the answer, when the server had it: 8
// bytes each, of clockBytes in all.
const clockBytes = 100

// StartClock starts a server for OneWays; addr as for Listen. The caller calls Close.
func (h *Host) StartClock(ctx context.Context, addr string) (*StreamServer, error) {
	return h.startStream(ctx, addr, func(c net.Conn) error {
		var message [clockBytes]byte
		for {
			if _, err := io.ReadFull(c, message[:]); err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return err
			}
			binary.BigEndian.PutUint64(message[8:], uint64(time.Since(clockBase)))
			if _, err := c.Write(message[:]); err != nil {
				return err
			}
		}
	})
}

// Ways are how long messages were under way, by direction, sorted.
type Ways struct{ Up, Down []time.Duration }

// OneWays sends messages of 100 bytes to a StartClock server for d, one after the
// other on one connection. There is at least one.
func (h *Host) OneWays(ctx context.Context, addr string, d time.Duration) (w Ways, err error) {
	c, err := h.Dial(ctx, "tcp", addr)
	if err != nil {
		return w, fmt.Errorf("one ways: %w", err)
	}
	defer c.Close()
	defer closeWith(ctx, c)()
	var message, answer [clockBytes]byte
	for end := time.Now().Add(d); len(w.Up) == 0 || time.Now().Before(end); {
		binary.BigEndian.PutUint64(message[:], uint64(len(w.Up)))
		sent := time.Since(clockBase)
		if _, err := c.Write(message[:]); err != nil {
			return w, fmt.Errorf("one ways: %w", err)
		}
		if _, err := io.ReadFull(c, answer[:]); err != nil {
			return w, fmt.Errorf("one ways: %w", err)
		}
		back := time.Since(clockBase)
		there := time.Duration(binary.BigEndian.Uint64(answer[8:]))
		if [8]byte(answer[:]) != [8]byte(message[:]) || there < sent || there > back {
			return w, fmt.Errorf("one ways: answer: %w", ErrCorrupt)
		}
		w.Up, w.Down = append(w.Up, there-sent), append(w.Down, back-there)
	}
	slices.Sort(w.Up)
	slices.Sort(w.Down)
	return w, nil
}
