package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const (
	// maxFile is the size of a configuration file that is read, in bytes.
	maxFile = 4 << 20
	// defaultQueue is the first queue number where none is configured.
	defaultQueue = 20560
	maxQueue     = 65000
)

// located is a value with the place where it stands.
type located[T any] struct {
	Value T
	Pos   ppf.Pos
	Set   bool
	Bad   bool // it could not be decoded, and that was told
}

// UnmarshalValue decodes the value and keeps its place.
func (l *located[T]) UnmarshalValue(v ppf.Value) error {
	l.Pos, l.Set = v.Pos, v.Kind != ppf.ValueNull
	err := ppf.DecodeSettings(&l.Value, v, "")
	l.Bad = err != nil
	return err
}

// choice is one of some words.
type choice[T ~uint8] struct {
	Value T
	Pos   ppf.Pos
	Set   bool
	words []string
	vals  []T
}

// words lists what a choice may be; it is prepared before decoding.
func words[T ~uint8](pairs ...any) choice[T] {
	c := choice[T]{}
	for i := 0; i < len(pairs); i += 2 {
		c.words = append(c.words, pairs[i].(string))
		c.vals = append(c.vals, pairs[i+1].(T))
	}
	c.Value = c.vals[0]
	return c
}

// UnmarshalValue reads one of the words.
func (c *choice[T]) UnmarshalValue(v ppf.Value) error {
	c.Pos, c.Set = v.Pos, true
	i := slices.Index(c.words, v.Scalar)
	if v.Kind != ppf.ValueScalar || i < 0 {
		return ppf.DecodeError{{Pos: v.Pos, What: fmt.Sprintf("%q is unknown", v.Scalar), Fix: ppf.Suggest(v.Scalar, c.words)}}
	}
	c.Value = c.vals[i]
	return nil
}

// document is the YAML file.
type document struct {
	Version    located[int]               `conf:"version"`
	Control    located[string]            `conf:"control"`
	State      located[string]            `conf:"state"`
	Metrics    located[string]            `conf:"metrics"`
	ModuleDirs []located[string]          `conf:"module_dirs"`
	OnExit     choice[ppf.OnExit]         `conf:"on_exit"`
	Log        choice[ppf.LogKind]        `conf:"log"`
	Drops      located[string]            `conf:"drops"`
	Watch      located[bool]              `conf:"watch"`
	Queue      located[uint16]            `conf:"queue"`
	Plugins    located[map[string]string] `conf:"plugins"`
	Include    located[[]located[string]] `conf:"include"`
	Instances  []ppf.Value                `conf:"instances"`
}

// instance is one entry of instances.
type instance struct {
	pos  ppf.Pos
	path string

	Name     located[string]            `conf:"name"`
	Source   choice[ppf.SourceKind]     `conf:"source"`
	Hook     choice[ppf.Hook]           `conf:"hook"`
	Match    located[match]             `conf:"match"`
	Initiate choice[ppf.Initiate]       `conf:"initiate"`
	Others   choice[ppf.Others]         `conf:"others"`
	Chain    located[[]located[string]] `conf:"chain"`
	CS       located[[]located[string]] `conf:"client_to_server"`
	SC       located[[]located[string]] `conf:"server_to_client"`
	Mode     choice[ppf.Mode]           `conf:"mode"`
	Fail     choice[ppf.Fail]           `conf:"fail"`
	Reasons  ppf.Value                  `conf:"reasons"`
	Modules  map[string]ppf.Value       `conf:"modules"`

	Handshake choice[ppf.Handshake]       `conf:"handshake"`
	Upstream  located[string]             `conf:"upstream"`
	Address   choice[ppf.UpstreamAddress] `conf:"upstream_address"`
	Inline    located[pair]               `conf:"inline"`
	Listen    located[string]             `conf:"listen"`
	Pending   located[int]                `conf:"pending"`
	Drain     located[time.Duration]      `conf:"drain"`
}

func newInstance() instance {
	return instance{
		Source:    words[ppf.SourceKind]("nfqueue", ppf.SourceNFQueue, "inline", ppf.SourceInline, "listen", ppf.SourceListen),
		Hook:      words[ppf.Hook]("forward", ppf.Forward, "prerouting", ppf.Prerouting, "input", ppf.Input, "output", ppf.Output, "postrouting", ppf.Postrouting),
		Initiate:  words[ppf.Initiate]("", ppf.InitiateDefault, "client", ppf.InitiateClient, "both", ppf.InitiateBoth, "server", ppf.InitiateServer),
		Others:    words[ppf.Others]("pass", ppf.OthersPass, "refuse", ppf.OthersRefuse),
		Mode:      words[ppf.Mode]("repair", ppf.Repair, "monitor", ppf.Monitor, "strict", ppf.Strict),
		Fail:      words[ppf.Fail]("closed", ppf.FailClosed, "open", ppf.FailOpen),
		Handshake: words[ppf.Handshake]("", ppf.HandshakeDefault, "honest", ppf.HandshakeHonest, "first", ppf.HandshakeFirst, "cookie", ppf.HandshakeCookie),
		Address:   words[ppf.UpstreamAddress]("", ppf.UpstreamDefault, "client", ppf.UpstreamClient, "proxy", ppf.UpstreamProxy),
		Drain:     located[time.Duration]{Value: ppf.DefaultDrain},
	}
}

// match is an instance's match, and with fewer keys what it excludes.
type match struct {
	Protocol protocol                `conf:"protocol"`
	Server   located[[]netip.Prefix] `conf:"server"`
	Client   located[[]netip.Prefix] `conf:"client"`
	Port     located[[]portRange]    `conf:"port"`
	In       located[string]         `conf:"in"`
	Out      located[string]         `conf:"out"`
	Not      located[[]ppf.Value]    `conf:"not"`
}

// protocol is any, tcp, udp, icmp, arp or a number.
type protocol struct {
	Value packet.Protocol
	ARP   bool
	Pos   ppf.Pos
}

// UnmarshalValue reads a protocol.
func (p *protocol) UnmarshalValue(v ppf.Value) error {
	p.Pos = v.Pos
	if p.ARP = v.Kind == ppf.ValueScalar && strings.EqualFold(v.Scalar, "arp"); p.ARP {
		return nil
	}
	var ok bool
	if p.Value, ok = parseProtocol(v.Scalar); !ok || v.Kind != ppf.ValueScalar {
		return ppf.DecodeError{{Pos: v.Pos, What: fmt.Sprintf("protocol %q is unknown", v.Scalar), Fix: "write any, tcp, udp, icmp, arp or a number from 1 to 255"}}
	}
	return nil
}

func parseProtocol(s string) (packet.Protocol, bool) {
	switch strings.ToLower(s) {
	case "any":
		return ppf.ProtocolAny, true
	case "tcp":
		return packet.ProtoTCP, true
	case "udp":
		return packet.ProtoUDP, true
	case "icmp":
		return packet.ProtoICMP, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return packet.Protocol(n), err == nil && n > 0
}

// portRange is "80" or "502-503".
type portRange ppf.PortRange

// UnmarshalText reads a port range.
func (r *portRange) UnmarshalText(b []byte) error {
	p, err := parsePorts(string(b), "-")
	if err == nil && p.Lo == 0 {
		err = errors.New("port 0 is no port (write a port from 1 to 65535)")
	}
	*r = portRange(p)
	return err
}

// parsePorts reads a port or a range with the given separator.
func parsePorts(s, separator string) (r ppf.PortRange, err error) {
	lo, hi, ranged := strings.Cut(s, separator)
	if !ranged {
		hi = lo
	}
	a, errA := strconv.ParseUint(lo, 10, 16)
	b, errB := strconv.ParseUint(hi, 10, 16)
	switch {
	case errA != nil || errB != nil:
		return r, fmt.Errorf("%q is not a port (write 80, or \"502%s503\" for a range)", s, separator)
	case a > b:
		return r, fmt.Errorf("port range %q ends before it starts (write the lower port first)", s)
	}
	return ppf.PortRange{Lo: uint16(a), Hi: uint16(b)}, nil
}

// loader collects files and problems.
type loader struct {
	problems  []ppf.Problem
	instances []instance
	spec      ppf.Spec
	ports     map[string]ppf.InlinePair // of the inline pairs so far
	known     []string                  // user functions that there are
	selection bool                      // only what instances select is of interest
}

func (l *loader) add(pos ppf.Pos, path, fix, what string, args ...any) {
	l.problems = append(l.problems, ppf.Problem{Pos: pos, Path: path, What: fmt.Sprintf(what, args...), Fix: fix})
}

// Load reads a configuration file and what it includes. Where a problem is not
// a warning, the Spec must not be used.
func Load(path string) (*ppf.Spec, []ppf.Problem) {
	l := &loader{}
	l.file(path, true)
	return l.finish()
}

// Parse is Load for a file's content; includes are found beside name.
func Parse(name string, data []byte) (*ppf.Spec, []ppf.Problem) {
	l := &loader{}
	l.parse(name, data, true)
	return l.finish()
}

// file reads one file; main is the one that was named.
func (l *loader) file(path string, main bool) {
	l.spec.Files = append(l.spec.Files, path)
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		l.add(ppf.Pos{File: path}, "", "split it with `include:`", "the file has %d bytes, more than %d", info.Size(), maxFile)
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		l.add(ppf.Pos{File: path}, "", "check the path and its permissions", "%v", err)
		return
	}
	l.parse(path, data, main)
}

func (l *loader) parse(name string, data []byte, main bool) {
	v, problems := toValue(name, data)
	if len(problems) > 0 {
		l.problems = append(l.problems, problems...)
		return
	}
	doc := document{
		OnExit: words[ppf.OnExit]("remove", ppf.ExitRemove, "block", ppf.ExitBlock),
		Log:    words[ppf.LogKind]("text", ppf.LogText, "json", ppf.LogJSON, "off", ppf.LogOff),
	}
	l.problems = append(l.problems, ppf.Decode(&doc, v, "")...)
	for i := range doc.Instances {
		in := newInstance()
		in.pos, in.path = doc.Instances[i].Pos, fmt.Sprintf("instances[%d]", i)
		l.problems = append(l.problems, ppf.Decode(&in, doc.Instances[i], in.path)...)
		l.instances = append(l.instances, in)
	}
	if !main {
		for _, kv := range v.Map {
			if kv.Key != "instances" && kv.Key != "version" {
				l.add(kv.Pos, kv.Key, "move it to the main file", "an included file holds instances only")
			}
		}
		return
	}
	l.main(name, v.Pos, &doc)
}

// main takes over what the main file says beside instances.
func (l *loader) main(name string, pos ppf.Pos, doc *document) {
	switch {
	case !doc.Version.Set:
		l.add(pos, "version", "start the file with `version: 1`", "the version is missing")
	case doc.Version.Value != 1 && !doc.Version.Bad:
		l.add(doc.Version.Pos, "version", "write `version: 1`", "version %d is unknown", doc.Version.Value)
	}
	if doc.Metrics.Set {
		l.metrics(doc.Metrics)
	}
	l.moduleDirs(filepath.Dir(name), doc)
	l.spec.Control = control.DefaultSocket
	if doc.Control.Set {
		if l.spec.Control = doc.Control.Value; !filepath.IsAbs(l.spec.Control) {
			l.add(doc.Control.Pos, "control", "write an absolute path", "%q is not an absolute path", doc.Control.Value)
		}
	}
	if doc.State.Set {
		if l.spec.State = doc.State.Value; !filepath.IsAbs(l.spec.State) {
			l.add(doc.State.Pos, "state", "write an absolute path", "%q is not an absolute path", doc.State.Value)
		}
	}
	l.spec.OnExit = doc.OnExit.Value
	l.spec.Log, l.spec.Watch = doc.Log.Value, doc.Watch.Value
	l.spec.Folders = append(l.spec.Folders, filepath.Dir(name))
	if doc.Drops.Set {
		if l.spec.Drops = doc.Drops.Value; !filepath.IsAbs(l.spec.Drops) {
			l.add(doc.Drops.Pos, "drops", "write an absolute path", "%q is not an absolute path", doc.Drops.Value)
		}
	}
	l.spec.QueueFirst = defaultQueue
	if doc.Queue.Set {
		if l.spec.QueueFirst = doc.Queue.Value; doc.Queue.Value > maxQueue {
			l.add(doc.Queue.Pos, "queue", fmt.Sprintf("write a number from 0 to %d", maxQueue), "queue number %d is too high", doc.Queue.Value)
		}
	}
	l.spec.Plugins = doc.Plugins.Value
	for plugin := range doc.Plugins.Value {
		if plugin != "PROXY" {
			l.add(doc.Plugins.Pos, "plugins."+plugin, "write PROXY", "plugin %q has no configuration of its own", plugin)
		}
	}
	for i, pattern := range doc.Include.Value {
		l.include(filepath.Dir(name), fmt.Sprintf("include[%d]", i), pattern)
	}
}

// moduleDirs looks what modules there are: their functions are known from here
// on. A file that is no module is doubtful only, as a folder may hold others.
func (l *loader) moduleDirs(base string, doc *document) {
	for i, dir := range doc.ModuleDirs {
		path, full := fmt.Sprintf("module_dirs[%d]", i), dir.Value
		if !filepath.IsAbs(full) {
			full = filepath.Join(base, full)
		}
		full, err := filepath.Abs(full)
		if err == nil {
			_, err = os.ReadDir(full)
		}
		if err != nil {
			l.add(dir.Pos, path, "check the path and its permissions", "%v", err)
			continue
		}
		l.spec.ModuleDirs = append(l.spec.ModuleDirs, full)
	}
	found, errs := ppf.FindModules(l.spec.ModuleDirs)
	for _, err := range errs {
		l.problems = append(l.problems, ppf.Problem{Pos: doc.ModuleDirs[0].Pos, Path: "module_dirs", What: err.Error(), Warning: true})
	}
	for _, m := range slices.Concat(ppf.BuiltinModules(), found) {
		l.known = append(l.known, m.Functions...)
	}
}

// metrics checks the address of metrics and web page.
func (l *loader) metrics(m located[string]) {
	a, err := netip.ParseAddrPort(m.Value)
	if err != nil {
		l.add(m.Pos, "metrics", "write ADDRESS:PORT, such as 127.0.0.1:9477", "%q is no address with a port", m.Value)
		return
	}
	l.spec.Metrics = m.Value
	if !a.Addr().IsLoopback() {
		l.problems = append(l.problems, ppf.Problem{
			Pos: m.Pos, Path: "metrics", Warning: true,
			What: "whoever reaches " + m.Value + " sees connections and packets", Fix: "use 127.0.0.1, or let a firewall choose who may",
		})
	}
}

func (l *loader) include(dir, path string, pattern located[string]) {
	full := pattern.Value
	if !filepath.IsAbs(full) {
		full = filepath.Join(dir, full)
	}
	files, err := filepath.Glob(full)
	if err != nil {
		l.add(pattern.Pos, path, "write a pattern such as conf.d/*.yaml", "pattern %q is malformed", pattern.Value)
		return
	}
	if len(files) == 0 && !strings.ContainsAny(full, "*?[") {
		l.add(pattern.Pos, path, "check the path, or write a pattern with *", "file %s is missing", full)
	}
	if folder := filepath.Dir(full); !slices.Contains(l.spec.Folders, folder) && !strings.ContainsAny(folder, "*?[") {
		l.spec.Folders = append(l.spec.Folders, folder)
	}
	for _, f := range files {
		l.file(f, false)
	}
}

// finish checks what concerns single instances and all together.
func (l *loader) finish() (*ppf.Spec, []ppf.Problem) {
	names := map[string]ppf.Pos{}
	for i := range l.instances {
		in := &l.instances[i]
		spec := l.instance(in)
		if first, taken := names[spec.Name]; taken && spec.Name != "" {
			l.add(in.Name.Pos, in.path+".name", "choose another name", "name %q is taken by the instance at %v", spec.Name, first)
		}
		names[spec.Name] = in.Name.Pos
		l.spec.Instances = append(l.spec.Instances, spec)
	}
	if !slices.ContainsFunc(l.problems, func(p ppf.Problem) bool { return !p.Warning }) {
		l.problems = append(l.problems, l.bind()...)
		l.warn()
	}
	slices.SortStableFunc(l.problems, func(a, b ppf.Problem) int {
		if a.Pos.File != b.Pos.File {
			return 0
		}
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Col - b.Pos.Col
	})
	return &l.spec, l.problems
}
