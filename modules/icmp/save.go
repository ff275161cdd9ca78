package icmp

import (
	"encoding/binary"
	"errors"

	"github.com/promethos/promethos/ppf"
)

var _ ppf.ConnSaver = (*tracker)(nil)

// errSaved reports an exchange that no tracker wrote.
var errSaved = errors.New("icmp: not the state of an exchange of echoes")

// SavedForm names the form of what SaveConn writes: the requests of each side that
// are not answered.
func (*tracker) SavedForm() string { return "icmp 1" }

// SaveConn saves an exchange of echoes.
func (t *tracker) SaveConn(c *ppf.Conn, b []byte) ([]byte, bool) {
	if t.StateName(c) == "" {
		return b, false
	}
	for _, n := range t.exchanges.Of(c).open {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b, true
}

// RestoreConn is the inverse.
func (t *tracker) RestoreConn(c *ppf.Conn, b []byte, _ int64) error {
	var open [2]uint32
	if n, err := binary.Decode(b, binary.LittleEndian, &open); err != nil || n != len(b) || t.StateName(c) == "" {
		return errSaved
	}
	for d, half := range c.Half {
		if half.Received > answering || half.Sent > answering || open[d] > maxOpen {
			return errSaved
		}
	}
	t.exchanges.Of(c).open = open
	return nil
}
