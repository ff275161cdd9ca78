package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/promethos/promethos/ppf"
)

// manifestSection is the custom section that holds a manifest; without it the
// manifest stands beside the module.
const manifestSection = "promethos.manifest"

// abiVersion is the version of the calls between host and guest.
const abiVersion = 1

// Manifest says what a module is and what it asks for.
type Manifest struct {
	// ABI is the version of the interface that the guest was made for.
	ABI     int    `json:"abi"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Doc     string `json:"doc"` // one sentence
	// Functions are the user functions that the guest provides; configure gets
	// the place in this list.
	Functions    []Function   `json:"functions"`
	Capabilities []Capability `json:"capabilities,omitempty"`
	Storage      Storage      `json:"storage,omitzero"`
	Limits       Limits       `json:"limits,omitzero"`
}

// Function is one user function.
type Function struct {
	Name  string `json:"name"`
	Doc   string `json:"doc"`
	Level string `json:"level"` // packet, stream or message
	Layer uint8  `json:"layer"` // lowest layer it works on
	// Settings is the schema of its settings, an object; nil for none.
	Settings *Schema `json:"settings,omitempty"`
}

// Capability is something that a guest gets only when it asks for it.
type Capability string

// The capabilities.
const (
	CapConnections Capability = "connection-storage" // make connections, keep bytes with them and with instances
	CapTimers      Capability = "timers"             // be called when a time has passed
	CapEmit        Capability = "emit"               // send extra packets
	CapLog         Capability = "log"                // say something in the event stream
	CapShared      Capability = "shared-data"        // bytes that all instances share, and data modules
)

var capabilities = []Capability{CapConnections, CapTimers, CapEmit, CapLog, CapShared}

// Storage sizes what the host keeps for the guest, in bytes.
type Storage struct {
	// Schema numbers the layout of the bytes: a reload keeps what has the same
	// number, and lets the new guest migrate what has another.
	Schema     uint32 `json:"schema"`
	Connection int    `json:"connection"` // per connection, at most 256
	Instance   int    `json:"instance"`   // per proxy instance, at most 256
}

// Limits bound what a guest may use; 0 is the default.
type Limits struct {
	MemoryMiB    int   `json:"memory_mib"`      // default 16, at most 256
	Fuel         int64 `json:"fuel"`            // per packet; default 10 million, at most 100 million
	LogsPerCall  int   `json:"logs_per_call"`   // default 16, at most 1000; more is a fault
	Faults       int   `json:"faults"`          // so many faults …, default 5
	FaultSeconds int   `json:"fault_seconds"`   // … in so many seconds disable the module, default 10
	SharedKiB    int   `json:"shared_kib"`      // of shared data; default 64, at most 16384
	WindowKiB    int   `json:"window_kib"`      // of a stream's bytes that wait; default 64, at most 1024
	LogsPerSec   int   `json:"logs_per_second"` // lines that reach the event stream; default 20
}

// limit gives a limit's default and range.
type limit struct {
	name          string
	value         *int
	standard, max int
}

const (
	maxStorage  = 256
	defaultFuel = 10_000_000
	maxFuel     = 100_000_000
)

var (
	moduleName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)
)

// ParseManifest reads and checks a manifest; the error holds all problems.
func ParseManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("manifest: something follows its end")
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("manifest: "+format, args...)) }
	if m.ABI != abiVersion {
		bad("abi %d is unknown (this program has %d)", m.ABI, abiVersion)
	}
	if !moduleName.MatchString(m.Name) {
		bad("name %q: use a lowercase letter, then letters, digits, '-' and '_', 32 at most", m.Name)
	}
	if m.Version == "" || len(m.Version) > 32 {
		bad("version %q: use 1 to 32 characters", m.Version)
	}
	if len(m.Functions) == 0 {
		bad("functions: there is none")
	}
	for i, f := range m.Functions {
		if !functionName.MatchString(f.Name) || slices.ContainsFunc(m.Functions[:i], func(o Function) bool { return o.Name == f.Name }) {
			bad("functions[%d]: name %q is malformed or there twice", i, f.Name)
		}
		if !slices.Contains(levels, f.level()) {
			bad("functions[%d]: level %q is unknown (packet, stream or message)", i, f.Level)
		}
		if f.Layer < 2 || f.Layer > 7 {
			bad("functions[%d]: layer %d is not 2 to 7", i, f.Layer)
		}
		if f.Settings != nil {
			if err := f.Settings.check(fmt.Sprintf("functions[%d].settings", i)); err != nil {
				bad("%w", err)
			} else if f.Settings.Type != "object" {
				bad("functions[%d].settings: type %q: settings are an object", i, f.Settings.Type)
			}
		}
	}
	for i, c := range m.Capabilities {
		if !slices.Contains(capabilities, c) {
			bad("capabilities[%d]: %q is unknown (there are %v)", i, c, capabilities)
		}
	}
	if m.has(CapEmit) && !m.hasLevel(ppf.LevelPacket) {
		bad("capabilities: %q is for functions of level packet (of a stream is sent with send and reply)", CapEmit)
	}
	if n := m.Storage.Connection; n < 0 || n > maxStorage {
		bad("storage.connection: %d is not 0 to %d", n, maxStorage)
	}
	if n := m.Storage.Instance; n < 0 || n > maxStorage {
		bad("storage.instance: %d is not 0 to %d", n, maxStorage)
	}
	if (m.Storage.Connection > 0 || m.Storage.Instance > 0) && !m.has(CapConnections) {
		bad("storage: needs the capability %q", CapConnections)
	}
	l := &m.Limits
	for _, lim := range []limit{
		{"memory_mib", &l.MemoryMiB, 16, 256}, {"logs_per_call", &l.LogsPerCall, 16, 1000}, {"faults", &l.Faults, 5, 1000},
		{"fault_seconds", &l.FaultSeconds, 10, 3600}, {"shared_kib", &l.SharedKiB, 64, 16384}, {"window_kib", &l.WindowKiB, 64, 1024}, {"logs_per_second", &l.LogsPerSec, 20, 1000},
	} {
		if *lim.value == 0 {
			*lim.value = lim.standard
		}
		if *lim.value < 1 || *lim.value > lim.max {
			bad("limits.%s: %d is not 1 to %d", lim.name, *lim.value, lim.max)
		}
	}
	if l.Fuel == 0 {
		l.Fuel = defaultFuel
	}
	if l.Fuel < 1 || l.Fuel > maxFuel {
		bad("limits.fuel: %d is not 1 to %d", l.Fuel, maxFuel)
	}
	return m, errors.Join(errs...)
}

func (m *Manifest) has(c Capability) bool { return slices.Contains(m.Capabilities, c) }

// levels are what functions can work on.
var levels = []ppf.Level{ppf.LevelPacket, ppf.LevelStream, ppf.LevelMessage}

// noLevel is the level of a function whose manifest names none that is known.
const noLevel = ^ppf.Level(0)

func (f *Function) level() ppf.Level {
	for _, l := range levels {
		if l.String() == f.Level {
			return l
		}
	}
	return noLevel
}

func (m *Manifest) hasLevel(l ppf.Level) bool {
	return slices.ContainsFunc(m.Functions, func(f Function) bool { return f.level() == l })
}

// functionNames lists the functions.
func (m *Manifest) functionNames() []string {
	var names []string
	for _, f := range m.Functions {
		names = append(names, f.Name)
	}
	return names
}

// ownsReason reports whether a reason's name is the module's to register.
func (m *Manifest) ownsReason(name string) bool { return strings.HasPrefix(name, m.Name+".") }
