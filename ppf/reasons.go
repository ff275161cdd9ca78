package ppf

import "github.com/promethos/promethos/packet"

// The framework's own reasons.
var (
	// ReasonUnset is a drop for which a module gave no reason: a bug of it.
	ReasonUnset = newReason(ReasonInfo{Name: "chain.unset", Field: "verdict",
		Doc:   "a user function dropped the packet without giving a reason, which is a bug of its module",
		Trips: "all traffic that such a module drops", Relax: "reasons: {chain.unset: monitor} until the module is mended"})
	// ReasonUnhandled is thesis 4.1.3: no function set a packet to send.
	ReasonUnhandled = newReason(ReasonInfo{Name: "chain.unhandled", Field: "chain",
		Doc:   "no user function of the flow built a packet to send",
		Trips: "traffic of a protocol that no function of the chain handles", Relax: "add a function for the protocol to the chain, or narrow the match"})
	// ReasonFunctionMissing is a flow that names a function nobody registered.
	ReasonFunctionMissing = newReason(ReasonInfo{Name: "chain.function-missing", Field: "chain",
		Doc:   "the flow names a user function that is not registered now",
		Trips: "all traffic of the instance while a module is unloaded", Relax: "promethos module load"})
	// ReasonPanic is a fault in a user function; only its packet is lost.
	ReasonPanic = newReason(ReasonInfo{Name: "chain.panic", Field: "chain",
		Doc:   "a user function panicked; the packet is dropped and the rest goes on",
		Trips: "traffic that a module has a bug for", Relax: "take the function out of the chain"})
	// ReasonEncode is an Out that the encoder cannot write.
	ReasonEncode = newReason(ReasonInfo{Name: "chain.encode", Field: "chain",
		Doc:   "the packet that the chain built is incomplete or too long",
		Trips: "traffic that a module has a bug for", Relax: "take the function out of the chain"})
	// ReasonExtension is for whoever leaves them out.
	ReasonExtension = newReason(ReasonInfo{Name: "ip6.extension-removed", Class: packet.Repaired, Field: "ip6.next-header", RFC: "8200 §4",
		Doc:   "IPv6 extension headers are not carried over, but for those that are listed",
		CVE:   []string{"CVE-2020-13984", "CVE-2020-17444", "CVE-2020-25112"},
		Trips: "hosts that send hop-by-hop or destination options", Relax: "modules: {ip: {extensions: [hop-by-hop, destination]}}"})
	// ReasonCut is a packet longer than the source can hand over.
	ReasonCut = newReason(ReasonInfo{Name: "source.cut", Field: "frame.length",
		Doc:   "the packet is longer than the source's copy range or the capture's snap length, so not all of it is there",
		Trips: "captures made with a snap length, when they are replayed", Relax: "tcpdump -s 0 and capture again"})
	// ReasonTableFull and ReasonInstanceFull are the limits of connections.
	ReasonTableFull = newReason(ReasonInfo{Name: "conn.limit-table", Field: "connections",
		Doc:   "the table of connections is full",
		Trips: "new connections on a very busy host", Relax: "plugins: {PROXY: connections N}"})
	ReasonInstanceFull = newReason(ReasonInfo{Name: "conn.limit-instance", Field: "connections",
		Doc:   "the instance has as many connections as its limit allows",
		Trips: "new connections of a busy instance", Relax: "modules: {tcp: {connections: N}}"})
	// ReasonEvicted is the packet that begins a connection for which another one
	// gave way.
	ReasonEvicted = newReason(ReasonInfo{Name: "conn.evicted", Class: packet.Repaired, Field: "connections",
		Doc:   "there was no room for a new connection, and an old one that gives way was ended for it; the value is for how many seconds it was silent",
		Trips: "connections that are silent for hours, on a very busy host", Relax: "reasons: {conn.evicted: refuse}, or a higher limit"})
	// ReasonSessions and ReasonClientSessions are the limits of stream functions.
	ReasonSessions = newReason(ReasonInfo{Name: "stream.limit-instance", Field: "connections",
		Doc:   "the instance serves as many clients' connections as its limit allows; the client is reset",
		Trips: "new connections of a busy instance", Relax: "modules: {relay: {connections: N}}, and http and https the same"})
	ReasonClientSessions = newReason(ReasonInfo{Name: "stream.limit-client", Field: "connections",
		Doc:   "the client has as many connections as the limit per address (per /64 of IPv6) allows; the client is reset",
		Trips: "many users behind one address (NAT)", Relax: "modules: {relay: {client_connections: N}}, and http and https the same"})
	// ReasonPending, ReasonPendingUnasked and ReasonClientPending bound what a server and a client may
	// have coming about.
	ReasonPending = newReason(ReasonInfo{Name: "stream.pending", Field: "connections",
		Doc:   "as many connections to the server are coming about as the limit allows, and none of them waits for its client; the client's SYN is dropped, and with handshake: first the function is told that there is no connection",
		Trips: "many clients at once, and a server that accepts slowly", Relax: "pending: N"})
	ReasonPendingUnasked = newReason(ReasonInfo{Name: "stream.pending-unasked", Class: packet.Rewritten, Field: "connections", RFC: "4987 §3.5",
		Doc:   "as many connections to the server are coming about as the limit allows, and it has accepted some whose clients have not said more yet: the client completes its handshake before the server is asked, as with handshake: first, and takes the place of one of them then",
		Trips: "many clients at once, or a flood of SYNs", Relax: "pending: N"})
	ReasonClientPending = newReason(ReasonInfo{Name: "stream.pending-client", Field: "connections", RFC: "4987 §3.1",
		Doc:   "half of the connections to the server that may be coming about are of this client (of its /64 of IPv6); its SYN is dropped",
		Trips: "many users behind one address (NAT) at once", Relax: "pending: N"})
	// ReasonUnreachable and ReasonUnclaimed are SYNs that waited in vain.
	ReasonUnreachable = newReason(ReasonInfo{Name: "stream.server-unreachable", Field: "server", RFC: "9293 §3.10.7.3",
		Doc:   "the server, or a router before it, refused the connection or did not answer; the client gets the same",
		Trips: "a server that is down or slow", Relax: "handshake: first"})
	ReasonUnclaimed = newReason(ReasonInfo{Name: "stream.unclaimed", Field: "client", RFC: "4987 §2",
		Doc:   "the server had accepted, and the client did not complete its own handshake, or not before others needed its place; the server's connection is reset",
		Trips: "clients that give up, and SYNs with addresses that are not their sender's", Relax: "handshake: first"})
	// ReasonDrain is a stream that outlasted its listener.
	ReasonDrain = newReason(ReasonInfo{Name: "stream.drain", Field: "connections",
		Doc:   "what was under way when the instance or the daemon ended was not over in time; both ends are reset",
		Trips: "long downloads and connections without end", Relax: "drain: 5s"})
	// ReasonKeyTaken is a connection whose replies would look like another's.
	ReasonKeyTaken = newReason(ReasonInfo{Name: "conn.key-taken", Field: "tuple",
		Doc: "another connection of the same hook already owns this tuple", Trips: "none known"})
	// ReasonUnmatched is a frame on a wire that no instance matches.
	ReasonUnmatched = newReason(ReasonInfo{Name: "inline.unmatched", Field: "ethernet.type",
		Doc:   "no instance of the inline pair matches this frame: what nobody judges does not cross",
		Trips: "protocols and addresses that the pair's instances leave out", Relax: "an instance of the pair that matches it, or one without match"})
	// ReasonOthers is traffic of a server that no instance matches.
	ReasonOthers = newReason(ReasonInfo{Name: "others.refused", Field: "tuple",
		Doc:   "no instance matches this traffic, and the server refuses all other traffic",
		Trips: "ports and protocols of the server that no instance names", Relax: "others: pass, or an instance for it"})
)

func newReason(info ReasonInfo) Reason { return packet.NewReason("ppf", info) }
