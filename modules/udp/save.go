package udp

import (
	"errors"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var _ ppf.ConnSaver = (*tracker)(nil)

// errSaved reports a flow that no tracker wrote.
var errSaved = errors.New("udp: not the state of a flow")

// SavedForm names the form of what SaveConn writes: nothing. All that is known of
// a flow stands in its halves.
func (*tracker) SavedForm() string { return "udp 1" }

// SaveConn saves a flow of UDP.
func (*tracker) SaveConn(c *ppf.Conn, b []byte) ([]byte, bool) {
	key := c.Key(ppf.ClientToServer)
	return b, key.Protocol == packet.ProtoUDP
}

// RestoreConn is the inverse.
func (t *tracker) RestoreConn(c *ppf.Conn, b []byte, _ int64) error {
	if _, udp := t.SaveConn(c, nil); !udp || len(b) != 0 {
		return errSaved
	}
	for _, half := range c.Half {
		if half.Received > talking || half.Sent > talking {
			return errSaved
		}
	}
	return nil
}
