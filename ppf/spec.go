package ppf

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/promethos/promethos/packet"
)

// Pos is a place in a configuration file, for messages. The zero value means
// that the thing was not read from a file.
type Pos struct {
	File      string
	Line, Col int // from 1
}

// String gives "file:line:column", or "" for the zero value.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// OnExit says what becomes of the kernel rules when the daemon ends.
type OnExit uint8

// What happens at exit. The zero value is the default.
const (
	// ExitRemove leaves no rule behind.
	ExitRemove OnExit = iota
	// ExitBlock turns the selection into a drop in one transaction.
	ExitBlock
)

// LogKind says how events are logged.
type LogKind uint8

// The logs. The zero value is the default.
const (
	LogText LogKind = iota
	LogJSON
	LogOff
)

// SourceKind says where an instance's packets come from.
type SourceKind uint8

// The sources. The zero value is the default.
const (
	SourceNFQueue SourceKind = iota
	SourceInline
	SourceListen
)

// Initiate says who may open connections.
type Initiate uint8

// Who may open connections. InitiateDefault is client where the match names a
// port, both otherwise.
const (
	InitiateDefault Initiate = iota
	InitiateClient
	InitiateBoth
	InitiateServer
)

// Others says what becomes of traffic to and from a server that no instance
// matches.
type Others uint8

// What becomes of other traffic. The zero value is the default.
const (
	OthersPass Others = iota
	OthersRefuse
)

// Fail says what becomes of packets when the proxy cannot judge them.
type Fail uint8

// The fail policies. The zero value is the default.
const (
	FailClosed Fail = iota
	FailOpen
)

// Handshake says when a stream chain's client is answered (DESIGN section 5).
type Handshake uint8

// The handshakes. HandshakeDefault is first where the chain opens the server's
// connection later anyway (https), honest otherwise.
const (
	HandshakeDefault Handshake = iota
	// HandshakeHonest answers a SYN when the server has accepted our connection.
	HandshakeHonest
	// HandshakeFirst answers at once.
	HandshakeFirst
	// HandshakeCookie protects packet chains from floods of SYNs.
	HandshakeCookie
)

// UpstreamAddress says which client the server of a transparent stream chain
// sees.
type UpstreamAddress uint8

// Whom the server sees. UpstreamDefault is client.
const (
	UpstreamDefault UpstreamAddress = iota
	UpstreamClient
	UpstreamProxy
)

// DefaultDrain is how long streams may go on when their instance ends, where the
// configuration does not say.
const DefaultDrain = 5 * time.Second

// Do is what an override makes of a reason (DESIGN section 4).
type Do uint8

// The overrides.
const (
	DoMonitor Do = iota + 1
	DoRepair
	DoRefuse
)

// Override changes what one reason does, for all clients or for some.
type Override struct {
	Pos    Pos
	Reason string
	Client netip.Prefix // zero: every client
	Do     Do
}

// InlinePair names the two ports of a bump in the wire.
type InlinePair struct{ Client, Server string }

// Match is the everyday form of an instance's criteria: who the server is and
// who its clients are. Flow turns it into Criteria.
type Match struct {
	// Protocol is a packet.Protocol; ProtocolAny, the zero value, is all.
	Protocol packet.Protocol
	ARP      bool // the frames of ARP, for SourceInline
	Server   []netip.Prefix
	Client   []netip.Prefix
	Port     []PortRange // the server's
	In, Out  string      // seen from the client to the server
	Not      []Match     // each item excludes by itself; its Not is empty
}

// Flow gives the criteria of one flow.
func (m *Match) Flow(d Dir) Criteria {
	c := Criteria{
		Protocol: m.Protocol, ARP: m.ARP, Src: m.Client, Dst: m.Server, DstPorts: m.Port,
		In: m.In, Out: m.Out,
	}
	for i := range m.Not {
		c.Not = append(c.Not, m.Not[i].Flow(ClientToServer))
	}
	if d == ServerToClient {
		c = c.Reverse()
	}
	return c
}

// InstanceSpec is one proxy instance as configuration describes it.
type InstanceSpec struct {
	Pos    Pos
	Name   string
	Source SourceKind
	Hook   Hook // none for SourceListen, InlineClient for SourceInline
	// Inline is the pair of SourceInline; its names also stand in Match.In and
	// Match.Out.
	Inline InlinePair
	Match  Match
	// Listen and Upstream are for SourceListen: where clients connect, and the
	// server.
	Listen, Upstream netip.AddrPort
	// Drain is how long streams may go on when the instance ends.
	Drain time.Duration
	// Chain lists the user functions of each flow; an empty list in one
	// direction makes a half instance.
	Chain    [2][]string
	Initiate Initiate
	Others   Others
	Mode     Mode
	Fail     Fail
	// Handshake and UpstreamAddress are for stream chains at hooks.
	Handshake       Handshake
	UpstreamAddress UpstreamAddress
	// Pending is how many of their connections to a server may be coming about at a
	// time; 0: DefaultPending.
	Pending int
	Reasons []Override
	// Modules holds the settings of user functions by name, undecoded.
	Modules map[string]Value
}

// Spec is one whole configuration. Configuration files become one; what
// `promethos iptables` adds is kept beside it by the engine.
type Spec struct {
	Control string // path of the unix socket
	// State is the folder of what outlives the program; "": the control socket's.
	State      string
	Log        LogKind  // how events are logged, on standard error
	Drops      string   // capture file of drops and repairs; "": none
	Watch      bool     // a change of the files is a reload
	Files      []string // what was read, also what could not be
	Folders    []string // where the files lie, and those that include: may find
	Metrics    string   // address of metrics and web page; "": none
	ModuleDirs []string // absolute
	OnExit     OnExit
	QueueFirst uint16 // first queue number
	// Plugins holds plugin-wide configurations by plugin name.
	Plugins   map[string]string
	Instances []InstanceSpec
}
