package arch

// room is a part of the module, with what its product code may import of the
// others. Its own folders are always allowed. Tests may import what they like:
// nothing depends on them, and Go itself refuses a cycle.
type room struct {
	// path is a folder, with everything below it; "modules/*" makes each folder
	// below modules a room of its own. The longest path that fits counts.
	path string
	may  []string // paths as above
	// why says what would go wrong with any other import.
	why string
}

// rooms is the direction of imports, from the inside to the outside:
//
//	packet ← ppf ← modules, source, stream ← config, control, wasm ← daemon ← lab, cmd
//
// and rules beside the sources. A folder that stands nowhere here fails the
// test: choose its place and say why.
var rooms = []room{
	{"packet", nil,
		"formats know nothing of who reads or writes them, so that each can be tested and fuzzed alone"},
	{"pcapng", nil,
		"the blocks of a file format, written by a source and by programs that have no source"},
	{"ppf", []string{"packet"},
		"the framework serves every source, module and front end through interfaces; one that it knew it would depend on"},
	{"modules/*", []string{"packet", "ppf", "modules/ip", "modules/link", "modules/tcp"},
		"a module works the same whichever source, kernel or front end is there; of the modules, ip, link and tcp are libraries for others"},
	{"modules/builtin", []string{"modules/*"},
		"the list of built-in modules holds blank imports and nothing else"},
	{"source/*", []string{"packet", "ppf"},
		"sources deliver frames and know nothing of protocols, of configuration or of each other"},
	{"source/pcapfile", []string{"packet", "ppf", "pcapng"},
		"as the other sources, and it reads and writes that format"},
	{"modules/urlrewrite", []string{"packet", "ppf", "modules/http"},
		"a message function is bound to http, whose messages it changes, and knows nothing of what is below"},
	{"modules/headers", []string{"packet", "ppf", "modules/http"},
		"as urlrewrite"},
	{"modules/signatures", []string{"packet", "ppf", "modules/http"},
		"as urlrewrite"},
	{"modules/https", []string{"packet", "ppf", "modules/relay"},
		"a connection that is passed through by its name is relayed as it is"},
	{"stream", []string{"packet", "ppf"},
		"streams are a source of another level: the same holds for them"},
	{"rules", []string{"packet", "ppf"},
		"kernel rules only select; who binds the queues and runs the chains is not theirs to know"},
	{"config", []string{"packet", "ppf", "modules/*", "control"},
		"a file is checked without opening anything, so config needs no source, no rules and no daemon; of control it takes the default socket"},
	{"control", []string{"packet", "ppf"},
		"the API shows an engine through its Backend; the client side must not link sources and rules"},
	{"protect", nil,
		"what protect writes is a text made of facts; who finds them out and who reads it stands outside"},
	{"wasm", []string{"packet", "ppf", "modules/ip", "modules/tcp", "modules/http", "pfm"},
		"the host of modules loaded at run time is one more provider of user functions"},
	{"data", []string{"ppf"},
		"a loader of sets knows nothing of who uses them"},
	{"pfm", nil,
		"the kit for modules loaded at run time is compiled into guests, which have none of our packages"},
	{"daemon", []string{"packet", "ppf", "modules/*", "source/*", "stream", "rules", "config", "control", "wasm", "data", "pcapng"},
		"the daemon joins the parts; programs and the lab use it, never the other way round"},
	{"lab", []string{"packet", "daemon"},
		"the lab judges what the proxy does, so it starts a daemon as an operator would and looks at packets, not into the engine"},
	{"lab/*", []string{"packet", "ppf", "modules/*", "rules", "config", "control", "daemon", "lab", "protect", "wasm", "pfm", "examples/count", "examples/forms"},
		"demo and benchmarks are shows in the lab: they ask a daemon through its API and leave packets to the sources"},
	{"cmd/*", []string{"packet", "ppf", "modules/*", "source/*", "stream", "rules", "config", "control", "wasm", "daemon", "lab", "protect", "pfm", "pcapng"},
		"programs stand outside of everything and are imported by nobody"},
	{"examples/*", []string{"pfm"},
		"an example is written as a module of anybody's would be"},
	{"e2e", nil,
		"tests of the program from outside: they build it, run it and look at what arrives"},
	{"internal/*", nil,
		"tools of the build must work while the product does not compile"},
}

// library is a module from elsewhere, with the rooms whose product code may use
// it.
type library struct {
	path  string
	may   []string
	tests bool // tests everywhere may use it
	why   string
}

// processor are packages of libraries that ask the processor, not the kernel:
// every room may use them.
var processor = []string{"golang.org/x/sys/cpu"}

// libraries lists every direct dependency; docs/adr has a record for each.
var libraries = []library{
	{"golang.org/x/sys", []string{"source/*", "stream", "rules", "control", "daemon", "lab", "cmd/*", "internal/*"}, true,
		"system calls are made at the edges; packet, ppf and modules stay portable and testable without a kernel"},
	{"github.com/google/nftables", []string{"rules", "lab"}, true,
		"one package of the product talks to nf_tables, and the lab sets up the firewalls of its hosts"},
	{"github.com/mdlayher/netlink", []string{"rules"}, true,
		"only to size the socket of google/nftables; other netlink code is our own or vishvananda's"},
	{"github.com/vishvananda/netlink", []string{"source/host", "lab", "daemon", "cmd/*"}, true,
		"set-up and route lookups, which happen once in a while; packets go through our own netlink code"},
	{"github.com/vishvananda/netns", []string{"source/host", "lab", "daemon", "cmd/*"}, true,
		"namespaces concern who opens sockets, not who judges packets"},
	{"github.com/gopacket/gopacket", []string{"lab"}, true,
		"somebody else's decoder is the judge of ours; one that the product used would judge itself"},
	{"go.yaml.in/yaml/v4", []string{"config", "cmd/*"}, true,
		"YAML becomes a ppf.Spec in one place"},
	{"github.com/spf13/cobra", []string{"cmd/*"}, false,
		"commands and flags belong to programs"},
	{"github.com/tetratelabs/wazero", []string{"wasm"}, true,
		"one package runs code of others, and bounds it"},
	{"github.com/google/go-cmp", nil, true,
		"it panics on what it cannot compare: for tests only"},
	{"pgregory.net/rapid", nil, true,
		"for tests only"},
}

// clockReaders are the functions of package time that look at the real clock.
var clockReaders = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "Tick": true,
}

// clockAllowed lists who may use them. Everything else takes the time as a
// value or through ppf.Env, so that tests and replay bring their own.
var clockAllowed = []struct{ path, why string }{
	{"source/host", "it is the real clock: ppf.Env of the machine"},
	{"daemon", "deadlines of start and stop, outside of any packet"},
	{"lab", "it measures real kernels and waits for real hosts"},
	{"cmd/*", "programs wait for people and other programs"},
}
