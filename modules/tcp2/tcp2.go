package tcp2

import (
	"context"

	"github.com/promethos/promethos/modules/tcp"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What can keep a connection from being translated.
var (
	ReasonServerOpens = newReason(ppf.ReasonInfo{Name: "tcp2.server-opens", Field: "tcp.flags",
		Doc:   "the server opens a connection, and no client can be chosen for it",
		Trips: "servers that connect to their clients, such as active FTP", Relax: "use tcp instead of tcp2"})
	ReasonNoAddress = newReason(ppf.ReasonInfo{Name: "tcp2.no-address", Field: "route",
		Doc:   "the way to the server has no source address of this host",
		Trips: "an outgoing interface without an address", Relax: "give the interface an address, or use tcp"})
	ReasonNoPort = newReason(ppf.ReasonInfo{Name: "tcp2.no-port", Field: "tcp.source-port",
		Doc:   "no free port is left on the outgoing interface's address",
		Trips: "very many connections at a time", Relax: "widen net.ipv4.ip_local_port_range or raise the limit of open files"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("tcp2", info) }

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "tcp2", Aliases: []string{"module_tcp2"}, Version: "1.0.0",
		Doc:       "tcp, with the client's address exchanged for that of the outgoing interface",
		Functions: []string{"tcp2"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{ store *tcp.Store }

var _ ppf.Module = (*module)(nil)

func (m *module) Start(_ context.Context, host *ppf.ModuleHost) error {
	var before *tcp.Store
	if old, ok := host.Predecessor().(*module); ok {
		before = old.store
	}
	m.store = tcp.NewStore(host, before)
	return host.Register(ppf.UserFunction{
		Name: "tcp2", Doc: "tcp, with the client's address exchanged for that of the outgoing interface",
		Level: ppf.LevelPacket, Layer: 3, ExchangesAddress: true,
		Settings: func() any { return tcp.DefaultConfig() },
		Bind: func(b ppf.Binding) (ppf.Processor, error) {
			return tcp.NewTracker(host, b, m.store, &exchanger{b.Env})
		},
	})
}

func (*module) Stop(context.Context) error { return nil }

// exchanger gives each connection a port of its own on the outgoing address.
// The port is reserved on this host for as long as the connection lives.
type exchanger struct{ env ppf.Env }

var _ tcp.Translator = (*exchanger)(nil)

// Open rekeys the server-to-client flow of a new connection, so that the
// server's answers to the exchanged address find it.
func (e *exchanger) Open(x *ppf.Exchange) ppf.Reason {
	if x.Dir == ppf.ServerToClient {
		return ReasonServerOpens
	}
	route, err := x.Route(x.In.Dst())
	if err != nil || !route.Src.IsValid() {
		return ReasonNoAddress
	}
	back := x.Conn.Key(ppf.ServerToClient)
	for range rekeyTries {
		port, err := e.env.ReservePort(route.Src, packet.ProtoTCP)
		if err != nil {
			return ReasonNoPort
		}
		back.SetDst(route.Src, port)
		if x.Rekey(ppf.ServerToClient, back) {
			return packet.ReasonNone
		}
		e.env.ReleasePort(route.Src, packet.ProtoTCP, port)
	}
	return ReasonNoPort
}

// rekeyTries is how many ports are tried that the host thinks free although a
// connection of this table has them.
const rekeyTries = 4

// Closed gives the port back.
func (e *exchanger) Closed(c *ppf.Conn) {
	cs, sc := c.Key(ppf.ClientToServer), c.Key(ppf.ServerToClient)
	if sc.Dst != cs.Src || sc.DstPort != cs.SrcPort {
		e.env.ReleasePort(sc.DstAddr(), packet.ProtoTCP, sc.DstPort)
	}
}
