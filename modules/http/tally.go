package http

import "github.com/promethos/promethos/ppf"

// tally counts what became of messages; ppf.Session is one.
type tally interface {
	Rebuilt(d ppf.Dir, n int64)
	Moved(d ppf.Dir, n int64) // octets besides
	Refused(d ppf.Dir)
}

// count counts the messages of an exchange.
func (c *connection) count() {
	t := c.link.tally
	switch {
	case t == nil:
	case c.answering:
		t.Rebuilt(ppf.ClientToServer, c.in.got)
		if c.refused {
			t.Refused(ppf.ServerToClient)
		} else {
			t.Rebuilt(ppf.ServerToClient, c.up.got)
		}
	case c.refused:
		t.Refused(ppf.ClientToServer)
	}
	c.in.got, c.up.got, c.refused = 0, 0, false
}
