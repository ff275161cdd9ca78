package https

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/promethos/promethos/modules/relay"
	"github.com/promethos/promethos/ppf"
)

// errHello reports a ClientHello that is none.
var errHello = errors.New("the ClientHello is not well-formed")

// alertDecode is decode_error (RFC 8446 §6).
const alertDecode = 50

// readHello reads records up to a whole ClientHello; the connection has a deadline.
// read is all that was read, first the records of the ClientHello, then rest.
func readHello(s *ppf.Session) (h hello, read, rest []byte, err error) {
	var records helloReader
	b := make([]byte, 0, 4<<10)
	for at := 0; ; {
		for {
			taken, done, ok := records.next(b[at:])
			at += taken
			if !ok {
				return h, b, nil, errHello
			}
			if done {
				if h, ok = parseHello(records.message); !ok {
					return h, b, nil, errHello
				}
				return h, b, b[at:], nil
			}
			if taken == 0 {
				break
			}
		}
		b = slices.Grow(b, 1<<10)
		n, err := s.Client.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			return h, b, nil, fmt.Errorf("%d octets of a ClientHello: %w", len(b), err)
		}
	}
}

// passes says whether clients that name this host are led to the server as they
// are.
func (c *Config) passes(name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	return name != "" && slices.ContainsFunc(c.PassNames, func(p string) bool { return p == name || p == "*."+parent })
}

// pass leads a client to the server encrypted. Its ClientHello is written in records
// of ours; the message itself is part of what both ends sign, and is sent as it was
// parsed.
func pass(s *ppf.Session, h hello, rest []byte) {
	s.Describe("passed through " + h.name)
	relay.Join(s, relay.DefaultConfig(), append(appendRecords(nil, h.message), rest...))
}

// alert ends a handshake of which nothing was answered yet.
func alert(s *ppf.Session, description byte) {
	if s.Client.SetWriteDeadline(time.Unix(0, s.Env().Now()).Add(time.Second)) == nil {
		// The client may have gone: there is nothing more to say.
		_, _ = s.Client.Write([]byte{21, 3, 1, 0, 2, 2, description})
	}
}
