package config

import (
	"strings"

	"github.com/promethos/promethos/ppf"
)

// pair is the two ports of a bump in the wire.
type pair struct {
	Client located[string] `conf:"client"`
	Server located[string] `conf:"server"`
}

// inline checks an instance whose packets come from an inline pair. It needs no
// match: without one it takes everything that comes in at either port.
func (l *loader) inline(in *instance, s *ppf.InstanceSpec) {
	const wires = "leave it out: a wire has no hooks, its ports tell the direction"
	path := in.path + ".inline"
	if in.Hook.Set {
		l.add(in.Hook.Pos, in.path+".hook", wires, "hook is for source: nfqueue")
	}
	if in.Fail.Value == ppf.FailOpen {
		l.add(in.Fail.Pos, in.path+".fail", "write `fail: closed`, or mode: monitor to see first what would be dropped",
			"an inline pair has nothing that could carry frames past the proxy")
	}
	if in.Others.Set && in.Others.Value == ppf.OthersPass {
		l.add(in.Others.Pos, in.path+".others", "leave it out, or add an instance of the same pair that matches the rest",
			"what no instance of an inline pair matches is dropped")
	}
	if in.Match.Set {
		m := &in.Match.Value
		s.Match = l.match(m, in.path+".match")
		for key, name := range map[string]located[string]{"in": m.In, "out": m.Out} {
			if name.Set {
				l.add(name.Pos, in.path+".match."+key, wires, "%s is for source: nfqueue", key)
			}
		}
	}
	if !in.Inline.Set {
		l.add(in.pos, path, "add `inline: {client: INTERFACE, server: INTERFACE}`", "the inline pair is missing")
		return
	}
	s.Inline = ppf.InlinePair{Client: l.portName(in.Inline.Value.Client, in.Inline.Pos, path+".client"), Server: l.portName(in.Inline.Value.Server, in.Inline.Pos, path+".server")}
	s.Hook, s.Match.In, s.Match.Out = ppf.InlineClient, s.Inline.Client, s.Inline.Server
	if s.Inline.Client == "" || s.Inline.Server == "" {
		return
	}
	if s.Inline.Client == s.Inline.Server {
		l.add(in.Inline.Pos, path, "name two interfaces", "client and server are the same interface")
		return
	}
	if l.ports == nil {
		l.ports = map[string]ppf.InlinePair{}
	}
	for _, port := range []string{s.Inline.Client, s.Inline.Server} {
		if other, taken := l.ports[port]; taken && other != s.Inline {
			l.add(in.Inline.Pos, path, "give each pair interfaces of its own",
				"%s is a port of the pair {client: %s, server: %s} already", port, other.Client, other.Server)
		}
		l.ports[port] = s.Inline
	}
}

// portName checks the name of a port; "" if it is none.
func (l *loader) portName(name located[string], pos ppf.Pos, path string) string {
	switch {
	case !name.Set:
		l.add(pos, path, "name the interface", "the interface is missing")
	case name.Value == "" || len(name.Value) > maxInterface || strings.ContainsAny(name.Value, "/+ \t"):
		l.add(name.Pos, path, "write an interface name such as eth0", "%q is not an interface name", name.Value)
	default:
		return name.Value
	}
	return ""
}

// maxInterface is the length of an interface name in bytes (IFNAMSIZ - 1).
const maxInterface = 15
