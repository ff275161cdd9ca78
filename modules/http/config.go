package http

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/promethos/promethos/ppf"
)

// Unknown says what becomes of a field that is not in the allow-list.
type Unknown uint8

// What becomes of unknown fields. The zero value is by mode: pass-token in
// repair and monitor, drop in strict.
const (
	UnknownByMode Unknown = iota
	UnknownPass
	UnknownDrop
	UnknownRefuse
)

var unknownNames = []string{"by-mode", "pass-token", "drop", "refuse"}

// String gives the word that configuration uses.
func (u Unknown) String() string { return unknownNames[u] }

// UnmarshalText is the inverse of String.
func (u *Unknown) UnmarshalText(b []byte) error { return ppf.ParseWord(u, b, unknownNames) }

// RouteMode is the instance's mode, or another one for a route.
type RouteMode uint8

// The modes of a route. The zero value is that of the instance.
const (
	ModeOfInstance RouteMode = iota
	ModeMonitor
	ModeRepair
	ModeStrict
)

var routeModeNames = []string{"instance", "monitor", "repair", "strict"}

// String gives the word that configuration uses.
func (m RouteMode) String() string { return routeModeNames[m] }

func (m RouteMode) mode() ppf.Mode {
	return [...]ppf.Mode{ModeMonitor: ppf.Monitor, ModeRepair: ppf.Repair, ModeStrict: ppf.Strict}[m]
}

// UnmarshalText is the inverse of String.
func (m *RouteMode) UnmarshalText(b []byte) error { return ppf.ParseWord(m, b, routeModeNames) }

// Policy holds the settings that a route may have of its own.
type Policy struct {
	// Methods are the allowed methods, in capitals.
	Methods []string `conf:"methods"`
	// Fields are allowed besides those of the table; also Server, Via,
	// X-Forwarded-For and the like, which are dropped otherwise.
	Fields []string `conf:"fields"`
	// Trailers are the trailer fields that are passed on.
	Trailers []string `conf:"trailers"`
	// Unknown is for fields in no list.
	Unknown Unknown `conf:"unknown"`
	// What becomes of things in a path that servers read differently.
	EncodedSlash   Choice `conf:"encoded_slash"`
	Backslash      Choice `conf:"backslash"`
	EncodedPercent Choice `conf:"encoded_percent"`
	DoubleSlash    Choice `conf:"double_slash"`
	DotSegments    Choice `conf:"dot_segments"`
	// WebSocket allows websockets; WebSocketExtensions their extensions.
	WebSocket           bool `conf:"websocket"`
	WebSocketExtensions bool `conf:"websocket_extensions"`
	// MaxBody limits a body in octets.
	MaxBody int64 `conf:"max_body"`
	// Buffer is up to which size in octets a request's body is held until it is
	// whole.
	Buffer int `conf:"buffer"`
	// Mode is monitor, repair or strict where the route is not in the
	// instance's.
	Mode RouteMode `conf:"mode"`
}

// Config holds the settings of the user function http. Its Policy is for all
// requests that no route is for; a route starts from it.
type Config struct {
	Policy
	// Routes are tried in order; the first one that fits is taken.
	Routes Routes `conf:"routes"`
	// Limits of a head, in fields and octets.
	MaxFields        int `conf:"max_fields"`
	MaxField         int `conf:"max_field"`
	MaxHead          int `conf:"max_head"`
	MaxTarget        int `conf:"max_target"`
	MaxRanges        int `conf:"max_ranges"`
	MaxInformational int `conf:"max_informational"`
	// BufferTotal limits what all connections of the instance hold of bodies.
	BufferTotal int64 `conf:"buffer_total"`
	// Connections limits the clients' connections of the instance, and
	// ClientConnections those of one client address; 0: no limit.
	Connections       int `conf:"connections"`
	ClientConnections int `conf:"client_connections"`
	// Share lets a connection to the server serve one client after another, and
	// SharedIdle limits how many wait for the next one.
	Share      bool `conf:"share"`
	SharedIdle int  `conf:"shared_idle"`
	// ProxyProtocol tells the server who the client is, in a header of the PROXY
	// protocol, version 2, at the start of each connection; it has to expect one.
	ProxyProtocol bool `conf:"proxy_protocol"`
	// Times a client may take: for a head, and between messages.
	HeadTimeout time.Duration `conf:"head_timeout"`
	IdleTimeout time.Duration `conf:"idle_timeout"`
	// WebSocketIdle is how long both ends of a websocket may be silent.
	WebSocketIdle time.Duration `conf:"websocket_idle"`
	// BodyRate is in octets per second, over BodyWindow.
	BodyRate   int           `conf:"body_rate"`
	BodyWindow time.Duration `conf:"body_window"`
	// Times the server may take: to accept a connection, and to answer.
	ConnectTimeout  time.Duration `conf:"connect_timeout"`
	ResponseTimeout time.Duration `conf:"response_timeout"`
	// Via and Forwarded say whether these fields are written; Forwarded stands
	// for X-Forwarded-For and X-Forwarded-Proto too.
	Via       bool `conf:"via"`
	Forwarded bool `conf:"forwarded"`
}

// DefaultConfig gives the defaults.
func DefaultConfig() *Config {
	return &Config{
		Policy: Policy{
			Methods:        []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
			EncodedPercent: ChoiceKeep, DoubleSlash: ChoiceKeep, DotSegments: ChoiceDecode,
			MaxBody: 1 << 30, Buffer: 64 << 10,
		},
		MaxFields: 100, MaxField: 8 << 10, MaxHead: 32 << 10, MaxTarget: 8 << 10, MaxRanges: 8, MaxInformational: 8,
		BufferTotal: 64 << 20, Connections: 20000, SharedIdle: 64,
		HeadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, WebSocketIdle: 10 * time.Minute, BodyRate: 1000, BodyWindow: 30 * time.Second,
		ConnectTimeout: 5 * time.Second, ResponseTimeout: time.Minute,
		Via: true, Forwarded: true,
	}
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, n := range []struct {
		name     string
		n        int64
		min, max int64
	}{
		{"max_fields", int64(c.MaxFields), 1, mostFields},
		{"max_field", int64(c.MaxField), 64, mostHead},
		{"max_head", int64(c.MaxHead), 256, mostHead},
		{"max_target", int64(c.MaxTarget), 16, mostHead},
		{"max_ranges", int64(c.MaxRanges), 0, int64(len(ranges{}.list))},
		{"max_informational", int64(c.MaxInformational), 0, mostFields},
		{"buffer_total", c.BufferTotal, 0, mostBuffer},
		{"body_rate", int64(c.BodyRate), 0, 1 << 30},
		{"connections", int64(c.Connections), 0, 1 << 30},
		{"client_connections", int64(c.ClientConnections), 0, 1 << 30},
		{"shared_idle", int64(c.SharedIdle), 1, 1 << 20},
	} {
		if n.n < n.min || n.n > n.max {
			errs = append(errs, fmt.Errorf("%s: %d is out of range (%d to %d)", n.name, n.n, n.min, n.max))
		}
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{
		{"head_timeout", c.HeadTimeout}, {"idle_timeout", c.IdleTimeout}, {"websocket_idle", c.WebSocketIdle}, {"body_window", c.BodyWindow},
		{"connect_timeout", c.ConnectTimeout}, {"response_timeout", c.ResponseTimeout},
	} {
		if t.d < time.Millisecond || t.d > mostInterval {
			errs = append(errs, fmt.Errorf("%s: %v is out of range (1ms to 24h)", t.name, t.d))
		}
	}
	return errors.Join(append(errs, c.Policy.check())...)
}

func (p *Policy) check() error {
	var errs []error
	for _, m := range p.Methods {
		if _, bad := parseToken([]byte(m)); bad >= 0 || strings.ToUpper(m) != m {
			errs = append(errs, fmt.Errorf("methods: %q is not a method (write it in capitals)", m))
		}
		if m == "CONNECT" || m == "TRACE" {
			errs = append(errs, fmt.Errorf("methods: %s is never passed on", m))
		}
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"fields", p.Fields}, {"trailers", p.Trailers}} {
		for _, f := range list.names {
			if _, bad := parseToken([]byte(f)); bad >= 0 {
				errs = append(errs, fmt.Errorf("%s: %q is not a field's name", list.key, f))
			}
			if fieldTable[fieldByName(f)].flags&(hopByHop|ofUs) != 0 && fieldByName(f) != fieldVia {
				errs = append(errs, fmt.Errorf("%s: %s concerns one connection and is never passed on", list.key, f))
			}
		}
	}
	if p.MaxBody < 0 || p.MaxBody > mostBody {
		errs = append(errs, fmt.Errorf("max_body: %d is out of range (0 to %d)", p.MaxBody, int64(mostBody)))
	}
	if p.Buffer < 0 || p.Buffer > 16<<20 {
		errs = append(errs, fmt.Errorf("buffer: %d is out of range (0 to %d)", p.Buffer, 16<<20))
	}
	return errors.Join(errs...)
}

// Route is the policy for a host and the paths below a prefix.
type Route struct {
	// Host is a name in lowercase without port; "": any.
	Host string `conf:"host"`
	// Path is a prefix of whole segments; "": any.
	Path string `conf:"path"`
	Policy
}

// Validate joins everything that is wrong.
func (r *Route) Validate() error {
	var errs []error
	if r.Host == "" && r.Path == "" {
		errs = append(errs, errors.New("a route needs a host or a path"))
	}
	if strings.ToLower(r.Host) != r.Host {
		errs = append(errs, fmt.Errorf("host: %q has capitals (hosts are compared in lowercase)", r.Host))
	}
	if r.Path != "" && r.Path[0] != '/' {
		errs = append(errs, fmt.Errorf("path: %q does not begin with /", r.Path))
	}
	return errors.Join(append(errs, r.Policy.check())...)
}

// Routes is what stands under routes. Each is decoded twice: once where it
// stands, for its problems, and once over the Policy it starts from.
type Routes struct{ values []ppf.Value }

// String gives what settings of two routes have in common: nothing.
func (r Routes) String() string { return fmt.Sprint(len(r.values)) }

// UnmarshalValue takes a list of routes.
func (r *Routes) UnmarshalValue(v ppf.Value) error {
	if v.Kind != ppf.ValueList {
		return fmt.Errorf("write a list of routes, each with a host or a path")
	}
	var problems ppf.DecodeError
	for i, item := range v.List {
		route := Route{Policy: DefaultConfig().Policy}
		problems = append(problems, ppf.Decode(&route, item, fmt.Sprintf("[%d]", i))...)
	}
	r.values = v.List
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// resolve decodes the routes over the policy they start from.
func (c *Config) resolve() ([]Route, error) {
	list := make([]Route, len(c.Routes.values))
	for i, v := range c.Routes.values {
		list[i].Policy = c.Policy
		if err := ppf.DecodeSettings(&list[i], v, fmt.Sprintf("routes[%d]", i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}
