// Package ferry is a module for tests, of level stream: it takes whole lines, and
// the first word of a client's line says what it does.
package ferry

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/promethos/promethos/pfm"
)

var (
	reasonRefused = pfm.NewReason(pfm.ReasonInfo{Name: "ferry.refused", Field: "stream", Doc: "it asked to be refused"})
	reasonDenied  = pfm.NewReason(pfm.ReasonInfo{Name: "ferry.denied", Field: "stream", Doc: "it asked for no"})
	reasonMended  = pfm.NewReason(pfm.ReasonInfo{Name: "ferry.mended", Repaired: true, Field: "stream", Doc: "it asked to be mended"})
)

// Module does it.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "ferry", BindStream: bind}}}

func bind(b *pfm.Binding) (pfm.StreamProcessor, error) {
	return func(s *pfm.Stream) pfm.Verdict {
		at := 0
		for {
			n := bytes.IndexByte(s.Waiting()[at:], '\n') + 1
			if n == 0 {
				break
			}
			line := s.Waiting()[at : at+n]
			at += n
			if s.Dir() == pfm.ServerToClient {
				s.Pass(n)
				continue
			}
			if v := do(b, s, line, s.Offset()+uint64(at-n)); v != pfm.Accept {
				return v
			}
		}
		if s.Woken() {
			s.Reply([]byte("still there\n"))
			s.Send([]byte("woken\n"))
		}
		if s.Ended() && s.Dir() == pfm.ClientToServer {
			s.Send([]byte("ended\n"))
		}
		return pfm.Accept
	}, nil
}

// do does what a line asks for; from is its place in the flow.
func do(b *pfm.Binding, s *pfm.Stream, line []byte, from uint64) pfm.Verdict {
	word, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	switch word {
	case "pass":
		s.Pass(len(line))
		return pfm.Accept
	case "upper":
		s.Send(bytes.ToUpper(line))
	case "drop":
	case "count":
		s.Storage()[0]++
		s.Send(fmt.Appendf(nil, "%d %d %v %v %v\n", s.Storage()[0], from, s.Client().Addr(), s.Server(), s.Now() > 0))
	case "mend":
		if s.Finding(reasonMended) {
			return pfm.Stopped
		}
		s.Send([]byte("mended\n"))
	case "deny":
		if !s.Deny(reasonDenied) {
			s.Pass(len(line))
			return pfm.Accept
		}
		s.Reply([]byte("no\n"))
	case "full":
		for s.Reply(line) {
		}
	case "bye":
		s.Reply([]byte("bye\n"))
		return pfm.CloseStream
	case "later":
		s.Wake(time.Millisecond)
	case "refuse":
		return s.Refuse(reasonRefused)
	case "close":
		s.Send([]byte("closed\n"))
		return pfm.CloseStream
	case "trap":
		panic("asked to")
	case "loop":
		for {
			b.Add(0, 1)
		}
	case "much":
		s.Pass(s.Len() + 1)
	}
	s.Skip(len(line))
	return pfm.Accept
}
