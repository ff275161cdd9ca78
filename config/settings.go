package config

// Setting describes one key of a configuration file, for docs/reference.md.
type Setting struct {
	Path    string // "instances[].match.port"
	Default string // what holds where it is left out; "" where it must be given or nothing holds
	Doc     string
}

// Settings lists every key, in the order of the file.
func Settings() []Setting { return settings }

var settings = []Setting{
	{"version", "", "the form of the file: 1; always given"},
	{"control", "/run/promethos/control.sock", "path of the daemon's control socket"},
	{"state", "systemd's StateDirectory, else the control socket's folder", "folder of the connections that outlive a restart"},
	{"metrics", "", "ADDRESS:PORT of metrics and web page; off where it is left out"},
	{"module_dirs", "", "folders with modules of files, which load when a chain names their functions"},
	{"on_exit", "remove", "remove: nothing stays behind; block: what the instances select is dropped until the next start or `promethos unblock`"},
	{"log", "text", "text, json or off: events on standard error"},
	{"drops", "", "path of a pcapng file with the packets of drops and repairs; at 64 MiB it becomes FILE.1"},
	{"watch", "false", "true: a change of the files is a reload"},
	{"queue", "20560", "the first queue number; one per worker follows"},
	{"plugins", "", "configurations of plugins: `PROXY: connections N fragments M` bounds the table of connections, and how many packets a worker of a wire puts together from fragments at a time (0: none)"},
	{"include", "", "patterns of files with further instances"},
	{"instances", "", "the proxy instances; the first that matches a connection takes it"},
	{"instances[].name", "", "its name; always given"},
	{"instances[].source", "nfqueue", "nfqueue, inline or listen: where packets or connections come from"},
	{"instances[].hook", "forward", "prerouting, input, forward, output or postrouting"},
	{"instances[].match", "", "whose traffic it takes; always given with source nfqueue"},
	{"instances[].match.protocol", "any", "tcp, udp, icmp (of both IP versions), arp (with source inline), any or a number"},
	{"instances[].match.server", "", "addresses or networks of the server; always given"},
	{"instances[].match.client", "all", "addresses or networks of clients"},
	{"instances[].match.port", "all", "ports of the server, such as 80 or \"502-503\""},
	{"instances[].match.in", "all", "the interface towards the client, or eth+ for all that start so"},
	{"instances[].match.out", "all", "the interface towards the server"},
	{"instances[].match.not", "", "what is left out: a match, or a list of them"},
	{"instances[].initiate", "client with ports, else both", "client, server or both: who may open connections"},
	{"instances[].others", "pass", "pass or refuse: what becomes of other traffic to and from the server"},
	{"instances[].chain", "", "user functions of both flows, in their order"},
	{"instances[].client_to_server", "", "user functions of one flow, in place of chain"},
	{"instances[].server_to_client", "", "user functions of the other flow"},
	{"instances[].mode", "repair", "monitor: drops nothing and counts; repair; strict: drops what could be repaired, too"},
	{"instances[].fail", "closed", "closed or open: what becomes of packets that the proxy cannot judge"},
	{"instances[].reasons", "", "REASON: monitor, repair or refuse; or a list of these and of {client: NETWORK, do: …}"},
	{"instances[].modules", "", "settings of user functions by name; each module's README has them"},
	{"instances[].handshake", "honest; first with https", "honest, first or cookie: honest accepts a client when the server has accepted; first at once; both in chains with a stream function at a hook; cookie answers floods of SYNs with cookies, in chains with tcp"},
	{"instances[].pending", "256", "how many connections to one server may be coming about at a time, in chains with a stream function at a hook; half of it for one client"},
	{"instances[].upstream", "", "ADDRESS:PORT of the server, with source listen"},
	{"instances[].upstream_address", "client", "client or proxy: whose address the server sees, in chains with a stream function"},
	{"instances[].inline", "", "{client: INTERFACE, server: INTERFACE}, with source inline"},
	{"instances[].listen", "", "ADDRESS:PORT that is listened on, with source listen"},
	{"instances[].drain", "5s", "how long connections may go on when the instance or the daemon ends, with a stream function; then they are reset"},
}
